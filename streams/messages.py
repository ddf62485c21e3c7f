"""Messages looked up by offset: sets of them at once, each read from the log once while it is remembered."""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from streams.log.protocol import Corrupt, Log
from streams.message import LAST, PARENTS, Fetched, Headers, header, unpack_int
from streams.parents import Parents, decode_parents, mode_of
from streams.read import PartitionReader
from streams.schema import Schema
from streams.stream import Stream

#: So many bytes of messages are remembered; the ones that were not asked for longest are forgotten first.
REMEMBERED = 96 << 20
#: The parents of so many batches of a partition are remembered.
BATCHES = 256


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it lies in a partition; `time` is when it was appended, in microseconds since 1970."""

    offset: int
    time: int
    key: bytes | None
    value: bytes | None
    headers: Headers

    @property
    def size(self) -> int:
        return len(self.value or b"") + sum(len(value) for _, value in self.headers) + 200


@dataclass(frozen=True, slots=True)
class Origin:
    """The parents of the rows of one written batch: `parts` with their granularity, one each way of descent; `first`
    is the offset of the batch's first message."""

    first: int
    parts: Parents
    granularity: tuple[str, ...]


#: Why there is no `Origin`: nobody recorded it, or the message that had it is gone.
Unknown = Literal["unrecorded", "gone"]


class Messages:
    """Looks messages up by their offsets. `streams` and `schemas` find a stream by name and a schema by id."""

    def __init__(self, log: Log, streams: Callable[[str], Stream], schemas: Callable[[int], Schema]) -> None:
        self._log = log
        self._streams = streams
        self._schemas = schemas
        self._known: OrderedDict[tuple[str, int, int], Message] = OrderedDict()
        self._size = 0
        self._mean: dict[tuple[str, int], int] = {}
        self._origins: dict[tuple[str, int], _Origins] = {}
        self._readers: dict[str, PartitionReader] = {}

    def stream(self, name: str) -> Stream:
        """NotRegistered if the catalog does not hold it."""
        return self._streams(name)

    def at(self, stream: str, partition: int, offsets: Iterable[int]) -> dict[int, Message]:
        """The messages at these offsets; those that are not there (any more) are left out."""
        wanted = sorted(set(offsets))
        found = {offset: known for offset in wanted if (known := self._remembered(stream, partition, offset))}
        missing = [offset for offset in wanted if offset not in found]
        for message in self._read(stream, partition, missing):
            self._remember(stream, partition, message)
            found[message.offset] = message
        return found

    def between(self, stream: str, partition: int, first: int, end: int) -> Iterator[Message]:
        """The messages from `first` up to, not including, `end`, in their order; nothing of them is remembered."""
        while first < end:
            fetched = self._log.read(stream, partition, first)
            for message in _messages(fetched):
                if message.offset >= end:
                    return
                yield message
            if not len(fetched):
                return
            first = fetched.next

    def rows(self, stream: str, partition: int, wanted: Mapping[int, Sequence[int]]) -> dict[tuple[int, int], Any]:
        """Rows as dicts by (offset, row), for the rows `wanted` of each offset; those that are not there are left out.
        Corrupt if a message cannot be decoded."""
        found = self.at(stream, partition, wanted)
        if self._streams(stream).row_coded:
            messages = [
                message for offset, message in found.items() if message.value is not None and 0 in wanted[offset]
            ]
            decoded = self.decoded(stream, partition, messages).to_pylist() if messages else []
            return {(message.offset, 0): row for message, row in zip(messages, decoded, strict=True)}
        rows: dict[tuple[int, int], Any] = {}
        for offset, message in found.items():
            whole = self.decoded(stream, partition, [message])
            here = [row for row in wanted[offset] if row < whole.num_rows]
            rows |= zip(
                [(offset, row) for row in here], whole.take(pa.array(here, pa.int64())).to_pylist(), strict=True
            )
        return rows

    def count(self, stream: str, partition: int, message: Message) -> int:
        """How many rows a message has."""
        if self._streams(stream).row_coded:
            return 1
        return int(self.decoded(stream, partition, [message]).num_rows)

    def decoded(self, stream: str, partition: int, messages: Sequence[Message]) -> pa.RecordBatch:
        """The rows of messages of one partition, which need not be neighbours; of one message if it holds a batch."""
        reader = self._readers.get(stream)
        if reader is None:
            reader = self._readers[stream] = PartitionReader(self._log, self._streams(stream), partition, self._schemas)
        fetched = Fetched(
            [one.offset for one in messages],
            [one.time for one in messages],
            [one.key for one in messages],
            [one.value for one in messages],
            [one.headers for one in messages],
            messages[-1].offset + 1,
        )
        return reader.decode(fetched)

    def origin(self, stream: str, partition: int, message: Message) -> Origin | Unknown:
        """The parents of the batch that the message was written with. On a row-coded stream the batch's last message
        has them, so it reads on to that one."""
        known = self._origins.setdefault((stream, partition), _Origins())
        found = known.at(message.offset)
        if found is not None:
            return found.origin
        first = last = message.offset
        headers = message.headers
        if self._streams(stream).row_coded:
            closing = self._closing(stream, partition, message)
            if closing is None:
                return "gone"
            last, headers = closing.offset, closing.headers
            first = last + 1 - unpack_int(header(headers, LAST) or b"")
            if first > message.offset:
                # The last message of this batch is gone, and the one found ends a later batch.
                return "gone"
        parts = parents_in(headers, f"{stream} {partition}:{last}")
        origin: Origin | Unknown = "unrecorded"
        if parts is not None:
            origin = Origin(first, parts, tuple(mode_of(part) for part in parts))
        known.add(_Known(first, last, origin))
        return origin

    def _closing(self, stream: str, partition: int, message: Message) -> Message | None:
        """The message from this one on that ends a batch."""
        here: Message | None = message
        offset, size = message.offset, 1 << 16
        while here is not None:
            if header(here.headers, LAST) is not None:
                return here
            offset = here.offset + 1
            here = self._remembered(stream, partition, offset)
        while len(fetched := self._log.read(stream, partition, offset, max_bytes=size)):
            for one in _messages(fetched):
                self._remember(stream, partition, one)
                if header(one.headers, LAST) is not None:
                    return one
            offset, size = fetched.next, min(4 * size, 4 << 20)
        return None

    def _read(self, stream: str, partition: int, offsets: Sequence[int]) -> Iterator[Message]:
        """Messages at ascending offsets, reading little more than them: neighbours at once, others one by one."""
        at = 0
        while at < len(offsets):
            run = at
            while run + 1 < len(offsets) and offsets[run + 1] == offsets[run] + 1:
                run += 1
            budget = max(self._mean.get((stream, partition), 1) * (run + 1 - at), 1)
            fetched = self._log.read(stream, partition, offsets[at], max_bytes=min(budget, 4 << 20))
            if not len(fetched):
                return
            messages = list(_messages(fetched))
            self._mean[stream, partition] = sum(one.size for one in messages) // len(messages) + 1
            by_offset = {one.offset: one for one in messages}
            reached = bisect_left(offsets, fetched.next, at)
            yield from (by_offset[offset] for offset in offsets[at:reached] if offset in by_offset)
            at = reached

    def _remembered(self, stream: str, partition: int, offset: int) -> Message | None:
        place = (stream, partition, offset)
        known = self._known.get(place)
        if known is not None:
            self._known.move_to_end(place)
        return known

    def _remember(self, stream: str, partition: int, message: Message) -> None:
        place = (stream, partition, message.offset)
        if place not in self._known:
            self._size += message.size
        self._known[place] = message
        while self._size > REMEMBERED and len(self._known) > 1:
            _, forgotten = self._known.popitem(last=False)
            self._size -= forgotten.size


def parents_in(headers: Headers, where: str) -> Parents | None:
    """The parents that a message's headers hold, None if they hold none. Corrupt, with the place, for damaged ones."""
    packed = header(headers, PARENTS)
    try:
        return None if packed is None else decode_parents(packed)
    except Corrupt as error:
        raise Corrupt(error.what, where=where, fix=error.fix) from error


@dataclass(frozen=True, slots=True)
class _Known:
    first: int
    last: int
    origin: Origin | Unknown


class _Origins:
    """The batches of one partition whose parents are known, by their offsets."""

    def __init__(self) -> None:
        self._lasts: list[int] = []
        self._batches: list[_Known] = []

    def at(self, offset: int) -> _Known | None:
        place = bisect_left(self._lasts, offset)
        if place < len(self._batches) and self._batches[place].first <= offset:
            return self._batches[place]
        return None

    def add(self, known: _Known) -> None:
        if len(self._lasts) >= BATCHES:
            self._lasts.clear()
            self._batches.clear()
        place = bisect_left(self._lasts, known.last)
        self._lasts.insert(place, known.last)
        self._batches.insert(place, known)


def _messages(fetched: Fetched) -> Iterator[Message]:
    return map(Message, fetched.offsets, fetched.timestamps, fetched.keys, fetched.values, fetched.headers)
