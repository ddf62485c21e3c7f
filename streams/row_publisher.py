"""Publishing row by row from a service: rows that come within the linger are written together."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Condition, Thread
from time import monotonic
from types import TracebackType
from typing import Any, Final

import pyarrow as pa

from catalog.errors import HeadwaterError
from streams.publish import Publisher, PublishError
from streams.types import SchemaError

logger = logging.getLogger(__name__)

#: So many rows may wait or be on their way; then `send` waits too.
MOST_WAITING: Final = 100_000
#: So many rows are written at once at most.
MOST_AT_ONCE: Final = 20_000

Refused = Callable[[Any, HeadwaterError], None]


class RowPublisher:
    """Takes rows one by one, and writes those that came within `linger` microseconds of each other in one transaction,
    in the order in which they were sent. Any thread may call any method. Use it in a `with` block.

    `send` only takes a row over. It is durable once `flush` or `close` has returned without an error; then it was
    written exactly once. Rows that were sent and not flushed are lost if the process is killed.

    A row that does not fit the stream is left out, and its neighbours are written. `refused` is called with it and the
    error, in the publisher's own thread; without `refused` the next `send`, `flush` or `close` raises PublishError,
    which tells how many rows were left out and why the first was. If the log cannot be written, the publisher has
    ended: every call raises the LogError, and `unwritten` has the rows that are not in the log.
    """

    def __init__(
        self, publisher: Publisher, *, linger: int, waiting: int = MOST_WAITING, refused: Refused | None = None
    ) -> None:
        self.stream = publisher.stream
        self._publisher = publisher
        self._linger = linger / 1_000_000
        self._most = waiting
        self._refused = refused
        self._changed = Condition()
        self._waiting: list[Any] = []
        self._since = 0.0
        self._writing: list[Any] = []
        self._sent = 0
        self._written = 0
        self._hurry = 0
        self._closed = False
        self._error: BaseException | None = None
        self._left_out: list[tuple[int, HeadwaterError]] = []
        self._thread = Thread(target=self._run, name=f"publisher of {self.stream.name}", daemon=True)
        self._thread.start()

    def send(self, row: Any) -> None:
        """Take one row over, a dict or a dataclass instance; it must not be changed afterwards. Waits while too many
        rows are on their way. Whatever it raises, this row is not taken."""
        with self._changed:
            self._look()
            while len(self._waiting) + len(self._writing) >= self._most:
                self._changed.wait()
                self._look()
            self._waiting.append(row)
            self._sent += 1
            if len(self._waiting) == 1:
                self._since = monotonic()
                self._changed.notify_all()

    def flush(self) -> None:
        """Return once every row sent so far is durable, and seen by everybody, or was left out."""
        with self._changed:
            self._wait_for(self._sent)
            self._look()
        self._publisher.wait_until_seen()

    def close(self) -> None:
        """Flush, and end. Again it does nothing."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        with self._changed:
            failed = self._error is not None
        if not failed:
            self._publisher.wait_until_seen()
        self._publisher.close()
        with self._changed:
            self._tell()

    @property
    def unwritten(self) -> list[Any]:
        """The rows that are not in the log (yet), in the order in which they were sent."""
        with self._changed:
            return [*self._writing, *self._waiting]

    def __enter__(self) -> RowPublisher:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            self.close()
        except HeadwaterError as ours:
            if error is None:
                raise
            # The error that ends the block comes first.
            logger.error("%s", ours)

    def _look(self) -> None:
        """Raise what is to be raised, if anything is."""
        self._tell()
        if self._closed:
            raise PublishError("The publisher was closed", where=self.stream.name, fix="Open another: hub.publisher.")

    def _tell(self) -> None:
        if self._error is not None:
            raise self._error
        if self._left_out:
            left_out, self._left_out = self._left_out, []
            number, first = left_out[0]
            raise PublishError(
                f"{len(left_out)} of the rows sent were left out, the others were written; the first, number {number} "
                f"(counted from 0): {first.what}",
                where=first.where,
                fix=f"{first.fix or ''} To get each such row, open the publisher with refused=.".strip(),
            ) from first

    def _wait_for(self, count: int) -> None:
        self._hurry = max(self._hurry, count)
        self._changed.notify_all()
        while self._written < count and self._error is None:
            self._changed.wait()

    def _run(self) -> None:
        try:
            while rows := self._next():
                self._write(rows)
                with self._changed:
                    self._written += len(rows)
                    self._writing = []
                    self._changed.notify_all()
        except BaseException as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _next(self) -> list[Any]:
        """The rows to write next, once they have lingered; none at the end."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            while not self._is_due():
                self._changed.wait(max(0.0, self._since + self._linger - monotonic()))
            rows = self._writing = self._waiting[:MOST_AT_ONCE]
            self._waiting = self._waiting[MOST_AT_ONCE:]
            return rows

    def _is_due(self) -> bool:
        """Rows that came while others were written have lingered since the first of them came."""
        return (
            self._closed
            or self._hurry > self._written
            or len(self._waiting) >= min(MOST_AT_ONCE, self._most)
            or monotonic() >= self._since + self._linger
        )

    def _write(self, rows: list[Any]) -> None:
        pieces = self._fitting(rows, self._written)
        if not pieces:
            return
        try:
            self._publisher.publish_fitted(pa.concat_tables([table for _, table in pieces]), seen=False)
        except SchemaError:
            for first, table in pieces:
                self._write_fitting(table, first)

    def _fitting(self, rows: list[Any], first: int) -> list[tuple[int, pa.Table]]:
        """The rows that fit, as tables, with the number of the first of each; others are found by halving."""
        try:
            return [(first, self._publisher.fitted(rows, first=first))]
        except (SchemaError, PublishError) as error:
            if len(rows) == 1:
                self._leave_out(rows[0], first, error)
                return []
        middle = len(rows) // 2
        return [*self._fitting(rows[:middle], first), *self._fitting(rows[middle:], first + middle)]

    def _write_fitting(self, table: pa.Table, first: int) -> None:
        """Write rows, but for those that the stream's codec cannot express, which are found by halving."""
        try:
            self._publisher.publish_fitted(table, seen=False)
            return
        except SchemaError as error:
            if table.num_rows == 1:
                self._leave_out(table.to_pylist()[0], first, error)
                return
        middle = table.num_rows // 2
        self._write_fitting(table.slice(0, middle), first)
        self._write_fitting(table.slice(middle), first + middle)

    def _leave_out(self, row: Any, number: int, error: HeadwaterError) -> None:
        if self._refused is not None:
            self._refused(row, error)
            return
        with self._changed:
            self._left_out.append((number, error))
