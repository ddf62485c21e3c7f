"""What is answered for each pattern of votes: probabilities, the likeliest class, its confidence; each worked out once.

A pattern's answer depends on the pattern and the model alone, not on the patterns that come with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.label.estimate import Estimate, majority, probabilities
from operators.label.pattern import Coding, Floats
from operators.label.skill import Bools

#: With no more probabilities than this, answers lie in a table by pattern; otherwise they are found by hash.
_LARGEST_TABLE: Final = 1 << 22


@dataclass(frozen=True)
class Answer:
    """For each row: `chances`, one array a class; `confidence`, the probability of the likeliest class; `best`, its
    number, or the number of classes where nobody votes."""

    chances: tuple[Floats, ...]
    confidence: Floats
    best: npt.NDArray[np.int8]


class Answers:
    """The answers of one model (None: of the majority), for `classes` classes; `prior` is their share where it is
    known. They are worked out as their patterns come, and remembered."""

    def __init__(self, coding: Coding, classes: int, prior: Floats | None, model: Estimate | None) -> None:
        self._coding = coding
        self._classes = classes
        self._prior = prior
        self._model = model
        space = coding.space or 0
        small = 0 < space * classes <= _LARGEST_TABLE
        self._table = _empty(space, classes) if small else None
        self._known: Bools = np.zeros(space if small else 0, dtype=np.bool_)

    def of(self, patterns: pa.Array) -> Answer:
        """The answer for each row's pattern."""
        if self._table is None:
            there, places = self._coding.distinct(patterns)
            return _taken(self._answer(there), places)
        codes = patterns.to_numpy()
        if not self._known[codes].all():
            new, _ = self._coding.distinct(pa.array(codes[~self._known[codes]]))
            missing, found = new.to_numpy(), self._answer(new)
            for column, values in zip(self._table.chances, found.chances, strict=True):
                column[missing] = values
            self._table.confidence[missing] = found.confidence
            self._table.best[missing] = found.best
            self._known[missing] = True
        return _taken(self._table, codes)

    def _answer(self, patterns: pa.Array) -> Answer:
        votes = self._coding.decode(patterns)
        silent: Bools = np.asarray((votes < 0).all(axis=1))
        chances = self._chances(votes, silent)
        best = self._best(chances)
        columns = tuple(np.ascontiguousarray(column) for column in chances.T)
        confidence = np.ascontiguousarray(chances[np.arange(len(best)), best])
        return Answer(columns, confidence, np.where(silent, self._classes, best).astype(np.int8))

    def _chances(self, votes: Any, silent: Bools) -> Floats:
        """The probability of each class for each pattern. Where no function votes it is the class prior."""
        if self._model is not None:
            found = probabilities(self._model, votes)
            found[silent] = self._model.prior
            return found
        found = majority(votes, self._classes)
        if self._prior is not None:
            found[silent] = self._prior
        return found

    def _best(self, chances: Floats) -> npt.NDArray[np.int64]:
        """The likeliest class; of several as likely the one that is more frequent by the prior, then the first."""
        top = chances >= chances.max(axis=1, keepdims=True) - 1e-12
        return np.where(top, 1.0 + (0.0 if self._prior is None else self._prior), 0.0).argmax(axis=1)


def _empty(space: int, classes: int) -> Answer:
    return Answer(tuple(np.empty(space) for _ in range(classes)), np.empty(space), np.zeros(space, dtype=np.int8))


def _taken(found: Answer, places: npt.NDArray[Any]) -> Answer:
    chances = tuple(column.take(places) for column in found.chances)
    return Answer(chances, found.confidence.take(places), found.best.take(places))
