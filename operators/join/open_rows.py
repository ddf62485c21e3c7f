"""Rows of one side of a window join whose window is still open, found by key and span of event time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import is_
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from operators.execution.state import State
from operators.join.groups import Groups, grouped, merged
from operators.join.keys import Positions, keys_of, same_keys
from operators.join.rows import Times, column_of, one_batch, times_of
from operators.join.segments import Segments

_PART_ROWS = 65_536
#: A sorted run is merged with the one before unless that one is this many times larger.
_RATIO = 4


@dataclass(frozen=True)
class OpenRows:
    """Rows are added in event-time order and forgotten in the same order. Positions count from the first row ever
    added, so they keep the order of (event time, key, arrival)."""

    name: str
    schema: pa.Schema
    key: Sequence[str]

    def add(self, state: State, rows: Any) -> int:
        """Add rows (a record batch) and return the position of the first."""
        cache = self._cache(state)
        first = cache.end
        self._segments.append(state, rows)
        cache.add(rows, grouped(keys_of(self._key_columns(rows)), first))
        cache.stand = self._segments.stand(state)
        return first

    def between(self, state: State, columns: Sequence[Any], lows: Times, highs: Times) -> tuple[Positions, Positions]:
        """All pairs of a wanted key and an open row of that key with an event time from its low to its high, both
        included: which wanted one, and the row's position."""
        cache = self._cache(state)
        wanted = keys_of(columns)
        first = cache.place(lows, "left")
        end = cache.place(highs, "right")
        pairs = [run.between(wanted, first, end) for run in cache.runs]
        none = np.empty(0, dtype=np.int64)
        which = np.concatenate([none, *(pair[0] for pair in pairs)])
        positions = np.concatenate([none, *(pair[1] for pair in pairs)])
        if wanted.exact or not len(which):
            return which, positions
        table, table_first = self.rows(state)
        alike = same_keys(wanted.columns, which, self._key_columns(table), positions - table_first)
        return which[alike], positions[alike]

    def times(self, state: State, positions: Positions) -> Times:
        cache = self._cache(state)
        return cache.times.values[positions - cache.start]

    def open_times(self, state: State) -> Times:
        """The event times of all open rows, ascending."""
        cache = self._cache(state)
        return cache.times.values[cache.open - cache.start :]

    def rows(self, state: State) -> tuple[pa.Table, int]:
        """A table with all open rows and the position of its first row."""
        cache = self._cache(state)
        if cache.table is None:
            cache.table = pa.concat_tables([self.schema.empty_table(), *cache.parts])
        return cache.table, cache.parts_first

    def span(self, state: State) -> tuple[int, int]:
        """The positions of the first open row and of the next row to come."""
        cache = self._cache(state)
        return cache.open, cache.end

    def up_to(self, state: State, before: int) -> int:
        """The position after the last open row with an event time before `before`."""
        cache = self._cache(state)
        return max(cache.open, cache.start + int(np.searchsorted(cache.times.values, before)))

    def close(self, state: State, end: int) -> None:
        """Forget the rows before position `end`."""
        cache = self._cache(state)
        if end == cache.open:
            return
        if end == cache.end:
            self._segments.clear(state)
            cache = _Cache(start=end, open=end)
            state.derived(self._cached, (), _Holder).cache = cache
        else:
            cache.forget(end, self._segments.drop_front(state, end - cache.start))
        cache.stand = self._segments.stand(state)
        state[self._span] = b"%d %d" % (cache.start, cache.open)

    def _key_columns(self, rows: Any) -> list[Any]:
        return [column_of(rows, self.schema, name) for name in self.key]

    @property
    def _segments(self) -> Segments:
        return Segments(self.name, self.schema)

    @property
    def _span(self) -> str:
        return f"{self.name} span"

    @property
    def _cached(self) -> str:
        return f"{self.name} index"

    def _cache(self, state: State) -> _Cache:
        holder = state.derived(self._cached, (), _Holder)
        known, stand = holder.cache, self._segments.stand(state)
        if known is not None and all(map(is_, known.stand, stand)):
            return known
        start, first_open = (int(number) for number in (state.raw(self._span) or b"0 0").split())
        cache = _Cache(start=start, open=first_open, stand=stand, parts_first=start)
        tables = self._segments.tables(state)
        if tables:
            rows = one_batch(pa.concat_tables(tables))
            keys = keys_of(self._key_columns(rows))
            cache.add(rows, grouped(keys, start))
        holder.cache = cache
        return cache


@dataclass(slots=True)
class _Times:
    """A growing array of event times whose front can be cut off."""

    room: Times = field(default_factory=lambda: np.empty(1024, dtype=np.int64))
    first: int = 0
    end: int = 0

    @property
    def values(self) -> Times:
        return self.room[self.first : self.end]

    def add(self, times: Times) -> None:
        if self.end + len(times) > len(self.room):
            held = self.values
            self.room = np.empty(2 * (len(held) + len(times)), dtype=np.int64)
            self.room[: len(held)] = held
            self.first, self.end = 0, len(held)
        self.room[self.end : self.end + len(times)] = times
        self.end += len(times)


@dataclass(slots=True)
class _Cache:
    """What `OpenRows` has ready to be searched. `start` is the position of the first row of the state's segments.

    It is a cache of them (as of `stand`), changed in step with them, built anew when they are others.
    """

    start: int
    open: int
    stand: tuple[Any, Any] = (None, None)
    times: _Times = field(default_factory=_Times)
    runs: list[Groups] = field(default_factory=list)
    parts: list[pa.Table] = field(default_factory=list)
    parts_first: int = 0
    table: pa.Table | None = None

    @property
    def end(self) -> int:
        return self.start + len(self.times.values)

    def place(self, times: Times, side: Literal["left", "right"]) -> Positions:
        """Positions of the first row not before (`left`) or after (`right`) these times."""
        return self.start + np.searchsorted(self.times.values, times, side=side)

    def add(self, rows: Any, groups: Groups) -> None:
        if not self.parts:
            self.parts_first = self.end
        self.table = None
        self.times.add(times_of(rows))
        self.parts.append(pa.Table.from_batches([rows]))
        while len(self.parts) > 1 and self.parts[-2].num_rows < min(2 * self.parts[-1].num_rows, _PART_ROWS):
            last = self.parts.pop()
            self.parts[-1] = pa.concat_tables([self.parts[-1], last]).combine_chunks()
        self.runs.append(groups)
        while len(self.runs) > 1 and len(self.runs[-2].rows) < _RATIO * len(self.runs[-1].rows):
            newer = self.runs.pop()
            self.runs[-1] = merged(self.runs[-1], newer, self.open)

    def forget(self, before: int, dropped: int) -> None:
        """Rows before this position are closed, and the first `dropped` rows are gone."""
        self.open = before
        self.start += dropped
        self.times.first += dropped
        while self.parts and self.parts_first + self.parts[0].num_rows <= self.start:
            self.table = None
            self.parts_first += self.parts.pop(0).num_rows


@dataclass(slots=True)
class _Holder:
    cache: _Cache | None = None
