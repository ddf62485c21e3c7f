"""Runs the flights job: `python -m examples.flights [--workspace DIR] [--rows N] [--workers N] [--no-display]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console
from rich.markup import escape

import headwater as hw
from examples.flights.pipeline import build
from examples.flights.summary import show_summary
from headwater.display import Display

WIDTH_OF_LOGS = 120


def main(arguments: Sequence[str] | None = None) -> int:
    given = _arguments(arguments)
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH_OF_LOGS, no_color=True)
    pipeline = build(given.rows)
    used = (given.workspace / "log.db").exists()
    with hw.connect(given.workspace) as hub:
        which = "every flight" if given.rows is None else f"the first {given.rows:,} flights"
        workers = "1 worker" if given.workers == 1 else f"{given.workers} workers"
        console.print(
            f"[bold]The flights job[/]: {which} from New York in 2013, {len(pipeline.nodes)} operators and sources, "
            f"{workers}, workspace {escape(str(given.workspace))}"
        )
        if used:
            console.print("The workspace is there already: the job goes on from where it was.")
        hub.register(pipeline)
        with nullcontext() if given.no_display else _display(hub, pipeline, console) as shown:
            report = hub.run(pipeline, until="caught-up", workers=given.workers, watch=shown)
        if report.interrupted:
            console.print("Stopped. The same command goes on from here.")
            return 130
        console.print(f"[bold]Done[/] in {report.seconds:.1f} seconds.")
        show_summary(hub, pipeline, console, given.workspace)
    return 0


def _display(hub: hw.Hub, pipeline: hw.Pipeline, console: Console) -> Display:
    """Gone when the run is over: the summary says what came of it."""
    return Display(hub.plan(pipeline), hub.log, console, schemas=hub.schema, transient=True)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m examples.flights", description="Every flight that left New York in 2013, through the whole job."
    )
    parser.add_argument("--workspace", type=Path, default=Path("demo-workspace"), help="where log and catalog lie")
    parser.add_argument("--rows", type=_positive, help="only the first so many flights")
    parser.add_argument("--workers", type=_positive, default=2, help="so many processes share the work")
    parser.add_argument("--no-display", action="store_true", help="say nothing while it runs")
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("it has to be at least 1")
    return number


if __name__ == "__main__":
    try:
        sys.exit(main())
    except hw.HeadwaterError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
