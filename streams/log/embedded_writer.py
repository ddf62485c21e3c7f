"""The writer of the embedded log: buffers a task's appends and commits them in one fenced transaction."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, chain
from typing import NamedTuple

from streams.log.block import Block, pack
from streams.log.database import Database, Transaction
from streams.log.layout import Slot
from streams.log.protocol import Fenced, LogError, Placed
from streams.message import Headers


class EmbeddedWriter:
    """The one owner of a task's writes; `Writer` in streams/log/protocol.py is its contract. Appends wait in memory
    until `flush` or `commit`."""

    def __init__(
        self,
        database: Database,
        slot: Callable[[str, int], Slot],
        clock: Callable[[], int],
        task: str,
        epoch: int,
    ) -> None:
        self.task = task
        self.epoch = epoch
        self._database = database
        self._slot = slot
        self._clock = clock
        self._pid = os.getpid()
        self._fenced = False
        self._closed = False
        self._pending: list[_Append] = []
        self._transaction: Transaction | None = None
        self._next: dict[int, int] = {}

    def append(
        self,
        topic: str,
        partition: int,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        headers: Headers | Sequence[Headers],
    ) -> None:
        """Add messages to the open transaction (the first append opens one). `headers` is one tuple for
        all messages or a list with one a message. UnknownTopic; LogError if the lengths differ or a compact
        topic's message has no key."""
        self._check()
        slot = self._slot(topic, partition)
        count = len(values)
        one_for_all = isinstance(headers, tuple)
        if len(keys) != count or not (one_for_all or len(headers) == count):
            raise LogError(
                f"{len(keys)} keys, {count} values and {1 if one_for_all else len(headers)} headers do not go together",
                where=f"{topic} {partition}",
                fix="Give one key and one value a message, and headers once or one a message.",
            )
        if slot.compact and None in keys:
            raise LogError("A message of a compact topic has no key", where=topic, fix="Give every message a key.")
        self._pending.append(_Append(slot, count, pack(keys, values, headers)))

    def flush(self) -> list[Placed]:
        """Fix the offsets of all appends since the last flush of this transaction, one entry an append, in
        order. Until `commit` or `abort` other writers of the file wait. Raises Fenced, LogBusy or LogFull; the
        transaction is then gone."""
        self._check()
        pending, self._pending = self._pending, []
        if not pending:
            return []
        transaction = self._transaction or self._begin()
        with self._ending_on_error(), transaction.use() as connection:
            now = self._clock()
            placed = [self._place(connection, append) for append in pending]
            connection.executemany(
                "INSERT INTO block VALUES (?, ?, ?, ?, ?, ?, ?)",
                chain.from_iterable(append.rows(place, now) for append, place in zip(pending, placed, strict=True)),
            )
            connection.executemany(
                "UPDATE slot SET next = ? WHERE id = ?", ((after, slot) for slot, after in self._next.items())
            )
        transaction.written += sum(append.size for append in pending)
        return placed

    def commit(self, *, seen: bool = True) -> None:
        """Make everything appended visible and durable, at once. Raises Fenced, LogBusy or LogFull; then
        nothing of it is visible. Without an append since the last commit it does nothing."""
        self._check()
        self.flush()
        transaction, self._transaction = self._transaction, None
        self._next = {}
        if transaction is not None:
            with self._ending_on_error():
                transaction.commit()

    def abort(self) -> None:
        """Drop the open transaction, if any."""
        transaction, self._transaction = self._transaction, None
        self._pending = []
        self._next = {}
        if transaction is not None and self._pid == os.getpid():
            transaction.rollback()

    def close(self) -> None:
        """Abort, and give the task up. LogBusy, LogFull."""
        self.abort()
        if self._closed or self._fenced or self._pid != os.getpid():
            self._closed = True
            return
        self._closed = True
        with self._database.writing(durable=False) as connection:
            connection.execute(
                "UPDATE lease SET owner = '', expires = 0 WHERE task = ? AND epoch = ?", (self.task, self.epoch)
            )

    def __enter__(self) -> EmbeddedWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin(self) -> Transaction:
        with self._ending_on_error():
            transaction = self._database.begin(self.task)
            with transaction.use() as connection:
                row = connection.execute("SELECT epoch, owner FROM lease WHERE task = ?", (self.task,)).fetchone()
                if row is None or row[0] != self.epoch:
                    raise self._fencing(row[1] if row else "")
        self._transaction = transaction
        return transaction

    def _place(self, connection: sqlite3.Connection, append: _Append) -> Placed:
        slot = append.slot
        first = self._next.get(slot.id)
        if first is None:
            (first,) = connection.execute("SELECT next FROM slot WHERE id = ?", (slot.id,)).fetchone()
        self._next[slot.id] = first + append.messages
        return Placed(slot.topic, slot.partition, first, first + append.messages - 1)

    def _check(self) -> None:
        if self._fenced:
            raise self._fencing("")
        if self._closed:
            raise LogError("The writer was closed", where=self.task, fix="Open a new one.")
        if self._pid != os.getpid():
            raise LogError(
                f"The writer belongs to process {self._pid}, of which this one is a fork",
                where=self.task,
                fix="Open a writer in the process that writes.",
            )

    def _fencing(self, owner: str) -> Fenced:
        return Fenced(
            f"A newer owner of the task exists{f' ({owner})' if owner else ''}; nothing was written",
            where=f"{self.task}, epoch {self.epoch}",
            fix="Stop this task; the newer owner goes on from the last commit.",
        )

    @contextmanager
    def _ending_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self.abort()
            self._fenced |= isinstance(error, Fenced)
            raise


class _Append(NamedTuple):
    slot: Slot
    messages: int
    blocks: list[Block]

    @property
    def size(self) -> int:
        """Bytes, about."""
        return sum(sum(map(len, filter(None, block[1:]))) for block in self.blocks)

    def rows(self, placed: Placed, now: int) -> Iterator[tuple[int | bytes | None, ...]]:
        starts = accumulate((block.messages for block in self.blocks), initial=self.slot.base + placed.first)
        return ((start, now, *block) for start, block in zip(starts, self.blocks, strict=False))
