"""Runs and transactions, as operators' progress tells of them: who took what, who made what, and from which offsets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, and_, or_, select

from catalog.database import rows_where
from catalog.errors import CatalogError
from catalog.models import node, reach, run, run_range, run_rows, span, transactions
from catalog.nodes import not_registered

SpanDirection = Literal["took", "made", "parent"]


@dataclass(frozen=True)
class Range:
    """Offsets of one partition from `first` up to, not including, `end`."""

    stream: str
    partition: int
    first: int
    end: int


@dataclass(frozen=True)
class RunRecord:
    """One execution of an operator version, as far as its progress has been applied. A streaming run never completes;
    it is here from its first transaction. Rows are counted by stream. `number` is what the next page goes on from."""

    number: int
    id: str
    operator: str
    version: str
    engine: str
    started_at: int
    last_seen_at: int
    rows_in: dict[str, int]
    rows_out: dict[str, int]
    late: dict[str, int]
    read: tuple[Range, ...]
    written: tuple[Range, ...]


@dataclass(frozen=True)
class Span:
    """Offsets that a transaction took or made. A `parent` span is where rows that it wrote to `made_stream`,
    `made_partition` descend from."""

    direction: SpanDirection
    stream: str
    partition: int
    first: int
    end: int
    made_stream: str | None = None
    made_partition: int | None = None


@dataclass(frozen=True)
class TransactionRecord:
    operator: str
    task: int
    seq: int
    run: str
    version: str
    engine: str
    at: int
    spans: tuple[Span, ...]


def run_records(
    connection: Connection, *, operator: str | None = None, limit: int = 50, after: int | None = None
) -> list[RunRecord]:
    """One page of runs, the latest started first; `after` is the `number` of the last one of the page before."""
    query = select(run).order_by(run.c.started_at.desc(), run.c.id.desc()).limit(limit)
    if operator is not None:
        named = select(node.c.id).where(node.c.kind == "operator", node.c.name == operator)
        query = query.where(run.c.operator_id.in_(named))
    if after is not None:
        last = connection.execute(select(run.c.started_at).where(run.c.id == after)).scalar()
        if last is None:
            raise CatalogError("No run has this number", where=str(after), fix="Start again from the first page.")
        query = query.where(or_(run.c.started_at < last, and_(run.c.started_at == last, run.c.id < after)))
    return _runs(connection, connection.execute(query).all())


def run_record(connection: Connection, run_id: str, operator: str | None = None) -> RunRecord:
    """The run with this id. NotRegistered if there is none; CatalogError if several operators share it
    and none is named."""
    rows = _runs(connection, connection.execute(select(run).where(run.c.run == run_id)).all())
    if operator is not None:
        rows = [row for row in rows if row.operator == operator]
    if not rows:
        recent = connection.execute(select(run.c.run).order_by(run.c.id.desc()).limit(1000)).scalars().all()
        raise not_registered("No run has this id", run_id, list(dict.fromkeys(recent)))
    if len(rows) > 1:
        raise CatalogError(
            f"Several operators ran under this id: {', '.join(row.operator for row in rows)}",
            where=run_id,
            fix="Say which of them is meant.",
        )
    return rows[0]


def transaction_records(
    connection: Connection, stream: str, partition: int, first: int, end: int, direction: SpanDirection
) -> list[TransactionRecord]:
    """The transactions that have a span of this direction within offsets `first` up to, not including, `end`, in the
    order in which they were applied. With `parent`: those that made rows from rows there."""
    stream_id = connection.execute(select(node.c.id).where(node.c.kind == "stream", node.c.name == stream)).scalar()
    here = (reach.c.stream_id == stream_id, reach.c.partition == partition, reach.c.direction == direction)
    longest = connection.execute(select(reach.c.longest).where(*here)).scalar()
    if stream_id is None or longest is None:
        return []
    found = (
        select(span.c.transaction_id)
        .where(span.c.stream_id == stream_id, span.c.partition == partition, span.c.direction == direction)
        .where(span.c.first > first - longest, span.c.first < end, span.c.end > first)
        .distinct()
    )
    return _transactions(connection, connection.execute(found).scalars().all())


def _names(connection: Connection, ids: set[int]) -> dict[int, str]:
    return {row.id: row.name for row in rows_where(connection, node, node.c.id, ids)}


def _runs(connection: Connection, rows: Sequence[Any]) -> list[RunRecord]:
    ids = [row.id for row in rows]
    counted = rows_where(connection, run_rows, run_rows.c.run_id, ids)
    ranged = rows_where(connection, run_range, run_range.c.run_id, ids)
    wanted = {row.operator_id for row in rows} | {row.stream_id for row in counted} | {row.stream_id for row in ranged}
    names = _names(connection, wanted)
    counts: dict[tuple[int, str], dict[str, int]] = defaultdict(dict)
    for row in counted:
        counts[row.run_id, row.direction][names[row.stream_id]] = row.rows
    ranges: dict[tuple[int, str], list[Range]] = defaultdict(list)
    for row in ranged:
        ranges[row.run_id, row.direction].append(Range(names[row.stream_id], row.partition, row.first, row.end))
    return [
        RunRecord(
            number=row.id,
            id=row.run,
            operator=names[row.operator_id],
            version=row.version,
            engine=row.engine,
            started_at=row.started_at,
            last_seen_at=row.last_seen_at,
            rows_in=_sorted(counts[row.id, "in"]),
            rows_out=_sorted(counts[row.id, "out"]),
            late=_sorted(counts[row.id, "late"]),
            read=_in_order(ranges[row.id, "took"]),
            written=_in_order(ranges[row.id, "made"]),
        )
        for row in rows
    ]


def _sorted(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items()))


def _in_order(ranges: list[Range]) -> tuple[Range, ...]:
    return tuple(sorted(ranges, key=lambda one: (one.stream, one.partition)))


def _transactions(connection: Connection, ids: Sequence[int]) -> list[TransactionRecord]:
    rows = sorted(rows_where(connection, transactions, transactions.c.id, ids), key=lambda one: one.id)
    spans = sorted(rows_where(connection, span, span.c.transaction_id, ids), key=lambda one: one.number)
    runs = {row.id: row for row in rows_where(connection, run, run.c.id, {row.run_id for row in rows})}
    wanted = {row.stream_id for row in spans} | {row.made_stream_id for row in spans if row.made_stream_id is not None}
    names = _names(connection, wanted | {row.operator_id for row in runs.values()})
    of: dict[int, list[Span]] = defaultdict(list)
    for row in spans:
        made = names[row.made_stream_id] if row.made_stream_id is not None else None
        one = Span(row.direction, names[row.stream_id], row.partition, row.first, row.end, made, row.made_partition)
        of[row.transaction_id].append(one)
    return [
        TransactionRecord(
            operator=names[runs[row.run_id].operator_id],
            task=row.task,
            seq=row.seq,
            run=runs[row.run_id].run,
            version=row.version,
            engine=row.engine,
            at=row.at,
            spans=tuple(of[row.id]),
        )
        for row in rows
    ]
