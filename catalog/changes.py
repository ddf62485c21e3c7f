"""Changes: every mutation of the catalog is one, a JSON object, and `apply` is what writes it.

A change has an `id` (1, 2, 3, …), a time `at` and a word `change` that says what kind it is. Applying the same
changes in order to an empty catalog gives an equal catalog. Progress is not among them: it is applied from its own
streams (progress.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, insert, select, update

from catalog.database import next_id
from catalog.documents import index
from catalog.errors import CatalogError
from catalog.fulltext import FullText
from catalog.glossary import apply_entity
from catalog.models import applied, dataset, edge, outbox
from catalog.nodes import NodeKey, make_node, make_nodes
from catalog.operator_changes import apply_operator, apply_pipeline, apply_retire
from catalog.specs import DatasetSpec, from_dict
from catalog.stream_changes import apply_detach, apply_owner, apply_stream, apply_tags

Change = dict[str, Any]


def record(connection: Connection, text: FullText, bodies: Iterable[Change], now: int) -> None:
    """Number and date the changes, apply them, and put them into the outbox. Only within a writing transaction."""
    last = connection.execute(select(applied)).one()
    # Later than every change before: two declarations at one instant could not be told apart by time.
    at = max(now, last.at + 1)
    changes = [{"id": last.change + number, "at": at, **body} for number, body in enumerate(bodies, 1)]
    if changes:
        _apply_all(connection, text, changes)
        connection.execute(insert(outbox), [{"id": change["id"], "body": change} for change in changes])


def replay(connection: Connection, text: FullText, changes: Iterable[Change]) -> None:
    """Apply changes that another catalog recorded. Those already applied are passed over, since a stream of
    changes may hold one twice; a gap is a CatalogError."""
    last = connection.execute(select(applied.c.change)).scalar_one()
    fresh = []
    for change in changes:
        number = change.get("id")
        if not isinstance(number, int) or not isinstance(change.get("at"), int):
            raise CatalogError("A change has no number or no time", where=str(change)[:200], fix="It is not a change.")
        if number <= last:
            continue
        if number != last + 1:
            raise CatalogError(
                f"Change {number} follows change {last}: those between are missing",
                where="headwater.catalog",
                fix="Read the stream from its beginning and apply all of it.",
            )
        last = number
        fresh.append(change)
    if fresh:
        _apply_all(connection, text, fresh)


def apply(connection: Connection, change: Change) -> int | None:
    """Write one change. Returns the id of the node whose search document is now out of date, if any. CatalogError
    if this version does not know the kind of change."""
    kind = change.get("change")
    writes = _WRITERS.get(str(kind))
    if writes is None:
        raise CatalogError(
            f"A change of the unknown kind {kind!r}",
            where=f"change {change.get('id')}",
            fix="It was written by a newer version: upgrade Headwater.",
        )
    return writes(connection, change)


def _apply_all(connection: Connection, text: FullText, changes: list[Change]) -> None:
    touched = [apply(connection, change) for change in changes]
    index(connection, text, {node_id for node_id in touched if node_id is not None})
    last = changes[-1]
    connection.execute(update(applied).values(change=last["id"], at=last["at"]))


def _apply_entity(connection: Connection, change: Mapping[str, Any]) -> None:
    apply_entity(connection, change)


def _apply_observe(connection: Connection, change: Mapping[str, Any]) -> None:
    service = NodeKey("service", change["service"])
    stream = NodeKey("stream", change["stream"])
    ids = make_nodes(connection, [service, stream])
    ends = (service, stream) if change["kind"] == "writes" else (stream, service)
    _open_edge(connection, ids[ends[0]], ids[ends[1]], "observed", change["at"])


def _apply_dataset(connection: Connection, change: Mapping[str, Any]) -> int:
    spec = from_dict(DatasetSpec, change["spec"])
    node_id = make_node(connection, NodeKey("dataset", spec.name))
    streams = make_nodes(connection, [NodeKey("stream", name) for name in spec.streams])
    row = {"id": next_id(connection, dataset), "node_id": node_id, "version": change["version"]}
    values = {name: value for name, value in change["spec"].items() if name != "name"}
    connection.execute(insert(dataset).values(**row, **values, created_at=change["at"]))
    known = {
        one.source: one.id
        for one in connection.execute(select(edge).where(edge.c.target == node_id, edge.c.valid_to.is_(None)))
    }
    gone = [known[source] for source in known.keys() - set(streams.values())]
    connection.execute(update(edge).where(edge.c.id.in_(gone)).values(valid_to=change["at"]))
    for stream_id in streams.values():
        if stream_id not in known:
            _open_edge(connection, stream_id, node_id, "declared", change["at"])
    return node_id


def _open_edge(connection: Connection, source: int, target: int, evidence: str, at: int) -> None:
    row = {"id": next_id(connection, edge), "source": source, "target": target, "level": "stream", "coarse": False}
    connection.execute(insert(edge).values(**row, evidence=evidence, valid_from=at))


_WRITERS: Mapping[str, Callable[[Connection, Mapping[str, Any]], int | None]] = {
    "entity": _apply_entity,
    "stream": apply_stream,
    "detach": apply_detach,
    "owner": apply_owner,
    "tags": apply_tags,
    "operator": apply_operator,
    "retire": apply_retire,
    "pipeline": apply_pipeline,
    "observe": _apply_observe,
    "dataset": _apply_dataset,
}
