"""Commands that run operators, and say how running ones stand."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from catalog.address import shown
from headwater.cli import names
from headwater.cli.command import FILE_HELP, command
from headwater.cli.session import DIFFERENT, INTERRUPTED, Session
from streams.log import without_secrets

if TYPE_CHECKING:
    from headwater.cli.output import Output
    from headwater.hub import Hub
    from headwater.status import OperatorStatus, StreamStatus, TaskStatus
    from operators.engines.embedded import RunReport
    from operators.execution.replay import Comparison, Replayed

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
    command(app, "status", panel=PANEL, examples=["headwater status", "headwater status --tasks --watch"])(status)
    command(
        app,
        "replay",
        panel=PANEL,
        examples=[
            "headwater replay plant.valid --pipeline pipeline.py",
            "headwater replay plant.valid --from 2h --to 1h",
        ],
    )(replay)


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
        session.emit({**asdict(report), "stopped": bool(stopped), "operators": [_operator_json(one) for one in after]})
    else:
        _show_run(session, pipeline.name, report, before, after)
    if stopped:
        raise typer.Exit(stopped[0])


def status(
    session: Session,
    operators: Annotated[
        list[str] | None,
        typer.Argument(help="Only these operators.", metavar="OPERATOR", autocompletion=names.operators),
    ] = None,
    tasks: Annotated[bool, typer.Option("--tasks", help="Show each task, and who works on it.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every --every seconds.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 2.0,
) -> None:
    """Show how far operators have come: lag in messages, watermark, rows, quarantine, late rows, who runs them.

    With --json --watch each look is one line of JSON.
    """
    from headwater.status import stream_statuses

    hub = session.hub()
    while True:
        found = hub.status(operators or None)
        streams = [] if operators else stream_statuses(hub)
        if session.json:
            body = {
                "operators": [_operator_json(one) for one in found],
                "streams": [_stream_json(one) for one in streams],
            }
            session.emit(body, line=watch)
        else:
            if watch and not session.out.plain:
                session.out.console.clear()
            _show_status(session, found, streams, tasks)
        if not watch:
            return
        time.sleep(every)


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
                    *(new - old for new, old in zip(_row_counts(one), before.get(one.operator, (0,) * 4), strict=True)),
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


def _row_counts(one: OperatorStatus) -> tuple[int, int, int, int]:
    return one.rows_in, one.rows_out, one.quarantined, one.late


def _counts(hub: Hub, operators: list[str]) -> dict[str, tuple[int, int, int, int]]:
    """The row counts of those operators that are registered already."""
    known = {record.name for record in hub.catalog.operators()}
    return {one.operator: _row_counts(one) for one in hub.status([name for name in operators if name in known])}


def _show_status(session: Session, operators: list[OperatorStatus], streams: list[StreamStatus], tasks: bool) -> None:
    out, now = session.out, session.hub().clock()
    out.facts(
        [
            ("workspace", session.config.workspace),
            ("log", without_secrets(session.config.log)),
            ("catalog", shown(session.config.catalog)),
        ]
    )
    out.heading("Operators")
    out.table(
        ["operator", "tasks", "lag", "watermark", "in", "out", "quar.", "late", "committed"],
        [
            (
                one.operator,
                f"{one.running}/{len(one.tasks)}",
                one.lag,
                _watermark(out, one),
                *_row_counts(one),
                _when(out, one.last_commit, now),
            )
            for one in operators
        ],
    )
    if tasks:
        out.heading("Tasks")
        out.table(
            ["task", "owner", "lag", "watermark", "committed"],
            [
                (task.task, _owner(task), task.lag, _watermark(out, task), _when(out, task.last_commit, now))
                for one in operators
                for task in one.tasks
            ],
        )
    if streams:
        out.heading("Streams")
        out.table(
            ["stream", "role", "rows", "messages", "newest came"],
            [
                (one.stream, one.role, one.rows, one.messages, _when(out, one.appended_at, now))
                for one in streams
                if one.messages or one.role == "data"
            ],
        )


def _when(out: Output, microseconds: int | None, now: int) -> Any:
    """On a terminal how long ago, in a pipe the time itself."""
    from headwater.cli.output import age, moment

    return moment(microseconds) if out.plain else age(microseconds, now)


def _watermark(out: Output, one: OperatorStatus | TaskStatus) -> Any:
    from headwater.cli.output import minute_text, moment

    found = moment(one.watermark)
    return "ended" if one.ended else found if out.plain else minute_text(found)


def _owner(task: TaskStatus) -> str | None:
    """The owner's name and process, without the identity of its machine."""
    if task.owner is None:
        return None
    name, _, identity = task.owner.rpartition("#")
    return f"{name} process {identity.partition('.')[0]}".strip()


def _operator_json(one: OperatorStatus) -> dict[str, Any]:
    from headwater.cli.output import moment

    tasks = [
        {**asdict(task), "watermark": moment(task.watermark), "last_commit": moment(task.last_commit)}
        for task in one.tasks
    ]
    times = {"watermark": moment(one.watermark), "last_commit": moment(one.last_commit)}
    return {**asdict(one), **times, "ended": one.ended, "running": one.running, "tasks": tasks}


def _stream_json(one: StreamStatus) -> dict[str, Any]:
    from headwater.cli.output import moment

    return {**asdict(one), "appended_at": moment(one.appended_at)}


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
