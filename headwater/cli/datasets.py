"""Commands for datasets: freezing a query, looking at what was frozen, and writing it to a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headwater.cli import names
from headwater.cli.command import command
from headwater.cli.session import Session

if TYPE_CHECKING:
    from headwater.dataset import Dataset

PANEL = "Datasets and quarantine"

Name = Annotated[str, typer.Argument(help="The dataset.", metavar="DATASET", autocompletion=names.datasets)]
Version = Annotated[int | None, typer.Option(min=1, help="This version; otherwise the latest.")]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Freeze rows into datasets that can be had again.")
    app.add_typer(group, name="dataset", rich_help_panel=PANEL)
    command(
        group,
        "freeze",
        examples=[
            "headwater dataset freeze cold plant.placed --where 'celsius < 0'",
            "headwater dataset freeze march plant.placed --since 2024-03-01 --until 2024-04-01 --keep",
            "headwater dataset freeze sensors --entity sensor --columns sensor,at",
        ],
    )(freeze)
    command(group, "list", examples=["headwater dataset list"])(list_)
    command(group, "show", examples=["headwater dataset show cold", "headwater dataset show cold --verify"])(show)
    command(
        group,
        "export",
        examples=[
            "headwater dataset export cold cold.parquet",
            "headwater dataset export cold old.parquet --version 1",
        ],
    )(export)


def freeze(
    session: Session,
    name: Annotated[
        str, typer.Argument(help="What to call it; an existing name gets a new version.", metavar="DATASET")
    ],
    streams: Annotated[
        list[str] | None, typer.Argument(help="Streams, by name.", metavar="STREAM", autocompletion=names.streams)
    ] = None,
    tag: Annotated[str | None, typer.Option(help="Streams with this tag.", autocompletion=names.tags)] = None,
    entity: Annotated[
        str | None, typer.Option(help="Streams with a field for this entity.", autocompletion=names.entities)
    ] = None,
    owner: Annotated[str | None, typer.Option(help="Streams of this owner.", autocompletion=names.owners)] = None,
    search: Annotated[str | None, typer.Option(help="Streams that answer this question.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Rows with an event time from here on.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Rows with an earlier event time.")] = None,
    where: Annotated[
        str | None, typer.Option(help="Rows for which this holds: \"origin = 'EWR' and delay > 15\".")
    ] = None,
    columns: Annotated[str, typer.Option(help="Only these fields, separated by commas.")] = "",
    keep: Annotated[bool, typer.Option("--keep", help="Copy the rows, so that retention cannot take them.")] = False,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
) -> None:
    """Freeze the rows that a query finds now: to offset ranges, versions and a digest, registered under a name.

    The same rows again are the same version.
    """
    from headwater.query import Query

    query = Query.of(
        streams or (),
        tag=tag,
        entity=entity,
        owner=owner,
        search=search,
        since=since,
        until=until,
        where=where,
        columns=[column.strip() for column in columns.split(",")] if columns else (),
    )
    _show(session, session.hub(follow=True).freeze(name, query, keep=keep, description=description))


def list_(session: Session) -> None:
    """List the datasets, each in its latest version."""
    from headwater.cli.output import second

    found = session.hub().datasets()
    if session.json:
        session.emit([_summary(one) for one in found])
        return
    session.out.table(
        ["dataset", "version", "rows", "streams", "frozen", "until"],
        [
            (one.name, str(one.version), len(one), list(one.streams), second(one.created_at), _until(one))
            for one in found
        ],
    )


def show(
    session: Session,
    name: Name,
    version: Version = None,
    verify: Annotated[bool, typer.Option("--verify", help="Read all rows and compare them with the digest.")] = False,
) -> None:
    """Show one dataset: query, streams, offset ranges, digest, and until when its rows are there.

    With --verify it fails if they are gone or others.
    """
    dataset = session.hub().dataset(name, version)
    if verify:
        dataset.verify()
    _show(session, dataset)


def export(
    session: Session,
    name: Name,
    path: Annotated[Path, typer.Argument(help="The Parquet file to write.", metavar="FILE")],
    version: Version = None,
    stream: Annotated[
        str | None, typer.Option(help="This stream of it, if it has several.", autocompletion=names.streams)
    ] = None,
) -> None:
    """Write a dataset's rows to a Parquet file; equal rows give equal files.

    It fails, and writes nothing, if the rows are gone or are not the ones that were frozen.
    """
    from headwater.cli.output import counted

    dataset = session.hub().dataset(name, version)
    written = dataset.to_parquet(path, stream)
    rows = dataset.manifest["streams"][stream or dataset.streams[0]]["rows"]
    if session.json:
        session.emit({"file": written, "rows": rows, "bytes": written.stat().st_size, "digest": dataset.digest})
    else:
        size = f"{written.stat().st_size:,}"
        session.out.line(
            f"Wrote {counted(rows, 'row')} of {dataset.name} version {dataset.version} to {written} ({size} bytes)."
        )


def _summary(one: Dataset) -> dict[str, Any]:
    from headwater.cli.output import moment

    return {
        "name": one.name,
        "version": one.version,
        "rows": len(one),
        "streams": one.streams,
        "digest": one.digest,
        "frozen": moment(one.created_at),
        "expires": moment(one.expires),
        "kept": one.kept,
    }


def _until(one: Dataset) -> Any:
    """Until when the rows can be had."""
    from headwater.cli.output import second

    return "kept" if one.kept else second(one.expires) or "for ever"


def _show(session: Session, one: Dataset) -> None:
    from headwater.cli.output import moment, second

    if session.json:
        session.emit({**_summary(one), "query": one.query, "manifest": one.manifest})
        return
    out = session.out
    out.facts(
        [
            ("dataset", f"{one.name}, version {one.version}"),
            ("rows", len(one)),
            ("asked for", _asked(one.query)),
            ("digest", one.digest),
            ("frozen", second(one.created_at)),
            ("there until", _until(one)),
        ]
    )
    out.heading("Streams")
    described = one.manifest["streams"]
    out.table(
        ["stream", "rows", "columns", "earliest", "latest"],
        [
            (
                name,
                described[name]["rows"],
                list(described[name]["columns"]),
                moment(described[name]["earliest"]),
                moment(described[name]["latest"]),
            )
            for name in one.streams
        ],
        wrap="columns",
    )
    out.heading("Offsets")
    out.table(
        ["stream", "partition", "first", "end"],
        [
            (name, str(partition), first, end)
            for name in one.streams
            for partition, first, end in one.manifest["ranges"][name]
        ],
    )


def _asked(query: dict[str, Any]) -> str:
    """The query's parts that were given, on one line."""
    given = {name: value for name, value in query.items() if value not in (None, "", [], {})}
    shown = [f"{name} {', '.join(value) if isinstance(value, list) else value}" for name, value in given.items()]
    return "; ".join(shown)
