"""The SQLite file under the embedded log: its connections, and write transactions one at a time.

What lies in the tables is left to `layout`, `embedded`, `leases` and `retention`.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import InitVar, dataclass, field
from pathlib import Path
from typing import Final, Literal

from catalog.forks import Gate, close_at_forks
from streams.log.explain import busy, explained, is_busy
from streams.log.layout import PAGE, is_fresh, lay_out
from streams.log.line import Line
from streams.log.protocol import Fenced, LogBusy, LogError

Synchronous = Literal["full", "normal"]

_CHECKPOINT_BYTES: Final = 16 << 20
_JOURNAL_KEPT: Final = 64 << 20
_TRANSACTION_BYTES: Final = 4 * PAGE


class Database:
    """One log file as seen by one process, safe for many threads.

    Readers take a connection from a pool for the length of one call. Writes go over one connection, one transaction
    at a time; threads and processes take turns. While the process forks no connection is open; parent and child then
    open their own.
    """

    def __init__(self, path: Path | str, *, synchronous: Synchronous, busy_timeout: float) -> None:
        if synchronous not in ("full", "normal"):
            raise LogError(
                f"synchronous is {synchronous!r}", where=str(path), fix='Use "full" (survives power loss) or "normal".'
            )
        self.path = Path(path).absolute()
        self.busy_timeout = busy_timeout
        self._synchronous = synchronous
        self._closed = False
        self._watches = 0
        self._opened = _Opened(self.path)
        self._inherited: list[_Opened] = []
        close_at_forks(self)
        self._prepare()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection for reads that finish before it is given back."""
        opened = self._here()
        with opened.gate.entered(), self.explaining():
            try:
                connection = opened.idle.pop()
            except IndexError:
                connection = self._connect()
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
            if self._closed:
                connection.close()
            else:
                opened.idle.append(connection)

    @contextmanager
    def scratch(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own for reads and temporary tables, which lie on disk."""
        opened = self._here()
        with opened.gate.entered(), self.explaining():
            connection = self._connect()
            try:
                yield connection
            finally:
                connection.close()

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """A write transaction, committed at the end, rolled back by any error. One that is not `durable` may be
        undone by a power loss (never by the end of a process) until the next durable one."""
        transaction = self.begin(durable=durable)
        with transaction.use() as connection:
            yield connection
        transaction.commit()

    def begin(self, task: str | None = None, *, durable: bool = True) -> Transaction:
        """Open a write transaction, after waiting for others at most `busy_timeout` seconds. LogBusy."""
        opened = self._here()
        deadline = time.monotonic() + self.busy_timeout
        transaction = Transaction(self, task)
        with transaction.lock:
            self._take_turn(opened, transaction, deadline)
            opened.gate.enter(transaction.thread)
            try:
                with self.explaining(writing=True):
                    transaction.connection = self._writable(opened, durable)
                    with opened.line.standing(until=deadline - self.busy_timeout / 2):
                        self._begin_immediate(transaction.connection, deadline)
                        if opened.unsettled >= _CHECKPOINT_BYTES:
                            self._checkpoint(opened)
                            # Only a transaction that begins after the checkpoint may restart the journal.
                            transaction.connection.execute("ROLLBACK")
                            self._begin_immediate(transaction.connection, deadline)
                    transaction.open = True
            except BaseException:
                self.ended(transaction, committed=False)
                raise
        return transaction

    def expel(self, task: str) -> None:
        """Roll back the transaction that a writer of this task has open in this process, if any."""
        current = self._here().current
        if current is not None and current.task == task:
            current.rollback()

    def ended(self, transaction: Transaction, *, committed: bool) -> None:
        """The transaction is over, the next one may begin."""
        opened = self._opened
        opened.gate.leave(transaction.thread)
        with opened.turn:
            if committed:
                opened.unsettled += transaction.written + _TRANSACTION_BYTES
            if opened.current is transaction:
                opened.current = None
            opened.turn.notify_all()

    def version(self) -> int:
        """A number that differs whenever something was committed by anyone in between."""
        opened = self._here()
        with opened.gate.entered(), opened.watching, self.explaining():
            if opened.watch is None:
                opened.watch = self._connect()
                self._watches += 1
            (version,) = opened.watch.execute("PRAGMA data_version").fetchone()
            # The numbers of one connection say nothing about those of another.
            return (self._watches << 40) + version

    def doze(self, seconds: float) -> None:
        """Sleep, but not beyond a commit of this process."""
        opened = self._here()
        with opened.turn:
            opened.turn.wait(seconds)

    def close(self) -> None:
        """Roll back what is open and close every connection."""
        opened = self._opened
        if not self._closed and opened.pid == os.getpid():
            if opened.current is not None:
                opened.current.rollback()
            self._closed = True
            opened.close()
            opened.line.close()
        self._closed = True

    def before_fork(self) -> None:
        """Close every connection, after waiting for those in use."""
        opened = self._opened
        if opened.pid == os.getpid() and opened.gate.shut():
            opened.close()

    def after_fork(self) -> None:
        """Connections may be opened again."""
        if self._opened.pid == os.getpid():
            self._opened.gate.reopen()

    @contextmanager
    def explaining(self, *, writing: bool = False) -> Iterator[None]:
        """SQLite's errors become ours."""
        try:
            yield
        except sqlite3.Error as error:
            raise explained(error, self.path, writing=writing, seconds=self.busy_timeout) from error

    def _here(self) -> _Opened:
        if self._closed:
            raise LogError("The log was closed", where=str(self.path), fix="Open it again.")
        if self._opened.pid != os.getpid():
            # A forked child may neither use nor close its parent's connections: they stay referenced, unused.
            self._inherited.append(self._opened)
            self._opened = _Opened(self.path)
        return self._opened

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=self.busy_timeout, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        return connection

    def _writable(self, opened: _Opened, durable: bool) -> sqlite3.Connection:
        connection = opened.write
        if connection is None:
            connection = self._connect()
            connection.execute("PRAGMA busy_timeout = 0")
            connection.execute("PRAGMA fullfsync = 1")
            connection.execute("PRAGMA cache_size = -16000")
            connection.execute(f"PRAGMA journal_size_limit = {_JOURNAL_KEPT}")
            opened.write, opened.durable = connection, None
        if opened.durable is not durable:
            connection.execute(f"PRAGMA synchronous = {self._synchronous if durable else 'normal'}")
            opened.durable = durable
        return connection

    def _take_turn(self, opened: _Opened, transaction: Transaction, deadline: float) -> None:
        with opened.turn:
            while (current := opened.current) is not None:
                if current.thread == transaction.thread:
                    raise LogBusy(
                        f"This thread has a transaction open already (task {current.task!r})",
                        where=str(self.path),
                        fix="Commit or abort what was flushed before anything else is written.",
                    )
                left = deadline - time.monotonic()
                if left <= 0:
                    raise busy(self.path, self.busy_timeout)
                opened.turn.wait(left)
            opened.current = transaction

    def _begin_immediate(self, connection: sqlite3.Connection, deadline: float) -> None:
        # SQLite's own waiting backs off to 100 ms, which loses most races against processes that commit in a loop.
        pause = 0.0002
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if not is_busy(error) or time.monotonic() >= deadline:
                    raise
            time.sleep(pause)
            pause = min(1.5 * pause, 0.001)

    def _checkpoint(self, opened: _Opened) -> None:
        # SQLite before 3.51.3 can lose pages when a checkpoint runs beside a commit that restarts the journal. So no
        # connection checkpoints by itself: a second one does it while the write lock is held here. If that fails
        # nothing is lost, the journal grows until the next try; a full disk shows itself in the commit.
        with suppress(LogError), self.reading() as other:
            other.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            opened.unsettled = 0

    def _prepare(self) -> None:
        if not self.path.parent.is_dir():
            raise LogError(
                f"There is no folder {self.path.parent}", where=str(self.path), fix="Make it, or name another path."
            )
        if sqlite3.sqlite_version_info < (3, 37):
            raise LogError(
                f"SQLite {sqlite3.sqlite_version} is too old", where=str(self.path), fix="Use SQLite 3.37 or newer."
            )
        with self.scratch() as connection:
            if not is_fresh(connection, self.path):
                return
            deadline = time.monotonic() + self.busy_timeout
            connection.execute(f"PRAGMA page_size = {PAGE}")
            while True:
                # Several processes may do this at once, and the change of mode does not wait by itself.
                try:
                    connection.execute("PRAGMA journal_mode = WAL")
                    break
                except sqlite3.OperationalError as error:
                    if not is_busy(error) or time.monotonic() >= deadline:
                        raise
                time.sleep(0.005)
            self._begin_immediate(connection, deadline)
            lay_out(connection, self.path)
            connection.execute("COMMIT")


class Transaction:
    """An open write transaction. Any error while it is in use rolls it back; so may `Database.expel`."""

    connection: sqlite3.Connection

    def __init__(self, database: Database, task: str | None) -> None:
        self.task = task
        self.thread = threading.get_ident()
        self.lock = threading.RLock()
        self.open = False
        self.written = 0
        self._database = database

    @contextmanager
    def use(self) -> Iterator[sqlite3.Connection]:
        """The connection, for statements inside this transaction. Fenced if it was rolled back from outside."""
        with self.lock:
            if not self.open:
                raise Fenced(
                    "The transaction was ended by a newer owner of the task", where=self.task, fix="Stop this task."
                )
            try:
                with self._database.explaining(writing=True):
                    yield self.connection
            except BaseException:
                self.rollback()
                raise

    def commit(self) -> None:
        with self.use() as connection:
            connection.execute("COMMIT")
            self.open = False
        self._database.ended(self, committed=True)

    def rollback(self) -> None:
        with self.lock:
            if not self.open:
                return
            self.open = False
            try:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
            finally:
                self._database.ended(self, committed=False)


@dataclass
class _Opened:
    """What one process has open."""

    path: InitVar[Path]
    pid: int = field(default_factory=os.getpid)
    idle: list[sqlite3.Connection] = field(default_factory=list)
    write: sqlite3.Connection | None = None
    durable: bool | None = None
    watch: sqlite3.Connection | None = None
    watching: threading.Lock = field(default_factory=threading.Lock)
    turn: threading.Condition = field(default_factory=threading.Condition)
    current: Transaction | None = None
    unsettled: int = 0
    gate: Gate = field(default_factory=Gate)
    line: Line = field(init=False)

    def __post_init__(self, path: Path) -> None:
        self.line = Line(path)

    def close(self) -> None:
        with self.watching:
            for connection in (*self.idle, self.write, self.watch):
                if connection is not None:
                    connection.close()
            self.idle.clear()
            self.write = self.watch = self.durable = None
