"""From the bytes of a fetched partition to columns of committed messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from kafka.errors import CorruptRecordError, UnsupportedCodecError
from kafka.record.memory_records import MemoryRecords

from streams.log.protocol import Corrupt
from streams.message import Headers

Ints = npt.NDArray[np.int64]

#: The broker's time counts for all messages of a batch.
_APPEND_TIME: Final = 1


class Columns:
    """Messages, column by column, in the order of their offsets. They span the offsets from `start` to before `next`;
    those that have none are markers, aborted, or compacted away. `ends` counts the bytes up to each message's end."""

    __slots__ = ("ends", "headers", "keys", "next", "offsets", "start", "timestamps", "values")

    def __init__(self, start: int) -> None:
        self.start = start
        self.next = start
        self.ends: list[int] = []
        self.offsets: list[int] = []
        self.timestamps: list[int] = []
        self.keys: list[bytes | None] = []
        self.values: list[bytes | None] = []
        self.headers: list[Headers] = []

    @property
    def size(self) -> int:
        return self.ends[-1] if self.ends else 0


def decode(data: bytes, start: int, aborted: Iterable[tuple[int, int]], where: str) -> Columns:
    """The committed messages from offset `start` on. `aborted`: first offset and producer of every transaction in
    `data` that was aborted. Corrupt."""
    found = Columns(start)
    waiting = sorted(aborted, reverse=True)
    dropped: set[int] = set()
    known: dict[bytes, Headers] = {}
    try:
        records = MemoryRecords(data)
        while (batch := records.next_batch()) is not None:
            if not batch.validate_crc():
                raise CorruptRecordError(f"wrong checksum of the batch at offset {batch.base_offset}")
            while waiting and waiting[-1][0] <= batch.last_offset:
                dropped.add(waiting.pop()[1])
            if batch.is_control_batch:
                dropped.discard(batch.producer_id)
            elif not (batch.is_transactional and batch.producer_id in dropped):
                _add(found, batch, start, known)
            found.next = max(found.next, batch.next_offset)
    except (CorruptRecordError, UnsupportedCodecError, UnicodeDecodeError, IndexError) as error:
        raise Corrupt(
            f"Messages from offset {found.next} on cannot be decoded ({error})",
            where=where,
            fix="Check the broker's disk. A compressed topic needs the package of its compression (lz4, zstandard, "
            "python-snappy).",
        ) from error
    return found


def _add(found: Columns, batch: Any, start: int, known: dict[bytes, Headers]) -> None:
    """Add the messages of a batch. The client's own reader of them, which makes an object of each, takes ten times as
    long; the form is that of https://kafka.apache.org/documentation/#record."""
    iter(batch)  # decompresses
    data, count = bytes(batch._buffer), batch.records_count
    if not count:
        return
    starts, stops = _records(data, batch._pos, count)
    whole = np.frombuffer(data, dtype=np.uint8)
    later, at = _varints(whole, starts + 1)
    deltas, at = _varints(whole, at)
    key_lengths, at = _varints(whole, at)
    key_starts, at = at, at + np.maximum(key_lengths, 0)
    value_lengths, at = _varints(whole, at)
    value_starts, at = at, at + np.maximum(value_lengths, 0)
    if (at >= stops).any() or int(stops[-1]) > len(data):
        raise IndexError("a message is longer than it says")
    offsets = batch.base_offset + deltas
    first = int(np.searchsorted(offsets, start))
    if first:
        later, offsets, stops, at = later[first:], offsets[first:], stops[first:], at[first:]
        key_starts, key_lengths = key_starts[first:], key_lengths[first:]
        value_starts, value_lengths = value_starts[first:], value_lengths[first:]
    appended = batch.timestamp_type == _APPEND_TIME
    times = np.full(len(later), batch.max_timestamp) if appended else batch.first_timestamp + later
    sizes = stops - at + np.maximum(key_lengths, 0) + np.maximum(value_lengths, 0)
    found.ends += (found.size + np.cumsum(sizes)).tolist()
    found.offsets += offsets.tolist()
    found.timestamps += (1_000 * times).tolist()
    found.keys += _slices(data, key_starts, key_lengths)
    found.values += _slices(data, value_starts, value_lengths)
    # Readers tell runs of equal headers by their identity.
    for begin, end in zip(at.tolist(), stops.tolist(), strict=True):
        packed = data[begin:end]
        headers = known.get(packed)
        if headers is None:
            headers = known[packed] = _headers(packed)
        found.headers.append(headers)


def _records(data: bytes, at: int, count: int) -> tuple[Ints, Ints]:
    """Where each of the messages that begin at `at` starts, behind its length, and where it ends. A message begins
    where the one before ends, so that nothing but going from one to the next finds them."""
    starts: list[int] = []
    stops: list[int] = []
    add_start, add_stop = starts.append, stops.append
    for _ in range(count):
        low = data[at]
        if low < 0x80:
            length, at = low >> 1, at + 1
        else:
            high = data[at + 1]
            if high < 0x80:
                length, at = (low & 0x7F | high << 7) >> 1, at + 2
            else:
                length, at = _varint(data, at)
        add_start(at)
        at += length
        add_stop(at)
    return np.array(starts, dtype=np.int64), np.array(stops, dtype=np.int64)


def _varints(data: npt.NDArray[np.uint8], at: Ints) -> tuple[Ints, Ints]:
    """The zigzag numbers of seven bits a byte at these places, and where they end."""
    byte = data[at]
    values = (byte & 0x7F).astype(np.int64)
    after = at + 1
    more = np.flatnonzero(byte > 0x7F)
    shift = 7
    while len(more):
        if shift > 63:
            raise IndexError("a number has no end")
        byte = data[after[more]]
        values[more] |= (byte & 0x7F).astype(np.int64) << shift
        after[more] += 1
        more = more[byte > 0x7F]
        shift += 7
    return (values >> 1) ^ -(values & 1), after


def _slices(data: bytes, starts: Ints, lengths: Ints) -> list[bytes | None]:
    """The bytes at these places; None where the length is negative."""
    none = lengths < 0
    if none.all():
        return [None] * len(lengths)
    found: list[bytes | None] = [
        data[start:stop] for start, stop in zip(starts.tolist(), (starts + lengths).tolist(), strict=True)
    ]
    for at in np.flatnonzero(none).tolist():
        found[at] = None
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A zigzag number of seven bits a byte, and where it ends."""
    byte = data[at]
    value = byte & 0x7F
    shift = 7
    while byte > 0x7F:
        at += 1
        byte = data[at]
        value |= (byte & 0x7F) << shift
        shift += 7
    return (value >> 1) ^ -(value & 1), at + 1


def _bytes(data: bytes, at: int) -> tuple[bytes | None, int]:
    length, at = _varint(data, at)
    return (None, at) if length < 0 else (data[at : at + length], at + length)


def _headers(data: bytes) -> Headers:
    count, at = _varint(data, 0)
    found = []
    for _ in range(count):
        name, at = _bytes(data, at)
        value, at = _bytes(data, at)
        found.append(((name or b"").decode(), value or b""))
    return tuple(found)
