"""Rows grouped by the codes of their keys, to be asked for by key and place in time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from operators.join.keys import Codes, Keys, Positions
from streams.parents import NO_PARENT

_SHIFT = 32


@dataclass(frozen=True, slots=True)
class Groups:
    """`codes` are the different codes, ascending; `rows` all rows ordered by (code, row); `starts` where each code's
    rows begin in them. `ranks` is (code's number, row - base) as one ascending number."""

    codes: Codes
    rows: Positions
    starts: Positions
    ranks: Positions
    base: int

    @property
    def lasts(self) -> Positions:
        """The last row of each code."""
        return self.rows[np.append(self.starts[1:], len(self.rows)) - 1] if len(self.starts) else self.rows

    def row_codes(self) -> Codes:
        """The code of each of `rows`."""
        return self.codes[self.ranks >> _SHIFT]

    def last_before(self, wanted: Keys, limits: Positions) -> Positions:
        """For each wanted code the last row below its limit; -1 if there is none."""
        if not len(self.codes) or not len(wanted):
            return np.full(len(wanted), NO_PARENT, dtype=np.int64)
        group, hit = self._find(wanted)
        entry = np.searchsorted(self.ranks, self._rank(group, limits)) - 1
        hit &= entry >= self.starts[group]
        return np.where(hit, self.rows[entry], NO_PARENT)

    def between(self, wanted: Keys, lows: Positions, highs: Positions) -> tuple[Positions, Positions]:
        """All rows with a wanted code from its low up to, not including, its high: which wanted one, and which row."""
        if not len(self.codes) or not len(wanted):
            none = np.empty(0, dtype=np.int64)
            return none, none
        group, hit = self._find(wanted)
        first = np.searchsorted(self.ranks, self._rank(group, lows))
        end = np.searchsorted(self.ranks, self._rank(group, highs))
        counts = np.where(hit, np.maximum(end - first, 0), 0)
        which = np.repeat(np.arange(len(wanted)), counts)
        skipped = np.repeat(first - (np.cumsum(counts) - counts), counts)
        return which, self.rows[skipped + np.arange(len(which))]

    def _find(self, wanted: Keys) -> tuple[Positions, Codes]:
        group = np.minimum(np.searchsorted(self.codes, wanted.codes), len(self.codes) - 1)
        hit = self.codes[group] == wanted.codes
        return group, hit if wanted.known is None else hit & wanted.known

    def _rank(self, group: Positions, rows: Positions) -> Positions:
        return (group << _SHIFT) + np.clip(rows - self.base, 0, (1 << _SHIFT) - 1)


def grouped(keys: Keys, first: int = 0) -> Groups:
    """Rows numbered from `first`, without those whose key has a null."""
    rows = np.arange(len(keys)) if keys.known is None else np.flatnonzero(keys.known)
    codes = keys.codes if keys.known is None else keys.codes[rows]
    return _sorted(codes, rows + first if first else rows)


def merged(older: Groups, newer: Groups, first: int) -> Groups:
    """Both, without the rows before `first`; every row of `newer` comes after all of `older`."""
    codes = np.concatenate([older.row_codes(), newer.row_codes()])
    rows = np.concatenate([older.rows, newer.rows])
    kept = rows >= first
    return _sorted(codes[kept], rows[kept])


def _sorted(codes: Codes, rows: Positions) -> Groups:
    order = np.argsort(codes, kind="stable")
    codes, rows = codes[order], rows[order]
    fresh = np.ones(len(codes), dtype=bool)
    fresh[1:] = codes[1:] != codes[:-1]
    starts = np.flatnonzero(fresh)
    base = int(rows.min()) if len(rows) else 0
    ranks = ((np.cumsum(fresh) - 1) << _SHIFT) + (rows - base)
    return Groups(codes[starts], rows, starts, ranks, base)
