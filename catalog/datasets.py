"""Datasets: catalog queries frozen to offset ranges and schema versions, each version kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from catalog.models import dataset, node
from catalog.nodes import NodeKey, ids_of, not_registered
from catalog.specs import DatasetSpec, to_dict
from catalog.stream_records import declared_specs, unknown_stream


@dataclass(frozen=True)
class DatasetRecord:
    """One version of a dataset."""

    spec: DatasetSpec
    version: int
    created_at: int

    @property
    def name(self) -> str:
        return self.spec.name


def dataset_records(connection: Connection) -> list[DatasetRecord]:
    """The latest version of each dataset, by name."""
    latest = select(dataset.c.node_id, func.max(dataset.c.version).label("version")).group_by(dataset.c.node_id)
    newest = latest.subquery()
    query = (
        select(dataset, node.c.name)
        .join(node, node.c.id == dataset.c.node_id)
        .join(newest, (newest.c.node_id == dataset.c.node_id) & (newest.c.version == dataset.c.version))
        .order_by(node.c.name)
    )
    return _records(connection.execute(query).all())


def dataset_record(connection: Connection, name: str, version: int | None = None) -> DatasetRecord:
    """A version of a dataset, by default the latest. NotRegistered."""
    query = select(dataset, node.c.name).join(node).where(node.c.name == name).order_by(dataset.c.version.desc())
    rows = connection.execute(query).all()
    if not rows:
        names = select(node.c.name).where(node.c.kind == "dataset").order_by(node.c.name)
        raise not_registered(
            "No dataset is registered under this name", name, connection.execute(names).scalars().all()
        )
    found = [row for row in rows if version in (None, row.version)]
    if not found:
        raise not_registered(
            f"The dataset has no version {version}", name, [], f"It has versions 1 to {rows[0].version}."
        )
    return _records(found[:1])[0]


def plan_dataset(connection: Connection, spec: DatasetSpec) -> dict[str, Any] | None:
    """The change that registers this dataset as a new version; None if its latest version is the same. NotRegistered
    for a stream that nobody registered."""
    known = declared_specs(connection, spec.streams)
    for name in spec.streams:
        if name not in known:
            raise unknown_stream(connection, name)
    body = to_dict(spec)
    version = 1
    if ids_of(connection, [NodeKey("dataset", spec.name)]):
        latest = dataset_record(connection, spec.name)
        if to_dict(latest.spec) == body:
            return None
        version = latest.version + 1
    return {"change": "dataset", "spec": body, "version": version}


def _records(rows: Sequence[Any]) -> list[DatasetRecord]:
    return [
        DatasetRecord(
            DatasetSpec(
                name=row.name,
                query=row.query,
                manifest=row.manifest,
                digest=row.digest,
                streams=tuple(row.streams),
                expires=row.expires,
                kept=row.kept,
            ),
            row.version,
            row.created_at,
        )
        for row in rows
    ]
