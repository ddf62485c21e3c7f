"""A learning loop whose batches span more time than its delay stands still, unless its operators tick."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.linear_model import SGDClassifier

import headwater as hw

START = datetime(2024, 6, 1, tzinfo=UTC)
TIME = pa.timestamp("us", "UTC")
ROWS = 1200


def build(tick: str | None) -> hw.Pipeline:
    """A row a minute, in batches of five hours; truth an hour later; alarms are heard six hours later."""
    random = np.random.default_rng(0)
    heat = random.normal(size=ROWS)
    at = [START + timedelta(minutes=n) for n in range(ROWS)]
    ids = [f"r{n}" for n in range(ROWS)]
    p = hw.Pipeline("plant", owner="tests", partitions=1)
    readings = p.stream(
        "readings", pa.schema([("id", pa.string()), ("at", TIME), ("heat", pa.float64())]), key="id", time="at"
    )
    truth = p.stream("truth", pa.schema([("id", pa.string()), ("on", TIME), ("bad", pa.bool_())]), key="id", time="on")
    p.source(readings, pa.table({"id": ids, "at": at, "heat": heat}), chunk=300)
    known = [one + timedelta(hours=1) for one in at]
    p.source(truth, pa.table({"id": ids, "on": known, "bad": heat > 0.5}), chunk=300)
    examples = p.join(truth, readings, how="asof", on="id", fields=["heat"], prefix="", tick=tick, to="examples")
    model = p.train(
        examples,
        target="bad",
        features=["heat"],
        estimator=SGDClassifier(loss="log_loss", random_state=0),
        chunk=100,
        checkpoint_every=100,
        retrain_on=hw.later("quality.alarms", delay="6h"),
        tick=tick,
        to="model",
    )
    scores = p.predict(readings, model, tick=tick, to="scores")
    p.evaluate(scores, truth, label="bad", window="2h", tick=tick, to="quality")
    return p


def run(folder: Path, tick: str | None, workers: int = 1) -> tuple[dict[str, int], list[Any]]:
    with hw.connect(folder) as hub:
        report = hub.run(build(tick), until="caught-up", workers=workers)
        return report.forced, hub.read("plant.scores").to_arrow().to_pylist()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_loop_that_stands_still_is_told_of(tmp_path: Path, workers: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        forced, rows = run(tmp_path, None, workers)
    assert forced
    assert set(forced) <= {"plant.model/0", "plant.scores/0", "plant.quality.judged/0", "plant.quality/0"}
    assert len(rows) == ROWS
    assert "the loop's delay is shorter than what its operators wait for" in caplog.text


def test_with_ticks_it_moves_and_each_row_meets_the_model_of_its_time(tmp_path: Path) -> None:
    forced, rows = run(tmp_path / "one", "30m")
    assert forced == {}
    assert len(rows) == ROWS
    assert run(tmp_path / "two", "30m", workers=2) == (forced, rows)
