"""The application: all groups of commands, and `main`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from headwater.cli import (
    alarms,
    catalog,
    datasets,
    declare,
    find,
    labels,
    models,
    observe,
    provenance,
    quarantine,
    replay,
    rows,
    run,
    status,
)
from headwater.cli.session import INTERRUPTED

app = typer.Typer(
    name="headwater",
    help="Streams with a catalog: every stream can be found, every row followed to its source.",
    epilog="Begin with `headwater init`. Every command has --help with examples, --json and --workspace.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["--help", "-h"]},
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        from headwater import __version__

        print(f"headwater {__version__}")
        raise typer.Exit


@app.callback()
def _all(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    pass


for _group in (
    declare,
    rows,
    run,
    status,
    replay,
    find,
    labels,
    alarms,
    provenance,
    datasets,
    quarantine,
    models,
    observe,
    catalog,
):
    _group.add_to(app)


def main() -> None:
    """Run the command line; leaves with the exit code that docs/reference/cli.md lists."""
    try:
        app(prog_name="headwater")
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        sys.exit(INTERRUPTED)
