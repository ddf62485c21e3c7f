"""What the catalog knows of operators and pipelines, with every version that there has been."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from catalog.database import rows_where
from catalog.models import declaration, operator, pipeline, stream, writer
from catalog.nodes import not_registered
from catalog.specs import OperatorSpec, from_dict


@dataclass(frozen=True)
class OperatorVersion:
    """What an operator said of itself from `valid_from` until `valid_to` (None: until now)."""

    ordinal: int
    spec: OperatorSpec
    valid_from: int
    valid_to: int | None


@dataclass(frozen=True)
class OperatorRecord:
    """`spec` is the latest declaration; `retired_at` says when its pipeline dropped it. `versions`, oldest first."""

    id: int
    spec: OperatorSpec
    created_at: int
    retired_at: int | None
    versions: tuple[OperatorVersion, ...]

    @property
    def name(self) -> str:
        return self.spec.name


@dataclass(frozen=True)
class PipelineRecord:
    """`version` counts the registrations that changed something."""

    id: int
    name: str
    owner: str
    description: str
    version: int
    created_at: int
    changed_at: int
    streams: tuple[str, ...]
    operators: tuple[str, ...]


def operator_record(connection: Connection, name: str) -> OperatorRecord:
    """NotRegistered if there is no such operator, with the names that come close."""
    row = connection.execute(select(operator).where(operator.c.name == name)).first()
    if row is None:
        names = connection.execute(select(operator.c.name).order_by(operator.c.name)).scalars().all()
        raise not_registered("No operator is registered under this name", name, names)
    return _operators(connection, [row])[0]


def operator_records(connection: Connection, of_pipeline: str | None = None) -> list[OperatorRecord]:
    """The operators that are not retired, by name."""
    query = select(operator).where(operator.c.retired_at.is_(None)).order_by(operator.c.name)
    if of_pipeline is not None:
        query = query.where(operator.c.pipeline == of_pipeline)
    return _operators(connection, connection.execute(query).all())


def operator_records_by_id(connection: Connection, ids: Iterable[int]) -> list[OperatorRecord]:
    return _operators(connection, rows_where(connection, operator, operator.c.id, ids))


def pipeline_record(connection: Connection, name: str) -> PipelineRecord:
    """NotRegistered if there is no such pipeline, with the names that come close."""
    row = connection.execute(select(pipeline).where(pipeline.c.name == name)).first()
    if row is None:
        names = connection.execute(select(pipeline.c.name).order_by(pipeline.c.name)).scalars().all()
        raise not_registered("No pipeline is registered under this name", name, names)
    return _pipelines(connection, [row])[0]


def pipeline_records(connection: Connection) -> list[PipelineRecord]:
    return _pipelines(connection, connection.execute(select(pipeline).order_by(pipeline.c.name)).all())


def writer_of(connection: Connection, stream_name: str) -> str | None:
    """The operator that is declared to write the stream now, None if it is written from outside."""
    return connection.execute(
        select(operator.c.name)
        .join(writer, writer.c.operator_id == operator.c.id)
        .join(stream, stream.c.id == writer.c.stream_id)
        .where(stream.c.name == stream_name)
    ).scalar()


def writers_of(connection: Connection, stream_names: Sequence[str]) -> dict[str, str]:
    """The declared writer of each of these streams that has one."""
    joined = (
        select(stream.c.name.label("stream"), operator.c.name.label("operator"))
        .join(writer, writer.c.stream_id == stream.c.id)
        .join(operator, operator.c.id == writer.c.operator_id)
        .where(stream.c.name.in_(stream_names))
    )
    return {row.stream: row.operator for row in connection.execute(joined)}


def _operators(connection: Connection, rows: Sequence[Any]) -> list[OperatorRecord]:
    versions: dict[int, list[OperatorVersion]] = defaultdict(list)
    found = rows_where(connection, declaration, declaration.c.operator_id, [row.id for row in rows])
    for row in sorted(found, key=lambda one: one.ordinal):
        spec = from_dict(OperatorSpec, row.spec)
        versions[row.operator_id].append(OperatorVersion(row.ordinal, spec, row.valid_from, row.valid_to))
    return [
        OperatorRecord(row.id, versions[row.id][-1].spec, row.created_at, row.retired_at, tuple(versions[row.id]))
        for row in rows
    ]


def _pipelines(connection: Connection, rows: Sequence[Any]) -> list[PipelineRecord]:
    names = [row.name for row in rows]
    streams: dict[str, list[str]] = defaultdict(list)
    for row in rows_where(connection, stream, stream.c.pipeline, names):
        streams[row.pipeline].append(row.name)
    operators: dict[str, list[str]] = defaultdict(list)
    for row in rows_where(connection, operator, operator.c.pipeline, names):
        if row.retired_at is None:
            operators[row.pipeline].append(row.name)
    return [
        PipelineRecord(
            id=row.id,
            name=row.name,
            owner=row.owner,
            description=row.description,
            version=row.version,
            created_at=row.created_at,
            changed_at=row.changed_at,
            streams=tuple(sorted(streams[row.name])),
            operators=tuple(sorted(operators[row.name])),
        )
        for row in rows
    ]
