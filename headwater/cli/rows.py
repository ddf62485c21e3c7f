"""Commands that handle rows: publishing a file, and looking at what comes in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from headwater.cli import names
from headwater.cli.command import command
from headwater.cli.session import Session

if TYPE_CHECKING:
    from streams.rows import Row, Rows
    from streams.stream import Stream

PANEL = "Rows"

Name = Annotated[str, typer.Argument(help="The stream.", metavar="STREAM", autocompletion=names.streams)]


def add_to(app: typer.Typer) -> None:
    command(
        app,
        "publish",
        panel=PANEL,
        examples=[
            "headwater publish plant.readings readings.csv",
            "headwater publish plant.readings day.parquet --again",
        ],
    )(publish)
    command(
        app,
        "tail",
        panel=PANEL,
        examples=["headwater tail plant.placed", "headwater tail plant.readings -n 3 --follow --json"],
    )(tail)


def publish(
    session: Session,
    name: Name,
    file: Annotated[str, typer.Argument(help="A file: .csv, .jsonl, .ndjson or .parquet.", metavar="FILE")],
    again: Annotated[bool, typer.Option("--again", help="Publish the rows once more, though they are there.")] = False,
) -> None:
    """Publish the rows of a file to a stream: all of them or none, each content once.

    A file is known by its content. Published again it adds nothing; if the command was killed, the next call goes on
    where it was.
    """
    from dataclasses import asdict

    from headwater.cli.output import counted, second, time_text

    published = session.hub().publish_file(name, file, again=again)
    if session.json:
        session.emit({**asdict(published), "at": second(published.at)})
    elif not published.rows and published.before:
        at = second(published.at)
        when = f" at {time_text(at)}" if at else ""
        session.out.line(
            f"Nothing new: the {counted(published.before, 'row')} of {file} were published to {name}{when}. "
            "With --again they come once more."
        )
    else:
        resumed = f" ({counted(published.before, 'row')} were there from before)" if published.before else ""
        session.out.line(f"Published {counted(published.rows, 'row')} of {file} to {name}{resumed}.")


def tail(
    session: Session,
    name: Name,
    count: Annotated[int, typer.Option("-n", "--last", min=0, help="So many of the newest rows.")] = 10,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with rows as they come in.")] = False,
    columns: Annotated[str, typer.Option(help="Only these fields, separated by commas.")] = "",
) -> None:
    """Show the newest rows of a stream, by event time, each with its address.

    With --json --follow each row is one line of JSON.
    """
    hub = session.hub()
    stream = hub.stream(name)
    chosen = _chosen(stream, columns)
    coming = hub.subscribe(name, start="end") if follow else iter(())
    if follow:
        next(coming)  # takes its place at the end before the last rows are read
    rows = hub.read(name, last=count) if count else hub.read(name, ranges={})
    _print(session, rows, chosen, lines=follow)
    for new in coming:
        if len(new):
            _print(session, new, chosen, lines=True, named=False)


def _chosen(stream: Stream, columns: str) -> list[str]:
    if not columns:
        return list(stream.schema.names)
    return stream.schema.select([name.strip() for name in columns.split(",")]).names


def _print(session: Session, rows: Rows, columns: list[str], *, lines: bool, named: bool = True) -> None:
    if session.json:
        found = [as_json(row, columns) for row in rows]
        if not lines:
            session.emit(found)
        for one in found if lines else ():
            session.emit(one, line=True)
    else:
        print_rows(session, rows, columns, named=named)


def as_json(row: Row, columns: list[str]) -> dict[str, Any]:
    return {"address": str(row.address), "row": {name: row[name] for name in columns}}


def print_rows(session: Session, rows: Rows, columns: list[str], *, named: bool = True) -> None:
    session.out.table(
        ["address", *columns],
        [(":".join(map(str, row.address[1:])), *(row[name] for name in columns)) for row in rows],
        named=named,
    )
