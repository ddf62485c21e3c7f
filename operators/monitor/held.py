"""Rows of open windows, held until these close, and those of the last closed one for who compares with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.execution.state import State
from operators.join.rows import one_batch
from operators.join.segments import Segments
from operators.monitor.segments import segment_names
from operators.operator import Batch
from streams.fingerprints import hashes

Integers = npt.NDArray[np.int64]

_OURS = [("@time", pa.int64()), ("@content", pa.uint64())]
_BEFORE = "before"


@dataclass(frozen=True)
class SegmentRows:
    """A segment's rows of one window with their event times, ascending (int64 microseconds, shape (n,))."""

    rows: pa.RecordBatch
    times: Integers


class HeldRows:
    """In a task's state: the rows of each open window, with these `columns`; segments go by those in `by`."""

    def __init__(self, columns: pa.Schema, by: Sequence[str]) -> None:
        self._by = [columns.names.index(name) for name in by]
        self._columns = columns
        self._schema = pa.schema([*(pa.field(name, kind) for name, kind in _OURS), *columns])
        self.nothing = SegmentRows(pa.RecordBatch.from_pylist([], schema=columns), np.empty(0, dtype=np.int64))

    def add(self, state: State, windows: Integers, batch: Batch) -> Iterable[int]:
        """Rows of a batch that lie in these windows, one for each row; the windows that there are."""
        flat = [column for column in batch.rows.columns if not pa.types.is_nested(column.type)]
        ours = [np.ascontiguousarray(batch.times), hashes(flat, batch.rows.num_rows)]
        columns = [*map(pa.array, ours), *batch.rows.columns]
        rows = pa.RecordBatch.from_arrays(columns, schema=self._schema)
        found: list[int] = np.unique(windows).tolist()
        for window in found:
            here = rows if len(found) == 1 else rows.filter(pa.array(windows == window))
            self._segments(window).append(state, here)
        return found

    def take(self, state: State, window: int, *, keep: bool) -> dict[str | None, SegmentRows]:
        """The rows of a window by segment, no longer held; with `keep` they are those `before` from now on."""
        held = self._segments(window)
        rows = one_batch(pa.concat_tables(held.tables(state)))
        held.clear(state)
        if keep:
            state[_BEFORE] = rows
        return self._by_segment(rows)

    def before(self, state: State) -> dict[str | None, SegmentRows]:
        """The rows that were last kept, by segment."""
        kept = state.table(_BEFORE)
        if kept is None:
            return {}
        return state.derived("before segments", (_BEFORE,), lambda: self._by_segment(one_batch(kept)))

    def _segments(self, window: int) -> Segments:
        return Segments(f"rows {window}", self._schema)

    def _by_segment(self, rows: Any) -> dict[str | None, SegmentRows]:
        """In the order of (event time, content), so that it does not matter in which order rows came."""
        columns = rows.columns[len(_OURS) :]
        names, which = segment_names([columns[at] for at in self._by], rows.num_rows)
        order = np.lexsort((rows.column(1).to_numpy(), rows.column(0).to_numpy(), which))
        ordered = rows.take(pa.array(order))
        mine = pa.RecordBatch.from_arrays(ordered.columns[len(_OURS) :], schema=self._columns)
        edges = np.searchsorted(which[order], np.arange(len(names) + 1)).tolist()
        return {
            name: SegmentRows(mine.slice(start, stop - start), ordered.column(0).to_numpy()[start:stop])
            for name, start, stop in zip(names, edges, edges[1:], strict=False)
        }
