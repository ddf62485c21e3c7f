"""`headwater status`: how far operators have come, and what streams hold."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from catalog.address import shown
from headwater.cli import names
from headwater.cli.command import command
from headwater.cli.session import Session
from streams.log import without_secrets

if TYPE_CHECKING:
    from headwater.cli.output import Output
    from headwater.status import OperatorStatus, StreamStatus, TaskStatus

PANEL = "Run"


def add_to(app: typer.Typer) -> None:
    command(app, "status", panel=PANEL, examples=["headwater status", "headwater status --tasks --watch"])(status)


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
                "operators": [operator_json(one) for one in found],
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


def row_counts(one: OperatorStatus) -> tuple[int, int, int, int]:
    """Rows in, out, quarantined and late."""
    return one.rows_in, one.rows_out, one.quarantined, one.late


def operator_json(one: OperatorStatus) -> dict[str, Any]:
    """What --json says of an operator."""
    from headwater.cli.output import moment

    tasks = [
        {**asdict(task), "watermark": moment(task.watermark), "last_commit": moment(task.last_commit)}
        for task in one.tasks
    ]
    times = {"watermark": moment(one.watermark), "last_commit": moment(one.last_commit)}
    return {**asdict(one), **times, "ended": one.ended, "running": one.running, "tasks": tasks}


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
                *row_counts(one),
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


def _stream_json(one: StreamStatus) -> dict[str, Any]:
    from headwater.cli.output import moment

    return {**asdict(one), "appended_at": moment(one.appended_at)}
