"""Promotion gates: what must hold, beside fewer losses, before a challenger becomes champion. Public as `hw.gate`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from operators.evaluate.metrics import Codes, Floats, brier
from operators.train.errors import CannotTrain
from operators.versions import version_of

Metric = Literal["accuracy", "recall", "brier"]
Where = Callable[[pa.RecordBatch], Any]


@dataclass(frozen=True)
class Trial:
    """One chunk on which champion and challenger were tested before they learnt it. `truth` are places among the
    classes, the probabilities of shape (n, classes); `ask` is the challenger's answer to other rows."""

    rows: pa.RecordBatch
    truth: Codes
    champion: Floats
    challenger: Floats
    ask: Callable[[pa.RecordBatch], Floats]


class Gate(Protocol):
    """Adds up what it saw on the chunks of one comparison (numbers of a fixed count), and judges when it matters."""

    @property
    def name(self) -> str: ...
    @property
    def columns(self) -> tuple[str, ...]:
        """What it reads beside the features."""

    @property
    def params(self) -> dict[str, Any]:
        """As JSON values, for the trainer's version."""

    def tally(self, trial: Trial) -> list[float]: ...
    def objection(self, tally: Sequence[float], trial: Trial) -> str | None:
        """Why the challenger must not be promoted; None if it may. `trial` is the newest chunk."""


@dataclass(frozen=True)
class SliceGate:
    """See `slice`."""

    name: str
    columns: tuple[str, ...]
    where: Where
    metric: Metric
    floor: float | None
    tolerance: float | None
    least: int
    params: dict[str, Any]

    def tally(self, trial: Trial) -> list[float]:
        chosen = np.asarray(pc.fill_null(pa.array(self.where(trial.rows)), False)).astype(bool)
        truth = trial.truth[chosen]
        if self.metric == "recall":
            chosen &= trial.truth == 1
            truth = trial.truth[chosen]
        return [float(len(truth)), *(self._sum(p[chosen], truth) for p in (trial.champion, trial.challenger))]

    def objection(self, tally: Sequence[float], trial: Trial) -> str | None:
        rows, champion, challenger = tally
        if rows < self.least:
            return f"{self.name}: only {rows:.0f} rows were seen, and {self.least} are needed"
        old, new = champion / rows, challenger / rows
        sign = -1.0 if self.metric == "brier" else 1.0
        if self.floor is not None and sign * new < sign * self.floor:
            return f"{self.name}: {self.metric} {new:.4f} does not reach {self.floor}"
        if self.tolerance is not None and sign * new < sign * old - self.tolerance:
            return f"{self.name}: {self.metric} {new:.4f} is worse than the champion's {old:.4f}"
        return None

    def _sum(self, probabilities: Floats, truth: Codes) -> float:
        if self.metric == "brier":
            return float(brier(probabilities, truth).sum())
        return float((probabilities.argmax(axis=1) == truth).sum())


@dataclass(frozen=True)
class InvariantGate:
    """See `invariant`."""

    name: str
    column: str
    values: tuple[Any, ...]
    at_most: float

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def params(self) -> dict[str, Any]:
        values = [repr(value) for value in self.values]
        return {"gate": "invariant", "column": self.column, "values": values, "at_most": self.at_most}

    def tally(self, trial: Trial) -> list[float]:
        return []

    def objection(self, tally: Sequence[float], trial: Trial) -> str | None:
        at = trial.rows.schema.get_field_index(self.column)
        before = trial.challenger.argmax(axis=1)
        column = trial.rows.column(at)
        others = [pa.repeat(pa.scalar(value, column.type), len(column)) for value in self.values]
        if not others:
            others = [column.take(pa.array(np.arange(len(column))[::-1]))]
        changed: npt.NDArray[np.bool_] = np.zeros(len(before), dtype=bool)
        for other in others:
            changed |= trial.ask(trial.rows.set_column(at, trial.rows.schema.field(at), other)).argmax(axis=1) != before
        share = float(changed.mean()) if len(changed) else 0.0
        if share <= self.at_most:
            return None
        return f"{self.name}: {share:.1%} of predictions change with the column, and {self.at_most:.1%} may"


def slice(
    column: str | Where,
    value: Any = None,
    *,
    reads: Sequence[str] = (),
    metric: Metric = "accuracy",
    floor: float | None = None,
    tolerance: float | None = 0.0,
    least: int = 100,
    name: str | None = None,
) -> SliceGate:
    """On the rows where `column` equals `value`, a challenger has to be as good as the champion.

    Instead of a column, a function of a batch with the columns `reads` that gives one truth value a row. `metric` is
    "accuracy", "recall" (of the second class) or "brier"; it has to reach `floor`, if there is one, and may be worse
    than the champion's by `tolerance` (None: it need not be compared). At least `least` such rows must have been
    seen in the comparison. CannotTrain for a gate that asks for nothing.
    """
    if floor is None and tolerance is None:
        raise CannotTrain(
            "A slice gate with neither floor nor tolerance lets everything through", where="hw.gate.slice"
        )
    if metric not in ("accuracy", "recall", "brier"):
        raise CannotTrain(f"There is no metric {metric!r}", where="hw.gate.slice", fix="accuracy, recall or brier.")
    told: dict[str, Any] = {"gate": "slice", "metric": metric, "floor": floor, "tolerance": tolerance, "least": least}
    if isinstance(column, str):
        wanted = column

        def where(rows: pa.RecordBatch) -> Any:
            given = rows.column(wanted)
            return pc.equal(given, pa.scalar(value, given.type))

        own = {**told, "column": column, "value": repr(value)}
        return SliceGate(name or f"{column}={value}", (column,), where, metric, floor, tolerance, least, own)
    if not reads:
        raise CannotTrain(
            "A slice that a function chooses needs the columns that it reads", where="hw.gate.slice", fix="reads=[…]"
        )
    called = name or str(getattr(column, "__name__", "slice"))
    own = {**told, "name": called, "reads": list(reads), "function": version_of("1", {}, column)}
    return SliceGate(called, tuple(reads), column, metric, floor, tolerance, least, own)


def invariant(
    column: str, values: Sequence[Any] = (), *, at_most: float = 0.0, name: str | None = None
) -> InvariantGate:
    """A challenger's predicted class may not depend on `column`: with each of `values` in it (without any: with the
    values of other rows) at most a share of `at_most` of the predictions of the newest chunk may change."""
    if not 0.0 <= at_most < 1.0:
        raise CannotTrain(f"at_most={at_most} is no share", where="hw.gate.invariant", fix="From 0 to below 1.")
    return InvariantGate(name or f"invariant to {column}", column, tuple(values), at_most)
