"""Champion and challengers: who loses less, who takes over, and who gives the place back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import exp
from typing import Any

import numpy as np
import pyarrow as pa

from operators.alarms import BASELINE, Alarm
from operators.evaluate.metrics import Codes, Floats, brier
from operators.model.stream import Event
from operators.train.candidate import Candidate, Comparison
from operators.train.design import Design
from operators.train.gates import Trial
from operators.train.memory import Memory
from operators.train.sequential import Wager, share_of


@dataclass(frozen=True)
class Succession:
    """A candidate that becomes champion, and why."""

    candidate: Candidate
    event: Event
    reason: str
    gain: float = 0.0


class Contest:
    """Compares what the candidates predicted for a chunk before they learn it. Losses are Brier scores, 0 to 1."""

    def __init__(self, design: Design, memory: Memory) -> None:
        self._design = design
        self._memory = memory

    def beside_baselines(self, truth: Codes, champion: Floats, at: int) -> Iterator[Alarm]:
        """An alarm for a baseline that is right more often than the champion, said wrongly at most so often as
        promotions are. Then the comparison with it begins anew, and as long as it lasts has to hold twice as many rows
        each time before it is said again."""
        memory, error = self._memory, self._design.promote_error
        wrong = (champion.argmax(axis=1) != truth).astype(np.float64)
        for name, predicted in memory.baselines.predict(truth).items():
            wager = memory.rivals.get(name, Wager()).after(wrong - (predicted != truth))
            memory.rivals[name] = wager
            lasting = memory.lasting.get(name, 0)
            rows = self._design.chunk * 2**lasting if lasting else 0
            if not wager.decides(error):
                if wager.rows >= max(rows, self._design.compare_over):
                    del memory.rivals[name]
                    memory.lasting.pop(name, None)
            elif wager.rows >= rows:
                del memory.rivals[name]
                memory.lasting[name] = lasting + 1
                evidence = {"rows": wager.rows, "champion": memory.champion, "version": memory.reigning.version}
                yield Alarm(
                    self._design.model,
                    at,
                    BASELINE,
                    wager.mean,
                    0.0,
                    column=name,
                    p_value=min(1.0, exp(-wager.peak)),
                    evidence=evidence,
                )

    def compare(
        self, rows: pa.RecordBatch, truth: Codes, forecasts: Mapping[str, Floats], at: int
    ) -> tuple[Succession | None, list[Alarm]]:
        """Whether one of the challengers takes over, and the alarms of gates that would not let one through."""
        memory, design = self._memory, self._design
        alarms: list[Alarm] = []
        champion = forecasts.get(memory.champion)
        if champion is None:
            return None, alarms
        losses = brier(champion, truth)
        ready: list[Succession] = []
        for one in memory.challengers():
            theirs = forecasts.get(one.name)
            if theirs is None:
                continue
            on_trial = memory.predecessor == one.name and memory.probation > 0
            comparison = self._going_on(one)
            trial = Trial(rows, truth, champion, theirs, one.learner.predict_proba)
            comparison.wager = comparison.wager.after(losses - brier(theirs, truth))
            comparison.saw([gate.tally(trial) for gate in design.gates])
            error = share_of(design.promote_error, comparison.number)
            if not comparison.wager.decides(error):
                continue
            objections = [] if on_trial else self._objections(comparison, trial)
            if not objections:
                ready.append(self._succession(one, comparison, error, on_trial))
            elif not comparison.objected:
                comparison.objected = True
                alarms.append(self._blocked(one, comparison, objections, at))
        if memory.probation > 0:
            memory.probation = max(0, memory.probation - len(truth))
            if memory.probation == 0:
                memory.predecessor = None
        return max(ready, key=lambda one: one.gain, default=None), alarms

    def crown(self, next_one: Candidate, event: Event) -> None:
        """Make it champion. After a promotion the one before it may come back while the new one is on probation."""
        memory = self._memory
        before = memory.champion
        memory.champion = next_one.name
        memory.predecessor = None if event == "rolled_back" else before
        memory.probation = 0 if event == "rolled_back" else self._design.probation
        self.begin_anew()

    def begin_anew(self) -> None:
        """No comparison holds any longer: the champion is another one."""
        self._memory.tests = 0
        self._memory.rivals, self._memory.lasting = {}, {}
        for one in self._memory.candidates.values():
            one.comparison = None

    def _going_on(self, one: Candidate) -> Comparison:
        """The candidate's comparison; a new one if it has none or has had its rows without a decision."""
        known = one.comparison
        if known is None or known.wager.rows >= self._design.compare_over:
            self._memory.tests += 1
            known = one.comparison = Comparison(self._memory.tests)
        return known

    def _succession(self, one: Candidate, comparison: Comparison, error: float, on_trial: bool) -> Succession:
        gain, rows = comparison.wager.mean, comparison.wager.rows
        why = f"lost {gain:.4f} less a row than {self._memory.champion} over {rows} rows (error {error:.2g})"
        return Succession(one, "rolled_back" if on_trial else "promoted", why, gain)

    def _objections(self, comparison: Comparison, trial: Trial) -> list[str]:
        found = (gate.objection(tally, trial) for gate, tally in zip(self._design.gates, comparison.gates, strict=True))
        return [one for one in found if one is not None]

    def _blocked(self, one: Candidate, comparison: Comparison, objections: list[str], at: int) -> Alarm:
        evidence: dict[str, Any] = {"objections": objections, "rows": comparison.wager.rows}
        return Alarm(self._design.model, at, "gate", comparison.wager.mean, 0.0, column=one.name, evidence=evidence)
