"""Rows of a gathered input that wait for the clock, and leave in an order that the data fixes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from operators.execution.state import State
from operators.join.held import Held
from operators.join.rows import kept, kept_schema, taken, times_of
from operators.operator import Batch
from streams.message import BEGINNING
from streams.stream import Stream


@dataclass(frozen=True)
class Gathered:
    """A waiting room for all partitions of one stream, under a name in the task's state.

    Rows leave in the order of (effective time, partition, place in the partition), however they were cut into
    batches. A row takes effect at its event time + `delay` (microseconds), or when it comes, if that is later:
    the rows before it have left by then.
    """

    name: str
    stream: Stream
    reads: tuple[str, ...]
    delay: int = 0

    @cached_property
    def schema(self) -> pa.Schema:
        """What leaves: effective time and address, then the columns `reads`."""
        arrow = self.stream.schema.arrow
        return kept_schema(pa.schema([arrow.field(name) for name in self.reads]))

    def push(self, state: State, batch: Batch) -> None:
        times = np.where(batch.times == BEGINNING, BEGINNING, batch.times + self.delay)
        self._held.push(state, kept(replace(batch, times=np.maximum(times, batch.clock)), self.schema))

    def earliest(self, state: State) -> int:
        """The smallest effective time that waits; END if none does."""
        return self._held.earliest(state)

    def release(self, state: State, bound: int) -> Any | None:
        """The rows that take effect before `bound` as one record batch, no longer held; None if there is none."""
        rows = self._held.release(state, bound)
        if rows is None or self.stream.partitions == 1:
            return rows
        times, partitions = times_of(rows), rows.column(1).to_numpy()
        same = times[1:] == times[:-1]
        if not (same & (partitions[1:] < partitions[:-1])).any():
            return rows
        return taken(rows, np.lexsort((partitions, times)))

    def conform(self, state: State) -> None:
        """Bring what waits under the schema of today, if it was declared anew since."""
        waiting = state.table(f"{self.name} held")
        if waiting is not None and not waiting.schema.equals(self.schema):
            state[f"{self.name} held"] = under_schema(waiting, self.schema)

    @property
    def _held(self) -> Held:
        return Held(f"{self.name} held", self.schema, ())


def columns_in_order(stream: Stream, names: Sequence[str]) -> tuple[str, ...]:
    """These columns once each, in the order of the stream's schema."""
    wanted = set(names)
    return tuple(name for name in stream.schema.arrow.names if name in wanted)


def under_schema(rows: Any, schema: pa.Schema) -> pa.Table:
    """Rows that were kept under another schema: a column that they do not have is null."""
    if rows.schema.equals(schema):
        return rows
    names = set(rows.schema.names)
    columns = [
        rows.column(field.name).cast(field.type, safe=False) if field.name in names else pa.nulls(len(rows), field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)
