"""How a log file is laid out: its tables, how a file is recognised as a log, and how an empty one becomes one."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final, NamedTuple

from streams.log.protocol import Corrupt, LogError

#: A block's row id is its slot (one a partition) above this many bits for the offset of its first message.
OFFSET_BITS: Final = 40
PAGE: Final = 8192

_SMALLEST_PAGE: Final = 512
_APPLICATION: Final = 0x48574C47
_VERSION: Final = 1

_TABLES: Final = (
    "CREATE TABLE topic (name TEXT PRIMARY KEY, partitions INTEGER NOT NULL, retention INTEGER,"
    " compact INTEGER NOT NULL) STRICT",
    "CREATE TABLE slot (id INTEGER PRIMARY KEY, topic TEXT NOT NULL, partition INTEGER NOT NULL,"
    " first INTEGER NOT NULL, next INTEGER NOT NULL, UNIQUE (topic, partition)) STRICT",
    "CREATE TABLE block (id INTEGER PRIMARY KEY, time INTEGER NOT NULL, count INTEGER NOT NULL, headers BLOB NOT NULL,"
    " lengths BLOB, key BLOB, value BLOB) STRICT",
    "CREATE TABLE lease (task TEXT PRIMARY KEY, owner TEXT NOT NULL, epoch INTEGER NOT NULL,"
    " expires INTEGER NOT NULL) STRICT",
    "CREATE TABLE worker (name TEXT PRIMARY KEY, expires INTEGER NOT NULL) STRICT",
)


class Slot(NamedTuple):
    """One partition of a topic: the high bits of its blocks' row ids."""

    id: int
    topic: str
    partition: int
    compact: bool

    @property
    def base(self) -> int:
        """The row id of offset 0."""
        return self.id << OFFSET_BITS


def is_fresh(connection: sqlite3.Connection, path: Path) -> bool:
    """True for an empty file, False for a log. Corrupt for another SQLite file, LogError for another format."""
    # SQLite takes any file below its smallest page for an empty one. The size is asked of the file system: opening
    # and closing the file here would drop the locks that this process holds on it.
    if 0 < path.stat().st_size < _SMALLEST_PAGE:
        raise Corrupt("The file is not a log", where=str(path), fix="Name another path for the log.")
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application == _APPLICATION and version == _VERSION:
        return False
    if application == _APPLICATION:
        raise LogError(
            f"The log has format {version}, this version of Headwater knows {_VERSION}",
            where=str(path),
            fix="Use the version of Headwater that wrote it, or a newer one.",
        )
    if tables or application:
        raise Corrupt("This is a SQLite file, but not a log", where=str(path), fix="Name another path for the log.")
    return True


def lay_out(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables, in the write transaction that is open, unless another process was first."""
    if is_fresh(connection, path):
        for statement in _TABLES:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {_APPLICATION}")
        connection.execute(f"PRAGMA user_version = {_VERSION}")
