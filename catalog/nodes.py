"""Names and their integer ids: streams, fields, operators, services, datasets and pipelines are nodes of one graph."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from sqlalchemy import Connection, and_, insert, select

from catalog.database import chunks, next_id
from catalog.errors import NotRegistered
from catalog.models import node

NodeKind = Literal["stream", "field", "operator", "service", "dataset", "pipeline"]


class NodeKey(NamedTuple):
    """`field` is empty except for fields, whose `name` is that of their stream."""

    kind: NodeKind
    name: str
    field: str = ""


def ids_of(connection: Connection, keys: Iterable[NodeKey]) -> dict[NodeKey, int]:
    """The ids of those keys that are nodes."""
    names: dict[NodeKind, set[str]] = defaultdict(set)
    wanted = set(keys)
    for key in wanted:
        names[key.kind].add(key.name)
    found: dict[NodeKey, int] = {}
    for kind, some in names.items():
        for piece in chunks(sorted(some)):
            condition = and_(node.c.kind == kind, node.c.name.in_(piece))
            if kind == "field":
                fields = {key.field for key in wanted if key.kind == "field"}
                if len(fields) <= 1000:
                    condition = and_(condition, node.c.field.in_(fields))
            for row in connection.execute(select(node).where(condition)):
                key = NodeKey(row.kind, row.name, row.field)
                if key in wanted:
                    found[key] = row.id
    return found


def make_nodes(connection: Connection, keys: Iterable[NodeKey]) -> dict[NodeKey, int]:
    """The ids of all keys; those that are no nodes yet become nodes. Only within a writing transaction."""
    wanted = list(dict.fromkeys(keys))
    found = ids_of(connection, wanted)
    missing = [key for key in wanted if key not in found]
    if missing:
        first = next_id(connection, node)
        new = {key: first + number for number, key in enumerate(missing)}
        connection.execute(insert(node), [{"id": number, **key._asdict()} for key, number in new.items()])
        found |= new
    return found


def make_node(connection: Connection, key: NodeKey) -> int:
    return make_nodes(connection, [key])[key]


def not_registered(what: str, name: str, candidates: Sequence[str], fix: str = "") -> NotRegistered:
    """The error for a name that nothing bears, with the names that come close."""
    tail = name.rpartition(".")[2]
    close = [one for one in candidates if one.rpartition(".")[2] == tail]
    close += difflib.get_close_matches(name, candidates, n=3, cutoff=0.6)
    near = list(dict.fromkeys(close))[:3]
    hints = [f"Did you mean {' or '.join(repr(one) for one in near)}?" if near else "", fix]
    return NotRegistered(what, where=name, fix=" ".join(hint for hint in hints if hint) or None)
