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
Bools = npt.NDArray[np.bool_]

#: Scores nearer to 0 or 1 than this do not make a bin's labels certain.
_EDGE = 0.01


@dataclass(frozen=True, slots=True)
class Scored:
    """Rows and the sum of their scores by bin; both can be added up. Shapes (bins,)."""

    rows: Ints
    scores: Floats

    def mean(self) -> Floats:
        return self.scores / np.maximum(self.rows, 1)


@dataclass(frozen=True, slots=True)
class Worth:
    """What the reference's labels taught about scores, by bin: how much more often than the scores say the prediction
    was right, and the positive class was there (None if there are more than two classes). `positive_bins`: in these
    the scores predict the positive class. `uncertain` is the variance of `right`. Shapes (bins,)."""

    right: Floats
    positive: Floats | None
    positive_bins: Bools
    uncertain: Floats

    @classmethod
    def learnt(cls, labelled: Scored, right: Ints, positive: Ints | None, positive_bins: Bools) -> Worth:
        """From the rows with a label: how many predictions were `right`, and how many rows `positive` (of two classes).
        Without labels the scores are taken at their word."""
        nothing = np.zeros(len(right))
        bare = cls(nothing, None if positive is None else nothing, positive_bins, nothing)
        of_right, of_positive = bare.rates(labelled)
        more, uncertain = _more(labelled.rows, right, of_right)
        if positive is None or of_positive is None:
            return cls(more, None, positive_bins, uncertain)
        return cls(more, _more(labelled.rows, positive, of_positive)[0], positive_bins, uncertain)

    def rates(self, scored: Scored) -> tuple[Floats, Floats | None]:
        """How often, by bin, predictions are right and the positive class is there, as far as scores can say."""
        mean = scored.mean()
        if self.positive is None:
            return np.clip(mean + self.right, 0.0, 1.0), None
        by_score = np.where(self.positive_bins, mean, 1.0 - mean)
        return np.clip(by_score + self.right, 0.0, 1.0), np.clip(mean + self.positive, 0.0, 1.0)

    def to_json(self) -> dict[str, Any]:
        return {
            "right": self.right.tolist(),
            "positive": None if self.positive is None else self.positive.tolist(),
            "positive_bins": self.positive_bins.tolist(),
            "uncertain": self.uncertain.tolist(),
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Worth:
        positive = found["positive"]
        return cls(
            np.array(found["right"]),
            None if positive is None else np.array(positive),
            np.array(found["positive_bins"], dtype=bool),
            np.array(found["uncertain"]),
        )


@dataclass(frozen=True, slots=True)
class Expected:
    """An expected measure with its variance, and the share of rows in each bin."""

    value: float
    variance: float
    shares: Floats


def expected_accuracy(worth: Worth, scored: Scored) -> Expected | None:
    """The expected share of right predictions; None without rows."""
    total = int(scored.rows.sum())
    if not total:
        return None
    share = scored.rows / total
    right, _ = worth.rates(scored)
    mean = float(share @ right)
    return Expected(mean, float(share @ (right - mean) ** 2) / total, share)


def expected_auc(worth: Worth, scored: Scored) -> Expected | None:
    """The expected area under the ROC curve, scores of one bin counting as equal; None if it is not defined. Its
    variance is that of Hanley and McNeil (1982)."""
    _, positive = worth.rates(scored)
    if positive is None:
        return None
    positives, negatives = scored.rows * positive, scored.rows * (1.0 - positive)
    n, m = float(positives.sum()), float(negatives.sum())
    if n < 1.0 or m < 1.0:
        return None
    auc = float(positives @ (np.cumsum(negatives) - negatives / 2.0)) / (n * m)
    q1, q2 = auc / (2.0 - auc), 2.0 * auc**2 / (1.0 + auc)
    variance = (auc * (1.0 - auc) + (n - 1.0) * (q1 - auc**2) + (m - 1.0) * (q2 - auc**2)) / (n * m)
    return Expected(auc, max(variance, 0.0), scored.rows / scored.rows.sum())


def fall(worth: Worth, before: Expected, now: Expected) -> tuple[float, float]:
    """How much less it is now, in standard errors, and how often chance alone would do that. What labels taught about
    a bin is uncertain itself, which counts where there are now more or fewer rows than before."""
    taught = float((now.shares - before.shares) ** 2 @ worth.uncertain)
    spread = np.sqrt(before.variance + now.variance + taught)
    less = before.value - now.value
    if spread == 0.0:
        return 0.0, 0.0 if less > 0 else 1.0
    z = less / spread
    return float(z), float(normal_tail(np.array([z]))[0])


def _more(rows: Ints, found: Ints, said: Floats) -> tuple[Floats, Floats]:
    """How much more often than `said` it was found, by bin, and the variance of that. What bins show is believed as far
    as they differ by more than chance (empirical Bayes)."""
    certain = np.clip(said, _EDGE, 1.0 - _EDGE)
    chance = certain * (1.0 - certain) / np.maximum(rows, 1)
    shown = np.where(rows > 0, found / np.maximum(rows, 1) - said, 0.0)
    total = int(rows.sum())
    spread = max(float(rows @ (shown**2 - chance)) / total, 0.0) if total else 0.0
    belief = np.where(rows > 0, spread / (spread + chance), 0.0)
    return belief * shown, np.where(rows > 0, belief * chance, spread)
