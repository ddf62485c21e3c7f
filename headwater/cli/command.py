"""How a command is declared: a function of a session, with the options that every command has, and its examples."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from headwater.cli.session import Session, reporting

Function = TypeVar("Function", bound=Callable[..., None])

FILE_HELP = "A Python file with a Pipeline, FILE:name or module:name for one of several."

_SHARED = {
    "workspace": (
        Annotated[
            Path | None,
            typer.Option(
                "--workspace",
                "-w",
                envvar="HEADWATER_WORKSPACE",
                show_envvar=True,
                help="The folder with log and catalog (default: as headwater.toml says, else .headwater).",
                rich_help_panel="Every command",
            ),
        ],
        None,
    ),
    "as_json": (
        Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.", rich_help_panel="Every command")],
        False,
    ),
    "debug": (
        Annotated[
            bool, typer.Option("--debug", help="Show the traceback of an error.", rich_help_panel="Every command")
        ],
        False,
    ),
}


def command(
    group: typer.Typer, name: str, *, examples: Sequence[str], panel: str | None = None
) -> Callable[[Function], Function]:
    """Add a function to a group as a command. Its first parameter is the session, the others are the command's own;
    its docstring is the help, to which the examples are added."""

    def add(function: Function) -> Function:
        def run(*, workspace: Path | None, as_json: bool, debug: bool, **given: Any) -> None:
            with reporting(debug):
                _log_to_stderr(debug)
                session = Session(workspace, as_json, debug)
                try:
                    function(session, **given)
                finally:
                    session.close()

        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        shared = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
            for name, (kind, default) in _SHARED.items()
        ]
        parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own] + shared
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        run.__doc__ = function.__doc__
        shown = "\n\n".join(f"  {line}" for line in examples)
        group.command(name, epilog=f"Examples:\n\n{shown}", rich_help_panel=panel)(run)
        return function

    return add


def _log_to_stderr(debug: bool) -> None:
    logging.basicConfig(
        level=logging.INFO if debug else logging.WARNING, format="%(levelname)s: %(message)s", force=True
    )
