"""Watches the estimated accuracy of each labelling function, and says when it has become another."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa

from operators.alarms import LABELING_FUNCTION, Alarm
from operators.execution.state import State
from operators.label.estimate import Estimate
from operators.label.pattern import Coding, Counted

#: Accuracies of so many updates in a row are estimated together, by themselves.
UPDATES_TOGETHER: Final = 4
#: An accuracy has changed if it lies at least so far from what it was, and that is no chance: the sum of what each
#: estimate lies beyond one standard error passes the limit (twice in 16,200 simulated ones without a change).
SMALLEST_CHANGE: Final = 0.05
_ALLOWED: Final = 1.0
_LIMIT: Final = 5.0
#: Estimates are never better than this: functions do not err quite independently.
_SOFTNESS: Final = 0.015
#: What is known of a function is the mean of so many estimates before any is judged: one alone may be an odd one.
_LOOKS_FIRST: Final = 4
#: A function that votes on fewer rows is not judged.
_FEWEST_VOTES: Final = 30

_RECENT: Final = "watch recent"
_KNOWN: Final = "watch known"


class Watch:
    """A two-sided cumulative sum for each function, over estimates from separate stretches of rows, against the mean of
    those before. After an alarm the function is known anew. State: the counted patterns of the stretch, and
    for each function its mean, error and sums."""

    def __init__(self, source: str, functions: Sequence[str]) -> None:
        self._source = source
        self._functions = tuple(functions)

    def look(
        self,
        coding: Coding,
        chunk: Counted,
        at: int,
        estimated: Callable[[Counted], Estimate],
        state: State,
    ) -> list[Alarm]:
        """Take a chunk of rows up to the event time `at`; the alarms that it raises."""
        facts = self._facts(state)
        recent = self._recent(coding, state).plus(chunk)
        facts["updates"] += 1
        if facts["since"] is None:
            facts["since"] = at
        alarms: list[Alarm] = []
        if facts["updates"] % UPDATES_TOGETHER == 0:
            alarms = self._judge(estimated(recent), facts, at)
            recent = Counted.nothing(coding)
            facts["since"] = at
        table = pa.RecordBatch.from_arrays([recent.patterns, pa.array(recent.weight)], names=["pattern", "weight"])
        state[_RECENT] = table
        state[_KNOWN] = orjson.dumps(facts, option=orjson.OPT_SORT_KEYS)
        return alarms

    def _judge(self, found: Estimate, facts: dict[str, Any], at: int) -> list[Alarm]:
        alarms = []
        cast = found.coverage * found.rows
        for number, name in enumerate(self._functions):
            if cast[number] < _FEWEST_VOTES:
                continue
            accuracy = float(found.accuracy[number])
            error = math.hypot(float(found.error[number]), _SOFTNESS)
            known = facts["known"].get(name)
            if known is None:
                facts["known"][name] = _first(accuracy, error)
                continue
            known["looks"] += 1
            if known["looks"] <= _LOOKS_FIRST:
                _learn(known, accuracy, error)
                continue
            standard = (accuracy - known["mean"]) / math.hypot(error, known["error"])
            for side, sign in (("up", 1.0), ("down", -1.0)):
                before = known[side]
                known[side] = max(0.0, before + sign * standard - _ALLOWED)
                if not before and known[side]:
                    known[f"{side}_since"] = facts["since"]
                    known[f"{side}_accuracy"] = []
                if known[side]:
                    known[f"{side}_accuracy"] = [*known[f"{side}_accuracy"], accuracy][-8:]
            side = "up" if known["up"] > known["down"] else "down"
            changed = np.mean(known[f"{side}_accuracy"]) - known["mean"] if known[side] else 0.0
            if known[side] > _LIMIT and abs(changed) >= SMALLEST_CHANGE:
                alarms.append(self._alarm(name, found, number, known, side, float(changed), standard, at))
                facts["known"][name] = _first(accuracy, error)
            elif not known["up"] and not known["down"]:
                _learn(known, accuracy, error)
        return alarms

    def _alarm(
        self,
        name: str,
        found: Estimate,
        number: int,
        known: dict[str, Any],
        side: str,
        changed: float,
        standard: float,
        at: int,
    ) -> Alarm:
        return Alarm(
            source=self._source,
            at=at,
            kind=LABELING_FUNCTION,
            column=name,
            size=abs(changed),
            threshold=SMALLEST_CHANGE,
            p_value=math.erfc(abs(standard) / math.sqrt(2.0)),
            since=known[f"{side}_since"],
            evidence={
                "accuracy_before": round(known["mean"], 6),
                "accuracy_since": round(known["mean"] + changed, 6),
                "accuracy_now": round(float(found.accuracy[number]), 6),
                "standard_error": round(float(found.error[number]), 6),
                "coverage": round(float(found.coverage[number]), 6),
                "rows": found.rows,
            },
        )

    def _facts(self, state: State) -> dict[str, Any]:
        stored = state.raw(_KNOWN)
        return {"updates": 0, "since": None, "known": {}} if stored is None else dict(orjson.loads(stored))

    def _recent(self, coding: Coding, state: State) -> Counted:
        table = state.table(_RECENT)
        if table is None:
            return Counted.nothing(coding)
        whole = table.combine_chunks()
        return Counted(whole.column(0).combine_chunks(), whole.column(1).to_numpy())


def _first(accuracy: float, error: float) -> dict[str, Any]:
    return {
        "mean": accuracy,
        "error": error,
        "looks": 1,
        "up": 0.0,
        "down": 0.0,
        "up_since": None,
        "down_since": None,
        "up_accuracy": [],
        "down_accuracy": [],
    }


def _learn(known: dict[str, Any], accuracy: float, error: float) -> None:
    """The mean of independent estimates, each weighted by its precision; never surer than the softness allows."""
    before, now = known["error"] ** -2, error**-2
    known["mean"] = (before * known["mean"] + now * accuracy) / (before + now)
    known["error"] = max((before + now) ** -0.5, _SOFTNESS / 2)
