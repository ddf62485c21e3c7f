"""The evaluation operator: judged predictions, window by window, with their baselines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.alarms import Alarm, alarm_rows, alarm_stream, alarms_derive
from operators.evaluate.baselines import MAJORITY, NO_CHANGE, Baselines
from operators.evaluate.classes import Classes
from operators.evaluate.metrics import Codes, Predictions
from operators.evaluate.report import ALL, Judged, as_rows, described_by, quality_schema, slices
from operators.evaluate.rivals import judge_rivals
from operators.execution.state import State
from operators.gathered import Gathered, columns_in_order
from operators.join.rows import addresses_of, column_of, times_of
from operators.operator import Batch, Derived, Input, Output
from operators.versions import version_of
from streams.message import BEGINNING, END
from streams.parents import ranges_of
from streams.stream import Stream

_BASELINES = "baselines"

#: A column that holds the predicted class, or a column and a threshold: above it, the positive class is predicted.
Rule = str | tuple[str, float]


@dataclass(frozen=True)
class Columns:
    """What the columns of the judged stream are called; None for those that it does not have."""

    label: str
    score: str
    predicted: str
    probabilities: str | None = None
    usable: str | None = None
    version: str | None = None
    censored: str | None = None

    def all(self) -> list[str]:
        found = (self.label, self.score, self.predicted, self.probabilities, self.usable, self.version, self.censored)
        return [name for name in found if name is not None]


class Evaluate:
    """Reads a stream of judged predictions (truth and prediction in one row) and gives out measures.

    A row counts in the window of its event time, a late one in the window that is open when it comes. A window is
    closed when the clock has passed its end; its rows are kept until then, since an exact AUC needs them.
    """

    kind = "evaluate"
    row_wise = False
    keeps_key = False

    def __init__(
        self,
        judged: Stream,
        to: str,
        columns: Columns,
        classes: Classes,
        *,
        window: int,
        by: Sequence[str],
        rules: Mapping[str, Rule],
        most_slices: int,
        alarm_windows: int,
        alarm_rows: int,
        version: str,
    ) -> None:
        self.name = to
        self.tick = window
        self._judged = judged
        self._columns = columns
        self._classes = classes
        self._window = window
        self._by = tuple(by)
        self._rules = dict(rules)
        self._most_slices = most_slices
        self._alarm_windows = alarm_windows
        self._alarm_rows = alarm_rows
        ruled = [rule if isinstance(rule, str) else rule[0] for rule in rules.values()]
        self._reads = columns_in_order(judged, [*columns.all(), *by, *ruled])
        self._gathered = Gathered("judged", judged, self._reads)
        self._schema = quality_schema([NO_CHANGE, MAJORITY, *rules])
        self._output = Stream(to, self._schema, time="at", partitions=1, description=f"How good {judged.name} are.")
        self._alarms = alarm_stream(to)
        self.params: dict[str, Any] = {
            "judged": judged.name,
            "label": columns.label,
            "censored": columns.censored,
            "classes": list(classes.values),
            "window": window,
            "by": list(by),
            "baselines": {name: rule if isinstance(rule, str) else list(rule) for name, rule in rules.items()},
            "most_slices": most_slices,
            "alarm_windows": alarm_windows,
            "alarm_rows": alarm_rows,
        }
        self.version = version_of(f"evaluate 1, {version}", self.params)

    @property
    def inputs(self) -> tuple[Input, ...]:
        return (Input(self._judged, "gathered", self._reads),)

    @property
    def outputs(self) -> tuple[Stream, ...]:
        return self._output, self._alarms

    def step(self, batch: Batch, state: State) -> Iterable[Output]:
        outputs: list[Output] = []
        if batch.clock != BEGINNING:
            closed = END if batch.clock == END else batch.clock // self._window * self._window
            rows = self._gathered.release(state, closed)
            if rows is not None:
                ends = (times_of(rows) // self._window + 1) * self._window
                edges = [*np.flatnonzero(np.diff(ends, prepend=BEGINNING)).tolist(), len(ends)]
                for start, stop in pairwise(edges):
                    outputs += self._close(state, rows.slice(start, stop - start), int(ends[start]))
        if batch.rows.num_rows:
            self._gathered.push(state, batch)
        return outputs

    def holds(self, state: State) -> int:
        earliest = self._gathered.earliest(state)
        return END if earliest == END else (earliest // self._window + 1) * self._window

    def derives(self) -> dict[str, tuple[Derived, ...]]:
        judged = self._judged.name
        names = [self._columns.label, self._columns.score, self._columns.predicted]
        told = tuple((judged, name) for name in names)
        others = {
            "slice": tuple((judged, name) for name in self._by),
            "censored": ((judged, self._columns.censored),) if self._columns.censored else (),
            "unusable": ((judged, self._columns.usable),) if self._columns.usable else (),
            "model_version": ((judged, self._columns.version),) if self._columns.version else (),
        }
        if self._judged.time is not None:
            others["at"] = others["since"] = ((judged, self._judged.time),)
        for name, rule in self._rules.items():
            ruled = rule if isinstance(rule, str) else rule[0]
            others[f"accuracy_{name}"] = ((judged, self._columns.label), (judged, ruled))
        for name in (NO_CHANGE, MAJORITY):
            others[f"accuracy_{name}"] = ((judged, self._columns.label),)
        fields = tuple(Derived(name, others.get(name, told)) for name in self._schema.names)
        return {self._output.name: fields, self._alarms.name: alarms_derive(fields=told)}

    def _close(self, state: State, rows: Any, at: int) -> list[Output]:
        since = at - self._window
        known = Baselines.decode(state.raw(_BASELINES), len(self._classes))
        judged, known = self._judge(rows, known)
        state[_BASELINES] = known.encode()
        described = [described_by(judged, ALL, since, at)]
        if self._by:
            own = {name: column_of(rows, self._gathered.schema, name) for name in self._by}
            for name, places in slices(own, self._most_slices):
                described.append(described_by(judged.take(places), name, since, at))
        parents = (ranges_of(addresses_of(rows, self._judged.name)),)
        outputs = [Output(self._output.name, as_rows(described, self._schema), parents)]
        alarms: list[Alarm] = list(
            judge_rivals(state, self.name, judged, since, at, windows=self._alarm_windows, least=self._alarm_rows)
        )
        if alarms:
            outputs.append(Output(self._alarms.name, alarm_rows(alarms), parents))
        return outputs

    def _judge(self, rows: Any, known: Baselines) -> tuple[Judged, Baselines]:
        columns, schema = self._columns, self._gathered.schema

        def column(name: str | None) -> Any | None:
            return None if name is None else column_of(rows, schema, name)

        labels = column(columns.label)
        censored = _true(column(columns.censored), rows.num_rows, default=False)
        has_truth = _true(pc.is_valid(labels), rows.num_rows, default=False) & ~censored
        truth = np.where(has_truth, self._classes.codes(labels), -1)
        scores = self._classes.probabilities(column(columns.score), column(columns.probabilities))
        predicted = column(columns.predicted)
        scored = _true(pc.is_valid(predicted), rows.num_rows, default=False)
        if scores is not None:
            scored &= ~np.isnan(scores).any(axis=1)
        version = column(columns.version)
        judged = Judged(
            Predictions(truth, self._classes.codes(predicted), scores),
            has_truth,
            scored,
            _true(column(columns.usable), rows.num_rows, default=True),
            censored,
            np.full(rows.num_rows, -1) if version is None else _numbers(version),
            {**known.predict(truth), **{name: self._ruled(rows, rule) for name, rule in self._rules.items()}},
        )
        return judged, known.after(truth)

    def _ruled(self, rows: Any, rule: Rule) -> Codes:
        """What a rule predicts; nothing where its column is null."""
        if isinstance(rule, str):
            return self._classes.codes(column_of(rows, self._gathered.schema, rule))
        values = column_of(rows, self._gathered.schema, rule[0])
        return _numbers(pc.cast(pc.greater(values, rule[1]), pa.int8()))


def _true(column: Any | None, rows: int, *, default: bool) -> Any:
    if column is None:
        return np.full(rows, default)
    return pc.fill_null(column, default).to_numpy(zero_copy_only=False).astype(bool)


def _numbers(column: Any) -> Codes:
    found: Codes = pc.fill_null(column, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return found
