"""Commands that find streams: what is registered, what it looks like, and what answers a question."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headwater.cli import names, profiles
from headwater.cli.command import command
from headwater.cli.rows import as_json, fields_that_fit, print_rows
from headwater.cli.session import Session

if TYPE_CHECKING:
    from catalog.specs import FieldSpec
    from catalog.stream_records import StreamRecord
    from headwater.hub import Hub
    from headwater.profiles import StreamProfile
    from headwater.status import StreamStatus
    from streams.rows import Rows
    from streams.stream import Stream

PANEL = "Find"
SAMPLE = 5


def add_to(app: typer.Typer) -> None:
    command(
        app,
        "streams",
        panel=PANEL,
        examples=["headwater streams", "headwater streams --entity sensor", "headwater streams plant.valid"],
    )(streams)
    command(
        app,
        "search",
        panel=PANEL,
        examples=['headwater search "which streams know a sensor?"', "headwater search rejected readings --limit 3"],
    )(search)


def streams(
    session: Session,
    name: Annotated[
        str | None, typer.Argument(help="One stream, in full.", metavar="STREAM", autocompletion=names.streams)
    ] = None,
    owner: Annotated[str | None, typer.Option(help="Those of this owner.", autocompletion=names.owners)] = None,
    tag: Annotated[
        str | None, typer.Option(help="Those with this tag, or with a field that has it.", autocompletion=names.tags)
    ] = None,
    entity: Annotated[
        str | None, typer.Option(help="Those with a field for it; synonyms count.", autocompletion=names.entities)
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="The platform's own too: progress, state, retry.")] = False,
    sample: Annotated[int, typer.Option(min=0, help="With a name: so many of its newest rows.")] = SAMPLE,
) -> None:
    """List the registered streams, or show one: schema, owner, entities, contract, who writes and reads it, freshness,
    profile, newest rows."""
    hub = session.hub(follow=True)
    if name is not None:
        _show_stream(session, hub, name, sample)
        return
    from headwater.status import SHOWN_ROLES, records, stream_status

    found = records(hub.catalog, None if every else SHOWN_ROLES, owner=owner, tag=tag, entity=entity)
    stood = [(record, stream_status(hub.log, record)) for record in found]
    if session.json:
        session.emit([_summary(record, status) for record, status in stood])
        return
    from headwater.cli.output import age, counted, second

    now, out = hub.clock(), session.out
    out.table(
        ["stream", "kind", "rows", "newest came", "owner", "key"],
        [
            (
                record.name,
                record.spec.kind if record.spec.role == "data" else record.spec.role,
                status.rows,
                second(status.appended_at) if out.plain else age(status.appended_at, now),
                record.spec.owner,
                list(record.spec.key),
            )
            for record, status in stood
        ],
    )
    if not out.plain:
        out.line()
        out.line(f"{counted(len(stood), 'stream')}. One in full: headwater streams NAME", "dim")


def search(
    session: Session,
    question: Annotated[list[str], typer.Argument(help="The question, in your own words.", metavar="QUESTION")],
    limit: Annotated[int, typer.Option(min=1, help="At most so many answers.")] = 10,
) -> None:
    """Ask the catalog a question in plain words; the best answers come first, each with the reason why."""
    asked = " ".join(question)
    hits = session.hub(follow=True).search(asked, limit=limit)
    if session.json:
        session.emit([asdict(hit) for hit in hits])
    elif not hits:
        session.out.line("Nothing that is registered answers this. Try other words, or: headwater streams")
    else:
        session.out.table(["name", "kind", "why"], [(hit.name, hit.kind, hit.why) for hit in hits], wrap="why")


def _summary(record: StreamRecord, status: StreamStatus) -> dict[str, Any]:
    from headwater.cli.output import moment

    spec = record.spec
    return {
        "name": spec.name,
        "kind": spec.kind,
        "role": spec.role,
        "description": spec.description,
        "owner": spec.owner,
        "pipeline": spec.pipeline,
        "tags": spec.tags,
        "key": spec.key,
        "time": spec.time,
        "entities": {field.name: field.entity for field in spec.fields if field.entity},
        "codec": spec.codec,
        "partitions": spec.partitions,
        "rows": status.rows,
        "messages": status.messages,
        "newest": moment(status.appended_at),
    }


def _show_stream(session: Session, hub: Hub, name: str, sample: int) -> None:
    from headwater.cli.output import moment
    from headwater.status import stream_status

    record = hub.catalog.stream(name)
    status = stream_status(hub.log, record)
    stream = hub.stream(name)
    rows = hub.read(name, last=sample) if sample and record.spec.role != "state" else None
    profile = hub.profile(name)
    watermark = moment(record.freshness.watermark) if record.freshness else None
    if not session.json:
        _print_stream(session, record, status, stream, rows, profile)
        return
    session.emit(
        {
            **_summary(record, status),
            "lateness": record.spec.lateness,
            "retention": record.spec.retention,
            "watermark": watermark,
            "schema_version": record.version,
            "schema_id": record.schema_id,
            "fields": [asdict(field) for field in record.spec.fields],
            "contract_version": record.contract_version,
            "rules": [rule.name for rule in stream.expect],
            "producers": record.producers,
            "consumers": record.consumers,
            "profile": profiles.as_json(profile),
            "sample": [] if rows is None else [as_json(row, stream.schema.names) for row in rows],
        }
    )


def _print_stream(
    session: Session,
    record: StreamRecord,
    status: StreamStatus,
    stream: Stream,
    rows: Rows | None,
    profile: StreamProfile | None,
) -> None:
    from headwater.cli.output import moment, second
    from streams.duration import duration_text

    out, spec = session.out, record.spec
    role = "" if spec.role == "data" else f", {spec.role}"
    fresh = record.freshness
    out.facts(
        [
            ("stream", spec.name),
            ("what", spec.description),
            ("kind", f"{spec.kind}{role}, {spec.partitions} partitions, {spec.codec}, schema version {record.version}"),
            ("owner", spec.owner),
            ("pipeline", spec.pipeline),
            ("tags", list(spec.tags)),
            ("key", list(spec.key)),
            ("time", spec.time and f"{spec.time}, lateness {duration_text(spec.lateness)}"),
            ("retention", "for ever" if spec.retention is None else duration_text(spec.retention)),
            ("written by", list(record.producers)),
            ("read by", list(record.consumers)),
            ("rows", status.rows),
            ("messages", status.messages),
            ("newest came", second(status.appended_at)),
            ("watermark", moment(fresh.watermark) if fresh else None),
        ]
    )
    out.heading("Fields")
    out.table(
        ["field", "type", "nulls", "entity", "description"],
        [_field_row(field) for field in spec.fields],
        wrap="description",
    )
    if stream.expect:
        out.heading(f"Contract, version {record.contract_version}")
        for rule in stream.expect:
            out.line(f"  {rule.name}")
    if profile is not None:
        profiles.print_profile(session, profile)
    if rows is not None and len(rows):
        out.heading("Newest rows")
        shown = fields_that_fit(session, stream, rows)
        print_rows(session, rows, shown)
        if len(shown) < len(stream.schema.names):
            out.line(f"All fields: headwater tail {stream.name} --json", "dim")


def _field_row(field: FieldSpec) -> tuple[Any, ...]:
    return field.name, field.type, "allowed" if field.nullable else "no", field.entity, field.description or None
