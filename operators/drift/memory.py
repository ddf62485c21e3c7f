"""What a drift operator remembers between steps: rows before the reference is known, open windows, errors that wait."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.execution.state import State
from streams.message import END
from streams.parents import Addresses, OffsetRange, Ranges

Ints = npt.NDArray[np.int64]

_WINDOWS: Final = "windows"
_RANGES: Final = "ranges"


class Held:
    """Rows kept in the order in which they came, one value of the state for each step that brought some."""

    def __init__(self, name: str) -> None:
        self._name = name

    def names(self, state: State) -> list[str]:
        return [name for name in state if name.startswith(f"{self._name}/")]

    def push(self, state: State, rows: pa.Table) -> None:
        names = self.names(state)
        number = int(names[-1].rpartition("/")[2]) + 1 if names else 0
        state[f"{self._name}/{number:09d}"] = rows

    def all(self, state: State) -> pa.Table | None:
        names = self.names(state)
        tables = [table for name in names if (table := state.table(name)) is not None]
        return pa.concat_tables(tables) if tables else None

    def drop(self, state: State) -> None:
        for name in self.names(state):
            del state[name]


class Windows:
    """The open windows, by their first microsecond: their rows and counts, which are added up, and where rows lie."""

    def __init__(self, state: State) -> None:
        self.counts: dict[int, Ints] = {}
        self.rows: dict[int, int] = {}
        self._places: dict[tuple[int, int], tuple[int, int]] = {}
        table, ranges = state.table(_WINDOWS), state.table(_RANGES)
        if table is not None:
            for start, rows, counts in zip(*(table.column(number).to_pylist() for number in range(3)), strict=True):
                self.rows[start] = rows
                self.counts[start] = np.array(counts, dtype=np.int64)
        if ranges is not None:
            for start, partition, first, end in zip(*(column.to_pylist() for column in ranges.columns), strict=True):
                self._places[start, partition] = first, end

    def keep(self, state: State) -> None:
        starts = sorted(self.rows)
        state[_WINDOWS] = pa.table(
            {
                "start": pa.array(starts, pa.int64()),
                "rows": pa.array([self.rows[start] for start in starts], pa.int64()),
                "counts": pa.array([self.counts.get(start, _NOTHING) for start in starts], pa.list_(pa.int64())),
            }
        )
        places = sorted(self._places.items())
        columns = {
            "start": [start for (start, _), _ in places],
            "partition": [partition for (_, partition), _ in places],
            "first": [first for _, (first, _) in places],
            "end": [end for _, (_, end) in places],
        }
        state[_RANGES] = pa.table({name: pa.array(values, pa.int64()) for name, values in columns.items()})

    def came(self, starts: Ints, addresses: Addresses) -> None:
        """Rows came into the windows that begin at `starts`, shape (n,)."""
        for start in np.unique(starts).tolist():
            inside = starts == start
            self.rows[start] = self.rows.get(start, 0) + int(inside.sum())
            partitions, offsets = addresses.partition[inside], addresses.offset[inside]
            for partition in np.unique(partitions).tolist():
                here = offsets[partitions == partition]
                first, end = int(here.min()), int(here.max()) + 1
                known = self._places.get((start, partition), (first, end))
                self._places[start, partition] = min(first, known[0]), max(end, known[1])

    def add(self, starts: Sequence[int], counts: Ints) -> None:
        """Add counts, shape (len(starts), counts of a window)."""
        for start, more in zip(starts, counts, strict=True):
            known = self.counts.get(start, _NOTHING)
            self.counts[start] = known + more if len(known) else more

    def places(self, start: int) -> tuple[tuple[int, int, int], ...]:
        """(partition, first offset, end) of a window's rows."""
        return tuple(
            (partition, *span) for (window, partition), span in sorted(self._places.items()) if window == start
        )

    def drop(self, start: int) -> None:
        self.rows.pop(start, None)
        self.counts.pop(start, None)
        self._places = {place: span for place, span in self._places.items() if place[0] != start}

    def first(self) -> int | None:
        """The earliest open window."""
        return min(self.rows) if self.rows else None


def earliest_window(state: State) -> int | None:
    """The earliest open window of a state."""
    table = state.table(_WINDOWS)
    return table.column("start")[0].as_py() if table is not None and table.num_rows else None


def earliest_of(table: pa.Table | None) -> int:
    """The earliest `time` in a table; END if there is none."""
    return END if table is None or not table.num_rows else int(table.column("time").to_numpy().min())


def ranges_in(stream: str, *places: Sequence[tuple[int, int, int]]) -> tuple[Ranges, ...]:
    """Parents that hold for all rows: one part for each group of (partition, first offset, end) that is not empty."""
    return tuple(Ranges(tuple(OffsetRange(stream, *one) for one in group)) for group in places if group)


_NOTHING: Final[Ints] = np.empty(0, dtype=np.int64)
