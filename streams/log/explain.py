"""SQLite's errors in our words: what went wrong with a log file and what to do."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from streams.log.protocol import Corrupt, LogBusy, LogError, LogFull


def is_busy(error: sqlite3.Error) -> bool:
    """True if another connection holds a lock that the statement needs."""
    return _primary(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def busy(path: Path, seconds: float) -> LogBusy:
    return LogBusy(
        f"The log was held by another writer for more than {seconds:g} s; nothing was written",
        where=str(path),
        fix="Try again; if it stays so, look for a stopped process that has the file open.",
    )


def explained(error: sqlite3.Error, path: Path, *, writing: bool, seconds: float) -> LogError:
    """The error of ours that this one means; `seconds` is how long others were waited for."""
    where = str(path)
    if is_busy(error):
        return busy(path, seconds)
    match _primary(error):
        case sqlite3.SQLITE_FULL:
            return LogFull(
                "There is no room to write the log; nothing was written",
                where=where,
                fix="Free space on its disk, or shorten the retention of large topics, and try again.",
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return LogFull(
                "The log may not be written; nothing was written",
                where=where,
                fix="Allow this user to write the file, the files beside it and the folder.",
            )
        case sqlite3.SQLITE_IOERR if writing:
            return LogFull(
                f"The log could not be written ({error}); nothing was written",
                where=where,
                fix="See that its disk has room and is sound, and try again.",
            )
        case sqlite3.SQLITE_CANTOPEN:
            return LogError(
                "The log cannot be opened",
                where=where,
                fix="See that the path is a file in a folder that is there, and that this user may write both.",
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return Corrupt(
                f"The file is damaged or is not a log ({error})",
                where=where,
                fix="Name the right file or restore it from a copy; `sqlite3 FILE .recover` saves what can be read.",
            )
        case sqlite3.SQLITE_TOOBIG:
            return LogError("A message is too large for the log", where=where, fix="Split it; 1 GB is the most.")
    if isinstance(error, sqlite3.DataError):
        return LogError("A message is too large for the log", where=where, fix="Split it; 1 GB is the most.")
    return LogError(f"SQLite refused: {error}", where=where, fix="The log is as it was before.")


def _primary(error: sqlite3.Error) -> int | None:
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
