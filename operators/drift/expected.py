"""Performance without labels: the accuracy and AUC to expect of scores, by what such scores were worth before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.drift.distance import normal_tail

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

#: A bin's own scores count as much as so many labelled rows.
_PRIOR_ROWS = 2.0


@dataclass(frozen=True, slots=True)
class Worth:
    """What a score in each bin is worth: how often the prediction was right, and the positive class was there (None if
    there are more than two classes, or it is not known). Shapes (bins,)."""

    right: Floats
    positive: Floats | None

    @classmethod
    def learnt(
        cls, rows: Ints, scores: Floats, labelled: Ints, right: Ints, positive: Ints | None, cut: float
    ) -> Worth:
        """From the reference: `rows` and the sum of their `scores` by bin, of those with a label how many were `right`
        and (of two classes) `positive`. Without labels the scores are taken at their word."""
        mean = scores / np.maximum(rows, 1)
        if positive is None:
            return cls((right + _PRIOR_ROWS * mean) / (labelled + _PRIOR_ROWS), None)
        by_score = np.where(mean >= cut, mean, 1.0 - mean)
        return cls(
            (right + _PRIOR_ROWS * by_score) / (labelled + _PRIOR_ROWS),
            (positive + _PRIOR_ROWS * mean) / (labelled + _PRIOR_ROWS),
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "right": self.right.tolist(),
            "positive": None if self.positive is None else self.positive.tolist(),
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Worth:
        positive = found["positive"]
        return cls(np.array(found["right"]), None if positive is None else np.array(positive))


@dataclass(frozen=True, slots=True)
class Expected:
    """An expected measure with its variance."""

    value: float
    variance: float


def expected_accuracy(worth: Worth, rows: Ints) -> Expected | None:
    """The expected share of right predictions among `rows` by bin; None without rows."""
    total = int(rows.sum())
    if not total:
        return None
    share = rows / total
    mean = float(share @ worth.right)
    return Expected(mean, float(share @ (worth.right - mean) ** 2) / total)


def expected_auc(worth: Worth, rows: Ints) -> Expected | None:
    """The expected area under the ROC curve, scores of one bin counting as equal; None if it is not defined. Its
    variance is that of Hanley and McNeil (1982)."""
    if worth.positive is None or not rows.sum():
        return None
    positives, negatives = rows * worth.positive, rows * (1.0 - worth.positive)
    n, m = float(positives.sum()), float(negatives.sum())
    if n < 1.0 or m < 1.0:
        return None
    auc = float(positives @ (np.cumsum(negatives) - negatives / 2.0)) / (n * m)
    q1, q2 = auc / (2.0 - auc), 2.0 * auc**2 / (1.0 + auc)
    variance = (auc * (1.0 - auc) + (n - 1.0) * (q1 - auc**2) + (m - 1.0) * (q2 - auc**2)) / (n * m)
    return Expected(auc, max(variance, 0.0))


def fall(before: Expected, now: Expected) -> tuple[float, float]:
    """How much less it is now, in standard errors, and how often chance alone would do that."""
    spread = np.sqrt(before.variance + now.variance)
    less = before.value - now.value
    if spread == 0.0:
        return 0.0, 0.0 if less > 0 else 1.0
    z = less / spread
    return float(z), float(normal_tail(np.array([z]))[0])
