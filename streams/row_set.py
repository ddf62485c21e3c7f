"""Sets of rows of one partition, kept and compared as arrays: which rows of which messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_NONE: Ints = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class RowSet:
    """Rows by the `offsets` of their messages and their numbers `rows` within them: integer arrays of shape (n,), in
    ascending order, each row once. Of the `whole` ranges (first, end) of offsets every row belongs to the set,
    though nobody knows how many there are; they are not counted."""

    offsets: Ints = field(default_factory=lambda: _NONE)
    rows: Ints = field(default_factory=lambda: _NONE)
    whole: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, offsets: Ints, rows: Ints) -> RowSet:
        """Rows in any order, some of them perhaps twice."""
        if not len(offsets):
            return cls()
        order = np.lexsort((rows, offsets))
        offsets, rows = np.asarray(offsets, np.int64)[order], np.asarray(rows, np.int64)[order]
        new = np.ones(len(offsets), dtype=bool)
        new[1:] = (np.diff(offsets) != 0) | (np.diff(rows) != 0)
        return cls(offsets[new], rows[new])

    def __len__(self) -> int:
        return len(self.offsets)

    def __bool__(self) -> bool:
        return bool(len(self.offsets) or self.whole)

    def has(self, offsets: Ints, rows: Ints) -> Bools:
        """For each of these rows whether it is in the set; a negative offset is in no set."""
        found = self._has_whole(offsets)
        if len(self.offsets) and len(offsets):
            first = int(np.searchsorted(self._messages, offsets.min()))
            if first < len(self._messages) and int(self._messages[first]) <= int(offsets.max()):
                found |= self._has_single(offsets, rows)
        return found

    def meets(self, first: int, end: int) -> bool:
        """True if a row of the set lies in a message from `first` up to, not including, `end`."""
        at = int(np.searchsorted(self.offsets, first))
        if at < len(self.offsets) and int(self.offsets[at]) < end:
            return True
        return any(begin < end and stop > first for begin, stop in self.whole)

    def count_in(self, first: int, end: int) -> int:
        """How many rows lie in the messages from `first` up to, not including, `end`."""
        low, high = np.searchsorted(self.offsets, (first, end))
        return int(high - low)

    def without(self, other: RowSet) -> RowSet:
        """The rows that are not in `other`."""
        if not other:
            return self
        left = ~other.has(self.offsets, self.rows)
        return RowSet(self.offsets[left], self.rows[left], tuple(one for one in self.whole if one not in other.whole))

    def runs(self, most: int = 64, gap: int = 1) -> Iterator[tuple[int, int]]:
        """Ranges (first, end) of offsets that hold all rows, in their order: apart where more than `gap` offsets lie
        between two, and wider apart if they would be more than `most` otherwise."""
        if len(self.offsets):
            messages = self._messages
            steps = np.diff(messages)
            widest = gap if most > len(steps) else max(gap, int(np.partition(steps, -most)[-most]))
            cuts = np.flatnonzero(steps > widest)
            starts = messages[np.concatenate([[0], cuts + 1])]
            ends = messages[np.concatenate([cuts, [len(messages) - 1]])] + 1
            yield from zip(starts.tolist(), ends.tolist(), strict=True)
        yield from self.whole

    @cached_property
    def _messages(self) -> Ints:
        return np.unique(self.offsets)

    @cached_property
    def _codes(self) -> Ints:
        """The rows as single numbers, ascending: the number of the message in the set, and the row."""
        numbers = np.searchsorted(self._messages, self.offsets)
        return (numbers << 32) | self.rows

    def _has_whole(self, offsets: Ints) -> Bools:
        found = np.zeros(len(offsets), dtype=bool)
        for first, end in self.whole:
            found |= (offsets >= first) & (offsets < end)
        return found

    def _has_single(self, offsets: Ints, rows: Ints) -> Bools:
        numbers = np.minimum(np.searchsorted(self._messages, offsets), len(self._messages) - 1)
        met = self._messages[numbers] == offsets
        codes = (numbers << 32) | rows
        at = np.minimum(np.searchsorted(self._codes, codes), len(self._codes) - 1)
        found: Bools = met & (self._codes[at] == codes)
        return found


def together(sets: Iterable[RowSet]) -> RowSet:
    """The rows of several sets."""
    parts = [one for one in sets if one]
    if not parts:
        return RowSet()
    if len(parts) == 1:
        return parts[0]
    exact = RowSet.of(np.concatenate([one.offsets for one in parts]), np.concatenate([one.rows for one in parts]))
    whole = tuple(sorted({span for one in parts for span in one.whole}))
    return RowSet(exact.offsets, exact.rows, whole)
