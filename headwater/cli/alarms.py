"""The command for alarms: what was raised, when, about what, and how large it is."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from headwater.cli import names
from headwater.cli.command import command
from headwater.cli.session import Session
from headwater.cli.times import TIME_HELP, parse_time

if TYPE_CHECKING:
    from datetime import datetime

    from headwater.alarms import RaisedAlarm

PANEL = "Find"


def add_to(app: typer.Typer) -> None:
    command(
        app,
        "alarms",
        panel=PANEL,
        examples=["headwater alarms", "headwater alarms --kind data --since 2024-03-01", "headwater alarms --json"],
    )(alarms)


def alarms(
    session: Session,
    since: Annotated[str | None, typer.Option(metavar="TIME", help=f"Those from then on: {TIME_HELP}")] = None,
    kind: Annotated[str | None, typer.Option(help="Those of this kind: data, concept, label, performance, …")] = None,
    source: Annotated[
        str | None, typer.Option(help="Those that this operator raised.", autocompletion=names.operators)
    ] = None,
    column: Annotated[str | None, typer.Option(help="Those about this column.")] = None,
) -> None:
    """List the alarms of all streams that carry them, by event time: what about, how large, since when."""
    from headwater.cli.output import moment

    hub = session.hub()
    begin = parse_time(since, hub.clock())
    found = hub.alarms(since=moment(begin), kind=kind, source=source, column=column)
    if session.json:
        session.emit([_as_json(one) for one in found])
        return
    if not len(found):
        session.out.line("There are no alarms.")
        return
    session.out.table(
        ["at", "source", "kind", "column", "size", "threshold", "p-value", "since"],
        [
            (
                _second(one.at), one.source, one.kind, one.column, f"{one.size:.4g}", f"{one.threshold:.4g}",
                None if one.p_value is None else f"{one.p_value:.2g}", _second(one.since),
            )
            for one in found
        ],
    )  # fmt: skip


def _as_json(one: RaisedAlarm) -> dict[str, object]:
    return {**asdict(one), "address": str(one.address)}


def _second(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(microsecond=0)
