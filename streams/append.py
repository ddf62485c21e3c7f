"""Writing rows of a stream into an open transaction: partitions, message sizes, headers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from streams.codecs import codec
from streams.keys import key_bytes
from streams.message import LAST, PARENTS, PRODUCER, RUN, SCHEMA, TASK, WATERMARK, Headers, pack_int
from streams.parents import Addresses, Parents, encode_parents
from streams.staging import Appends
from streams.stream import Stream
from streams.types import SchemaError

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
        for start, piece, value in self._pieces(rows):
            stop = start + piece.num_rows
            whole = stop - start == rows.num_rows
            cut = (
                parents
                if parents is None or whole
                else tuple(part.slice(start, stop) if isinstance(part, Addresses) else part for part in parents)
            )
            headers = self._headers(bound, cut)
            if value is None:
                encoded = self.encoded(piece)
                self._append_rows(partition, encoded.keys, encoded.values, headers)
                messages += piece.num_rows
            else:
                self._writer.append(self.stream.name, partition, [None], [value], headers)
                messages += 1
        return messages

    def encoded(self, rows: pa.RecordBatch, *, where: str | None = None) -> EncodedRows:
        """Rows of a stream of one row a message, encoded to be appended in any number of batches. SchemaError, which
        starts with `where` (default: the stream), for values that the codec cannot express."""
        keys = key_bytes(rows, self.stream.key).to_pylist() if self.stream.key else [None] * rows.num_rows
        try:
            return EncodedRows(keys, self._codec.encode(rows))
        except SchemaError as error:
            place = where or self.stream.name
            raise SchemaError(
                error.what, where=f"{place}, {error.where}" if error.where else place, fix=error.fix
            ) from error

    def append_encoded(
        self, partition: int, rows: EncodedRows, indices: Sequence[int], *, bound: int | None = None
    ) -> None:
        """Append these of the encoded rows to one partition, as one batch."""
        keys = [rows.keys[index] for index in indices]
        self._append_rows(partition, keys, [rows.values[index] for index in indices], self._headers(bound, None))

    def _headers(self, bound: int | None, parents: Parents | None) -> Headers:
        headers = self._fixed
        if bound is not None:
            headers += ((WATERMARK, pack_int(bound)),)
        if parents is not None:
            headers += ((PARENTS, encode_parents(parents)),)
        return headers

    def _append_rows(self, partition: int, keys: list[bytes | None], values: list[bytes], headers: Headers) -> None:
        closing = (*headers, (LAST, pack_int(len(values))))
        each = [self._fixed] * (len(values) - 1) + [closing]
        self._writer.append(self.stream.name, partition, keys, values, each)

    def _pieces(self, rows: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch, bytes | None]]:
        """The first row, the rows and the value of each message; of one row a message, of each batch, without value."""
        if rows.num_rows == 0:
            return
        value = None if self.stream.row_coded else self._codec.encode(rows)[0]
        count = -(-(rows.nbytes if value is None else len(value)) // LARGEST_MESSAGE)
        if count <= 1:
            yield 0, rows, value
            return
        size = -(-rows.num_rows // count)
        for start in range(0, rows.num_rows, size):
            piece = rows.slice(start, size)
            yield start, piece, None if value is None else self._codec.encode(piece)[0]


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """Messages of one row each."""

    keys: list[bytes | None]
    values: list[bytes]
