"""A growing table in a task's state, cut into segments of one size so that a commit rewrites only the newest.

The cuts depend on the sequence of rows alone, not on the batches in which they came.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from operators.execution.state import State

SEGMENT_ROWS = 8_192
_MOST_CHUNKS = 16


@dataclass(frozen=True)
class Segments:
    """Rows are appended at the end and leave at the front, whole segments at a time.

    A row's position is its place among the rows that are there; leaving shifts it.
    """

    name: str
    schema: pa.Schema

    def tables(self, state: State) -> tuple[pa.Table, ...]:
        """The segments in order; every one but the last has SEGMENT_ROWS rows."""
        first, end = self._span(state)
        return tuple(state.table(self._segment(number)) for number in range(first, end))

    def stand(self, state: State) -> tuple[Any, Any]:
        """Two objects that are the very same as long as the rows are."""
        _, end = self._span(state)
        return state.raw(self._spans), state.table(self._segment(end - 1))

    def append(self, state: State, rows: Any) -> None:
        """`rows` is a record batch or table of the schema."""
        if not rows.num_rows:
            return
        first, end = self._span(state)
        added = rows if isinstance(rows, pa.Table) else pa.Table.from_batches([rows])
        tail = state.table(self._segment(end - 1)) if end > first else None
        if tail is not None and tail.num_rows < SEGMENT_ROWS:
            added = pa.concat_tables([tail, added])
            end -= 1
        for start in range(0, added.num_rows, SEGMENT_ROWS):
            segment = added.slice(start, SEGMENT_ROWS)
            if segment.num_rows == SEGMENT_ROWS or segment.column(0).num_chunks > _MOST_CHUNKS:
                segment = segment.combine_chunks()
            state[self._segment(end)] = segment
            end += 1
        self._set_span(state, first, end)

    def replace(self, state: State, rows: pa.Table) -> None:
        """Keep these rows instead of all that were there."""
        self.clear(state)
        self.append(state, rows)

    def clear(self, state: State) -> None:
        first, end = self._span(state)
        for number in range(first, end):
            del state[self._segment(number)]
        if end:
            del state[self._spans]

    def drop_front(self, state: State, rows: int) -> int:
        """Remove the full segments that lie wholly among the first `rows` rows; returns how many rows went."""
        first, end = self._span(state)
        leaving = min(rows // SEGMENT_ROWS, end - first)
        if leaving:
            for number in range(first, first + leaving):
                del state[self._segment(number)]
            self._set_span(state, first + leaving, end)
        return leaving * SEGMENT_ROWS

    @property
    def _spans(self) -> str:
        return f"{self.name} segments"

    def _segment(self, number: int) -> str:
        return f"{self.name} {number}"

    def _span(self, state: State) -> tuple[int, int]:
        numbers = state.raw(self._spans)
        if numbers is None:
            return 0, 0
        first, end = numbers.split()
        return int(first), int(end)

    def _set_span(self, state: State, first: int, end: int) -> None:
        if self._span(state) != (first, end):
            state[self._spans] = b"%d %d" % (first, end)
