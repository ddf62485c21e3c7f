"""Run the flights job and say what came of it.

python -m examples.flights [--workspace DIR] [--rows N] [--workers N] [--no-display]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

import headwater as hw
from examples.flights import pipeline

HEADLINE = (
    "[bold]Every flight that left New York in 2013[/bold]: schedules, departures, arrivals, weather, planes, airports "
    "and airlines, each published by its own source, become a training set with honest outcomes."
)


def main() -> int:
    """Register the pipeline, run it, sum up. Exit code 8 if the run failed."""
    options = _options()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 100)
    workspace: Path = options.workspace
    used = (workspace / "log.db").exists()
    job = pipeline.build(options.rows)
    with hw.connect(workspace) as hub:
        console.print(HEADLINE)
        if used:
            console.print(f"[dim]{workspace} is in use already: the job goes on from where it was.[/dim]")
        console.print()
        try:
            report = hub.run(
                job,
                until="caught-up",
                workers=options.workers,
                console=console if options.display else None,
            )
        except hw.HeadwaterError as error:
            console.print(f"[red]{error}[/red]", soft_wrap=True)
            return error.exit_code
        console.print()
        console.print(f"Done in {report.seconds:.1f} seconds, with {options.workers} worker processes.")
        _summary(hub, job, console)
        _next_steps(workspace, console)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.flights", description="Run the flights job.")
    parser.add_argument("--workspace", type=Path, default=Path("demo-workspace"), help="where log and catalog lie")
    parser.add_argument("--rows", type=int, default=None, help="only so many flights, the first by schedule")
    parser.add_argument("--workers", type=int, default=2, help="worker processes (default 2)")
    parser.add_argument("--no-display", dest="display", action="store_false", help="no progress while it runs")
    return parser.parse_args()


def _summary(hub: hw.Hub, job: hw.Pipeline, console: Console) -> None:
    shown = [stream for stream in job.streams.values() if stream.role == "data"]
    fresh = [hub.catalog.stream(stream.name).freshness for stream in shown]
    rows = sum(one.rows for one in fresh if one is not None)
    console.print(
        f"\n[bold]{len(job.streams)} streams are registered[/bold], with {rows:,} rows of data in {len(shown)}."
    )

    training = hub.read("flights.training", columns=["late", "censored"]).to_arrow()
    censored = int(training["censored"].to_numpy().sum())
    late = int(sum(training["late"].drop_null().to_pylist()))
    console.print(
        f"[bold]flights.training[/bold] has {training.num_rows:,} departures: {late:,} came more than 15 minutes late, "
        f"{censored:,} never arrived and are marked censored."
    )

    console.print("\n[bold]In quarantine[/bold], with the rule that each row broke:")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("stream", "rule", "rows", "such as"):
        table.add_column(heading, justify="right" if heading == "rows" else "left", overflow="fold")
    for broken in hub.quarantine():
        sample = next(iter(broken.sample), None)
        value = "" if sample is None else str(sample.get("value"))
        table.add_row(broken.stream, broken.rule, f"{broken.rows:,}", value)
    console.print(table)

    row = hub.read("flights.training", last=1).row(0)
    console.print("\n[bold]One row of it, traced to where it came from:[/bold]")
    console.print(hub.trace(row).tree())


def _next_steps(workspace: Path, console: Console) -> None:
    at = f"--workspace {workspace}"
    console.print("\n[bold]You now have[/bold] a searchable catalog, a lineage graph and a training set. Try:\n")
    for command in (
        f'headwater search "which streams know anything about an aircraft?" {at}',
        f"headwater lineage flights.training.late --up {at}",
        f"headwater dataset freeze delays flights.training {at}",
    ):
        console.print(f"  {command}", soft_wrap=True)
    console.print("\n(The command is in the environment that was made: .venv/bin/headwater.)", style="dim")


if __name__ == "__main__":
    sys.exit(main())
