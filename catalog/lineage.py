"""Lineage: what something came from or went to, by stream or by field, now or at a past time.

The walk is breadth-first with a visited set: a query or two a step, whatever the number of nodes, and cycles end it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, or_, select

from catalog.database import chunks, rows_where
from catalog.errors import CatalogError
from catalog.models import edge, field, node, stream
from catalog.nodes import NodeKind, not_registered

Direction = Literal["up", "down"]
Evidence = Literal["declared", "observed"]
Level = Literal["stream", "field"]

#: What a name is looked up as, in this order.
_ROOTS: tuple[NodeKind, ...] = ("stream", "operator", "dataset", "service")


@dataclass(frozen=True)
class Node:
    """A field's `name` is `<stream>.<field>`; `stream` and `field` have the two apart."""

    id: int
    name: str
    kind: NodeKind
    stream: str | None = None
    field: str | None = None


@dataclass(frozen=True)
class Edge:
    """From `source` to `target` (node ids), as the data flows. `via` is the operator that makes it so, None for
    services and datasets."""

    source: int
    target: int
    via: str | None
    evidence: Evidence
    coarse: bool
    level: Level


@dataclass(frozen=True)
class Graph:
    """What a walk found, nodes in the order in which it met them. `truncated`: there is more beyond `depth` or
    `limit`."""

    root: Node
    nodes: list[Node]
    edges: list[Edge]
    truncated: bool

    def names(self, kind: NodeKind = "stream") -> list[str]:
        """The names of all nodes of a kind but the root, sorted."""
        return sorted(one.name for one in self.nodes if one.kind == kind and one.id != self.root.id)


def walk(
    connection: Connection,
    name: str,
    *,
    field_name: str | None = None,
    direction: Direction = "up",
    depth: int | None = None,
    at: int | None = None,
    evidence: Evidence | None = None,
    limit: int = 100_000,
) -> Graph:
    """Walk from a stream, operator, dataset or service, or from a field of a stream.

    Stream-level edges go stream -> operator -> stream; a `depth` of 1 is one operator further. Services and datasets
    are ends. NotRegistered if the name or field is unknown.
    """
    root = _root(connection, name, field_name)
    here, there = (edge.c.target, edge.c.source) if direction == "up" else (edge.c.source, edge.c.target)
    level = "stream" if field_name is None else "field"
    holds = [edge.c.level == level, *_valid(at)]
    if evidence is not None:
        holds.append(edge.c.evidence == evidence)
    seen = {root.id: root}
    links: dict[tuple[int, int, str | None, str], Edge] = {}
    frontier = [root.id]
    away = 0
    truncated = False
    while frontier:
        rows = _edges(connection, here, frontier, holds)
        if rows and depth is not None and away >= depth:
            truncated = True
            break
        reached = dict.fromkeys(getattr(row, there.name) for row in rows)
        new = _nodes(connection, [one for one in reached if one not in seen])
        if len(seen) + len(new) > limit:
            truncated = True
            new = new[: max(limit - len(seen), 0)]
        seen |= {one.id: one for one in new}
        for row in rows:
            if row.source in seen and row.target in seen:
                link = Edge(row.source, row.target, row.via_name, row.evidence, row.coarse, row.level)
                links.setdefault((link.source, link.target, link.via, link.evidence), link)
        if truncated:
            break
        # Operators stand between two streams, so what lies beyond them is one step further; fields are linked directly.
        away += seen[frontier[0]].kind != "stream"
        frontier = [one.id for one in new if one.kind not in ("service", "dataset")]
    return Graph(root, list(seen.values()), list(links.values()), truncated)


def _root(connection: Connection, name: str, field_name: str | None) -> Node:
    rows = {row.kind: row for row in connection.execute(select(node).where(node.c.name == name, node.c.field == ""))}
    kinds = _ROOTS if field_name is None else ("stream",)
    found = next((rows[kind] for kind in kinds if kind in rows), None)
    if found is None:
        known = select(node.c.name).where(node.c.kind.in_(kinds), node.c.field == "").distinct().order_by(node.c.name)
        names = connection.execute(known).scalars().all()
        what = "Nothing" if field_name is None else "No stream"
        raise not_registered(f"{what} is registered under this name", name, names)
    if field_name is None:
        return _node(found)
    query = select(node).where(node.c.kind == "field", node.c.name == name, node.c.field == field_name)
    row = connection.execute(query).first()
    if row is None:
        fields = select(field.c.name).join(stream, stream.c.id == field.c.stream_id).where(stream.c.name == name)
        names = connection.execute(fields.order_by(field.c.position)).scalars().all()
        raise not_registered(f"The stream {name} has no such field", field_name, names)
    return _node(row)


def _valid(at: int | None) -> list[Any]:
    if at is None:
        return [edge.c.valid_to.is_(None)]
    return [edge.c.valid_from <= at, or_(edge.c.valid_to.is_(None), edge.c.valid_to > at)]


def _edges(connection: Connection, here: Any, frontier: list[int], holds: list[Any]) -> list[Any]:
    query = select(edge, node.c.name.label("via_name")).join(node, node.c.id == edge.c.via, isouter=True)
    return [
        row
        for piece in chunks(frontier)
        for row in connection.execute(query.where(here.in_(piece), *holds).order_by(edge.c.id))
    ]


def _nodes(connection: Connection, ids: list[int]) -> list[Node]:
    found = {row.id: _node(row) for row in rows_where(connection, node, node.c.id, ids)}
    if len(found) != len(ids):
        raise CatalogError("An edge leads to no node", where="lineage", fix="Rebuild the catalog from its log.")
    return [found[one] for one in ids]


def _node(row: Any) -> Node:
    if row.kind == "field":
        return Node(row.id, f"{row.name}.{row.field}", row.kind, row.name, row.field)
    return Node(row.id, row.name, row.kind)
