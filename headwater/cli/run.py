"""`headwater run`."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headwater.cli.command import FILE_HELP, command
from headwater.cli.session import INTERRUPTED, Session
from headwater.cli.status import operator_json, row_counts

if TYPE_CHECKING:
    from headwater.hub import Hub
    from headwater.status import OperatorStatus
    from operators.engines.embedded import RunReport

PANEL = "Run"
TERMINATED = 143


class Until(StrEnum):
    caught_up = "caught-up"


class RunsOn(StrEnum):
    embedded = "embedded"
    faust = "faust"


class OnGap(StrEnum):
    stop = "stop"
    skip = "skip"


def add_to(app: typer.Typer) -> None:
    command(
        app,
        "run",
        panel=PANEL,
        examples=[
            "headwater run pipeline.py --until caught-up",
            "headwater run pipeline.py --workers 2",
            "headwater run pipeline.py --engine faust",
            "headwater run pipeline.py --only '*.source' --only valid",
        ],
    )(run)


def run(
    session: Session,
    file: Annotated[str, typer.Argument(help=FILE_HELP, metavar="FILE")],
    until: Annotated[
        Until | None, typer.Option(help="End when everything in the log is taken; otherwise it runs for ever.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="So many processes share the tasks.")] = 1,
    max_wait: Annotated[
        float,
        typer.Option(min=0, help="Without --until: go on without an idle input after so many seconds; inf: never."),
    ] = 5.0,
    on_gap: Annotated[
        OnGap, typer.Option(help="Where retention took rows before they were read: stop, or skip them and record it.")
    ] = OnGap.stop,
    engine: Annotated[
        RunsOn, typer.Option(help="What runs it: this process, or this one as one of several Faust workers on Kafka.")
    ] = RunsOn.embedded,
    web_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Where a web server shows tasks, health and metrics; 0: nowhere. With --engine faust 6066 unless said "
            "otherwise, else nowhere.",
        ),
    ] = None,
    web_host: Annotated[str, typer.Option(help="The address that the web server binds.")] = "0.0.0.0",
    only: Annotated[
        list[str] | None,
        typer.Option(help="Only operators and sources of this name, * for anything; may be given several times."),
    ] = None,
) -> None:
    """Register a pipeline and run it.

    Ctrl-C stops it cleanly; the next run goes on where it was. Exit code 8 if tasks stopped with errors.
    """
    from headwater.cli.load import load_pipeline
    from operators.execution.selection import select

    pipeline = load_pipeline(file)
    chosen = select(pipeline.name, pipeline.nodes, only)
    operators = [name for name in pipeline.nodes if chosen is None or name in chosen]
    hub = session.hub(make=True)
    before = _counts(hub, operators)
    with _stopping() as stopped, _quiet(until is not None and not session.debug):
        report = hub.run(
            pipeline,
            until=until.value if until else None,
            workers=workers,
            max_wait=max_wait,
            on_gap=on_gap.value,
            console=None if session.json or session.out.plain else session.out.console,
            engine=engine.value,
            web_port="auto" if web_port is None else web_port or None,
            web_host=web_host,
            only=only,
        )
    if report.signal is not None:
        stopped.append(INTERRUPTED if report.signal == signal.SIGINT else TERMINATED)
    after = hub.status(operators)
    if session.json:
        session.emit({**asdict(report), "stopped": bool(stopped), "operators": [operator_json(one) for one in after]})
    else:
        _show_run(session, pipeline.name, report, before, after)
    if stopped:
        raise typer.Exit(stopped[0])


def _show_run(
    session: Session,
    pipeline: str,
    report: RunReport,
    before: dict[str, tuple[int, int, int, int]],
    after: list[OperatorStatus],
) -> None:
    """What the run did. On a terminal the live display has said it by operator."""
    out = session.out
    if out.plain:
        out.table(
            ["operator", "rows in", "rows out", "quarantined", "late", "lag"],
            [
                (
                    one.operator,
                    *(new - old for new, old in zip(row_counts(one), before.get(one.operator, (0,) * 4), strict=True)),
                    one.lag,
                )
                for one in after
            ],
        )
        out.line()
    lag = sum(one.lag or 0 for one in after)
    waiting = f" {lag:,} messages wait to be taken." if lag else ""
    replaced = f" {report.replaced} workers were replaced." if report.replaced else ""
    out.line(f"{pipeline}: run {report.run}, {report.seconds:,.1f} seconds.{waiting}{replaced}")


@contextmanager
def _stopping() -> Iterator[list[int]]:
    """Holds the exit code of the signal that ended the run, if one did: Ctrl-C, or a request to terminate."""
    stopped: list[int] = []

    def stop(number: int, _: Any) -> None:
        stopped.append(INTERRUPTED if number == signal.SIGINT else TERMINATED)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _quiet(once: bool) -> Iterator[None]:
    """A run that ends by itself says at its end which tasks stopped; one that goes on says so when it happens."""
    logger = logging.getLogger("operators.engines.worker")
    before = logger.level
    if once:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _counts(hub: Hub, operators: list[str]) -> dict[str, tuple[int, int, int, int]]:
    """The row counts of those operators that are registered already."""
    known = {record.name for record in hub.catalog.operators()}
    return {one.operator: row_counts(one) for one in hub.status([name for name in operators if name in known])}
