"""Commands that follow data: lineage of streams and fields, the trace of a row, and what bad rows touched."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from catalog.errors import HeadwaterError, NotRegistered
from headwater.cli import names
from headwater.cli.command import command
from headwater.cli.session import Session

if TYPE_CHECKING:
    from catalog.lineage import Direction, Graph
    from headwater.hub import Hub

PANEL = "Follow"

_RANGE = re.compile(r"(?P<partition>\d{1,9})(:(?P<first>\d{1,18})(-(?P<end>\d{1,18}))?)?")


class Format(StrEnum):
    tree = "tree"
    mermaid = "mermaid"
    json = "json"


class BadRange(HeadwaterError):
    """A text that names no offsets."""

    exit_code = 2


def add_to(app: typer.Typer) -> None:
    command(
        app,
        "lineage",
        panel=PANEL,
        examples=[
            "headwater lineage plant.fahrenheit",
            "headwater lineage plant.readings.celsius --down",
            "headwater lineage plant.fahrenheit --format mermaid --depth 1",
        ],
    )(lineage)
    command(app, "trace", panel=PANEL, examples=["headwater trace plant.placed 0:0:17"])(trace)
    command(
        app,
        "impact",
        panel=PANEL,
        examples=["headwater impact plant.readings 0:40-60", "headwater impact plant.readings 0:41"],
    )(impact)


def lineage(
    session: Session,
    name: Annotated[
        str,
        typer.Argument(
            help="A stream, operator or dataset, or a field: STREAM.FIELD", metavar="NAME", autocompletion=names.streams
        ),
    ],
    down: Annotated[bool, typer.Option("--down/--up", help="Where it goes to; or where it comes from.")] = False,
    depth: Annotated[int | None, typer.Option(min=1, help="So many operators far; otherwise all the way.")] = None,
    at: Annotated[str | None, typer.Option(metavar="TIME", help="As it was then, not as it is now.")] = None,
    form: Annotated[
        Format, typer.Option("--format", help="A tree, or the graph as Mermaid text or JSON.")
    ] = Format.tree,
) -> None:
    """Show what a stream or a field came from (--up, the default), or what it went to (--down).

    Times are ISO 8601, in UTC unless they say otherwise, or a length of time ago (2h).
    """
    from headwater.cli.times import parse_time
    from headwater.graph import lineage_dict, lineage_mermaid, lineage_tree

    hub = session.hub(follow=True)
    direction: Direction = "down" if down else "up"
    graph = _walk(hub, name, direction, depth, parse_time(at, hub.clock()))
    if session.json or form is Format.json:
        session.emit(lineage_dict(graph))
    elif form is Format.mermaid:
        print(lineage_mermaid(graph))
    else:
        session.out.show(lineage_tree(graph, direction))


def trace(
    session: Session,
    address: Annotated[
        list[str],
        typer.Argument(
            help="STREAM PARTITION:OFFSET:ROW, as `tail` shows them.", metavar="ADDRESS", autocompletion=names.streams
        ),
    ],
    depth: Annotated[int | None, typer.Option(min=1, help="So many operators up; otherwise to the sources.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many rows.")] = 1000,
) -> None:
    """Follow one row up to the source rows that it was made from, with values, and who made each row on the way."""
    found = session.hub().trace(" ".join(address), depth=depth, limit=limit)
    if session.json:
        session.emit(found.to_dict())
    else:
        session.out.show(found.tree())


def impact(
    session: Session,
    name: Annotated[str, typer.Argument(help="The stream.", metavar="STREAM", autocompletion=names.streams)],
    offsets: Annotated[
        str | None,
        typer.Argument(
            help="PARTITION:FIRST-END (END excluded), PARTITION:OFFSET, or PARTITION; without it the whole stream.",
            metavar="PARTITION:FIRST-END",
        ),
    ] = None,
) -> None:
    """Show what was made from bad rows: the streams and datasets that they touched, with how many rows and where."""
    partition, first, end = _range(offsets)
    found = session.hub().impact(name, partition=partition, first=first, end=end)
    if session.json:
        session.emit(found.to_dict())
    else:
        session.out.show(found.tree())


def _walk(hub: Hub, name: str, direction: Direction, depth: int | None, at: int | None) -> Graph:
    """The lineage of what the name says; if nothing is called that, of the field STREAM.FIELD."""
    try:
        return hub.lineage(name, direction=direction, depth=depth, at=at)
    except NotRegistered:
        places = [place for place, letter in enumerate(name) if letter == "."]
        for place in reversed(places):
            stream, field = name[:place], name[place + 1 :]
            if hub.catalog.has_stream(stream):
                return hub.lineage(stream, field=field, direction=direction, depth=depth, at=at)
        raise


def _range(offsets: str | None) -> tuple[int | None, int | None, int | None]:
    if offsets is None:
        return None, None, None
    found = _RANGE.fullmatch(offsets)
    if found is None:
        raise BadRange(
            "These are no offsets",
            where=offsets,
            fix="Write PARTITION:FIRST-END (END excluded), as in 0:40-60; or 0:41 for one message, 0 for a partition.",
        )
    partition, first, end = (None if part is None else int(part) for part in found.group("partition", "first", "end"))
    return partition, first, first + 1 if first is not None and end is None else end
