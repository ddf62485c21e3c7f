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
    from headwater.files import publish_file

    with session.working(f"Checking {file} …") as say:
        published = publish_file(
            session.hub(), name, file, again=again, watch=lambda rows: say(f"Published {counted(rows, 'row')} …")
        )
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
    coming = hub.subscribe(name, start="end") if follow else iter(())
    if follow:
        next(coming)  # takes its place at the end before the last rows are read
    rows = hub.read(name, last=count) if count else hub.read(name, ranges={})
    if columns:
        chosen = stream.schema.select([name.strip() for name in columns.split(",")]).names
    else:
        chosen = stream.schema.names if session.json else fields_that_fit(session, stream, rows)
    _print(session, rows, chosen, lines=follow)
    if not columns:
        tell_of_others(session, stream, chosen)
    for new in coming:
        if len(new):
            _print(session, new, chosen, lines=True, named=False)


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
    """Rows with their addresses, under the names of their fields."""
    session.out.table(["address", *columns], _cells(rows, columns), named=named)


def fields_that_fit(session: Session, stream: Stream, rows: Rows) -> list[str]:
    """All fields of a stream, or, if a terminal has no room for them, those that one wants to see first: what broke
    which rule, the key, the event time, then the others in their order."""
    known = stream.schema.names
    if session.out.fitting(["address", *known], _cells(rows, known)) > len(known):
        return known
    first = ["rule", "field", "value"] if stream.role == "quarantine" else []
    wanted = [*first, *stream.key, *([stream.time] if stream.time else []), *known]
    ordered = list(dict.fromkeys(name for name in wanted if name in known))
    return ordered[: session.out.fitting(["address", *ordered], _cells(rows, ordered)) - 1]


def tell_of_others(session: Session, stream: Stream, shown: list[str]) -> None:
    """Say that not all fields were shown, and how to see them."""
    from headwater.cli.output import counted

    left = len(stream.schema.names) - len(shown)
    if left and not session.json:
        session.out.line(f"{counted(left, 'more field')}: name fields with --columns, or use --json.", "dim")


def _cells(rows: Rows, columns: list[str]) -> list[tuple[Any, ...]]:
    return [(":".join(map(str, row.address[1:])), *(_as_is(row[name]) for name in columns)) for row in rows]


def _as_is(value: Any) -> Any:
    """Numbers in rows may be years or numbers of flights: they get no separators."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value
