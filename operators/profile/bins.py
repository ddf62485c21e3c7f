"""Histograms over fixed bins that can be merged: a value's bin depends on the value alone.

A value becomes a 64-bit integer in the same order, and its bin is that integer without its last bits. How many are
left out is the least with which the occupied bins are few enough, so it too follows from the values alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

Integers: TypeAlias = npt.NDArray[np.int64]
Doubles: TypeAlias = npt.NDArray[np.float64]

#: Of a double the sign, the exponent and 7 leading bits stay: a bin is at most 1/128 of its values wide.
DOUBLES: Final = 45
#: Times keep seconds, more or less (2^20 microseconds).
TIMES: Final = 20
MOST_BINS: Final = 2048
_MANTISSA: Final = 52
_SIGN: Final = np.int64(-(2**63))
_SPAN: Final = 65_536


@dataclass(frozen=True, slots=True)
class Bins:
    """`counts[i]` values in bin `keys[i]` (ascending), each 2^shift of the ordered integers wide.

    `doubles`: the integers stand for doubles; otherwise for themselves.
    """

    doubles: bool
    shift: int
    keys: Integers
    counts: Integers

    @classmethod
    def nothing(cls, *, doubles: bool) -> Bins:
        none = np.empty(0, dtype=np.int64)
        return cls(doubles, DOUBLES if doubles else TIMES, none, none)

    def add(self, values: Any) -> Bins:
        """With these values: finite doubles, or 64-bit integers."""
        if not len(values):
            return self
        keys = ordered(values) if self.doubles else values
        return self._joined(self.shift, *_counted(keys >> np.int64(self.shift)))

    def merge(self, other: Bins) -> Bins:
        """The histogram of both together."""
        return self._joined(other.shift, other.keys, other.counts) if len(other.keys) else self

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    @property
    def relative_error(self) -> float:
        """How far a quantile may be off, as a share of itself (numbers), or in microseconds (times)."""
        return 2.0 ** (self.shift - _MANTISSA - 1) if self.doubles else 2.0 ** (self.shift - 1)

    def edges(self) -> tuple[Doubles, Doubles]:
        """The lower and upper edge of each bin. Shapes (n,)."""
        low = self.keys << np.int64(self.shift)
        # The next bin's edge, but not beyond the last integer.
        high = low + ((np.int64(1) << np.int64(self.shift)) - np.int64(1))
        return (unordered(low), unordered(high)) if self.doubles else (low.astype(float), high.astype(float))

    def quantiles(self, shares: Doubles, low: float, high: float) -> Doubles:
        """The values below which these shares of all values lie, never outside of `low` to `high`; NaN if there are
        none."""
        if not len(self.keys):
            return np.full(len(shares), np.nan)
        reached = np.cumsum(self.counts)
        ranks = np.clip(np.ceil(np.asarray(shares) * reached[-1]), 1, reached[-1])
        at = np.searchsorted(reached, ranks)
        lows, highs = self.edges()
        return np.clip(lows[at] / 2 + highs[at] / 2, low, high)

    def even(self, low: float, high: float, count: int) -> Doubles:
        """The values in each of `count` equal parts of `low` to `high`, those in one bin spread evenly over it; what
        lies beyond counts in the first and the last part. Shape (count,)."""
        if not len(self.keys) or not high > low:
            return np.array([float(self.total)] + [0.0] * (count - 1))
        lows, highs = self.edges()
        reached = np.concatenate([[0.0], np.cumsum(self.counts)])
        # A running count over all edges of bins; between two of them it climbs evenly.
        at = np.empty(2 * len(lows))
        at[0::2], at[1::2] = lows, np.maximum(highs, lows)
        steps = np.repeat(reached, 2)[1:-1]
        inner = np.interp(np.linspace(low, high, count + 1)[1:-1], np.maximum.accumulate(at), steps)
        return np.diff(np.concatenate([[0.0], inner, [reached[-1]]]))

    def _joined(self, shift: int, keys: Integers, counts: Integers) -> Bins:
        coarsest = max(self.shift, shift)
        mine = self.coarser(coarsest)
        keys, counts = _merged(mine.keys, mine.counts, *_shifted(keys, counts, coarsest - shift))
        found = replace(self, shift=coarsest, keys=keys, counts=counts)
        while len(found.keys) > MOST_BINS:
            found = found.coarser(found.shift + 1)
        return found

    def coarser(self, shift: int) -> Bins:
        """With bins 2^shift wide; not finer than they are."""
        if shift <= self.shift:
            return self
        keys, counts = _shifted(self.keys, self.counts, shift - self.shift)
        return replace(self, shift=shift, keys=keys, counts=counts)


def ordered(values: Doubles) -> Integers:
    """Doubles (no NaN) as integers in the same order; the two zeros are one."""
    bits = (values + 0.0).view(np.int64)
    # Negative doubles ascend when their other bits descend.
    return bits ^ ((bits >> np.int64(63)) & np.int64(2**63 - 1))


def unordered(keys: Integers) -> Doubles:
    """The doubles that these integers stand for."""
    bits = keys ^ ((keys >> np.int64(63)) & np.int64(2**63 - 1))
    return bits.view(np.float64)


def _counted(keys: Integers) -> tuple[Integers, Integers]:
    first, last = int(keys.min()), int(keys.max())
    if last - first < max(_SPAN, len(keys)):
        counts = np.bincount(keys - first)
        found = np.flatnonzero(counts)
        return found + first, counts[found]
    if first < 0 <= last or first == 0:
        # Numbers of both signs, and zero beside others, lie far apart.
        parts = [keys[chosen] for chosen in (keys < 0, keys == 0, keys > 0)]
        counted = [_counted(part) for part in parts if len(part)]
        return np.concatenate([one for one, _ in counted]), np.concatenate([other for _, other in counted])
    return np.unique(keys, return_counts=True)


def _shifted(keys: Integers, counts: Integers, by: int) -> tuple[Integers, Integers]:
    return _together(keys >> np.int64(by), counts) if by else (keys, counts)


def _merged(keys: Integers, counts: Integers, more: Integers, others: Integers) -> tuple[Integers, Integers]:
    if not len(keys):
        return more, others
    at = np.searchsorted(keys, more)
    at[at == len(keys)] = 0
    if (keys[at] == more).all():
        counts = counts.copy()
        counts[at] += others
        return keys, counts
    both = np.concatenate([keys, more])
    order = np.argsort(both, kind="stable")
    return _together(both[order], np.concatenate([counts, others])[order])


def _together(keys: Integers, counts: Integers) -> tuple[Integers, Integers]:
    """Ascending keys, each once, with the sum of its counts."""
    starts = np.flatnonzero(np.diff(keys, prepend=keys[0] - 1)) if len(keys) else np.empty(0, dtype=np.int64)
    return (keys[starts], np.add.reduceat(counts, starts)) if len(keys) else (keys, counts)
