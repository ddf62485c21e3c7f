"""What a log forgets: messages past their topic's retention, and in compact topics all but the newest of each key.

Both work in short write transactions, beside readers and writers. Freed pages are used again; the file does not shrink.
"""

from __future__ import annotations

import sqlite3
import struct
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any, Final

from streams.log.block import COLUMNS, Block, damaged, part, unpack, unpack_keys
from streams.log.database import Database
from streams.log.layout import OFFSET_BITS
from streams.log.protocol import Topic

#: The most blocks that one write transaction removes or one read looks at.
_AT_ONCE: Final = 500


def sweep(database: Database, topic: Topic, now: int) -> int:
    """Drop the messages at the start of each partition that are older than the topic's retention; how many."""
    if topic.retention is None:
        return 0
    kept_from = now - topic.retention
    return sum(_sweep_slot(database, slot, kept_from) for slot, _ in _slots(database, topic))


def compact(database: Database, topic: Topic, tombstones_before: int) -> int:
    """Keep only the newest message of each key, and of keys whose newest message is a None value appended before
    `tombstones_before` none; how many were removed. Memory is bounded: the keys are sorted in a temporary file."""
    removed = 0
    for slot, end in _slots(database, topic):
        try:
            removed += _compact_slot(database, slot, end, tombstones_before)
        except struct.error as error:
            raise damaged(topic.name, 0, end - 1, error) from error
    return removed


def _slots(database: Database, topic: Topic) -> list[tuple[int, int]]:
    with database.reading() as connection:
        return connection.execute("SELECT id, next FROM slot WHERE topic = ?", (topic.name,)).fetchall()


def _sweep_slot(database: Database, slot: int, kept_from: int) -> int:
    low, high = slot << OFFSET_BITS, (slot + 1) << OFFSET_BITS
    removed = 0
    while True:
        with database.reading() as connection:
            first, last, young = connection.execute(
                "SELECT min(id), max(id), min(CASE WHEN time >= ? THEN id END) FROM"
                " (SELECT id, time FROM block WHERE id >= ? AND id < ? ORDER BY id LIMIT ?)",
                (kept_from, low, high, _AT_ONCE),
            ).fetchone()
        if first is None or young == first:
            return removed
        end = last + 1 if young is None else young
        with database.writing(durable=False) as connection:
            (messages,) = connection.execute(
                "SELECT ifnull(sum(count), 0) FROM block WHERE id >= ? AND id < ?", (low, end)
            ).fetchone()
            connection.execute("DELETE FROM block WHERE id >= ? AND id < ?", (low, end))
            _move_first(connection, slot)
        removed += messages
        if young is not None:
            return removed
        low = end


def _compact_slot(database: Database, slot: int, end: int, tombstones_before: int) -> int:
    low = slot << OFFSET_BITS
    # What is appended meanwhile lies beyond the end, and makes no message before it newer than it was.
    high = low + end
    removed = 0
    with database.scratch() as scratch:
        scratch.execute(
            "CREATE TEMP TABLE newest (key BLOB PRIMARY KEY, id INTEGER NOT NULL, dead INTEGER NOT NULL) WITHOUT ROWID"
        )
        for rows in _pieces(scratch, "id, count, time, lengths, key, value IS NULL", low, high):
            for row, count, time, lengths, key, absent in rows:
                keys, dead = unpack_keys(count, lengths, key, bool(absent))
                scratch.executemany(
                    "INSERT INTO newest VALUES (?, ?, ? AND ?)"
                    " ON CONFLICT (key) DO UPDATE SET id = excluded.id, dead = excluded.dead",
                    zip(keys, range(row, row + count), dead, [time < tombstones_before] * count, strict=True),
                )
        scratch.execute("CREATE INDEX temp.living ON newest (id) WHERE NOT dead")
        for rows in _pieces(scratch, "id, count", low, high):
            living = [
                row
                for (row,) in scratch.execute(
                    "SELECT id FROM newest WHERE id >= ? AND id < ? AND NOT dead ORDER BY id",
                    (rows[0][0], rows[-1][0] + rows[-1][1]),
                )
            ]
            thinned = [
                (row, count, kept)
                for row, count in rows
                if len(kept := living[bisect_left(living, row) : bisect_left(living, row + count)]) < count
            ]
            if thinned:
                with database.writing(durable=False) as connection:
                    removed += sum(_thin(connection, *change) for change in thinned)
                    _move_first(connection, slot)
    return removed


def _pieces(connection: sqlite3.Connection, columns: str, low: int, high: int) -> Iterator[list[Any]]:
    """The blocks from row id `low` to before `high`, some at a time; the second column is their count."""
    while rows := connection.execute(
        f"SELECT {columns} FROM block WHERE id >= ? AND id < ? ORDER BY id LIMIT ?", (low, high, _AT_ONCE)
    ).fetchall():
        yield rows
        low = rows[-1][0] + rows[-1][1]


def _thin(connection: sqlite3.Connection, row: int, count: int, kept: Sequence[int]) -> int:
    """Leave only the messages at the row ids `kept` of a block; how many went: none if it was changed meanwhile."""
    found = connection.execute(f"SELECT {COLUMNS} FROM block WHERE id = ? AND count = ?", (row, count)).fetchone()
    if found is None:
        return 0
    connection.execute("DELETE FROM block WHERE id = ?", (row,))
    if kept:
        _, time, *columns = found
        block = Block._make(columns)
        keys, values = unpack(block)
        connection.executemany(
            "INSERT INTO block VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                (row + start, time, *part(keys[start:stop], values[start:stop], block.headers))
                for start, stop in _runs([one - row for one in kept])
            ),
        )
    return count - len(kept)


def _runs(positions: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Runs of consecutive positions, as first and last + 1."""
    start = positions[0]
    for one, other in zip(positions, [*positions[1:], None], strict=True):
        if other != one + 1:
            yield start, one + 1
            start = other or 0


def _move_first(connection: sqlite3.Connection, slot: int) -> None:
    low, high = slot << OFFSET_BITS, (slot + 1) << OFFSET_BITS
    connection.execute(
        "UPDATE slot SET first = coalesce((SELECT min(id) FROM block WHERE id >= ? AND id < ?) - ?, next) WHERE id = ?",
        (low, high, low, slot),
    )
