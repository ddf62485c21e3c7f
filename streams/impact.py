"""Impact: from bad rows down to every row that was made from them, and to the datasets that hold any of these."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from catalog import Catalog
from streams.address import NoSuchRow, readable
from streams.descendants import Descendants, Found
from streams.log.protocol import Log
from streams.messages import Messages
from streams.parents import Addresses
from streams.row_set import RowSet
from streams.schema import Schema
from streams.shown import moment
from streams.stream import Stream

#: Offset ranges (first, end) by partition, or rows by their addresses.
Start = Mapping[int, tuple[int, int]] | Addresses


@dataclass(frozen=True, slots=True)
class Touched:
    """The rows of one stream that were made from the bad ones (or that are bad, for the stream it starts with).

    `coarse` of the `rows` are only known to come from a range that has a bad row in it. `partitions` has the offset
    ranges (first, end) of their messages. `operators` are those on the way from the bad rows, `made_from` the streams
    right above with the operator between.
    """

    stream: str
    rows: int
    coarse: int
    partitions: Mapping[int, tuple[tuple[int, int], ...]]
    operators: tuple[str, ...] = ()
    made_from: tuple[tuple[str, str], ...] = ()

    @property
    def granularity(self) -> str:
        """`exact` if every one of the rows is known to descend from a bad one, else `coarse`."""
        return "coarse" if self.coarse else "exact"


@dataclass(frozen=True, slots=True)
class TouchedDataset:
    """A version of a dataset whose offset ranges hold touched rows, `rows` of them by stream. Its filter may have left
    them out."""

    name: str
    version: int
    rows: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Followed:
    """How far the catalog knew the log: transactions up to `at` (microseconds since 1970; None if there were none);
    `behind` more were in the log, and what they made is not in the answer."""

    at: int | None
    behind: int


@dataclass(frozen=True)
class Impact:
    """What bad rows touched. `start` are the bad rows, `streams` what was made from them, the nearest first.

    Rows that an operator has not taken yet, or holds back, have made nothing so far, and touch nothing.
    """

    start: Touched
    streams: tuple[Touched, ...]
    datasets: tuple[TouchedDataset, ...]
    followed: Followed
    _found: Mapping[tuple[str, int], Found] = field(repr=False, default_factory=dict)

    def __getitem__(self, stream: str) -> Touched:
        """KeyError if the stream was not touched."""
        for one in (self.start, *self.streams):
            if one.stream == stream:
                return one
        raise KeyError(stream)

    def addresses(self, stream: str) -> Addresses:
        """Where the touched rows of a stream lie, in the order of partition, offset and row."""
        parts = [(number, one.all) for (name, number), one in sorted(self._found.items()) if name == stream]
        counts = [len(rows) for _, rows in parts]
        return Addresses(
            stream,
            np.repeat(np.array([number for number, _ in parts], dtype=np.int32), counts),
            np.concatenate([np.empty(0, np.int64), *(rows.offsets for _, rows in parts)]),
            np.concatenate([np.empty(0, np.int64), *(rows.rows for _, rows in parts)]).astype(np.int32),
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "start": _as_dict(self.start),
            "streams": [_as_dict(one) for one in self.streams],
            "datasets": [{"name": one.name, "version": one.version, "rows": dict(one.rows)} for one in self.datasets],
            "followed": {"at": moment(self.followed.at), "behind": self.followed.behind},
        }

    def __repr__(self) -> str:
        touched = ", ".join(f"{one.stream} {one.rows}" for one in self.streams) or "nothing"
        return f"Impact({self.start.rows} rows of {self.start.stream}; touched: {touched})"


def impact(
    log: Log,
    catalog: Catalog,
    streams: Callable[[str], Stream],
    schemas: Callable[[int], Schema],
    stream: str,
    rows: Start,
) -> Impact:
    """Everything that was made from these rows of a stream.

    `rows` are offset ranges by partition, or addresses. Exact where parents are exact; where an operator says only
    from which ranges its rows come, all rows with a bad row in their ranges count, marked coarse. The catalog
    must have followed the log (`Hub.sync`); how far it has is part of the answer.

    NoSuchRow for offsets that were never written. UnknownTopic, NotRegistered for a stream that is not there.
    """
    messages = Messages(log, streams, schemas)
    if isinstance(rows, Addresses):
        bad = _rows_at(log, messages, stream, rows)
    else:
        bad = {number: _rows_in(log, messages, stream, number, *span) for number, span in rows.items()}
    found: dict[tuple[str, int], Found] = {(stream, number): Found(one) for number, one in bad.items() if one}
    descendants = Descendants(messages, catalog)
    made_from: dict[str, set[tuple[str, str]]] = {}
    order = _downstream(catalog, stream)
    pending = dict(found)
    while pending:
        given = min((name for name, _ in pending), key=lambda name: order.get(name, len(order)))
        fresh = {number: pending.pop((given, number)) for name, number in list(pending) if name == given}
        for place, operator, made in descendants.of(given, fresh):
            known = found.get(place, Found())
            new = made.beyond(known)
            if not new:
                continue
            made_from.setdefault(place[0], set()).add((given, operator))
            found[place] = known.plus(new)
            pending[place] = pending.get(place, Found()).plus(new)
    operators = _on_the_way(stream, made_from)
    names = sorted({name for name, _ in found} - {stream}, key=lambda name: (order.get(name, len(order)), name))
    touched = [_touched(name, found, operators, made_from) for name in (stream, *names)]
    return Impact(touched[0], tuple(touched[1:]), tuple(_datasets(catalog, found)), followed(log, catalog), found)


def followed(log: Log, catalog: Catalog) -> Followed:
    """How far the catalog has followed the progress streams of the log."""
    latest: int | None = None
    behind = 0
    for topic in _progress_streams(catalog):
        reached = catalog.progress_position(topic)
        for partition, (first, end) in enumerate(log.bounds(topic)):
            last = reached.get(partition, -1)
            behind += max(end - max(last + 1, first), 0)
            if last >= first:
                message = log.read(topic, partition, last, max_bytes=1)
                if len(message):
                    latest = max(latest or 0, int(message.timestamps[0]))
    return Followed(latest, behind)


def _progress_streams(catalog: Catalog) -> Iterator[str]:
    after = None
    while page := catalog.streams(roles=["progress"], after=after, limit=1000):
        yield from (record.name for record in page)
        after = page[-1].name


def _rows_in(log: Log, messages: Messages, stream: str, partition: int, first: int, end: int) -> RowSet:
    """All rows of an offset range; of messages that are gone nobody knows how many."""
    bounds = log.bounds(stream)
    if not 0 <= partition < len(bounds) or not 0 <= first < end <= bounds[partition][1]:
        raise NoSuchRow(
            f"There are no offsets {first} to {end - 1} in partition {partition}",
            where=stream,
            fix=f"The end is not part of a range. {readable(log, stream)}",
        )
    declared = messages.stream(stream)
    found = list(messages.between(stream, partition, first, end)) if declared.row_coded else None
    if found is not None:
        offsets = np.array([one.offset for one in found], dtype=np.int64)
        counts = np.ones(len(found), dtype=np.int64)
    else:
        counted = [
            (one.offset, messages.count(stream, partition, one))
            for one in messages.between(stream, partition, first, end)
        ]
        offsets, counts = np.array(counted, dtype=np.int64).reshape(-1, 2).T
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    exact = RowSet(np.repeat(offsets, counts), np.arange(len(starts)) - starts)
    oldest = bounds[partition][0]
    if declared.kind == "table":
        return RowSet(exact.offsets, exact.rows, ((first, end),))
    return RowSet(exact.offsets, exact.rows, ((first, min(oldest, end)),) if first < oldest else ())


def _rows_at(log: Log, messages: Messages, stream: str, rows: Addresses) -> dict[int, RowSet]:
    found = {}
    bounds = log.bounds(stream)
    for partition in np.unique(rows.partition).tolist():
        here = np.asarray(rows.partition) == partition
        chosen = RowSet.of(np.asarray(rows.offset)[here], np.asarray(rows.row)[here])
        last = int(chosen.offsets[-1])
        problem = not 0 <= partition < len(bounds) or last >= bounds[partition][1] or int(chosen.offsets[0]) < 0
        if not problem:
            there = messages.at(stream, partition, np.unique(chosen.offsets).tolist())
            counts = {offset: messages.count(stream, partition, one) for offset, one in there.items()}
            ends = np.searchsorted(chosen.offsets, np.array(sorted(counts)), side="right") - 1
            problem = any(
                int(chosen.rows[end]) >= counts[offset] for offset, end in zip(sorted(counts), ends, strict=True)
            )
        if problem:
            raise NoSuchRow("Some of these rows do not exist", where=f"{stream} {partition}", fix=readable(log, stream))
        found[partition] = chosen
    return found


def _downstream(catalog: Catalog, stream: str) -> dict[str, int]:
    """Every stream below, numbered so that what a stream is made from comes before it, cycles aside."""
    graph = catalog.lineage(stream, direction="down")
    names = {node.id: node.name for node in graph.nodes if node.kind == "stream"}
    below: dict[int, list[int]] = {}
    for edge in graph.edges:
        below.setdefault(edge.source, []).append(edge.target)
    finished: list[int] = []
    seen: set[int] = set()
    stack: list[tuple[int, Iterator[int]]] = [(graph.root.id, iter(below.get(graph.root.id, ())))]
    seen.add(graph.root.id)
    while stack:
        node, further = stack[-1]
        for one in further:
            if one not in seen:
                seen.add(one)
                stack.append((one, iter(below.get(one, ()))))
                break
        else:
            finished.append(node)
            stack.pop()
    ordered = [names[node] for node in reversed(finished) if node in names]
    return {name: number for number, name in enumerate(ordered)}


def _on_the_way(start: str, made_from: Mapping[str, Iterable[tuple[str, str]]]) -> dict[str, set[str]]:
    """For each touched stream the operators between the bad rows and it."""
    found: dict[str, set[str]] = {}
    for stream in made_from:
        ahead, seen = [stream], {start}
        operators: set[str] = set()
        while ahead:
            here = ahead.pop()
            if here in seen and here != stream:
                continue
            seen.add(here)
            for above, operator in made_from.get(here, ()):
                operators.add(operator)
                ahead.append(above)
        found[stream] = operators
    return found


def _touched(
    stream: str,
    found: Mapping[tuple[str, int], Found],
    operators: Mapping[str, set[str]],
    made_from: Mapping[str, set[tuple[str, str]]],
) -> Touched:
    here = {number: one for (name, number), one in sorted(found.items()) if name == stream}
    return Touched(
        stream,
        rows=sum(len(one.all) for one in here.values()),
        coarse=sum(len(one.coarse) for one in here.values()),
        partitions={number: tuple(one.all.runs(most=1 << 30)) for number, one in here.items()},
        operators=tuple(sorted(operators.get(stream, ()))),
        made_from=tuple(sorted(made_from.get(stream, ()))),
    )


def _datasets(catalog: Catalog, found: Mapping[tuple[str, int], Found]) -> Iterator[TouchedDataset]:
    rows = {place: one.all for place, one in found.items()}
    for latest in catalog.datasets():
        for version in range(1, latest.version + 1):
            record = latest if version == latest.version else catalog.dataset(latest.name, version)
            counts: dict[str, int] = {}
            for stream, ranges in record.spec.manifest.get("ranges", {}).items():
                for partition, first, end in ranges:
                    here = rows.get((stream, partition))
                    if here is not None and here.meets(first, end):
                        counts[stream] = counts.get(stream, 0) + here.count_in(first, end)
            if counts:
                yield TouchedDataset(record.name, version, counts)


def _as_dict(one: Touched) -> dict[str, Any]:
    return {
        "stream": one.stream,
        "rows": one.rows,
        "granularity": one.granularity,
        "coarse_rows": one.coarse,
        "partitions": {str(number): [list(span) for span in spans] for number, spans in one.partitions.items()},
        "operators": list(one.operators),
        "made_from": [{"stream": stream, "operator": operator} for stream, operator in one.made_from],
    }
