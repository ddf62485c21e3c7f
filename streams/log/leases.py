"""Who works on what: leases of tasks, and which workers are there.

A lease's expiry permits a takeover; only its epoch, which `Log.writer` advances, fences.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

from streams.log.database import Database
from streams.log.protocol import Held

__all__ = ["Held", "Leases", "is_gone", "owner_name"]

_IDENTITY: Final = re.compile(r"#(\d+)\.(\d+)\.([0-9a-f-]+)$")


class Leases:
    """The leases of one log, and its workers. Every method may raise LogBusy or LogFull.

    An owner or worker named by `owner_name` whose process on this machine is gone counts as gone at once; any
    other when its time has run out.
    """

    def __init__(self, database: Database, clock: Callable[[], int]) -> None:
        self._database = database
        self._clock = clock

    def claim(self, task: str, owner: str, seconds: float) -> bool:
        """Take the task if it is free, expired, the owner's already, or its owner is gone; False if not.

        It fences nobody: `Log.writer` does.
        """
        with self._database.reading() as connection:
            if not self._claimable(connection, task, owner):
                return False
        now = self._clock()
        with self._database.writing(durable=False) as connection:
            if not self._claimable(connection, task, owner):
                return False
            connection.execute(
                "INSERT INTO lease (task, owner, epoch, expires) VALUES (?, ?, 0, ?)"
                " ON CONFLICT (task) DO UPDATE SET owner = excluded.owner, expires = excluded.expires",
                (task, owner, now + _microseconds(seconds)),
            )
        return True

    def renew(self, owner: str, seconds: float) -> list[str]:
        """Hold every task of this owner for `seconds` from now; the tasks that it still holds, sorted."""
        with self._database.writing(durable=False) as connection:
            connection.execute(
                "UPDATE lease SET expires = ? WHERE owner = ?", (self._clock() + _microseconds(seconds), owner)
            )
            rows = connection.execute("SELECT task FROM lease WHERE owner = ? ORDER BY task", (owner,)).fetchall()
        return [task for (task,) in rows]

    def release(self, task: str, owner: str) -> None:
        """Give the task up; nothing happens if another owner has it by now."""
        with self._database.writing(durable=False) as connection:
            connection.execute("UPDATE lease SET owner = '', expires = 0 WHERE task = ? AND owner = ?", (task, owner))

    def held(self) -> list[Held]:
        """All leases that have an owner, expired ones too, by task."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT task, owner, epoch, expires FROM lease WHERE owner != '' ORDER BY task"
            ).fetchall()
        return [Held(*row) for row in rows]

    def announce(self, worker: str, seconds: float) -> None:
        """Say that this worker is there for `seconds` from now; 0 says that it leaves."""
        now = self._clock()
        with self._database.writing(durable=False) as connection:
            connection.execute("DELETE FROM worker WHERE expires <= ? OR name = ?", (now, worker))
            if seconds > 0:
                connection.execute("INSERT INTO worker VALUES (?, ?)", (worker, now + _microseconds(seconds)))

    def workers(self) -> list[str]:
        """The workers that are there, sorted."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT name FROM worker WHERE expires > ? ORDER BY name", (self._clock(),)
            ).fetchall()
        return [name for (name,) in rows if not is_gone(name)]

    def _claimable(self, connection: sqlite3.Connection, task: str, owner: str) -> bool:
        held = connection.execute("SELECT owner, expires FROM lease WHERE task = ?", (task,)).fetchone()
        if held is None:
            return True
        holder, expires = held
        return holder in ("", owner) or expires <= self._clock() or is_gone(holder)


def owner_name(name: str = "") -> str:
    """A name that says which process it belongs to: `name#pid.start.machine`."""
    pid = os.getpid()
    return f"{name}#{pid}.{_started(pid) or 0}.{_machine() or '-'}"


def is_gone(owner: str) -> bool:
    """True if `owner` was made by `owner_name` and its process is known to have ended.

    Known only on Linux and for processes of this boot and this container; otherwise False.
    """
    found = _IDENTITY.search(owner)
    if found is None or found[3] != _machine():
        return False
    pid = int(found[1])
    started = _started(pid)
    if started is not None:
        return started != int(found[2])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False  # there, but hidden from this user
    return _is_defunct(pid)


def _machine() -> str | None:
    """This boot and this container, within which a process number means one process; None if it cannot be told."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot.split('-')[0]}{boot[-8:]}-{Path('/proc/self/ns/pid').stat().st_ino:x}"
    except OSError:
        return None


def _started(pid: int) -> int | None:
    """When a process started, in the kernel's ticks since boot; None if it is not there, or has ended unreaped."""
    fields = _fields(pid)
    return None if not fields or fields[0] in ("Z", "X") else int(fields[19])


def _is_defunct(pid: int) -> bool:
    fields = _fields(pid)
    return bool(fields) and fields[0] in ("Z", "X")


def _fields(pid: int) -> list[str]:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return stat.rpartition(")")[2].split()


def _microseconds(seconds: float) -> int:
    return round(seconds * 1_000_000)
