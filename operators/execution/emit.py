"""Emission: the outputs of a task's steps become messages of one transaction, with what must be recorded of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from operators.errors import WrongOutput
from operators.execution.progress import merged_ranges
from operators.operator import Output
from streams.append import Appender
from streams.keys import split
from streams.log.protocol import Placed
from streams.parents import Addresses, OffsetRange, Parents, ranges_of
from streams.staging import Appends, Staging
from streams.stream import Stream


class Emission:
    """Collects what one transaction of a task writes to its output streams; the appenders append to `staging`.

    Rows of a task that keeps its partition go to the partition of its number, others to that of their key.
    """

    def __init__(
        self,
        staging: Staging,
        appenders: dict[str, Appender],
        number: int,
        *,
        keeps_partition: bool,
        parents: bool = True,
    ) -> None:
        self._staging = staging
        self._appenders = appenders
        self._number = number
        self._keeps_partition = keeps_partition
        self._parents = parents
        self.rows: dict[str, int] = {}
        self.spans: list[tuple[Any, ...]] = []

    @contextmanager
    def all_or_none(self) -> Iterator[None]:
        """What is emitted meanwhile counts if there is no error; otherwise it is as if it had never been."""
        rows, spans = dict(self.rows), len(self.spans)
        try:
            with self._staging.all_or_none():
                yield
        except BaseException:
            self.rows = rows
            del self.spans[spans:]
            raise

    def emit(self, output: Output, bound: int) -> None:
        """Append the rows, split by partition, each with its parents; within `all_or_none`. WrongOutput or SchemaError
        if they do not fit."""
        appender = self._appenders.get(output.stream)
        if appender is None:
            raise WrongOutput(
                f"A step returned rows for {output.stream}, which is not among its outputs",
                where=", ".join(self._appenders),
                fix="Declare the stream as an output of the operator.",
            )
        stream = appender.stream
        rows = fitted(output.rows, stream)
        if not rows.num_rows:
            return
        for part in output.parents:
            if isinstance(part, Addresses) and len(part) != rows.num_rows:
                raise WrongOutput(
                    f"A step returned {rows.num_rows} rows with parents for {len(part)}",
                    where=stream.name,
                    fix="Give one parent address for each row and each way of descent.",
                )
        self.rows[stream.name] = self.rows.get(stream.name, 0) + rows.num_rows
        if self._keeps_partition or not stream.key:
            self._append(appender, self._number % stream.partitions, rows, bound, output.parents)
            return
        pieces = split(rows, stream.key, stream.partitions)
        if len(pieces) == 1:
            self._append(appender, pieces[0][0], rows, bound, output.parents)
            return
        for partition, indices in pieces:
            here: Parents = tuple(
                part.take(indices) if isinstance(part, Addresses) else part for part in output.parents
            )
            self._append(appender, partition, rows.take(pa.array(indices)), bound, here)

    def _append(self, appender: Appender, partition: int, rows: pa.RecordBatch, bound: int, parents: Parents) -> None:
        appender.append(partition, rows, bound=bound, parents=parents if self._parents else None)
        for part in parents if self._parents else ():
            for span in _spans(part):
                self.spans.append((appender.stream.name, partition, span.stream, span.partition, span.first, span.end))

    def parent_spans(self) -> list[list[Any]]:
        return merged_ranges(self.spans)


def made_ranges(placed: Iterable[Placed]) -> list[list[Any]]:
    return merged_ranges((at.topic, at.partition, at.first, at.last + 1) for at in placed)


def appenders_for(
    outputs: Iterable[Stream], writer: Appends, schema_ids: dict[str, int], *, producer: str, task: str, run: str
) -> dict[str, Appender]:
    return {
        stream.name: Appender(writer, stream, schema_ids[stream.name], producer=producer, task=task, run=run)
        for stream in outputs
    }


def fitted(rows: pa.RecordBatch, stream: Stream) -> pa.RecordBatch:
    """The rows under the stream's own schema. WrongOutput if names or types differ."""
    schema = stream.schema.arrow
    if rows.schema.equals(schema):
        return rows
    if rows.schema.names != schema.names or any(
        got.type != field.type for got, field in zip(rows.schema, schema, strict=True)
    ):
        got = ", ".join(f"{field.name}: {field.type}" for field in rows.schema)
        expected = ", ".join(f"{field.name}: {field.type}" for field in schema)
        raise WrongOutput(
            f"A step returned columns ({got}) where the stream has ({expected})",
            where=stream.name,
            fix="Return the declared columns in their order, or declare the schema that the step returns.",
        )
    return pa.RecordBatch.from_arrays(rows.columns, schema=schema)


def _spans(part: Any) -> Iterable[OffsetRange]:
    if not isinstance(part, Addresses):
        return part.ranges
    if len(part) and part.partition.strides[0] == 0 and part.offset.strides[0] == 0:
        offset = int(part.offset[0])
        return (OffsetRange(part.stream, int(part.partition[0]), offset, offset + 1),)
    return ranges_of(part).ranges
