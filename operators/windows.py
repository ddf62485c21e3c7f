"""Windows of event time of one length, laid end to end from 1970 on: which one a row is in, which are closed, and from
which messages each was made. Profiles and monitors close theirs by these rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from catalog.errors import HeadwaterError
from operators.execution.state import State
from operators.join.late import Late, bound_of
from operators.operator import Batch, Output
from streams.duration import Duration, parse_duration
from streams.message import BEGINNING, END
from streams.parents import OffsetRange, Ranges
from streams.stream import Stream

Integers = npt.NDArray[np.int64]

UTC_TIME: Final = pa.timestamp("us", tz="UTC")
_RANGES: Final = pa.schema([(name, pa.int64()) for name in ("window", "partition", "first", "end", "rows")])


class CannotWindow(HeadwaterError):
    """Windows of event time were declared that cannot be made."""

    exit_code = 2


@dataclass(frozen=True)
class Windows:
    """Window n holds the event times from n * length up to, not including, (n + 1) * length; microseconds.

    It closes when the clock has passed its end by `lateness`. Rows that come for it afterwards are late.
    """

    length: int
    lateness: int = 0

    @classmethod
    def of(cls, source: Stream, window: Duration, lateness: Duration, where: str) -> Windows:
        """CannotWindow for a stream without event time, or windows without length."""
        length = parse_duration(window)
        if source.time is None:
            raise CannotWindow(
                f"{source.name} has no event time, so its rows lie in no window.",
                where=where,
                fix="Declare it with time=, or make a time with a map.",
            )
        if not length:
            raise CannotWindow("A window needs a length above zero.", where=where, fix='For example window="1h".')
        return cls(length, parse_duration(lateness))

    def of_times(self, times: Integers) -> Integers:
        """The window of each time."""
        return times // self.length

    def first_open(self, clock: int) -> int:
        """The first window that is not closed at this clock."""
        return bound_of(clock, self.lateness) // self.length

    def late(self, batch: Batch) -> npt.NDArray[np.bool_] | None:
        """Which rows of a batch came after their window was closed, or have no event time; None if none did."""
        late = (self.of_times(batch.times) < self.first_open(batch.clock)) | (batch.times == BEGINNING)
        return late if late.any() else None

    def in_time(self, batch: Batch, side: Late) -> tuple[list[Output], Batch]:
        """A batch without the rows that came too late, and the output that carries those to the side."""
        late = self.late(batch)
        return ([], batch) if late is None else ([side.output(batch, late)], without(batch, late))

    def end(self, window: int) -> int:
        """The end of a window: the event time at which everything about it is known."""
        return (window + 1) * self.length


@dataclass(frozen=True)
class OpenWindows:
    """The open windows of a task, in its state under `name`: how many rows each has, and the offsets they lie in."""

    name: str = "open"

    def add(self, state: State, windows: Integers, batch: Batch) -> None:
        """Rows of a batch that lie in these windows, one for each row."""
        known, addresses = self._table(state), batch.addresses
        first, last = int(windows.min()), int(windows.max())
        if first == last and (addresses.partition.strides[0] == 0 or np.ptp(addresses.partition) == 0):
            offsets = int(addresses.offset.min()), int(addresses.offset.max()) + 1
            rows = np.array([first, int(addresses.partition[0]), *offsets, len(windows)], dtype=np.int64)[:, None]
        else:
            places = (windows, addresses.partition, addresses.offset)
            window, partition, offset = (np.asarray(place, dtype=np.int64) for place in places)
            rows = np.stack([window, partition, offset, offset + 1, np.ones_like(offset)])
        state[self.name] = _table(_grouped(np.concatenate([known, rows], axis=1)))

    def known(self, state: State) -> Integers:
        """The open windows, ascending."""
        return np.unique(self._table(state)[0])

    def first(self, state: State) -> int | None:
        """The first open window; None if there is none."""
        table = self._table(state)
        return int(table[0, 0]) if table.shape[1] else None

    def close(self, state: State, window: int, stream: str) -> tuple[int, Ranges]:
        """How many rows a window had and where in the stream they lie; it is no longer open."""
        table = self._table(state)
        mine = table[0] == window
        kept = table[:, ~mine]
        if kept.shape[1]:
            state[self.name] = _table(kept)
        else:
            del state[self.name]
        found = table[:, mine]
        ranges = tuple(OffsetRange(stream, partition, first, end) for _, partition, first, end, _ in found.T.tolist())
        return int(found[4].sum()), Ranges(ranges)

    def rows(self, state: State, window: int) -> int:
        """How many rows an open window has."""
        table = self._table(state)
        return int(table[4, table[0] == window].sum())

    def _table(self, state: State) -> Integers:
        return state.derived(f"{self.name} windows", (self.name,), lambda: _columns(state.table(self.name)))


def holds_until(windows: Windows, first: int | None) -> int:
    """The earliest event time that may still be emitted if this is the first open window."""
    return END if first is None else windows.end(first)


def without(batch: Batch, late: npt.NDArray[np.bool_]) -> Batch:
    """The batch's other rows."""
    kept = np.flatnonzero(~late)
    rows = batch.rows.take(pa.array(kept))
    return Batch(batch.input, rows, batch.addresses.take(kept), batch.times[kept], batch.clock)


def _grouped(rows: Integers) -> Integers:
    """One column for each window and partition: the first offset, the last end, all rows."""
    if rows.shape[1] and (rows[:2] == rows[:2, :1]).all():
        return np.stack([*rows[:2, 0], rows[2].min(), rows[3].max(), rows[4].sum()])[:, None]
    order = np.lexsort((rows[1], rows[0]))
    rows = rows[:, order]
    starts = np.flatnonzero((np.diff(rows[:2], axis=1, prepend=rows[:2, :1] - 1) != 0).any(axis=0))
    return np.stack(
        [
            rows[0, starts],
            rows[1, starts],
            np.minimum.reduceat(rows[2], starts),
            np.maximum.reduceat(rows[3], starts),
            np.add.reduceat(rows[4], starts),
        ]
    )


def _table(columns: Integers) -> pa.Table:
    return pa.Table.from_arrays([pa.array(column) for column in columns], schema=_RANGES)


def _columns(table: Any) -> Integers:
    if table is None:
        return np.empty((len(_RANGES), 0), dtype=np.int64)
    return np.stack([column.to_numpy() for column in table.columns])
