"""The two predictors that cost nothing and have to be beaten: the last label, and the most frequent one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from operators.evaluate.metrics import Codes

NO_CHANGE = "no_change"
MAJORITY = "majority"


@dataclass(frozen=True)
class Baselines:
    """What both remember: the last label (its place among the classes, -1 before the first) and how often each
    label came. Every row is predicted from the rows before it."""

    last: int
    counts: tuple[int, ...]

    @classmethod
    def fresh(cls, classes: int) -> Baselines:
        return cls(-1, (0,) * classes)

    def predict(self, truth: Codes) -> dict[str, Codes]:
        """What each predicts for these rows, in their order: -1 while nothing was seen."""
        before = np.concatenate([np.array([self.last], dtype=np.int64), truth])[:-1]
        # A label that is none of the classes says nothing about the next one: the last that was one counts.
        at = np.maximum.accumulate(np.where(before >= 0, np.arange(len(before)), -1))
        last = np.where(at >= 0, before[at], -1)
        seen = np.zeros((len(truth) + 1, len(self.counts)), dtype=np.int64)
        seen[0] = self.counts
        known = np.flatnonzero(truth >= 0)
        seen[known + 1, truth[known]] = 1
        counts = np.cumsum(seen, axis=0)[:-1]
        majority = np.where(counts.any(axis=1), counts.argmax(axis=1), -1)
        return {NO_CHANGE: last, MAJORITY: majority}

    def after(self, truth: Codes) -> Baselines:
        """What they remember behind these rows."""
        known = truth[truth >= 0]
        if not len(known):
            return self
        counts = np.asarray(self.counts) + np.bincount(known, minlength=len(self.counts))
        return Baselines(int(known[-1]), tuple(counts.tolist()))

    def encode(self) -> bytes:
        return " ".join(map(str, (self.last, *self.counts))).encode()

    @classmethod
    def decode(cls, data: bytes | None, classes: int) -> Baselines:
        if data is None:
            return cls.fresh(classes)
        last, *counts = map(int, data.split())
        return cls(last, tuple(counts))
