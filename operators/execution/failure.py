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
    def of(cls, operator: str, batch: Arrived, error: Exception) -> Failure:
        what = error.what if isinstance(error, HeadwaterError) else f"{type(error).__name__}: {error}"
        advice = error.fix if isinstance(error, HeadwaterError) and error.fix else "Mend the operator or the rows"
        return cls(
            f"{operator} failed on {batch.rows.num_rows} rows: {what}",
            f"{batch.stream} {batch.partition}:{batch.first} to {batch.end - 1}",
            f"{advice.rstrip('.')}, and run again: the task goes on from here. "
            "With on_error='quarantine' it would go on without this batch.",
        )


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
