"""The catalog's whole content in one canonical form, to tell whether two catalogs are equal."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Table, select

from catalog import models
from catalog.nodes import NodeKey

#: What differs from one execution to the next, though all rows are equal.
_OF_RUNS = ("run", "run_rows", "run_range", "transactions", "span", "reach", "freshness", "position")
_TIMES = frozenset({"created_at", "changed_at", "registered_at", "retired_at", "valid_from", "seen_at", "expires"})
_NODES = frozenset({"node_id", "stream_id", "operator_id", "source", "target", "via", "made_stream_id"})


def dump(connection: Connection, *, without_runs: bool = False) -> dict[str, list[dict[str, Any]]]:
    """Every table but the outbox as rows in canonical order, internal ids replaced by names; schema ids stay, messages
    carry them. `without_runs` leaves out runs, offsets, times and manifests, which no two executions share."""
    names = {row.id: NodeKey(row.kind, row.name, row.field) for row in connection.execute(select(models.node))}
    said = {
        "entity_id": _named(connection, models.entity),
        "declaration_id": _declarations(connection, names),
        "run_id": _runs(connection, names),
        "transaction_id": _transactions(connection, names),
    }
    found: dict[str, list[dict[str, Any]]] = {}
    for table in models.metadata.sorted_tables:
        if table.name in ("outbox", "node", "applied") or (without_runs and table.name in _OF_RUNS):
            continue
        rows = [_row(table, row._mapping, names, said, without_runs) for row in connection.execute(select(table))]
        found[table.name] = sorted(_distinct(rows) if without_runs else rows, key=repr)
    return found


def _row(
    table: Table, row: Any, names: dict[int, NodeKey], said: dict[str, dict[int, str]], without_runs: bool
) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for column in table.columns:
        name, value = column.name, row[column.name]
        if name == "id":
            if any(key.column.table.name == "node" for key in column.foreign_keys):
                shown["is"] = _text(names[value])
            elif table is models.schema_text:
                shown["id"] = value
        elif without_runs and (name in _TIMES or name == "manifest"):
            continue
        elif without_runs and name == "valid_to":
            shown["ended"] = value is not None
        elif value is not None and name in _NODES:
            shown[name] = _text(names[value])
        elif value is not None and name in said:
            shown[name] = said[name][value]
        else:
            shown[name] = value
    return shown


def _text(key: NodeKey) -> str:
    return f"{key.kind} {key.name}" + (f" . {key.field}" if key.field else "")


def _named(connection: Connection, table: Table) -> dict[int, str]:
    return {row.id: row.name for row in connection.execute(select(table.c.id, table.c.name))}


def _declarations(connection: Connection, names: dict[int, NodeKey]) -> dict[int, str]:
    rows = connection.execute(select(models.declaration))
    return {row.id: f"{names[row.operator_id].name} #{row.ordinal}" for row in rows}


def _runs(connection: Connection, names: dict[int, NodeKey]) -> dict[int, str]:
    return {row.id: f"{names[row.operator_id].name} {row.run}" for row in connection.execute(select(models.run))}


def _transactions(connection: Connection, names: dict[int, NodeKey]) -> dict[int, str]:
    runs = _runs(connection, names)
    rows = connection.execute(select(models.transactions))
    return {row.id: f"{runs[row.run_id]} {row.task} {row.seq} {row.at}" for row in rows}


def _distinct(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({repr(row): row for row in rows}.values())
