"""Progress: what operators say of each transaction, taken into the catalog in order and once.

Runs, their offset ranges, observed lineage and freshness are a view of the progress streams; nothing else writes them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Table, bindparam, insert, select, tuple_, update

from catalog.database import chunks, next_id, rows_where
from catalog.errors import CatalogError
from catalog.models import (
    declaration,
    edge,
    freshness,
    position,
    reach,
    run,
    run_range,
    run_rows,
    transactions,
)
from catalog.models import span as span_table
from catalog.nodes import NodeKey, make_nodes

#: A partition and an offset of a progress topic, and the row that lies there.
ProgressRow = tuple[int, int, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _Row:
    """One progress row, read and checked."""

    operator: str
    task: int
    version: str
    run: str
    engine: str
    seq: int
    at: int
    watermark: int | None
    rows: tuple[tuple[str, dict[str, int]], ...]
    took: tuple[tuple[str, int, int, int], ...]
    made: tuple[tuple[str, int, int, int], ...]
    parents: tuple[tuple[str, int, str, int, int, int], ...]

    def streams(self) -> set[str]:
        counted = {name for _, counts in self.rows for name in counts}
        spans = {one[0] for one in (*self.took, *self.made)}
        return counted | spans | {name for one in self.parents for name in (one[0], one[2])}

    def read(self) -> set[str]:
        return {one[0] for one in self.took} | dict(self.rows)["in"].keys()

    def written(self) -> set[str]:
        return {one[0] for one in self.made} | dict(self.rows)["out"].keys()


def apply_progress(connection: Connection, topic: str, rows: Sequence[ProgressRow]) -> int:
    """Take in rows of a progress topic, in order; those at or below the position reached are passed over. Returns how
    many were new. CatalogError, and nothing applied, if one cannot be read. Only within a writing transaction."""
    reached = positions(connection, topic)
    before = dict(reached)
    fresh: list[_Row] = []
    for partition, offset, data in rows:
        if offset > reached.get(partition, -1):
            reached[partition] = offset
            fresh.append(_read(data, f"{topic} {partition}:{offset}"))
    if not fresh:
        return 0
    keys = [NodeKey("operator", one.operator) for one in fresh]
    keys += [NodeKey("stream", name) for one in fresh for name in sorted(one.streams())]
    nodes = make_nodes(connection, keys)
    operators = {key.name: number for key, number in nodes.items() if key.kind == "operator"}
    streams = {key.name: number for key, number in nodes.items() if key.kind == "stream"}
    runs = _keep_runs(connection, fresh, operators)
    _keep_rows_and_ranges(connection, fresh, runs, streams)
    _keep_transactions(connection, fresh, runs, streams)
    _keep_freshness(connection, fresh, streams)
    _keep_edges(connection, fresh, operators, streams)
    moved = {partition: offset for partition, offset in reached.items() if before.get(partition) != offset}
    _merge(
        connection,
        position,
        {(topic, partition): (offset,) for partition, offset in moved.items()},
        ("topic", "partition"),
        {"offset": max},
    )
    return len(fresh)


def positions(connection: Connection, topic: str) -> dict[int, int]:
    """The last applied offset of each partition."""
    rows = connection.execute(select(position).where(position.c.topic == topic))
    return {row.partition: row.offset for row in rows}


def _read(data: Mapping[str, Any], where: str) -> _Row:
    try:
        watermark = data.get("watermark")
        return _Row(
            operator=str(data["operator"]),
            task=int(data["task"]),
            version=str(data["version"]),
            run=str(data["run"]),
            engine=str(data["engine"]),
            seq=int(data["seq"]),
            at=int(data["at"]),
            watermark=None if watermark is None else int(watermark),
            rows=tuple(
                (direction, {str(name): int(count) for name, count in (data.get(key) or {}).items()})
                for direction, key in (("in", "rows_in"), ("out", "rows_out"), ("late", "late"))
            ),
            took=tuple((str(s), int(p), int(first), int(end)) for s, p, first, end in data.get("took") or () if s),
            made=tuple((str(s), int(p), int(first), int(end)) for s, p, first, end in data.get("made") or ()),
            parents=tuple(
                (str(out), int(n), str(s), int(p), int(first), int(end))
                for out, n, s, p, first, end in data.get("parents") or ()
            ),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CatalogError(
            f"A progress row cannot be read: {type(error).__name__} {error}",
            where=where,
            fix="It was written by another version of Headwater, or something else writes to this topic.",
        ) from error


def _keep_runs(
    connection: Connection, rows: Iterable[_Row], operators: Mapping[str, int]
) -> dict[tuple[str, str], int]:
    """The ids of the rows' runs by (run, operator), new or brought up to date."""
    spans: dict[tuple[str, str], tuple[int, int, _Row]] = {}
    for row in rows:
        first, last, latest = spans.get((row.run, row.operator), (row.at, row.at, row))
        latest = row if row.at >= last else latest
        spans[row.run, row.operator] = (min(first, row.at), max(last, row.at), latest)
    known = {
        (one.run, one.operator_id): one for one in rows_where(connection, run, run.c.run, {key[0] for key in spans})
    }
    ids: dict[tuple[str, str], int] = {}
    new: list[dict[str, Any]] = []
    changed: list[dict[str, Any]] = []
    free = next_id(connection, run)
    for (name, operator_name), (first, last, latest) in spans.items():
        old = known.get((name, operators[operator_name]))
        values = {"started_at": first, "last_seen_at": last, "version": latest.version, "engine": latest.engine}
        if old is None:
            ids[name, operator_name] = free + len(new)
            new.append({"id": free + len(new), "run": name, "operator_id": operators[operator_name], **values})
            continue
        ids[name, operator_name] = old.id
        values["started_at"] = min(old.started_at, first)
        if last < old.last_seen_at:
            values |= {"last_seen_at": old.last_seen_at, "version": old.version, "engine": old.engine}
        changed.append({"key_id": old.id, **values})
    _write(connection, run, new, changed, ("id",))
    return ids


def _keep_rows_and_ranges(
    connection: Connection, rows: Iterable[_Row], runs: Mapping[tuple[str, str], int], streams: Mapping[str, int]
) -> None:
    counts: Counter[tuple[Any, ...]] = Counter()
    ranges: dict[tuple[Any, ...], tuple[int, int]] = {}
    for row in rows:
        run_id = runs[row.run, row.operator]
        for direction, counted in row.rows:
            for name, count in counted.items():
                counts[run_id, direction, streams[name]] += count
        for direction, spans in (("took", row.took), ("made", row.made)):
            for name, partition, first, end in spans:
                key = (run_id, direction, streams[name], partition)
                low, high = ranges.get(key, (first, end))
                ranges[key] = (min(low, first), max(high, end))
    _merge(
        connection,
        run_rows,
        {key: (count,) for key, count in counts.items()},
        ("run_id", "direction", "stream_id"),
        {"rows": _plus},
    )
    names = ("run_id", "direction", "stream_id", "partition")
    _merge(connection, run_range, ranges, names, {"first": min, "end": max})


def _keep_transactions(
    connection: Connection, rows: Iterable[_Row], runs: Mapping[tuple[str, str], int], streams: Mapping[str, int]
) -> None:
    made_rows, span_rows = [], []
    longest: dict[tuple[Any, ...], tuple[int]] = {}
    free = next_id(connection, transactions)
    for number, row in enumerate(rows, free):
        made_rows.append(
            {
                "id": number,
                "run_id": runs[row.run, row.operator],
                "task": row.task,
                "seq": row.seq,
                "version": row.version,
                "engine": row.engine,
                "at": row.at,
            }
        )
        spans: list[tuple[str, str, int, int, int, int | None, int | None]] = []
        spans += [("took", *one, None, None) for one in row.took]
        spans += [("made", *one, None, None) for one in row.made]
        spans += [("parent", *one[2:], streams[one[0]], one[1]) for one in row.parents]
        for position_, (direction, name, partition, first, end, made_stream, made_partition) in enumerate(spans):
            stream_id = streams[name]
            span_rows.append(
                {
                    "transaction_id": number,
                    "number": position_,
                    "direction": direction,
                    "stream_id": stream_id,
                    "partition": partition,
                    "first": first,
                    "end": end,
                    "made_stream_id": made_stream,
                    "made_partition": made_partition,
                }
            )
            key = (stream_id, partition, direction)
            longest[key] = (max(longest.get(key, (0,))[0], end - first),)
    connection.execute(insert(transactions), made_rows)
    if span_rows:
        connection.execute(insert(span_table), span_rows)
    _merge(connection, reach, longest, ("stream_id", "partition", "direction"), {"longest": max})


def _keep_freshness(connection: Connection, rows: Iterable[_Row], streams: Mapping[str, int]) -> None:
    found: dict[tuple[Any, ...], tuple[int | None, int, int | None]] = {}
    for row in rows:
        counts = dict(row.rows)["out"]
        for name in row.written():
            count = counts.get(name, 0)
            at, total, watermark = found.get((streams[name],), (None, 0, None))
            at = _latest(at, row.at if count else None)
            found[(streams[name],)] = (at, total + count, _latest(watermark, row.watermark))
    how = {"appended_at": _latest, "rows": _plus, "watermark": _latest}
    _merge(connection, freshness, found, ("stream_id",), how)


@dataclass
class _Seen:
    """When an edge was seen, of one declaration of its operator."""

    first: int
    last: int
    ends: int | None = field(default=None)


def _keep_edges(
    connection: Connection, rows: Sequence[_Row], operators: Mapping[str, int], streams: Mapping[str, int]
) -> None:
    histories = _histories(connection, {operators[row.operator] for row in rows})
    seen: dict[tuple[int, int, int, int | None], _Seen] = {}
    for row in rows:
        operator_id = operators[row.operator]
        declared, ends = _declaration_at(histories.get((operator_id, row.version), ()), row.at)
        pairs = [(streams[name], operator_id) for name in row.read()]
        pairs += [(operator_id, streams[name]) for name in row.written()]
        for pair in pairs:
            one = seen.setdefault((*pair, operator_id, declared), _Seen(row.at, row.at, ends))
            one.first, one.last = min(one.first, row.at), max(one.last, row.at)
    via = {key[2] for key in seen}
    known = {
        (row.source, row.target, row.via, row.declaration_id): row
        for row in rows_where(connection, edge, edge.c.via, via)
        if row.evidence == "observed"
    }
    new: list[dict[str, Any]] = []
    changed: list[dict[str, Any]] = []
    free = next_id(connection, edge)
    for key, one in sorted(seen.items(), key=lambda item: (item[1].first, str(item[0]))):
        old = known.get(key)
        first, last = (
            (one.first, one.last) if old is None else (min(old.valid_from, one.first), max(old.seen_at, one.last))
        )
        values = {"valid_from": first, "seen_at": last, "valid_to": None if one.ends is None else max(one.ends, last)}
        if old is not None:
            changed.append({"key_id": old.id, **values})
            continue
        source, target, via_id, declared = key
        ends_of = {"source": source, "target": target, "via": via_id, "declaration_id": declared}
        fixed = {"id": free + len(new), "level": "stream", "evidence": "observed", "coarse": False}
        new.append({**fixed, **ends_of, **values})
    _write(connection, edge, new, changed, ("id",))


def _histories(connection: Connection, operator_ids: Iterable[int]) -> dict[tuple[int, str], list[Any]]:
    found: dict[tuple[int, str], list[Any]] = defaultdict(list)
    for row in rows_where(connection, declaration, declaration.c.operator_id, operator_ids):
        found[row.operator_id, row.version].append(row)
    return found


def _declaration_at(history: Sequence[Any], at: int) -> tuple[int | None, int | None]:
    """The declaration of a version that a transaction at this time ran under, and when it ended. A task that outlives
    its declaration belongs to it all the same: its lineage must not stay open because it stopped a little late."""
    if not history:
        return None, None
    begun = [row for row in history if row.valid_from <= at]
    row = max(begun, key=lambda one: one.ordinal) if begun else min(history, key=lambda one: one.ordinal)
    return row.id, row.valid_to


def _plus(one: int, other: int) -> int:
    return one + other


def _latest(one: int | None, other: int | None) -> int | None:
    return max((value for value in (one, other) if value is not None), default=None)


def _merge(
    connection: Connection,
    table: Table,
    found: Mapping[tuple[Any, ...], Sequence[Any]],
    keys: Sequence[str],
    how: Mapping[str, Callable[[Any, Any], Any]],
) -> None:
    """Put values under their keys; where a key is there already, old and new are merged as `how` says."""
    columns = [table.c[name] for name in keys]
    whole = tuple_(*columns) if len(columns) > 1 else columns[0]
    known = {}
    for piece in _pairs(found, len(keys)):
        values = piece if len(columns) > 1 else [key[0] for key in piece]
        for row in connection.execute(select(table).where(whole.in_(values))):
            known[tuple(getattr(row, name) for name in keys)] = row
    new, changed = [], []
    for key, values in found.items():
        old = known.get(key)
        if old is None:
            new.append({**dict(zip(keys, key, strict=True)), **dict(zip(how, values, strict=True))})
        else:
            merged = {
                name: rule(getattr(old, name), value) for (name, rule), value in zip(how.items(), values, strict=True)
            }
            changed.append({**{f"key_{name}": part for name, part in zip(keys, key, strict=True)}, **merged})
    _write(connection, table, new, changed, keys)


def _pairs(found: Iterable[tuple[Any, ...]], width: int) -> Iterable[Sequence[tuple[Any, ...]]]:
    for piece in chunks(found):
        step = max(len(piece) // width, 1)
        for start in range(0, len(piece), step):
            yield piece[start : start + step]


def _write(
    connection: Connection, table: Table, new: list[dict[str, Any]], changed: list[dict[str, Any]], keys: Sequence[str]
) -> None:
    """Insert new rows and update changed ones, one statement each; changed rows carry their key as `key_…`."""
    if new:
        connection.execute(insert(table), new)
    if changed:
        query = update(table).where(*(table.c[name] == bindparam(f"key_{name}") for name in keys))
        columns = [name for name in changed[0] if not name.startswith("key_")]
        connection.execute(query.values({name: bindparam(name) for name in columns}), changed)
