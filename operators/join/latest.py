"""The newest row of each key, kept in a task's state and found by whole columns of keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import is_
from typing import Any

import numpy as np
import pyarrow as pa

from operators.execution.state import State
from operators.join.groups import Groups, grouped
from operators.join.keys import Codes, Keys, Positions, keys_of, same_keys
from operators.join.rows import Times, column_of, times_of
from operators.join.segments import Segments
from streams.parents import NO_PARENT

_LOOK_ROWS = 32_768


@dataclass(frozen=True, slots=True)
class Found:
    """Rows among `rows` (a table), one position for each key that was asked for; -1 where there is none."""

    rows: pa.Table
    positions: Positions


@dataclass(frozen=True, slots=True)
class Arrived:
    """Rows (a record batch, ordered by event time) on their way into a `Latest`, already grouped by key."""

    rows: Any
    keys: Keys
    groups: Groups


@dataclass(frozen=True)
class Latest:
    """A map from keys (the columns `key` of `schema`) to their newest row.

    `keep` is how long (microseconds of event time) a row can still be asked for, None for ever. Rows whose key has
    a null are never found.
    """

    name: str
    schema: pa.Schema
    key: Sequence[str]
    keep: int | None = None

    def find(self, state: State, columns: Sequence[Any]) -> Found:
        """The newest row of each of these keys."""
        index = self._index(state)
        return Found(index.table, self._positions(index, keys_of(columns, index.seed)))

    def find_between(
        self, state: State, columns: Sequence[Any], times: Times, newer: Arrived, *, allow_exact: bool = True
    ) -> Found:
        """The newest row of each of these keys at or before each of these times (strictly before without
        `allow_exact`): among `newer` ones, else the one that is there."""
        index = self._index(state)
        wanted = keys_of(columns)
        older = self._positions(index, keys_of(columns, index.seed) if index.seed else wanted)
        arrived, groups = newer.keys, newer.groups
        if not wanted.exact and not _distinct(arrived, groups):
            wanted, arrived = _numbered(wanted, arrived)
            groups = grouped(arrived)
        limits = np.searchsorted(times_of(newer.rows), times, side="right" if allow_exact else "left")
        positions = groups.last_before(wanted, limits)
        if not (wanted.exact or arrived.exact):
            _drop_unequal(positions, wanted.columns, arrived.columns)
        positions = np.where(positions >= 0, positions + index.table.num_rows, older)
        return Found(pa.concat_tables([index.table, pa.Table.from_batches([newer.rows])]), positions)

    def arrived(self, rows: Any) -> Arrived:
        keys = keys_of(self.key_columns(rows))
        return Arrived(rows, keys, grouped(keys))

    def add(self, state: State, newer: Arrived) -> None:
        """Add rows: of equal keys the last counts."""
        index = self._index(state)
        rows = newer.rows
        start = 0
        while start < rows.num_rows:
            # Clearing out is looked at after fixed numbers of rows, so that the state depends on the rows alone.
            look = int(state.raw(self._look) or _LOOK_ROWS)
            room = look - index.table.num_rows
            whole = start == 0 and rows.num_rows <= room
            index = self._append(state, index, newer if whole else self.arrived(rows.slice(start, room)))
            if index.table.num_rows == look:
                index = self._cleared_out(state, index)
            start += room

    def key_columns(self, rows: Any) -> list[Any]:
        return [column_of(rows, self.schema, name) for name in self.key]

    def _positions(self, index: Index, keys: Keys) -> Positions:
        return index.find(keys, self.key_columns(index.table))

    def _append(self, state: State, index: Index, newer: Arrived) -> Index:
        rows, keys, groups = newer.rows, newer.keys, newer.groups
        if index.seed and not keys.exact:
            keys = keys_of(keys.columns, index.seed)
            groups = grouped(keys)
        while not _distinct(keys, groups) or index.clashes(keys, groups, self.key_columns(index.table)):
            index = self._rebuilt(state, index.seed + 1)
            keys = keys_of(keys.columns, index.seed)
            groups = grouped(keys)
        self._segments.append(state, rows)
        index.add(keys, groups, rows)
        index.stand = self._segments.stand(state)
        return index

    def _cleared_out(self, state: State, index: Index) -> Index:
        """Without the rows that can never be found again, once they are the greater part."""
        live = np.sort(index.positions)
        if self.keep is not None and len(live):
            times = times_of(index.table)
            live = live[times[live] >= times[-1] - self.keep]
        state[self._look] = b"%d" % (2 * len(live) + _LOOK_ROWS)
        if index.table.num_rows <= 2 * len(live):
            return index
        self._segments.replace(state, index.table.take(pa.array(live)))
        return self._rebuilt(state, index.seed)

    @property
    def _look(self) -> str:
        return f"{self.name} look"

    @property
    def _segments(self) -> Segments:
        return Segments(self.name, self.schema)

    def _index(self, state: State) -> Index:
        known = self._cache(state).index
        if known is not None and all(map(is_, known.stand, self._segments.stand(state))):
            return known
        return self._rebuilt(state, 0)

    def _cache(self, state: State) -> _Cache:
        return state.derived(f"{self.name} index", (), _Cache)

    def _rebuilt(self, state: State, seed: int) -> Index:
        table = pa.concat_tables([self.schema.empty_table(), *self._segments.tables(state)]).combine_chunks()
        while True:
            keys = keys_of(self.key_columns(table), seed)
            groups = grouped(keys)
            if _distinct(keys, groups):
                break
            seed += 1
        index = Index(seed, groups.codes, groups.lasts.copy(), keys.exact, [table], table, self._segments.stand(state))
        self._cache(state).index = index
        return index


@dataclass(slots=True)
class Index:
    """Where the newest row of each key lies: `codes` ascending, `positions` in `table`. No two keys have one code.

    It is a cache of the state's segments (as of `stand`), changed in step with them, built anew when they are others.
    """

    seed: int
    codes: Codes
    positions: Positions
    exact: bool
    parts: list[pa.Table]
    table: pa.Table
    stand: tuple[Any, Any]

    def find(self, keys: Keys, key_columns: Sequence[Any]) -> Positions:
        if not len(self.codes) or not len(keys):
            return np.full(len(keys), NO_PARENT, dtype=np.int64)
        at = np.minimum(np.searchsorted(self.codes, keys.codes), len(self.codes) - 1)
        hit = self.codes[at] == keys.codes
        if keys.known is not None:
            hit &= keys.known
        positions = np.where(hit, self.positions[at], NO_PARENT)
        if not (self.exact or keys.exact):
            _drop_unequal(positions, keys.columns, key_columns)
        return positions

    def clashes(self, keys: Keys, groups: Groups, key_columns: Sequence[Any]) -> bool:
        """True if one of these keys has the code of another key that is there."""
        if self.exact or keys.exact or not len(self.codes):
            return False
        at = np.minimum(np.searchsorted(self.codes, groups.codes), len(self.codes) - 1)
        met = self.codes[at] == groups.codes
        return not same_keys(key_columns, self.positions[at[met]], keys.columns, groups.lasts[met]).all()

    def add(self, keys: Keys, groups: Groups, rows: Any) -> None:
        """Note rows that were appended."""
        at = np.searchsorted(self.codes, groups.codes)
        met = np.zeros(len(at), dtype=bool)
        inside = at < len(self.codes)
        met[inside] = self.codes[at[inside]] == groups.codes[inside]
        places = self.table.num_rows + groups.lasts
        self.positions[at[met]] = places[met]
        if not met.all():
            self.codes = np.insert(self.codes, at[~met], groups.codes[~met])
            self.positions = np.insert(self.positions, at[~met], places[~met])
        self.exact = self.exact and keys.exact
        self.parts.append(pa.Table.from_batches([rows]))
        while len(self.parts) > 1 and self.parts[-2].num_rows < 2 * self.parts[-1].num_rows:
            last = self.parts.pop()
            self.parts[-1] = pa.concat_tables([self.parts[-1], last]).combine_chunks()
        self.table = pa.concat_tables(self.parts)


@dataclass(slots=True)
class _Cache:
    index: Index | None = None


def _drop_unequal(positions: Positions, wanted: Sequence[Any], there: Sequence[Any]) -> None:
    """Forget the rows that were found whose key only has the same code as the wanted one."""
    hits = np.flatnonzero(positions >= 0)
    positions[hits[~same_keys(wanted, hits, there, positions[hits])]] = NO_PARENT


def _distinct(keys: Keys, groups: Groups) -> bool:
    """True if no two different keys have the same code."""
    if keys.exact:
        return True
    again = np.ones(len(groups.rows), dtype=bool)
    again[groups.starts] = False
    later = np.flatnonzero(again)
    return bool(same_keys(keys.columns, groups.rows[later - 1], keys.columns, groups.rows[later]).all())


def _numbered(*several: Keys) -> tuple[Keys, ...]:
    """The same keys with exact codes that hold among these alone: each different key's number."""
    numbers: Any = None
    for columns in zip(*(keys.columns for keys in several), strict=True):
        kinds = {column.type for column in columns}
        parts = columns if len(kinds) == 1 else [column.cast(columns[0].type) for column in columns]
        encoded = pa.chunked_array(parts).combine_chunks().dictionary_encode()
        ids = encoded.indices.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        numbers = ids if numbers is None else numbers * len(encoded.dictionary) + ids
        numbers = np.unique(numbers, return_inverse=True)[1]
    ends = np.cumsum([len(keys) for keys in several])
    codes = np.split(numbers.astype(np.uint64), ends[:-1])
    return tuple(Keys(keys.columns, part, keys.known, True) for keys, part in zip(several, codes, strict=True))
