"""Measures of predictions against the truth, on whole columns: pure functions of arrays, and sums that can be added."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: Probabilities are kept this far from 0 and 1 where their logarithm is taken.
NEVER_CERTAIN = 1e-15
CALIBRATION_BINS = 10


def log_loss(of_truth: Floats) -> Floats:
    """The loss of each row, in nats, from the probability that was given to what came true."""
    return -np.log(np.clip(of_truth, NEVER_CERTAIN, 1.0))


def brier(probabilities: Floats, truth: Codes) -> Floats:
    """Half the squared distance of each row's probabilities, shape (n, classes), from what came true (codes): 0 to 1.

    With two classes it is the square of (probability of the second class - outcome). A row with a probability that
    is not a number has lost 1.
    """
    squares = np.einsum("ij,ij->i", probabilities, probabilities)
    losses = (squares - 2.0 * probabilities[np.arange(len(truth)), truth] + 1.0) / 2.0
    return np.clip(np.where(np.isnan(losses), 1.0, losses), 0.0, 1.0)


def auc(positive: Mask, scores: Floats) -> float:
    """The chance that a positive row has a higher score than a negative one, ties counted half; NaN with one class."""
    positives, negatives = _by_score(positive, scores)
    pairs = float(positives.sum()) * float(negatives.sum())
    if not pairs:
        return float("nan")
    below = np.cumsum(negatives) - negatives
    return float((positives * (below + negatives / 2)).sum() / pairs)


def pr_auc(positive: Mask, scores: Floats) -> float:
    """Average precision: precision at each score, weighted by the recall that it adds; NaN without positive rows."""
    positives, negatives = (side[::-1] for side in _by_score(positive, scores))
    total = positives.sum()
    if not total:
        return float("nan")
    found = np.cumsum(positives)
    return float((positives / total * found / (found + np.cumsum(negatives))).sum())


def _by_score(positive: Mask, scores: Floats) -> tuple[Floats, Floats]:
    """How many positive and negative rows there are at each score that occurs, ascending."""
    order = np.argsort(scores, kind="stable")
    ordered, hits = scores[order], positive[order].astype(np.float64)
    starts = np.flatnonzero(np.diff(ordered, prepend=np.nan) != 0)
    if not len(starts):
        return np.empty(0), np.empty(0)
    positives = np.add.reduceat(hits, starts)
    return positives, np.diff(np.append(starts, len(ordered))) - positives


def against_chance(accuracy: float, baseline: float) -> float:
    """(accuracy - baseline) / (1 - baseline): kappa-temporal, if the baseline is no-change. NaN where it is perfect."""
    return (accuracy - baseline) / (1.0 - baseline) if baseline < 1.0 else float("nan")


@dataclass(frozen=True)
class Calibration:
    """Rows by the probability that they were given: for each of equally wide bins how many rows, the sum of their
    probabilities, and how often what they were given for came true. Calibrations of two parts add up."""

    rows: Floats
    stated: Floats
    true: Floats

    @classmethod
    def of(cls, probabilities: Floats, came_true: Mask, bins: int = CALIBRATION_BINS) -> Calibration:
        at = np.minimum((probabilities * bins).astype(np.int64), bins - 1)
        return cls(
            np.bincount(at, minlength=bins).astype(np.float64),
            np.bincount(at, probabilities, bins).astype(np.float64),
            np.bincount(at, came_true, bins).astype(np.float64),
        )

    def __add__(self, other: Calibration) -> Calibration:
        return Calibration(self.rows + other.rows, self.stated + other.stated, self.true + other.true)

    @property
    def error(self) -> float:
        """Expected calibration error: how far stated and observed shares are apart, averaged over rows."""
        total = self.rows.sum()
        return float(np.abs(self.stated - self.true).sum() / total) if total else float("nan")

    def shown(self) -> list[dict[str, Any]]:
        """The bins that hold rows: their upper edge, rows, mean probability and observed share."""
        return [
            {
                "upto": (at + 1) / len(self.rows),
                "rows": int(self.rows[at]),
                "stated": self.stated[at] / self.rows[at],
                "observed": self.true[at] / self.rows[at],
            }
            for at in np.flatnonzero(self.rows).tolist()
        ]


@dataclass(frozen=True)
class Predictions:
    """Predictions beside the truth, one a row. `truth` and `predicted` are places among the classes (-1: none of
    them); `scores`, shape (n, classes), are probabilities, or None where only classes are predicted."""

    truth: Codes
    predicted: Codes
    scores: Floats | None = None

    @property
    def correct(self) -> Mask:
        return (self.truth >= 0) & (self.truth == self.predicted)

    def take(self, at: Any) -> Predictions:
        return Predictions(self.truth[at], self.predicted[at], None if self.scores is None else self.scores[at])


@dataclass(frozen=True)
class Measures:
    """What `measures` finds; NaN where a measure has no value (an AUC with a single class)."""

    rows: int
    accuracy: float
    log_loss: float
    brier: float
    auc: float
    pr_auc: float
    calibration: Calibration


def measures(given: Predictions) -> Measures:
    """All measures of these predictions. Rows whose truth is none of the classes are wrong, and count in nothing else.

    With two classes AUC, PR-AUC and calibration are about the second one. With more, AUC and PR-AUC are means over the
    classes that occur, each against the rest, and calibration is that of the class predicted.
    """
    accuracy = float(given.correct.mean()) if len(given.truth) else float("nan")
    known = given.truth >= 0
    truth = given.truth[known]
    if given.scores is None or not len(truth):
        nothing = float("nan")
        empty = Calibration.of(np.empty(0), np.empty(0, dtype=bool))
        return Measures(len(given.truth), accuracy, nothing, nothing, nothing, nothing, empty)
    scores = given.scores[known]
    of_truth = scores[np.arange(len(truth)), truth]
    if scores.shape[1] == 2:
        positive, score = truth == 1, scores[:, 1]
        areas = [(auc(positive, score), pr_auc(positive, score))]
        calibration = Calibration.of(score, positive)
    else:
        areas = [(auc(truth == at, scores[:, at]), pr_auc(truth == at, scores[:, at])) for at in np.unique(truth)]
        chosen = scores.argmax(axis=1)
        calibration = Calibration.of(scores[np.arange(len(truth)), chosen], chosen == truth)
    return Measures(
        len(given.truth),
        accuracy,
        float(log_loss(of_truth).mean()),
        float(brier(scores, truth).mean()),
        float(np.mean([one for one, _ in areas])),
        float(np.mean([other for _, other in areas])),
        calibration,
    )
