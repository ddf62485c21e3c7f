"""One step down: the rows that operators made from given rows, found by the catalog's transactions and the parents in
the messages that these wrote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from catalog import Catalog
from streams.message import LAST, header, unpack_int
from streams.messages import Message, Messages, parents_in
from streams.parents import Addresses, Parents
from streams.row_set import Bools, Ints, RowSet, together


@dataclass(frozen=True, slots=True)
class Found:
    """Rows of one partition: `sure` ones descend from a bad row, `coarse` ones may. No row is in both."""

    sure: RowSet = field(default_factory=RowSet)
    coarse: RowSet = field(default_factory=RowSet)

    def __bool__(self) -> bool:
        return bool(self.sure) or bool(self.coarse)

    @property
    def all(self) -> RowSet:
        return together([self.sure, self.coarse])

    def beyond(self, known: Found) -> Found:
        """What is new: rows not known so far, and coarse ones that are sure now."""
        return Found(self.sure.without(known.sure), self.coarse.without(known.sure).without(known.coarse))

    def plus(self, new: Found) -> Found:
        sure = together([self.sure, new.sure])
        return Found(sure, together([self.coarse, new.coarse]).without(sure))


#: Where rows lie: stream and partition.
Place = tuple[str, int]


class Descendants:
    """Finds what was made from rows, one operator further down."""

    def __init__(self, messages: Messages, catalog: Catalog) -> None:
        self._messages = messages
        self._catalog = catalog

    def of(self, stream: str, given: Mapping[int, Found]) -> Iterator[tuple[Place, str, Found]]:
        """For each partition of each stream that has any: the operator, and the rows that it made from the rows
        `given` by partition."""
        every = {number: one.all for number, one in given.items()}
        for (place, operator), spans in self._candidates(stream, every).items():
            sure: list[tuple[Ints, Ints]] = []
            coarse: list[tuple[Ints, Ints]] = []
            for first, end in _merged(spans):
                for message in self._messages.between(*place, first, end):
                    parts = parents_in(message.headers, f"{place[0]} {place[1]}:{message.offset}")
                    if parts is not None:
                        offsets, rows = self._rows(place, message, parts)
                        surely, perhaps = _descend(stream, given, every, parts, len(offsets))
                        sure.append((offsets[surely], rows[surely]))
                        coarse.append((offsets[perhaps], rows[perhaps]))
            found = Found(_row_set(sure), _row_set(coarse))
            if found:
                yield place, operator, found

    def _candidates(self, stream: str, given: Mapping[int, RowSet]) -> dict[tuple[Place, str], list[tuple[int, int]]]:
        """The offset ranges that were written by transactions whose parents meet the given rows."""
        found: dict[tuple[Place, str], list[tuple[int, int]]] = {}
        for partition, rows in given.items():
            for first, end in rows.runs():
                for record in self._catalog.transactions(stream, partition, first, end, direction="parent"):
                    places = {
                        (span.made_stream, span.made_partition)
                        for span in record.spans
                        if span.direction == "parent"
                        and (span.stream, span.partition) == (stream, partition)
                        and rows.meets(span.first, span.end)
                    }
                    for span in record.spans:
                        place = (span.stream, span.partition)
                        if span.direction == "made" and place in places:
                            found.setdefault((place, record.operator), []).append((span.first, span.end))
        return found

    def _rows(self, place: Place, message: Message, parts: Parents) -> tuple[Ints, Ints]:
        """Offsets and rows of the batch whose parents this message has."""
        if self._messages.stream(place[0]).row_coded:
            count = unpack_int(header(message.headers, LAST) or b"")
            return np.arange(message.offset + 1 - count, message.offset + 1), np.zeros(count, dtype=np.int64)
        known = [len(part) for part in parts if isinstance(part, Addresses)]
        count = known[0] if known else self._messages.count(*place, message)
        return np.full(count, message.offset, dtype=np.int64), np.arange(count, dtype=np.int64)


def _descend(
    stream: str, given: Mapping[int, Found], every: Mapping[int, RowSet], parts: Parents, count: int
) -> tuple[Bools, Bools]:
    """Which of `count` rows with these parents descend from the given rows of a stream, surely and perhaps."""
    sure = np.zeros(count, dtype=bool)
    coarse = np.zeros(count, dtype=bool)
    for part in parts:
        if not isinstance(part, Addresses):
            if any(
                one.stream == stream and one.partition in every and every[one.partition].meets(one.first, one.end)
                for one in part.ranges
            ):
                coarse[:] = True
        elif part.stream == stream:
            for number, rows in given.items():
                here = np.asarray(part.partition) == number
                if here.any():
                    sure |= here & rows.sure.has(part.offset, part.row)
                    coarse |= here & rows.coarse.has(part.offset, part.row)
    return sure, coarse & ~sure


def _row_set(found: list[tuple[Ints, Ints]]) -> RowSet:
    if not found:
        return RowSet()
    return RowSet.of(np.concatenate([offsets for offsets, _ in found]), np.concatenate([rows for _, rows in found]))


def _merged(spans: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Ranges in their order, those that touch put together."""
    ordered = sorted(set(spans))
    first, end = ordered[0]
    for start, stop in ordered[1:]:
        if start > end:
            yield first, end
            first, end = start, stop
        else:
            end = max(end, stop)
    yield first, end
