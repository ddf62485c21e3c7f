"""Search documents: the words by which a stream, operator, dataset or pipeline should be found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, select

from catalog.database import rows_where
from catalog.fulltext import FullText
from catalog.models import dataset, node, pipeline
from catalog.operator_records import OperatorRecord, operator_records_by_id
from catalog.specs import StreamSpec
from catalog.stream_records import stream_records_by_id
from catalog.words import words


def index(connection: Connection, text: FullText, ids: Iterable[int]) -> None:
    """Write the search documents of these nodes anew."""
    by_kind: dict[str, list[int]] = {}
    for row in rows_where(connection, node, node.c.id, ids):
        by_kind.setdefault(row.kind, []).append(row.id)
    documents: dict[int, Mapping[str, str]] = {}
    for stream in stream_records_by_id(connection, by_kind.get("stream", ())):
        documents[stream.id] = _of_stream(stream.spec)
    for operator in operator_records_by_id(connection, by_kind.get("operator", ())):
        documents[operator.id] = _of_operator(operator)
    for row in rows_where(connection, pipeline, pipeline.c.id, by_kind.get("pipeline", ())):
        documents[row.id] = {"name": _said(row.name), "description": row.description, "about": row.owner}
    latest = select(dataset, node.c.name).join(node).order_by(dataset.c.version)
    for row in connection.execute(latest.where(dataset.c.node_id.in_(by_kind.get("dataset", ())))):
        documents[row.node_id] = _of_dataset(row)
    text.write(connection, documents)


def _of_stream(spec: StreamSpec) -> Mapping[str, str]:
    tags = {*spec.tags, *(tag for one in spec.fields for tag in one.tags)}
    contract = _texts([spec.contract.rules, spec.contract.document]) if spec.contract else []
    role = "" if spec.role == "data" else spec.role
    return {
        "name": _said(spec.name),
        "entities": _said(*dict.fromkeys(one.entity for one in spec.fields if one.entity)),
        "fields": _said(*(one.name for one in spec.fields)),
        "description": " ".join([spec.description, *(one.description for one in spec.fields)]),
        "about": _said(spec.owner, *sorted(tags), spec.pipeline or "", spec.kind, role, *contract),
    }


def _of_operator(record: OperatorRecord) -> Mapping[str, str]:
    if record.retired_at is not None:
        return {}
    spec = record.spec
    return {
        "name": _said(spec.name),
        "description": f"{spec.description} {spec.kind}",
        "about": _said(spec.pipeline or "", "operator", *spec.streams),
    }


def _of_dataset(row: Any) -> Mapping[str, str]:
    return {"name": _said(row.name), "about": _said("dataset", *row.streams, *_texts(row.query))}


def _said(*texts: str) -> str:
    return " ".join(word for text in texts for word in words(text))


def _texts(value: Any) -> list[str]:
    """Every text in a JSON value, names of its parts left out, each once."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, list | tuple):
        return []
    return list(dict.fromkeys(text for part in value for text in _texts(part)))
