"""Reads of the embedded log: from blocks back to messages, within a budget of bytes."""

from __future__ import annotations

import sqlite3
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, repeat
from typing import Final

from streams.log.block import COLUMNS, Block, damaged, unpack
from streams.log.layout import Slot
from streams.message import Fetched, Headers, unpack_headers

#: Lengths are looked up for so many blocks at first, and then for about so many bytes at a time: pages that the sum
#: went over should still be in SQLite's cache when their blocks are read.
_FIRST_LOOK: Final = 64
_BYTES_A_LOOK: Final = 1 << 20

_Row = tuple[int, int, int, bytes, bytes | None, bytes | None, bytes | None]


def fetch(connection: sqlite3.Connection, slot: Slot, offset: int, max_bytes: int) -> Fetched:
    """Messages from `offset` on, of at most `max_bytes`, or one message."""
    # The end is read first: what is committed in between is left for the next call, not skipped.
    end = _end(connection, slot)
    rows, complete = _rows(connection, slot, min(max(offset, 0), end), end, max_bytes)
    found = _Messages.of(rows, slot)
    start = bisect_left(found.offsets, offset)
    stop = len(found.offsets)
    if len(rows) == 1 and start < stop:
        # A single block is taken even if it is too large.
        ends = list(accumulate(map(_size, found.keys[start:], found.values[start:])))
        stop = start + max(bisect_right(ends, max_bytes), 1)
    complete = complete and stop == len(found.offsets)
    return found.slice(start, stop, max(offset, end if complete else found.offsets[stop - 1] + 1))


def fetch_last(connection: sqlite3.Connection, slot: Slot, count: int) -> Fetched:
    """The newest `count` messages, oldest first."""
    end = _end(connection, slot)
    rows: list[_Row] = []
    found = 0
    for row in connection.execute(
        f"SELECT {COLUMNS} FROM block WHERE id >= ? AND id < ? ORDER BY id DESC LIMIT ?",
        (slot.base, slot.base + end, max(count, 0)),
    ):
        rows.append(row)
        found += row[2]
        if found >= count:
            break
    return _Messages.of(rows[::-1], slot).slice(max(found - count, 0), found, end)


@dataclass
class _Messages:
    """Columns of messages, one entry a message."""

    offsets: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    keys: list[bytes | None] = field(default_factory=list)
    values: list[bytes | None] = field(default_factory=list)
    headers: list[Headers] = field(default_factory=list)

    @classmethod
    def of(cls, rows: Sequence[_Row], slot: Slot) -> _Messages:
        """The messages of these blocks. Corrupt if one of them cannot be decoded."""
        if not rows:
            return cls()
        ids, times, _, packed, lengths, keys, values = zip(*rows, strict=True)
        try:
            known = {one: unpack_headers(one) for one in set(packed)}
            if not any(lengths):
                return cls(
                    [one - slot.base for one in ids],
                    list(times),
                    list(keys),
                    list(values),
                    [known[one] for one in packed],
                )
            found = cls()
            for row in rows:
                found._add(Block._make(row[2:]), row[0] - slot.base, row[1], known)
        except (struct.error, ValueError) as error:
            where = f"{slot.topic} {slot.partition}"
            raise damaged(where, ids[0] - slot.base, ids[-1] - slot.base, error) from error
        return found

    def _add(self, block: Block, first: int, time: int, known: Mapping[bytes, Headers]) -> None:
        keys, values = unpack(block)
        self.offsets += range(first, first + block.messages)
        self.times += repeat(time, block.messages)
        self.keys += keys
        self.values += values
        self.headers += repeat(known[block.headers], block.messages)

    def slice(self, start: int, stop: int, after: int) -> Fetched:
        return Fetched(
            tuple(self.offsets[start:stop]),
            tuple(self.times[start:stop]),
            tuple(self.keys[start:stop]),
            tuple(self.values[start:stop]),
            tuple(self.headers[start:stop]),
            after,
        )


def _end(connection: sqlite3.Connection, slot: Slot) -> int:
    (end,) = connection.execute("SELECT next FROM slot WHERE id = ?", (slot.id,)).fetchone()
    return end


def _rows(connection: sqlite3.Connection, slot: Slot, offset: int, end: int, budget: int) -> tuple[list[_Row], bool]:
    """Blocks from the one with `offset` on, within the budget of bytes, and whether they reach the end. Lengths are
    summed before any block is read, so no more is read than is returned, but for the rest of one block."""
    rows: list[_Row] = []
    start, stop = slot.base + offset, slot.base + end
    before = connection.execute(
        "SELECT id, count FROM block WHERE id >= ? AND id <= ? ORDER BY id DESC LIMIT 1", (slot.base, start)
    ).fetchone()
    if before is not None and sum(before) > start:
        start = before[0]
    look = _FIRST_LOOK
    while True:
        count, size = connection.execute(
            "SELECT count(*), sum(size) FROM (SELECT length(headers) + ifnull(length(key), 0)"
            " + ifnull(length(value), 0) AS size FROM block WHERE id >= ? AND id < ? ORDER BY id LIMIT ?)",
            (start, stop, look),
        ).fetchone()
        if not count:
            return rows, True
        fitting = int(budget * count / max(size, 1))
        if size > budget and (rows or count > 1):
            look = min(count - 1, fitting)
            if look < 1 and rows:
                return rows, False
            look = max(look, 1)
            continue
        rows += connection.execute(
            f"SELECT {COLUMNS} FROM block WHERE id >= ? AND id < ? ORDER BY id LIMIT ?", (start, stop, look)
        ).fetchall()
        if count < look:
            return rows, True
        start = rows[-1][0] + rows[-1][2]
        budget -= size
        if fitting == count:
            return rows, False
        look = min(fitting - count, 1 + _BYTES_A_LOOK * count // max(size, 1))


def _size(key: bytes | None, value: bytes | None) -> int:
    return len(key or b"") + len(value or b"")
