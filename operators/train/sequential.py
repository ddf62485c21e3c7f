"""A paired test that may be looked at after every row: betting that one predictor loses less than another."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import log

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

#: The shares of the wealth that are bet on every row, side by side. Small ones find small differences, slowly.
BETS: Floats = np.array([0.8 * 0.5**power for power in range(9)])
_FAIR = log(1.0 / len(BETS))


@dataclass(frozen=True)
class Wager:
    """How a bet stands that the first of two predictors loses more than the second.

    It begins with a wealth of 1, divided over BETS; each row multiplies a part that bets the share b by 1 + b * d,
    where d is the difference of the two losses, from -1 to 1. As long as the second is expected to lose no less on
    any row, given all before it, the wealth is a supermartingale; so it ever reaches 1 / error with a probability of
    at most `error`, whenever and however often one looks (Ville). `peak` is the logarithm of the most that it reached.

    Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting" (2024).
    """

    wealth: Floats = field(default_factory=lambda: np.zeros(len(BETS)))
    peak: float = 0.0
    rows: int = 0
    total: float = 0.0

    def after(self, differences: Floats) -> Wager:
        """The bet behind these rows: for each the first one's loss minus the second one's, from -1 to 1."""
        if not len(differences):
            return self
        rows, total = self.rows + len(differences), self.total + float(differences.sum())
        # A row without a difference changes no wealth.
        told = differences[differences != 0.0]
        if not len(told):
            return Wager(self.wealth, self.peak, rows, total)
        courses = self.wealth + np.cumsum(np.log1p(np.multiply.outer(told, BETS)), axis=0)
        # The whole is a mean of the parts, so only where the best part is above the peak can the whole be.
        best = courses.max(axis=1)
        high = best > self.peak
        peak = self.peak
        if high.any():
            best = best[high]
            whole = best + np.log(np.exp(courses[high] - best[:, None]).sum(axis=1)) + _FAIR
            peak = max(peak, float(whole.max()))
        return Wager(courses[-1], peak, rows, total)

    def decides(self, error: float) -> bool:
        """True once the wealth has been 1 / error: the second is better, said wrongly at most so often."""
        return self.peak >= -log(error)

    @property
    def mean(self) -> float:
        """By how much the first lost more, on average over the rows so far."""
        return self.total / self.rows if self.rows else 0.0


def share_of(error: float, number: int) -> float:
    """The part of `error` that the test of this number (1, 2, …) may use, so that all of them, without end, use no
    more than `error` together."""
    return error / (number * (number + 1))
