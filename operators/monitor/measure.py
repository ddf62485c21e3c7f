"""Metrics called on the rows of a window, their answers made into numbers by name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from operators.errors import WrongOutput
from operators.function import Call, kind_of
from operators.monitor.metrics import Metric, Window
from streams.parents import Addresses
from streams.stream import Stream


def measured(
    name: str, source: Stream, metric: Metric, rows: pa.RecordBatch, window: Window
) -> dict[str, float | None]:
    """What a metric gives for a window's rows, by name. StepFailed if it raises, WrongOutput if it gives anything but
    numbers."""
    reads = tuple(rows.schema.names) if metric.reads is None else metric.reads
    call = _Call(name, source, metric, reads, window)
    answer = call(rows, None)
    given = answer if isinstance(answer, Mapping) else {metric.name: answer}
    found: dict[str, float | None] = {}
    for label, value in given.items():
        if not isinstance(label, str):
            raise WrongOutput(
                f"{metric.name} gave a number the name {label!r}.", where=call.where(None), fix="Name it by text."
            )
        found[label] = _number(value, metric, call)
    return found


class _Call(Call):
    """A metric called on one window, which errors name."""

    def __init__(self, name: str, source: Stream, metric: Metric, reads: Sequence[str], window: Window) -> None:
        function = metric.function
        super().__init__(
            name, source, (lambda rows: function(rows, window)) if metric.takes_window else function, tuple(reads)
        )
        self._window = window
        self._metric = metric

    def where(self, addresses: Addresses | None) -> str:
        start = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=self._window.start)
        segment = "" if self._window.segment is None else f", segment {self._window.segment!r}"
        return f"{self.name}, {self._metric.name}, window from {start:%Y-%m-%d %H:%M:%S}Z{segment}"


def _number(value: Any, metric: Metric, call: Call) -> float | None:
    if isinstance(value, pa.Scalar):
        value = value.as_py()
    if value is None:
        return None
    if isinstance(value, int | float | Decimal | np.number | np.bool_):
        number = float(value)
        return None if math.isnan(number) else number
    raise WrongOutput(
        f"{metric.name} gave {kind_of(value)}; expected is a number, or a dict of numbers.",
        where=call.where(None),
        fix="Return a float, None where there is nothing to tell, or a dict of them by name.",
    )
