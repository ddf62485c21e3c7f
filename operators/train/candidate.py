"""A candidate: a learner that is champion or wants to be, with its comparison and the rows it has learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from operators.model.format import decode, dump, encode, load
from operators.model.learner import Learner
from operators.train.learnt import Learnt
from operators.train.sequential import Wager


@dataclass
class Comparison:
    """A challenger beside the champion: the bet, its number in the champion's reign, what the gates have seen."""

    number: int
    wager: Wager = field(default_factory=Wager)
    gates: list[list[float]] = field(default_factory=list)
    objected: bool = False

    def told(self) -> dict[str, Any]:
        wager = self.wager
        bet = [wager.wealth.tolist(), wager.peak, wager.rows, wager.total]
        return {"number": self.number, "wager": bet, "gates": self.gates, "objected": self.objected}

    @classmethod
    def of(cls, told: dict[str, Any]) -> Comparison:
        return cls(told["number"], wager_of(told["wager"]), told["gates"], told["objected"])

    def saw(self, tallies: Sequence[Sequence[float]]) -> None:
        """Add what each gate saw on one more chunk."""
        known = self.gates or [[0.0] * len(tally) for tally in tallies]
        self.gates = [
            [one + more for one, more in zip(old, new, strict=True)] for old, new in zip(known, tallies, strict=True)
        ]


def wager_of(told: Sequence[Any]) -> Wager:
    wealth, peak, rows, total = told
    return Wager(np.array(wealth, dtype=np.float64), peak, rows, total)


@dataclass
class Candidate:
    """`base` is the declared candidate that it is a copy of, `version` its newest one (0: none yet)."""

    name: str
    base: str
    learner: Learner
    comparison: Comparison | None = None
    learnt: Learnt = field(default_factory=Learnt)
    version: int = 0

    @property
    def is_trained(self) -> bool:
        return self.learner.is_trained

    def told(self) -> dict[str, Any]:
        """All but the learner, as JSON values."""
        return {
            "name": self.name,
            "base": self.base,
            "comparison": None if self.comparison is None else self.comparison.told(),
            "learnt": self.learnt.told(),
            "version": self.version,
        }

    @classmethod
    def of(cls, told: dict[str, Any], learner: Learner) -> Candidate:
        compared = told["comparison"]
        return cls(
            told["name"],
            told["base"],
            learner,
            None if compared is None else Comparison.of(compared),
            Learnt.of(told["learnt"]),
            told["version"],
        )


def stored(learner: Learner) -> bytes:
    """The learner for the state. ModelError if its training has diverged."""
    return encode(dump(learner))


def restored(content: bytes, where: str) -> Learner:
    """What was stored. ModelError if it is damaged."""
    return load(decode(content, where), where)
