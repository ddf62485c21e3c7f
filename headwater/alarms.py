"""Alarms of every kind from every stream that carries them, in event time."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import orjson
import pyarrow as pa

from headwater.query import Instant, instant
from operators.alarms import SCHEMA, is_alarm_stream
from streams.message import RowAddress
from streams.register import stream_of
from streams.rows import Rows, read_rows
from streams.stream import Stream

if TYPE_CHECKING:
    from headwater.connection import Connection

_PAGE = 1000
_SHOWN = ("at", "source", "kind", "column", "size", "threshold", "p_value", "since")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class RaisedAlarm:
    """One alarm: who raised it, `at` which event time it could be known, `since` when it is so, how large it is beside
    its threshold, what else was seen, and where it lies (for `hub.trace`)."""

    address: RowAddress
    source: str
    at: datetime
    kind: str
    column: str | None
    size: float
    threshold: float
    p_value: float | None
    since: datetime | None
    evidence: dict[str, Any]


@dataclass(frozen=True)
class Alarms(Sequence[RaisedAlarm]):
    """Alarms in the order of event time."""

    alarms: tuple[RaisedAlarm, ...]

    @overload
    def __getitem__(self, index: int) -> RaisedAlarm: ...
    @overload
    def __getitem__(self, index: slice) -> Alarms: ...
    def __getitem__(self, index: int | slice) -> RaisedAlarm | Alarms:
        return Alarms(self.alarms[index]) if isinstance(index, slice) else self.alarms[index]

    def __len__(self) -> int:
        return len(self.alarms)

    def __iter__(self) -> Iterator[RaisedAlarm]:
        return iter(self.alarms)

    def to_arrow(self) -> pa.Table:
        """With the columns of the alarm stream; evidence as JSON text."""
        columns = []
        for column in SCHEMA.arrow:
            values = [getattr(one, column.name) for one in self.alarms]
            if column.name == "evidence":
                values = [orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode() for value in values]
            columns.append(pa.array(values, column.type))
        return pa.Table.from_arrays(columns, schema=SCHEMA.arrow)

    def __repr__(self) -> str:
        lines = [f"  {_text(one.at)}  {one.source}  {in_words(one)}" for one in self.alarms]
        return "\n".join([f"Alarms({len(self.alarms)})", *lines])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{name}</th>" for name in (*_SHOWN, "evidence"))
        body = ""
        for one in self.alarms:
            values = [getattr(one, name) for name in _SHOWN] + [orjson.dumps(one.evidence).decode()]
            body += "<tr>" + "".join(f"<td>{html.escape(_text(value))}</td>" for value in values) + "</tr>"
        return f"<table><tr>{head}</tr>{body}</table>"


def alarms(
    connection: Connection,
    *,
    since: Instant | None = None,
    until: Instant | None = None,
    kind: str | None = None,
    source: str | None = None,
    column: str | None = None,
) -> Alarms:
    """The alarms of all streams that carry them, from `since` up to, not including, `until` (event time), of this kind,
    raised by the operator `source`, about this column."""
    wanted = {"kind": kind, "source": source, "column": column}
    found = []
    for stream in _alarm_streams(connection):
        rows = read_rows(connection.log, stream, connection.schema)
        found += [
            one
            for one in raised(_between(rows, since, until))
            if all(value is None or getattr(one, name) == value for name, value in wanted.items())
        ]
    return Alarms(tuple(sorted(found, key=lambda one: (one.at, one.source, one.address))))


def in_words(alarm: RaisedAlarm) -> str:
    """What it is about and how large, in one line."""
    about = f" in {alarm.column}" if alarm.column is not None else ""
    since = f", since {_text(alarm.since)}" if alarm.since is not None else ""
    return f"{alarm.kind}{about}: {alarm.size:.3g} (threshold {alarm.threshold:.3g}){since}"


def _alarm_streams(connection: Connection) -> Iterator[Stream]:
    after = None
    while page := connection.catalog.streams(after=after, limit=_PAGE):
        for record in page:
            stream = stream_of(record.spec)
            if is_alarm_stream(stream):
                yield stream
        after = page[-1].name


def _between(rows: Rows, since: Instant | None, until: Instant | None) -> Rows:
    if since is None and until is None:
        return rows
    times = rows.table.column("at").cast(pa.int64()).to_numpy()
    wanted = np.ones(len(rows), dtype=bool)
    if since is not None:
        wanted &= times >= _microseconds(since)
    if until is not None:
        wanted &= times < _microseconds(until)
    at = np.flatnonzero(wanted)
    return Rows(rows.stream, rows.table.take(pa.array(at)), rows.addresses.take(at))


def raised(rows: Rows) -> Iterator[RaisedAlarm]:
    """The alarms in these rows of an alarm stream."""
    for row in rows:
        fields = dict(row.fields)
        evidence = orjson.loads(fields.pop("evidence"))
        yield RaisedAlarm(address=row.address, evidence=evidence, **fields)


def _microseconds(moment: Instant) -> int:
    return (instant(moment) - _EPOCH) // timedelta(microseconds=1)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M")
    return f"{value:.4g}" if isinstance(value, float) else str(value)
