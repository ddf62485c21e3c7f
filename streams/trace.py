"""Trace: from a row up to the source rows that it was made from, with who made each row on the way, and how exactly
that is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from catalog import Catalog, NotRegistered
from streams.address import NoSuchRow, check_place, readable
from streams.log.protocol import Log
from streams.makers import Maker, Makers
from streams.message import RowAddress
from streams.messages import Message, Messages, Origin
from streams.parents import NO_PARENT, Addresses, OffsetRange, Ranges
from streams.schema import Schema
from streams.shown import json_value, moment
from streams.stream import Stream

#: A trace shows at most so many rows, unless it is asked for more.
ROWS = 1000
#: Of the rows that a hop by range leads to, so many are followed.
ROWS_OF_RANGE = 5
#: The rows of a range are counted in at most so many messages.
COUNTED_MESSAGES = 64

Ending = Literal["source", "unattributed", "unrecorded", "gone"]


@dataclass(frozen=True, slots=True)
class Span:
    """The messages of one partition from `first` up to, not including, `end`; `rows` is how many rows they have, None
    if there are too many messages to count. `gone`: some of them can no longer be read, and are not counted."""

    stream: str
    partition: int
    first: int
    end: int
    rows: int | None = None
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Descent:
    """One way in which a row descends: the left or the right side of a join, say.

    `granularity`: `identity`, `bitmap` and `index` name the parent row; `range` and `batch` say only that it is one or
    more of the rows in `spans`. `rows` are the parents that are known by address, or those of the spans that the
    trace follows; `truncated` if the spans hold more.
    """

    stream: str
    granularity: str
    rows: tuple[RowAddress, ...]
    spans: tuple[Span, ...] = ()
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Gone:
    """Why a row cannot be read any more: `retention`, `compaction`, or `missing` (it was never there). `since`: from
    when on (microseconds since 1970), if that is known. `readable` is the partition's first offset that can be read,
    and `readable_from` when that was appended."""

    why: str
    since: int | None
    readable: int | None
    readable_from: int | None


@dataclass(frozen=True, slots=True)
class TracedRow:
    """A row of a trace. `values` is None if the row is gone, or is the removal of a key from a table.

    `ending` says why the trace does not go further up from here: the row is a `source` row, an `unattributed` one of a
    writer that is not ours, its parents are `unrecorded`, or `gone`. None if it does, or need not.
    """

    address: RowAddress
    values: Mapping[str, Any] | None
    maker: Maker
    when: int | None
    descents: tuple[Descent, ...] = ()
    ending: Ending | None = None
    gone: Gone | None = None

    @property
    def stream(self) -> str:
        return self.address.stream

    @property
    def parents(self) -> tuple[RowAddress, ...]:
        return tuple(dict.fromkeys(row for descent in self.descents for row in descent.rows))


@dataclass(frozen=True)
class Trace:
    """The rows that one row was made from, by address, in the order in which they were met (breadth first).

    A parent that two rows share is there once. `truncated`: there are rows beyond `depth` or `limit`, or
    beyond what is followed of a range; the addresses of the nearest are in the descents.
    """

    root: RowAddress
    rows: Mapping[RowAddress, TracedRow] = field(repr=False)
    truncated: bool = False

    def __getitem__(self, address: RowAddress) -> TracedRow:
        return self.rows[address]

    def __iter__(self) -> Iterator[TracedRow]:
        return iter(self.rows.values())

    def __len__(self) -> int:
        return len(self.rows)

    def sources(self) -> list[TracedRow]:
        """The rows that were published from outside."""
        return [row for row in self if row.ending in ("source", "unattributed")]

    def to_dict(self) -> dict[str, Any]:
        """The trace as nested JSON values; a row that was shown before has its address and `repeated`."""
        return {"truncated": self.truncated, "row": _as_dict(self, self.root, set())}

    def __repr__(self) -> str:
        streams = ", ".join(dict.fromkeys(row.stream for row in self))
        more = ", truncated" if self.truncated else ""
        return f"Trace({str(self.root)!r}, {len(self)} rows of {streams}; {len(self.sources())} sources{more})"


class Tracer:
    """Traces rows. Messages that were read once are remembered from one trace to the next (see messages.py)."""

    def __init__(
        self, log: Log, catalog: Catalog, streams: Callable[[str], Stream], schemas: Callable[[int], Schema]
    ) -> None:
        self._log = log
        self._messages = Messages(log, streams, schemas)
        self._makers = Makers(catalog)

    def trace(
        self,
        address: RowAddress,
        *,
        depth: int | None = None,
        limit: int = ROWS,
        rows_of_range: int = ROWS_OF_RANGE,
    ) -> Trace:
        """See `trace`."""
        root = RowAddress(*address)
        check_place(self._log, root.stream, root.partition, root.offset)
        found: dict[RowAddress, TracedRow] = {}
        wanted = [root]
        truncated = False
        away = 0
        while wanted:
            room = limit - len(found)
            if room <= 0 or (depth is not None and away > depth):
                truncated = True
                break
            truncated |= len(wanted) > room
            level = self._level(wanted[:room], rows_of_range)
            gone = None if found else level[root].gone
            if gone is not None and gone.why == "missing":
                raise NoSuchRow(
                    f"There is no row {root.row} at this offset",
                    where=str(root),
                    fix=f"Rows are counted from 0. {readable(self._log, root.stream)}",
                )
            found |= level
            truncated |= any(descent.truncated for row in level.values() for descent in row.descents)
            wanted = [
                parent
                for parent in dict.fromkeys(parent for row in level.values() for parent in row.parents)
                if parent not in found
            ]
            away += 1
        return Trace(root, found, truncated)

    def _level(self, wanted: Iterable[RowAddress], rows_of_range: int) -> dict[RowAddress, TracedRow]:
        """These rows, looked up partition by partition."""
        places: dict[tuple[str, int], dict[int, list[int]]] = {}
        order = list(wanted)
        for one in order:
            places.setdefault((one.stream, one.partition), {}).setdefault(one.offset, []).append(one.row)
        found: dict[RowAddress, TracedRow] = {}
        for (stream, partition), rows in places.items():
            for row in self._rows(stream, partition, rows, rows_of_range):
                found[row.address] = row
        return {one: found[one] for one in order}

    def _rows(
        self, stream: str, partition: int, wanted: Mapping[int, list[int]], rows_of_range: int
    ) -> Iterator[TracedRow]:
        try:
            declared = self._messages.stream(stream)
        except NotRegistered:
            gone = Gone("unregistered", None, None, None)
            for offset, rows in wanted.items():
                for row in rows:
                    yield TracedRow(RowAddress(stream, partition, offset, row), None, Maker(), None, gone=gone)
            return
        messages = self._messages.at(stream, partition, wanted)
        values = self._messages.rows(stream, partition, wanted)
        # One by one from here on: each row of a trace is shown to a person, so there are few.
        for offset, rows in wanted.items():
            message = messages.get(offset)
            for row in rows:
                address = RowAddress(stream, partition, offset, row)
                if message is None:
                    yield self._gone(declared, address)
                elif (offset, row) not in values and message.value is not None:
                    yield TracedRow(address, None, Maker(), message.time, gone=Gone("missing", None, None, None))
                else:
                    yield self._found(address, values.get((offset, row)), message, rows_of_range)

    def _found(
        self, address: RowAddress, values: Mapping[str, Any] | None, message: Message, rows_of_range: int
    ) -> TracedRow:
        stream, partition, offset, row = address
        maker = self._makers.of(message.headers)
        if maker.operator is None or maker.is_source:
            ending: Ending = "source" if maker.producer else "unattributed"
            return TracedRow(address, values, maker, message.time, ending=ending)
        origin = self._messages.origin(stream, partition, message)
        if isinstance(origin, Origin):
            index = row if origin.first == offset else offset - origin.first
            descents = tuple(
                self._descent(part, mode, index, rows_of_range)
                for part, mode in zip(origin.parts, origin.granularity, strict=True)
            )
            return TracedRow(address, values, maker, message.time, descents)
        descents = self._descents_by_catalog(address, rows_of_range) if origin == "gone" else ()
        return TracedRow(address, values, maker, message.time, descents, ending=None if descents else origin)

    def _descent(self, part: Addresses | Ranges, granularity: str, index: int, rows_of_range: int) -> Descent:
        if isinstance(part, Ranges):
            return self._by_range(part.ranges, granularity, rows_of_range)
        offset = int(part.offset[index])
        known = offset != NO_PARENT
        parent = RowAddress(part.stream, int(part.partition[index]), offset, int(part.row[index]))
        return Descent(part.stream, granularity, (parent,) if known else ())

    def _by_range(self, ranges: Iterable[OffsetRange], granularity: str, rows_of_range: int) -> Descent:
        spans = []
        rows: list[RowAddress] = []
        total: int | None = 0
        stream = ""
        for one in ranges:
            stream = one.stream
            offsets = range(one.first, min(one.end, one.first + COUNTED_MESSAGES))
            found = self._messages.at(one.stream, one.partition, offsets)
            counts = {
                offset: self._messages.count(one.stream, one.partition, found[offset]) for offset in sorted(found)
            }
            readable_first, _ = self._log.bounds(one.stream)[one.partition]
            compacted = self._messages.stream(one.stream).kind == "table" and len(found) < len(offsets)
            counted = sum(counts.values()) if one.end - one.first <= COUNTED_MESSAGES else None
            gone = one.first < readable_first or compacted
            spans.append(Span(one.stream, one.partition, one.first, one.end, counted, gone))
            total = None if total is None or counted is None else total + counted
            for offset, count in counts.items():
                room = rows_of_range - len(rows)
                rows += [RowAddress(one.stream, one.partition, offset, row) for row in range(min(count, room))]
        return Descent(stream, granularity, tuple(rows), tuple(spans), total is None or total > len(rows))

    def _gone(self, stream: Stream, address: RowAddress) -> TracedRow:
        """A row that cannot be read. What the catalog knows of the transaction that wrote it is still known."""
        first, end = self._log.bounds(stream.name)[address.partition]
        if address.offset >= end:
            return TracedRow(address, None, Maker(), None, gone=Gone("missing", None, None, None))
        maker, when = self._makers.at(address)
        next_there = self._log.read(stream.name, address.partition, first, max_bytes=1)
        readable_from = int(next_there.timestamps[0]) if len(next_there) else None
        why = "compaction" if stream.kind == "table" or stream.role == "state" else "retention"
        if address.offset >= first and why == "retention":
            why = "missing"
        since = when + stream.retention if why == "retention" and when is not None and stream.retention else None
        gone = Gone(why, since, first, readable_from)
        descents = self._descents_by_catalog(address, ROWS_OF_RANGE)
        return TracedRow(address, None, maker, when, descents, ending=None if descents else "gone", gone=gone)

    def _descents_by_catalog(self, address: RowAddress, rows_of_range: int) -> tuple[Descent, ...]:
        """From the catalog's transactions: what the whole transaction that wrote the row descends from."""
        by_stream: dict[str, list[OffsetRange]] = {}
        for span in self._makers.parent_spans(address):
            by_stream.setdefault(span.stream, []).append(span)
        return tuple(self._by_range(spans, "range", rows_of_range) for spans in by_stream.values())


def trace(
    log: Log,
    catalog: Catalog,
    streams: Callable[[str], Stream],
    schemas: Callable[[int], Schema],
    address: RowAddress,
    *,
    depth: int | None = None,
    limit: int = ROWS,
    rows_of_range: int = ROWS_OF_RANGE,
) -> Trace:
    """Follow a row up to the source rows that it was made from.

    `depth` is how many operators up to go (None: all), `limit` how many rows to show at most, `rows_of_range` how many
    rows to follow where only a range of parents is known. `streams` finds a registered stream by name, `schemas` a
    schema by id.

    NoSuchRow if there is no such row and never was one; a row that is gone is traced as far as the catalog knows it.
    UnknownTopic, NotRegistered for a stream that is not there, Corrupt for messages that cannot be decoded.
    """
    tracer = Tracer(log, catalog, streams, schemas)
    return tracer.trace(address, depth=depth, limit=limit, rows_of_range=rows_of_range)


def _as_dict(found: Trace, address: RowAddress, shown: set[RowAddress]) -> dict[str, Any]:
    row = found.rows.get(address)
    if row is None:
        return {"address": str(address), "truncated": True}
    if address in shown:
        return {"address": str(address), "repeated": True}
    shown.add(address)
    said: dict[str, Any] = {
        "address": str(address),
        "stream": row.stream,
        "values": None if row.values is None else {name: json_value(value) for name, value in row.values.items()},
        **row.maker.to_dict(),
        "appended_at": moment(row.when),
        "ending": row.ending,
    }
    if row.gone is not None:
        said["gone"] = {
            "why": row.gone.why,
            "since": moment(row.gone.since),
            "first_readable_offset": row.gone.readable,
            "first_readable_appended_at": moment(row.gone.readable_from),
        }
    said["parents"] = [
        {
            "stream": descent.stream,
            "granularity": descent.granularity,
            "ranges": [
                {
                    "partition": span.partition,
                    "first": span.first,
                    "end": span.end,
                    "rows": span.rows,
                    "gone": span.gone,
                }
                for span in descent.spans
            ],
            "truncated": descent.truncated,
            "rows": [_as_dict(found, parent, shown) for parent in descent.rows],
        }
        for descent in row.descents
    ]
    return said
