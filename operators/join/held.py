"""Rows that wait for the clock: taken as they come, given back in an order that the data fixes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from operators.execution.state import State
from operators.join.keys import keys_of
from operators.join.rows import Times, column_of, one_batch, taken, times_of
from streams.message import END

_MOST_CHUNKS = 64
#: With so many rows waiting, those that may leave do so whatever batch comes.
MANY = 4_096


@dataclass(frozen=True)
class Held:
    """A waiting room in a task's state, under one name.

    Rows leave it in the order of (event time, key, arrival) once the clock has passed their time, so that their
    order is the same however they were cut into batches. Among different keys the order is that of their codes.
    """

    name: str
    schema: pa.Schema
    key: Sequence[str]

    def push(self, state: State, rows: Any) -> None:
        if not rows.num_rows:
            return
        waiting = state.table(self.name)
        table = pa.Table.from_batches([rows])
        if waiting is not None:
            table = pa.concat_tables([waiting, table])
            if table.column(0).num_chunks > _MOST_CHUNKS:
                table = table.combine_chunks()
        state[self.name] = table

    def count(self, state: State) -> int:
        """How many rows wait."""
        waiting = state.table(self.name)
        return 0 if waiting is None else int(waiting.num_rows)

    def earliest(self, state: State) -> int:
        """The smallest event time that waits; END if none does."""
        waiting = state.table(self.name)
        return END if waiting is None else int(self._times(state, waiting).min())

    def times(self, state: State) -> Times:
        """The event times of the rows that wait."""
        waiting = state.table(self.name)
        return np.empty(0, dtype=np.int64) if waiting is None else self._times(state, waiting)

    def release(self, state: State, bound: int) -> Any | None:
        """The rows with an event time before `bound` as one record batch, no longer held; None if there is none."""
        waiting = state.table(self.name)
        if waiting is None:
            return None
        due = self._times(state, waiting) < bound
        count = int(np.count_nonzero(due))
        if not count:
            return None
        if count == len(due):
            ripe = waiting
            del state[self.name]
        elif due[:count].all():
            ripe = waiting.slice(0, count)
            state[self.name] = waiting.slice(count)
        else:
            ripe = waiting.filter(pa.array(due))
            state[self.name] = waiting.filter(pa.array(~due))
        return self._ordered(one_batch(ripe))

    def _times(self, state: State, waiting: pa.Table) -> Times:
        return state.derived(f"{self.name} times", (self.name,), lambda: times_of(waiting))

    def _ordered(self, rows: Any) -> Any:
        times = times_of(rows)
        earlier, later = times[:-1], times[1:]
        if (earlier < later).all():
            return rows
        if not self.key:
            return rows if (earlier <= later).all() else taken(rows, np.argsort(times, kind="stable"))
        codes = keys_of([column_of(rows, self.schema, name) for name in self.key]).codes
        return taken(rows, np.lexsort((codes, times)))
