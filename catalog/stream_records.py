"""What the catalog knows of streams, their schemas and versions. A page costs the same few queries at any length."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, or_, select

from catalog.database import chunks, rows_where
from catalog.errors import NotRegistered
from catalog.models import (
    contract,
    edge,
    entity,
    field,
    freshness,
    node,
    schema_text,
    schema_version,
    stream,
    synonym,
    tag,
)
from catalog.nodes import not_registered
from catalog.specs import FieldSpec, StreamSpec
from catalog.stream_changes import contract_of


@dataclass(frozen=True)
class Freshness:
    """`appended_at`: when rows last came (microseconds since 1970). `rows`: how many have come in all. `watermark`: no
    later row has an earlier event time. All of it as far as progress has been applied."""

    appended_at: int | None
    rows: int
    watermark: int | None


@dataclass(frozen=True)
class StreamRecord:
    """A stream as it stands: `spec` with the owner, tags and contract that hold now. `version` counts schemas,
    `contract_version` contracts (0: it never had one). Producers and consumers are operators and services."""

    id: int
    spec: StreamSpec
    schema_id: int
    version: int
    contract_version: int
    created_at: int
    changed_at: int
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    freshness: Freshness | None

    @property
    def name(self) -> str:
        return self.spec.name


@dataclass(frozen=True)
class SchemaVersion:
    version: int
    schema_id: int
    schema: str
    registered_at: int


def stream_record(connection: Connection, name: str) -> StreamRecord:
    """NotRegistered if there is no such stream, with the names that come close."""
    row = connection.execute(select(stream).where(stream.c.name == name)).first()
    if row is None:
        raise unknown_stream(connection, name)
    return _records(connection, [row])[0]


def stream_records(
    connection: Connection,
    *,
    prefix: str = "",
    roles: Iterable[str] | None = None,
    owner: str | None = None,
    tag_name: str | None = None,
    entity_name: str | None = None,
    after: str | None = None,
    limit: int = 100,
) -> list[StreamRecord]:
    """One page of streams by name. `entity_name` may be a synonym; a tag may be the stream's or one of its fields'."""
    query = select(stream).order_by(stream.c.name).limit(limit)
    if prefix:
        query = query.where(func.substr(stream.c.name, 1, len(prefix)) == prefix)
    if roles is not None:
        query = query.where(stream.c.role.in_(list(roles)))
    if owner is not None:
        query = query.where(stream.c.owner == owner)
    if tag_name is not None:
        tagged = select(tag.c.node_id).where(tag.c.name == tag_name)
        of_fields = select(field.c.stream_id).where(field.c.id.in_(tagged))
        query = query.where(or_(stream.c.id.in_(tagged), stream.c.id.in_(of_fields)))
    if entity_name is not None:
        called = select(synonym.c.entity_id).where(synonym.c.word == entity_name)
        meant = select(entity.c.id).where(or_(entity.c.name == entity_name, entity.c.id.in_(called)))
        query = query.where(stream.c.id.in_(select(field.c.stream_id).where(field.c.entity_id.in_(meant))))
    if after is not None:
        query = query.where(stream.c.name > after)
    return _records(connection, connection.execute(query).all())


def stream_records_by_id(connection: Connection, ids: Iterable[int]) -> list[StreamRecord]:
    return _records(connection, rows_where(connection, stream, stream.c.id, ids))


def has_stream(connection: Connection, name: str) -> bool:
    return connection.execute(select(stream.c.id).where(stream.c.name == name)).first() is not None


def schema(connection: Connection, schema_id: int) -> str:
    """The text of a schema. NotRegistered if no schema has this id."""
    text = connection.execute(select(schema_text.c.text).where(schema_text.c.id == schema_id)).scalar()
    if text is None:
        raise NotRegistered(
            "No schema has this id", where=f"schema {schema_id}", fix="Was the message written with another catalog?"
        )
    return str(text)


def schema_versions(connection: Connection, name: str) -> list[SchemaVersion]:
    """The schemas of a stream, oldest first. NotRegistered."""
    rows = connection.execute(
        select(schema_version, schema_text.c.text)
        .join(stream, stream.c.id == schema_version.c.stream_id)
        .join(schema_text, schema_text.c.id == schema_version.c.schema_id)
        .where(stream.c.name == name)
        .order_by(schema_version.c.version)
    ).all()
    if not rows:
        raise unknown_stream(connection, name)
    return [SchemaVersion(row.version, row.schema_id, row.text, row.registered_at) for row in rows]


def unknown_stream(connection: Connection, name: str) -> NotRegistered:
    names = connection.execute(select(stream.c.name).order_by(stream.c.name)).scalars().all()
    return not_registered("No stream is registered under this name", name, names, "Register it before using it.")


def declared_specs(connection: Connection, names: Iterable[str]) -> dict[str, Any]:
    """The rows of the `stream` table for these names, by name."""
    return {row.name: row for row in rows_where(connection, stream, stream.c.name, names)}


def neighbours(connection: Connection, ids: Iterable[int]) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """The operators and services that write (first) and read (second) each stream now."""
    producers: dict[int, list[str]] = defaultdict(list)
    consumers: dict[int, list[str]] = defaultdict(list)
    for piece in chunks(ids):
        for here, there, found in (
            (edge.c.target, edge.c.source, producers),
            (edge.c.source, edge.c.target, consumers),
        ):
            query = (
                select(here, node.c.name)
                .join(node, node.c.id == there)
                .where(here.in_(piece), edge.c.level == "stream", edge.c.valid_to.is_(None))
                .where(node.c.kind.in_(("operator", "service")))
                .distinct()
                .order_by(node.c.name)
            )
            for stream_id, name in connection.execute(query):
                found[stream_id].append(name)
    return producers, consumers


def _records(connection: Connection, rows: Sequence[Any]) -> list[StreamRecord]:
    ids = [row.id for row in rows]
    fields = _fields(connection, ids)
    tags: dict[int, list[str]] = defaultdict(list)
    for row in rows_where(connection, tag, tag.c.node_id, ids):
        tags[row.node_id].append(row.name)
    contracts = {
        (row.stream_id, row.version): row for row in rows_where(connection, contract, contract.c.stream_id, ids)
    }
    schemas = {
        row.id: row for row in rows_where(connection, schema_text, schema_text.c.id, {row.schema_id for row in rows})
    }
    fresh = {row.stream_id: row for row in rows_where(connection, freshness, freshness.c.stream_id, ids)}
    producers, consumers = neighbours(connection, ids)
    records = []
    for row in rows:
        held = contracts.get((row.id, row.contract_version))
        seen = fresh.get(row.id)
        spec = StreamSpec(
            name=row.name,
            fields=tuple(fields[row.id]),
            schema=schemas[row.schema_id].text,
            fingerprint=schemas[row.schema_id].fingerprint,
            kind=row.kind,
            role=row.role,
            codec=row.codec,
            partitions=row.partitions,
            key=tuple(row.key),
            time=row.time,
            lateness=row.lateness,
            retention=row.retention,
            owner=row.owner,
            description=row.description,
            contract=contract_of(held.rules, held.document) if held else None,
            tags=tuple(sorted(tags[row.id])),
            addresses=tuple(row.addresses),
            pipeline=row.pipeline,
        )
        records.append(
            StreamRecord(
                id=row.id,
                spec=spec,
                schema_id=row.schema_id,
                version=row.version,
                contract_version=row.contract_version,
                created_at=row.created_at,
                changed_at=row.changed_at,
                producers=tuple(producers[row.id]),
                consumers=tuple(consumers[row.id]),
                freshness=Freshness(seen.appended_at, seen.rows, seen.watermark) if seen else None,
            )
        )
    return records


def _fields(connection: Connection, stream_ids: Sequence[int]) -> Mapping[int, list[FieldSpec]]:
    found: dict[int, list[FieldSpec]] = defaultdict(list)
    tags: dict[int, list[str]] = defaultdict(list)
    for piece in chunks(stream_ids):
        tagged = select(tag).join(field, field.c.id == tag.c.node_id).where(field.c.stream_id.in_(piece))
        for row in connection.execute(tagged.order_by(tag.c.name)):
            tags[row.node_id].append(row.name)
        named = select(field, entity.c.name.label("entity")).join(entity, isouter=True)
        for row in connection.execute(named.where(field.c.stream_id.in_(piece)).order_by(field.c.position)):
            one = FieldSpec(row.name, row.type, row.nullable, row.description, row.entity, tuple(tags[row.id]))
            found[row.stream_id].append(one)
    return found
