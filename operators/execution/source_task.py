"""The task of a source: publishes outside data exactly once, its cursor committed with the rows."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from typing import Any

import numpy as np
import pyarrow as pa

from catalog.errors import HeadwaterError
from operators.execution.context import Context
from operators.execution.emit import appenders_for, made_ranges
from operators.execution.plan import Node
from operators.execution.progress import Progress, last_progress, merged_ranges, progress_topic, task_name
from operators.execution.task import SECONDS_PER_TRANSACTION
from streams.append import EncodedRows
from streams.keys import split
from streams.message import BEGINNING, END
from streams.publish import check_rows
from streams.read import event_times
from streams.staging import Staging


class SourceTask:
    """Reads a source from its committed cursor on and publishes it in batches of fixed row counts."""

    def __init__(self, node: Node, context: Context) -> None:
        assert node.source is not None
        self.name = task_name(node.name, 0)
        self.node = node
        self.source = node.source
        self.ended = False
        self.watermark = BEGINNING
        self._context = context
        self._blocks: Iterator[pa.RecordBatch] | None = None
        self._owned = False
        self._began = 0.0

    def start(self) -> None:
        """Own the task and find its cursor."""
        context = self._context
        stream = self.source.stream
        self._writer = context.log.writer(self.name, context.owner)
        self._owned = True
        last = last_progress(context.log, self.node.name, 0)
        self._seq = last.seq + 1 if last else 0
        self._cursor = last.cursor if last else 0
        self._bound = last.bound if last else BEGINNING
        self._seen = last.clock if last else BEGINNING
        self.watermark = last.watermark if last else BEGINNING
        self.ended = last.ended if last else False
        self._ends = {name: dict(ends) for name, ends in last.ends.items()} if last else {}
        self._blocks = None
        self._run = f"{context.run}:{self.node.name}"
        self._staging = Staging(self._writer)
        self._appender = appenders_for(
            [stream],
            self._staging,
            {stream.name: context.schema_id(stream.name)},
            producer=f"{self.node.name}@1",
            task=self.name,
            run=self._run,
        )[stream.name]

    def abort(self) -> None:
        """Drop what is not committed, and stay the owner."""
        if self._owned:
            self._writer.abort()

    def close(self) -> None:
        """Drop what is not committed, and give the task up. LogBusy, LogFull."""
        if self._owned:
            self._writer.close()

    def has_queued(self) -> bool:
        return False

    def waiting_for(self) -> list[str]:
        return []

    def work(self, *, seconds: float = SECONDS_PER_TRANSACTION, force: bool = False) -> bool:
        """Publish for about `seconds` and commit; True if there was anything. Raises SchemaError if rows do not fit
        the stream (what came before them is published), SourceError if the data cannot be read."""
        if self.ended:
            return False
        self._began = monotonic()
        until = self._began + seconds
        if self._blocks is None:
            self._blocks = self.source.blocks(self._cursor)
        rows = 0
        try:
            while monotonic() < until:
                block = next(self._blocks, None)
                if block is None:
                    self.ended = True
                    self._blocks = None
                    break
                for count in self._append(block):
                    rows += count
        except Exception:
            # The rows before the bad ones are good: they stay, and the cursor stands at the first bad batch.
            self._blocks = None
            if rows:
                self._commit(rows)
            raise
        self._commit(rows)
        return True

    def _append(self, block: pa.RecordBatch) -> Iterator[int]:
        """Append the block's batches; gives the rows of each."""
        chunk = self.source.chunk
        try:
            places, encoded = self._prepared(block)
        except HeadwaterError:
            if block.num_rows <= chunk:
                raise
            # The batches before the bad one are good.
            for start in range(0, block.num_rows, chunk):
                yield from self._append(block.slice(start, chunk))
            return
        stream = self.source.stream
        for start in range(0, block.num_rows, chunk):
            batch = block.slice(start, chunk)
            bound, seen, watermark = self._moved(batch)
            with self._staging.all_or_none():
                for partition, indices in places:
                    here = indices[np.searchsorted(indices, start) : np.searchsorted(indices, start + batch.num_rows)]
                    if len(here) and encoded is not None:
                        self._appender.append_encoded(partition, encoded, here.tolist(), bound=bound)
                    elif len(here):
                        self._appender.append(partition, block.take(pa.array(here)), bound=bound)
                if not stream.key:
                    self._appender.append(self._cursor // chunk % stream.partitions, batch, bound=bound)
            # A batch that cannot be written moves nothing.
            self._bound, self._seen, self.watermark = bound, seen, watermark
            self._cursor += batch.num_rows
            yield batch.num_rows

    def _prepared(self, block: pa.RecordBatch) -> tuple[list[tuple[int, Any]], EncodedRows | None]:
        """Where the rows of a keyed stream go, and their messages if one message is one row."""
        stream = self.source.stream
        check_rows(block, stream, now=self._context.now(), where=self.source.name, first=self._cursor)
        if not stream.key:
            return [], None
        where = f"{self.source.name} from row {self._cursor}"
        encoded = self._appender.encoded(block, where=where) if stream.row_coded else None
        return split(block, stream.key, stream.partitions), encoded

    def _moved(self, batch: pa.RecordBatch) -> tuple[int, int, int]:
        """The bound of this batch, and behind it the latest event time seen and the watermark."""
        stream = self.source.stream
        if stream.time is None or not batch.num_rows:
            return self._bound, self._seen, self.watermark
        times = event_times(batch, stream.time)
        seen = max(self._seen, int(times.max()))
        behind = seen - stream.lateness
        bound = max(self._bound, self.watermark, min(int(times.min()), behind))
        return bound, seen, max(bound, behind)

    def _commit(self, rows: int) -> None:
        stream = self.source.stream
        placed = self._writer.flush()
        for at in placed:
            self._ends.setdefault(at.topic, {})[str(at.partition)] = at.last + 1
        if self.ended:
            self.watermark = END
        progress = Progress(
            operator=self.node.name,
            task=0,
            version="1",
            run=self._run,
            engine=self._context.engine,
            seq=self._seq,
            at=self._context.now(),
            watermark=self.watermark,
            clock=self._seen,
            bound=self._bound,
            ended=self.ended,
            rows_out={stream.name: rows} if rows else {},
            made=merged_ranges(tuple(one) for one in made_ranges(placed)),
            ends=self._ends,
            cursor=self._cursor,
        )
        self._writer.append(progress_topic(self.node.name), 0, [None], [progress.encode()], ())
        self._writer.commit(seen=False)
        self._seq += 1
        self._context.committed(progress, monotonic() - self._began)
