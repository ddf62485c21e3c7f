"""Publishing from services: rows are checked against their registered stream, then appended in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc

from catalog.errors import HeadwaterError
from streams.append import Appender
from streams.conform import conform
from streams.contract import largest_lead
from streams.duration import duration_text
from streams.keys import split
from streams.log.protocol import Fenced, Log, LogError, Writer
from streams.read import event_times
from streams.stream import Stream

#: Rows in one batch of a published table.
CHUNK = 10_000


class PublishError(HeadwaterError):
    """Rows that the stream cannot take; none of them was written."""

    exit_code = 2


def check_rows(rows: pa.RecordBatch | pa.Table, stream: Stream, *, now: int, where: str, first: int = 0) -> None:
    """Refuse null keys, null event times, and event times too far in the future (one bad clock would make every
    other row late). PublishError names the field and the first such row, counted from `first`."""

    def refuse(bad: Any, what: str, field: str, fix: str) -> None:
        count = pc.sum(bad).as_py() or 0
        if not count:
            return
        at = pc.index(bad, True).as_py()
        value = rows.column(field)[at].as_py()
        shown = "" if value is None else f": {value}"
        raise PublishError(
            f"{count} of {rows.num_rows} rows have {what}; none of them was written",
            where=f"{where}, field {field!r}, row {first + at}{shown}",
            fix=fix,
        )

    for name in stream.key:
        refuse(pc.is_null(rows.column(name)), "no key", name, f"Every row of {stream.name} needs its key.")
    if stream.time is None or not rows.num_rows:
        return
    missing = pc.is_null(rows.column(stream.time))
    refuse(missing, "no event time", stream.time, f"Every row of {stream.name} needs its event time.")
    times = event_times(_single(rows), stream.time)
    limit = largest_lead(stream)
    if int(times.max()) > now + limit:
        refuse(
            pa.array(times > now + limit),
            f"an event time more than {duration_text(limit)} in the future",
            stream.time,
            "Set the clock that stamped it: rows like this would make all others late. A not_future rule of the stream "
            "sets another limit.",
        )


def _single(rows: pa.RecordBatch | pa.Table) -> pa.RecordBatch:
    if isinstance(rows, pa.RecordBatch):
        return rows
    batches = rows.combine_chunks().to_batches()
    return batches[0]


class Publisher:
    """Publishes rows of one stream for a service; each call of `publish` is one transaction."""

    def __init__(
        self, log: Log, stream: Stream, schema_id: int, *, service: str, now: Callable[[], int], chunk: int = CHUNK
    ) -> None:
        self.stream = stream
        self._now = now
        self._chunk = chunk
        self._turn = 0
        self._log = log
        self._schema_id = schema_id
        self._service = service
        self._writer: Writer | None = None
        self._open()

    def publish(self, data: Any) -> int:
        """Write rows (anything with the Arrow interface, a DataFrame, dicts); gives their number once they are
        durable. SchemaError or PublishError, and nothing written, if any row does not fit the stream."""
        table = self.fitted(data)
        self.publish_fitted(table)
        return int(table.num_rows)

    def fitted(self, data: Any, *, first: int = 0) -> pa.Table:
        """The rows as the stream takes them. SchemaError or PublishError, which count rows from `first`."""
        table = conform(data, self.stream.schema, where=self.stream.name, first=first)
        if table.num_rows:
            check_rows(table, self.stream, now=self._now(), where=self.stream.name, first=first)
        return table

    def publish_fitted(self, table: pa.Table, *, seen: bool = True) -> None:
        """Write rows that `fitted` gave. SchemaError, and nothing written, for what the codec cannot express. Without
        `seen` others may see them a moment later, and do once `wait_until_seen` has returned."""
        if not table.num_rows:
            return
        batches = table.combine_chunks().to_batches(max_chunksize=self._chunk)
        turn = self._turn
        try:
            self._write(batches, seen)
        except Fenced:
            # Nobody else writes as this task: the log gave the transaction up, or had forgotten the task.
            self._turn = turn
            self._write(batches, seen)

    def wait_until_seen(self) -> None:
        """Return once everybody sees what was written."""
        self._log.ends((self.stream.name, number) for number in range(self.stream.partitions))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _open(self) -> Writer:
        task = f"{self.stream.name}.publish/{uuid4().hex[:12]}"
        writer = self._writer = self._log.writer(task, self._service)
        self._appender = Appender(writer, self.stream, self._schema_id, producer=f"service:{self._service}")
        return writer

    def _write(self, batches: list[pa.RecordBatch], seen: bool) -> None:
        writer = self._writer or self._open()
        try:
            first = 0
            for batch in batches:
                self._append(batch, first)
                first += batch.num_rows
            writer.commit(seen=seen)
        except LogError:
            # Of some errors a writer does not recover.
            self._writer = None
            writer.close()
            raise
        except BaseException:
            writer.abort()
            raise

    def _append(self, batch: pa.RecordBatch, first: int) -> None:
        stream = self.stream
        if not stream.row_coded:
            for partition, rows in self._placed(batch):
                self._appender.append(partition, batch if rows is None else batch.take(pa.array(rows)))
            return
        encoded = self._appender.encoded(batch, where=f"{stream.name} from row {first}" if first else stream.name)
        for partition, rows in self._placed(batch):
            self._appender.append_encoded(partition, encoded, range(batch.num_rows) if rows is None else rows.tolist())

    def _placed(self, batch: pa.RecordBatch) -> Iterable[tuple[int, Any]]:
        """Partitions and the indices of their rows; None for all."""
        if self.stream.key:
            return split(batch, self.stream.key, self.stream.partitions)
        self._turn += 1
        return [((self._turn - 1) % self.stream.partitions, None)]
