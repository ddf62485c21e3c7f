"""From the bytes of a fetched partition to columns of committed messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from kafka.errors import CorruptRecordError, UnsupportedCodecError
from kafka.record.memory_records import MemoryRecords

from streams.log.protocol import Corrupt
from streams.message import Headers

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
    """Add the messages of a batch. The client's own reader of them, which makes an object of each, takes five times
    as long; the form is that of https://kafka.apache.org/documentation/#record."""
    iter(batch)  # decompresses
    data, at = bytes(batch._buffer), batch._pos
    base, appended = batch.base_offset, batch.timestamp_type == _APPEND_TIME
    time = batch.max_timestamp if appended else batch.first_timestamp
    size = found.size
    # A message begins where the one before ends.
    for _ in range(batch.records_count):
        length, at = _varint(data, at)
        end = at + length
        later, at = _varint(data, at + 1)
        delta, at = _varint(data, at)
        key, at = _bytes(data, at)
        value, at = _bytes(data, at)
        offset = base + delta
        if offset >= start:
            packed = data[at:end]
            headers = known.get(packed)
            if headers is None:
                headers = known[packed] = _headers(packed)
            size += end - at + (0 if key is None else len(key)) + (0 if value is None else len(value))
            found.offsets.append(offset)
            found.timestamps.append(1000 * (time if appended else time + later))
            found.keys.append(key)
            found.values.append(value)
            # Readers tell runs of equal headers by their identity.
            found.headers.append(headers)
            found.ends.append(size)
        at = end


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
