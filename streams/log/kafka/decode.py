"""From the bytes of a fetched partition to columns of committed messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kafka.errors import CorruptRecordError, UnsupportedCodecError
from kafka.record.memory_records import MemoryRecords

from streams.log.protocol import Corrupt
from streams.message import Headers


class Columns:
    """Messages, column by column, in the order of their offsets. They span the offsets from `start` to before `next`;
    those that have none are markers, aborted, or compacted away."""

    __slots__ = ("headers", "keys", "next", "offsets", "size", "start", "timestamps", "values")

    def __init__(self, start: int) -> None:
        self.start = start
        self.next = start
        self.size = 0
        self.offsets: list[int] = []
        self.timestamps: list[int] = []
        self.keys: list[bytes | None] = []
        self.values: list[bytes | None] = []
        self.headers: list[Headers] = []


def decode(data: bytes, start: int, aborted: Iterable[tuple[int, int]], where: str) -> Columns:
    """The committed messages from offset `start` on. `aborted`: first offset and producer of every transaction in
    `data` that was aborted. Corrupt."""
    found = Columns(start)
    waiting = sorted(aborted, reverse=True)
    dropped: set[int] = set()
    known: dict[Headers, Headers] = {}
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
    except (CorruptRecordError, UnsupportedCodecError, UnicodeDecodeError) as error:
        raise Corrupt(
            f"Messages from offset {found.next} on cannot be decoded ({error})",
            where=where,
            fix="Check the broker's disk. A compressed topic needs the package of its compression (lz4, zstandard, "
            "python-snappy).",
        ) from error
    return found


def _add(found: Columns, batch: Any, start: int, known: dict[Headers, Headers]) -> None:
    for record in batch:
        if record.offset < start:
            continue
        headers = tuple((name, value or b"") for name, value in record.headers)
        found.offsets.append(record.offset)
        found.timestamps.append(1000 * record.timestamp)
        found.keys.append(record.key)
        found.values.append(record.value)
        # Readers tell runs of equal headers by their identity.
        found.headers.append(known.setdefault(headers, headers))
        found.size += record.size_in_bytes
