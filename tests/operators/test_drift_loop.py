"""Alarms that act on what raised them: a scorer that starts anew when the drift of its own errors comes back to it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest

import headwater as hw
from operators.execution.progress import progress_topic

START = datetime(2024, 6, 1, tzinfo=UTC)
TIME = pa.timestamp("us", "UTC")
READINGS = pa.schema([("sensor", pa.string()), ("at", TIME), ("value", pa.float64())])
ERRORS = pa.schema([("at", TIME), ("error", pa.float64()), ("level", pa.float64())])


class Scorer:
    """Predicts that a value stays within 2 of a level, which it takes anew from the next batch after an alarm."""

    name = "plant.errors"
    kind = "scorer"
    version = "1"
    params: dict[str, Any] = {}  # noqa: RUF012
    tick = None
    row_wise = False
    keeps_key = False

    def __init__(self, readings: hw.Stream) -> None:
        self.inputs = (
            hw.Input(readings, "gathered", ("at", "value")),
            hw.later("drift.alarms", delay="2d", reads=("at",)),
        )
        self.outputs = (hw.Stream(self.name, hw.Schema(ERRORS), time="at", partitions=1),)

    def step(self, batch: hw.Batch, state: hw.State) -> list[hw.Output]:
        if batch.is_tick:
            return []
        if batch.input == "plant.drift.alarms":
            if "level" in state:
                del state["level"]
            return []
        values = batch.rows["value"].to_numpy()
        level = float(state.raw("level") or repr(float(values.mean())).encode())
        state["level"] = repr(level).encode()
        errors = (np.abs(values - level) > 2.0).astype(float)
        columns = [batch.rows["at"], pa.array(errors), pa.array(np.full(len(errors), level))]
        rows = pa.RecordBatch.from_arrays(columns, schema=ERRORS)
        return [hw.Output(self.name, rows, (batch.addresses,))]

    def holds(self, state: hw.State) -> int:
        return hw.END

    def derives(self) -> dict[str, tuple[hw.Derived, ...]]:
        return {}


def _progress(hub: hw.Hub, operator: str) -> list[dict[str, Any]]:
    return [orjson.loads(value) for value in hub.log.read(progress_topic(operator), 0, 0).values if value]


def pipeline() -> hw.Pipeline:
    random = np.random.default_rng(0)
    n = 2400  # 100 days, one reading an hour
    values = random.normal(0, 1, n) + np.where(np.arange(n) >= 1200, 8.0, 0.0)
    table = pa.table(
        {
            "sensor": [f"s{number % 5}" for number in range(n)],
            "at": pa.array([START + timedelta(hours=number) for number in range(n)], TIME),
            "value": values,
        },
        schema=READINGS,
    )
    p = hw.Pipeline("plant")
    readings = p.stream("readings", READINGS, key="sensor", time="at", partitions=2)
    p.source(readings, table, chunk=40)
    errors = p.add(Scorer(readings))
    p.drift(errors, error="error", window="10d", to="drift")
    return p


@pytest.mark.parametrize("workers", [1, 2])
def test_an_alarm_makes_the_scorer_start_anew_and_errors_fall(tmp_path: Path, workers: int) -> None:
    with hw.connect(tmp_path / "ws") as hub:
        hub.run(pipeline(), until="caught-up", workers=workers)
        (alarm,) = hub.alarms(kind="concept")
        errors = hub.read("plant.errors").to_arrow()
        progress = [row for name in ("plant.errors", "plant.drift") for row in _progress(hub, name)]
    assert [row["forced"] for row in progress if row["forced"]] == []
    assert START + timedelta(hours=1200) < alarm.at <= START + timedelta(hours=1220)
    assert abs(alarm.since - (START + timedelta(hours=1200))) < timedelta(hours=4)
    after = np.array(errors["at"].to_pylist()) > alarm.at + timedelta(days=5)
    assert np.abs(errors["level"].to_numpy()[after] - 8.0).max() < 1.0
    assert errors["error"].to_numpy()[after].mean() < 0.15
