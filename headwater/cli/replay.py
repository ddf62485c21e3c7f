"""`headwater replay`: what an operator did, done again with the operator as it is now."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from headwater.cli import names
from headwater.cli.command import FILE_HELP, command
from headwater.cli.session import DIFFERENT, Session

if TYPE_CHECKING:
    from operators.execution.replay import Comparison, Replayed

PANEL = "Run"


def add_to(app: typer.Typer) -> None:
    command(
        app,
        "replay",
        panel=PANEL,
        examples=[
            "headwater replay plant.valid --pipeline pipeline.py",
            "headwater replay plant.valid --from 2h --to 1h",
        ],
    )(replay)


def replay(
    session: Session,
    operator: Annotated[
        str,
        typer.Argument(
            help="The operator: the name of its main output.", metavar="OPERATOR", autocompletion=names.operators
        ),
    ],
    start: Annotated[str | None, typer.Option("--from", help="Transactions committed from this time on.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Transactions committed before this time.")] = None,
    pipeline: Annotated[str, typer.Option("--pipeline", "-p", help=FILE_HELP)] = "pipeline.py",
) -> None:
    """Step through what an operator did, with the operator as the file has it now, and compare the rows.

    Nothing is written. Exit code 10 if rows differ, 9 if what a replay needs is gone from the log. Times are ISO 8601,
    in UTC unless they say otherwise, or a length of time ago (2h).
    """
    from headwater.cli.load import load_pipeline
    from headwater.cli.times import parse_time
    from operators.execution.replay import CannotReplay

    loaded = load_pipeline(pipeline)
    hub = session.hub()
    first, last = parse_time(start, hub.clock()), parse_time(end, hub.clock())
    report = hub.replay(loaded, operator, first=first, end=last)
    if not report.transactions:
        raise CannotReplay(
            "There is no transaction to replay", where=operator, fix="Run the pipeline first, or widen --from and --to."
        )
    if session.json:
        comparisons = [{**asdict(one), "equal": one.equal} for one in report.comparisons]
        session.emit({**asdict(report), "equal": report.equal, "rows": report.rows, "comparisons": comparisons})
    else:
        _show_replay(session, report)
    if not report.equal:
        raise typer.Exit(DIFFERENT)


def _show_replay(session: Session, report: Replayed) -> None:
    from headwater.cli.output import counted

    out = session.out
    then = ", ".join(report.versions_then) or None
    out.facts([("operator", report.operator), ("version then", then), ("version now", report.version_now)])
    out.line()
    out.table(
        ["output", "partition", "task", "rows then", "rows now", "equal"],
        [
            (one.stream, str(one.partition), one.task, one.rows_then, one.rows_now, one.equal)
            for one in report.comparisons
        ],
    )
    different = {one.stream: one for one in reversed(report.comparisons) if one.difference is not None}
    for one in reversed(different.values()):
        _show_difference(session, one)
    out.line()
    transactions = counted(report.transactions, "transaction")
    verdict = "equal" if report.equal else "DIFFERENT"
    out.line(f"{counted(report.rows, 'row')} of {transactions} came out {verdict}.", "" if report.equal else "bold red")


def _show_difference(session: Session, one: Comparison) -> None:
    """The first row that differs, field by field, those fields first that are to blame."""
    difference = one.difference
    assert difference is not None
    session.out.heading(f"First difference in {one.stream} {one.partition}: row {difference.row:,}")
    then, now = difference.then or {}, difference.now or {}
    fields = list({**then, **now})
    fields.sort(key=lambda name: then.get(name) == now.get(name) and name in then and name in now)
    missing = "(no such row)"
    session.out.table(
        ["field", "then", "now"],
        [
            (name, then.get(name) if difference.then else missing, now.get(name) if difference.now else missing)
            for name in fields
        ],
    )
