"""What was declared of a trainer: its candidates, its columns, and how often it does what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from operators.evaluate.classes import Classes
from operators.model.features import Features
from operators.model.learner import Learner, learner
from operators.train.gates import Gate
from streams.stream import Stream

OnAlarm = Literal["challenger", "reset"]


@dataclass(frozen=True)
class Weak:
    """A stream of weak labels, the column with the probability of the second class, and up to how many true rows
    they are learnt from."""

    stream: Stream
    probability: str
    until: int


@dataclass(frozen=True)
class Design:
    """`candidates` are an estimator and its features each, the first of them the first champion. Spans and
    intervals are counted in rows that were learnt."""

    model: str
    examples: Stream
    target: str
    classes: Classes
    candidates: Mapping[str, tuple[Any, Features]]
    gates: tuple[Gate, ...]
    censored: str | None
    weight: str | None
    weak: Weak | None
    chunk: int
    checkpoint_every: int
    promote_error: float
    probation: int
    compare_over: int
    on_alarm: OnAlarm
    most_challengers: int
    tick: int | None = None

    @property
    def first(self) -> str:
        return next(iter(self.candidates))

    def fresh(self, base: str) -> Learner:
        """A learner like the declared candidate, which has learnt nothing."""
        estimator, features = self.candidates[base]
        return learner(
            estimator, features, self.examples.schema.arrow, classes=self.classes.values, where=f"{self.model}, {base}"
        )

    @property
    def features(self) -> tuple[str, ...]:
        """The columns that any candidate learns from."""
        return tuple(dict.fromkeys(name for _, given in self.candidates.values() for name in given.columns))

    def is_like(self, base: str, known: Learner) -> bool:
        """True if a learner from the state is what is declared under this name."""
        if base not in self.candidates:
            return False
        wanted = self.fresh(base)
        return shape_of(wanted) == shape_of(known)


def shape_of(known: Learner) -> tuple[Any, ...]:
    """What has to be equal for one learner to go on as another: features, classes, classes of its parts and their
    parameters."""
    encoder = known.encoder
    parts = [(type(part).__name__, repr(sorted(part.get_params().items()))) for part in (*known.steps, known.estimator)]
    return encoder.declared, encoder.kinds, known.classes, parts
