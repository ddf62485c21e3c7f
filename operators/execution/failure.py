"""What becomes of a batch whose step failed: the task stops, or the batch goes to a stream of failed batches."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from catalog.errors import HeadwaterError
from operators.operator import Output
from streams.log.protocol import Corrupt, LogError
from streams.parents import OffsetRange, Ranges
from streams.read import Arrived
from streams.schema import Schema
from streams.stream import Stream

_FAILED = pa.schema(
    [
        pa.field("input", pa.string(), nullable=False),
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("first", pa.int64(), nullable=False),
        pa.field("end", pa.int64(), nullable=False),
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("error", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Failure:
    """What failed, where, and what to do."""

    what: str
    where: str
    fix: str

    @classmethod
    def at_batch(cls, operator: str, batch: Arrived, error: Exception) -> Failure:
        """The step, or reading the batch, failed."""
        last = f" to {batch.end - 1}" if batch.end - batch.first > 1 else ""
        rows = f", {batch.rows.num_rows} rows" if batch.rows.num_rows else ""
        where = f"{batch.stream} {batch.partition}:{batch.first}{last}{rows}"
        if isinstance(error, Corrupt) and error.where:
            where = error.where
        fix = f"{_advice(error)} Then run again: the task goes on from here."
        if may_be_quarantined(error):
            fix += " With on_error='quarantine' it would list the batch and go on without it."
        return cls(f"{operator} failed: {_told(error)}", where, fix)

    @classmethod
    def at_tick(cls, operator: str, task: str, error: Exception) -> Failure:
        """The step failed on a tick, or on the last one at the end of its input."""
        fix = f"{_advice(error)} Then run again: the tick comes again."
        return cls(f"{operator} failed at a tick: {_told(error)}", task, fix)


def _told(error: Exception) -> str:
    said = error.what if isinstance(error, HeadwaterError) else f"{type(error).__name__}: {error}"
    return said.rstrip(".")


def _advice(error: Exception) -> str:
    if isinstance(error, HeadwaterError) and error.fix:
        return error.fix
    if isinstance(error, MemoryError):
        return "Give the process more memory, or have the step make less at once."
    if isinstance(error, OSError):
        return "See that what the step reads or writes is there; better, let it read streams alone."
    return "Mend the operator or the rows."


def failed_stream(operator: str, partitions: int) -> Stream:
    """Where the batches that an operator could not take are listed: their addresses and errors. The rows
    themselves stay in the input."""
    return Stream(
        f"{operator}.failed",
        Schema(_FAILED),
        partitions=partitions,
        role="quarantine",
        addresses=("first", "end"),
        description=f"Batches on which {operator} failed: where they lie and why.",
    )


def failed_output(stream: Stream, failure: Failure, batch: Arrived) -> Output:
    row = {
        "input": batch.stream,
        "partition": batch.partition,
        "first": batch.first,
        "end": batch.end,
        "rows": batch.rows.num_rows,
        "error": failure.what,
    }
    span = OffsetRange(batch.stream, batch.partition, batch.first, batch.end)
    return Output(
        stream.name, pa.RecordBatch.from_pylist([row], schema=stream.schema.arrow), (Ranges((span,), "batch"),)
    )


def may_be_quarantined(error: Exception) -> bool:
    """False for errors that say nothing about the batch: memory, input and output, the log itself."""
    return isinstance(error, Corrupt) or not isinstance(error, MemoryError | OSError | LogError)
