"""Writing rows of a stream into an open transaction: partitions, message sizes, headers."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from streams.codecs import codec
from streams.keys import key_bytes
from streams.message import LAST, PARENTS, PRODUCER, RUN, SCHEMA, TASK, WATERMARK, Headers, pack_int
from streams.parents import Addresses, Parents, encode_parents
from streams.staging import Appends
from streams.stream import Stream

#: A message carries at most about this many bytes of rows, well under Kafka's default limit of 1 MiB.
LARGEST_MESSAGE = 768 * 1024


class Appender:
    """Appends rows of one stream to a writer's transaction, in the stream's codec.

    `producer` says who writes (an operator with its version, or a service), `task` and `run` which task
    and run of it; both are empty for services.
    """

    def __init__(
        self, writer: Appends, stream: Stream, schema_id: int, *, producer: str, task: str = "", run: str = ""
    ) -> None:
        self.stream = stream
        self._writer = writer
        self._codec = codec(stream.codec, stream.schema, schema_id)
        fixed = [(SCHEMA, pack_int(schema_id)), (PRODUCER, producer.encode())]
        if task:
            fixed.append((TASK, task.encode()))
        if run:
            fixed.append((RUN, run.encode()))
        self._fixed: Headers = tuple(fixed)

    def append(
        self, partition: int, rows: pa.RecordBatch, *, bound: int | None = None, parents: Parents | None = None
    ) -> int:
        """Append `rows` to one partition; gives the number of messages. `bound`: no row of this or a later batch
        of the task is earlier (late rows aside). `parents` are as long as `rows`."""
        messages = 0
        for start, piece in _pieces(rows):
            stop = start + piece.num_rows
            cut = (
                None
                if parents is None
                else tuple(part.slice(start, stop) if isinstance(part, Addresses) else part for part in parents)
            )
            headers = self._fixed
            if bound is not None:
                headers += ((WATERMARK, pack_int(bound)),)
            if cut is not None:
                headers += ((PARENTS, encode_parents(cut)),)
            values = self._codec.encode(piece)
            messages += len(values)
            if self.stream.row_coded:
                keys = key_bytes(piece, self.stream.key).to_pylist() if self.stream.key else [None] * len(values)
                closing = (*headers, (LAST, pack_int(len(values))))
                each = [self._fixed] * (len(values) - 1) + [closing]
                self._writer.append(self.stream.name, partition, keys, values, each)
            else:
                self._writer.append(self.stream.name, partition, [None], values, headers)
        return messages


def _pieces(rows: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
    if rows.num_rows == 0:
        return
    count = -(-rows.nbytes // LARGEST_MESSAGE)
    size = -(-rows.num_rows // count)
    for start in range(0, rows.num_rows, size):
        yield start, rows.slice(start, size)
