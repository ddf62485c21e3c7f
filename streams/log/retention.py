"""What a log forgets: messages past their topic's retention, and in compact topics all but the newest of each key.

Both work in short write transactions, beside readers and writers. Freed pages are used again; the file does not shrink.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from streams.log.database import Database
from streams.log.layout import OFFSET_BITS
from streams.log.protocol import Topic

#: The most messages that one write transaction removes.
_REMOVED_AT_ONCE: Final = 1_000
_SCANNED_AT_ONCE: Final = 20_000


def sweep(database: Database, topic: Topic, now: int) -> int:
    """Drop the messages at the start of each partition that are older than the topic's retention; how many."""
    if topic.retention is None:
        return 0
    kept_from = now - topic.retention
    return sum(_sweep_slot(database, slot, kept_from) for slot in _slots(database, topic))


def compact(database: Database, topic: Topic, tombstones_before: int) -> int:
    """Keep only the newest message of each key, and of keys whose newest message is a None value appended before
    `tombstones_before` none; how many were removed. Memory is bounded: the keys are sorted in a temporary file."""
    return sum(_compact_slot(database, slot, tombstones_before) for slot in _slots(database, topic))


def _slots(database: Database, topic: Topic) -> list[int]:
    with database.reading() as connection:
        return [slot for (slot,) in connection.execute("SELECT id FROM slot WHERE topic = ?", (topic.name,)).fetchall()]


def _sweep_slot(database: Database, slot: int, kept_from: int) -> int:
    low, high = slot << OFFSET_BITS, (slot + 1) << OFFSET_BITS
    removed = 0
    while True:
        with database.reading() as connection:
            first, last, young = connection.execute(
                "SELECT min(id), max(id), min(CASE WHEN time >= ? THEN id END) FROM"
                " (SELECT id, time FROM message WHERE id >= ? AND id < ? ORDER BY id LIMIT ?)",
                (kept_from, low, high, _REMOVED_AT_ONCE),
            ).fetchone()
        if first is None or young == first:
            return removed
        end = last + 1 if young is None else young
        with database.writing(durable=False) as connection:
            removed += connection.execute("DELETE FROM message WHERE id >= ? AND id < ?", (low, end)).rowcount
            _move_first(connection, slot)
        if young is not None:
            return removed
        low = end


def _compact_slot(database: Database, slot: int, tombstones_before: int) -> int:
    low, high = slot << OFFSET_BITS, (slot + 1) << OFFSET_BITS
    removed = 0
    with database.scratch() as scratch:
        scratch.execute("CREATE TEMP TABLE newest (key BLOB PRIMARY KEY, id INTEGER NOT NULL) WITHOUT ROWID")
        for first, last in _pieces(scratch, low, high, _SCANNED_AT_ONCE):
            scratch.execute(
                "INSERT INTO newest SELECT key, id FROM message WHERE id BETWEEN ? AND ? AND key IS NOT NULL"
                " ON CONFLICT (key) DO UPDATE SET id = max(id, excluded.id)",
                (first, last),
            )
        # What is appended meanwhile makes no message of these newer than it was: a message found old stays old.
        for first, last in _pieces(scratch, low, high, _REMOVED_AT_ONCE):
            old = scratch.execute(
                "SELECT m.id FROM message AS m CROSS JOIN newest AS n ON n.key = m.key WHERE m.id BETWEEN ? AND ?"
                " AND (m.id < n.id OR (m.id = n.id AND m.value IS NULL AND m.time < ?))",
                (first, last, tombstones_before),
            ).fetchall()
            if old:
                with database.writing(durable=False) as connection:
                    removed += connection.executemany("DELETE FROM message WHERE id = ?", old).rowcount
                    _move_first(connection, slot)
    return removed


def _pieces(connection: sqlite3.Connection, low: int, high: int, size: int) -> list[tuple[int, int]]:
    """The first and last row ids of runs of at most `size` messages, as they stand now."""
    pieces: list[tuple[int, int]] = []
    while True:
        first, last = connection.execute(
            "SELECT min(id), max(id) FROM (SELECT id FROM message WHERE id >= ? AND id < ? ORDER BY id LIMIT ?)",
            (low, high, size),
        ).fetchone()
        if first is None:
            return pieces
        pieces.append((first, last))
        low = last + 1


def _move_first(connection: sqlite3.Connection, slot: int) -> None:
    low, high = slot << OFFSET_BITS, (slot + 1) << OFFSET_BITS
    connection.execute(
        "UPDATE slot SET first = coalesce((SELECT min(id) FROM message WHERE id >= ? AND id < ?) - ?, next)"
        " WHERE id = ?",
        (low, high, low, slot),
    )
