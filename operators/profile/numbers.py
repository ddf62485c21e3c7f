"""What is kept of a column of numbers or times: exact sums, the smallest and largest, and a histogram."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from operators.profile.bins import Bins, Doubles
from operators.profile.sums import SQUARE_UNIT, UNIT, exact_sum, exact_sum_of_squares, rounded


@dataclass(frozen=True, slots=True)
class Numbers:
    """Finite numbers, or times in microseconds (`bins.doubles` False). `total` and `squares` are exact sums, in units
    of 2^-1074 and 2^-2148. `whole`: all of them are integers. Without any, `low` and `high` are NaN."""

    count: int
    total: int
    squares: int
    low: float
    high: float
    whole: bool
    bins: Bins

    @classmethod
    def nothing(cls, *, times: bool = False) -> Numbers:
        return cls(0, 0, 0, math.nan, math.nan, True, Bins.nothing(doubles=not times))

    def add(self, values: Any) -> Numbers:
        """With these values: finite doubles, or 64-bit integers where they are times."""
        if not len(values):
            return self
        exact = np.asarray(values, dtype=np.float64)
        low, high = float(exact.min()) + 0.0, float(exact.max()) + 0.0
        small = values.dtype == np.float64 and low > -_SMALL and high < _SMALL
        whole = self.whole and (values.dtype == np.int64 or bool((np.rint(exact) == exact).all()))
        if small and whole:
            integers = exact.astype(np.int64)
            total, squares = int(integers.sum()) << UNIT, int(np.dot(integers, integers)) << SQUARE_UNIT
        else:
            total, squares = exact_sum(exact), exact_sum_of_squares(exact)
        return Numbers(
            self.count + len(exact),
            self.total + total,
            self.squares + squares,
            low if math.isnan(self.low) else min(self.low, low),
            high if math.isnan(self.high) else max(self.high, high),
            whole,
            self.bins.add(exact if self.bins.doubles else values),
        )

    def merge(self, other: Numbers) -> Numbers:
        """What would be kept of both together."""
        if not other.count:
            return self
        if not self.count:
            return other
        return Numbers(
            self.count + other.count,
            self.total + other.total,
            self.squares + other.squares,
            min(self.low, other.low),
            max(self.high, other.high),
            self.whole and other.whole,
            self.bins.merge(other.bins),
        )

    @property
    def mean(self) -> float:
        return rounded(self.total, UNIT, self.count) if self.count else math.nan

    @property
    def m2(self) -> float:
        """The sum of squared differences from the mean."""
        if not self.count:
            return math.nan
        return rounded(self.squares * self.count - self.total * self.total, SQUARE_UNIT, self.count)

    @property
    def deviation(self) -> float:
        """The sample's standard deviation; NaN for fewer than two values."""
        return math.sqrt(self.m2 / (self.count - 1)) if self.count > 1 else math.nan

    def quantiles(self, *shares: float) -> Doubles:
        """The values below which these shares lie, as exact as `bins.relative_error` says."""
        found = self.bins.quantiles(np.array(shares), self.low, self.high)
        return np.trunc(found) if self.whole else found


#: Sums and sums of squares of so small integers fit 64 bits, as long as there are at most 2^22 of them.
_SMALL = 2.0**20
