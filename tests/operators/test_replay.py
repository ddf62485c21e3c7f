"""Replay: equal for the same operator, and a changed one is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import headwater as hw
from operators.execution.replay import CannotReplay, replay
from tests.operators.finely import run_finely

START = datetime(2024, 3, 1, tzinfo=UTC)


@dataclass
class Reading:
    sensor: str
    at: datetime
    celsius: float


@dataclass
class Setting:
    sensor: str
    set_at: datetime
    target: float


def readings(count: int) -> list[dict[str, Any]]:
    return [
        {"sensor": f"s{n % 5}", "at": START + timedelta(minutes=n), "celsius": 999.0 if n % 50 == 7 else n % 30 / 1.5}
        for n in range(count)
    ]


def settings(count: int) -> list[dict[str, Any]]:
    return [
        {"sensor": f"s{n % 5}", "set_at": START + timedelta(minutes=13 * n), "target": float(n)} for n in range(count)
    ]


def doubled(batch: pa.RecordBatch) -> pa.RecordBatch:
    return pa.record_batch({"double": pc.multiply(batch["celsius"], 2.0)})


def tripled(batch: pa.RecordBatch) -> pa.RecordBatch:
    return pa.record_batch(
        {"double": pc.multiply(batch["celsius"], pc.if_else(pc.greater(batch["celsius"], 19), 3, 2))}
    )


def pipeline(function: Callable[[pa.RecordBatch], pa.RecordBatch] = doubled) -> hw.Pipeline:
    p = hw.Pipeline("plant", owner="plant-team")
    raw = p.stream("readings", Reading, key="sensor", time="at", expect=[hw.between("celsius", -80, 150)])
    targets = p.stream("settings", Setting, key="sensor", time="set_at")
    p.source(raw, pa.Table.from_pylist(readings(600)), chunk=64)
    p.source(targets, pa.Table.from_pylist(settings(40)), chunk=7)
    valid = p.clean(raw, to="valid")
    placed = p.join(valid, targets, on="sensor", how="asof", to="placed")
    p.join(placed, targets, on="sensor", how="window", before="5m", after="30m", prefix="near_", to="near")
    p.map(placed, function, reads=["celsius"], to="doubled", add=True)
    return p


@pytest.fixture
def hub(tmp_path: Path) -> Any:
    with hw.connect(tmp_path / "workspace") as hub:
        hub.run(pipeline(), until="caught-up")
        yield hub


@pytest.mark.parametrize("operator", ["plant.valid", "plant.placed", "plant.near", "plant.doubled"])
def test_every_operator_replays_equal(hub: hw.Hub, operator: str) -> None:
    plan = hub.plan(pipeline())
    report = replay(plan, hub.context(plan), operator)
    assert report.equal
    assert report.rows > 0
    assert report.rows == sum(len(hub.read(stream.name)) for stream in plan.nodes[operator].outputs)


def test_a_range_of_transactions_is_compared_alone(hub: hw.Hub) -> None:
    plan = hub.plan(pipeline())
    everything = replay(plan, hub.context(plan), "plant.placed")
    nothing = replay(plan, hub.context(plan), "plant.placed", first=hub.clock())
    assert nothing.transactions == 0
    assert nothing.rows == 0
    assert everything.transactions > 0


def test_a_changed_operator_is_found_with_its_first_differing_row(hub: hw.Hub) -> None:
    plan = hub.plan(pipeline(tripled))
    report = replay(plan, hub.context(plan), "plant.doubled")
    assert not report.equal
    assert report.versions_then != [report.version_now]
    different = next(comparison for comparison in report.comparisons if not comparison.equal)
    assert different.difference is not None
    then, now = different.difference.then, different.difference.now
    assert then is not None
    assert now is not None
    assert now["double"] == pytest.approx(then["double"] * 1.5)
    rows = hub.read("plant.doubled", ranges={different.partition: (0, 1 << 40)}).table.to_pylist()
    assert rows[different.difference.row] == then
    assert all(row["celsius"] <= 19 for row in rows[: different.difference.row])


def test_a_replay_starts_at_the_newest_earlier_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # One batch a step and transaction, so that there are many of them.
    monkeypatch.setattr("operators.execution.task.ROWS_IN_STEPS", 1)
    with hw.connect(tmp_path / "workspace") as hub:
        p = pipeline()
        run_finely(hub, p)
        plan = hub.plan(p)
        context = hub.context(plan)
        snapshots = sum(end for _, end in hub.log.bounds("plant.placed.snapshots"))
        assert snapshots > 0
        rows = hub.log.read("plant.placed.progress", 0, 0)
        middle = orjson.loads(rows.values[len(rows) * 3 // 4] or b"")["at"]
        whole = replay(plan, context, "plant.placed")
        part = replay(plan, context, "plant.placed", first=middle)
        assert whole.equal
        assert part.equal
        assert 0 < part.transactions < whole.transactions
        steps: list[str] = []
        operator = plan.nodes["plant.placed"].operator
        assert operator is not None
        original = type(operator).step

        def counted(self: Any, batch: Any, state: Any) -> Any:
            steps.append(batch.input)
            return original(self, batch, state)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(operator), "step", counted)
            replay(plan, context, "plant.placed")
            everything = len(steps)
            steps.clear()
            replay(plan, context, "plant.placed", first=middle)
        assert len(steps) < everything


def test_an_unknown_operator_is_an_error_that_names_the_known_ones(hub: hw.Hub) -> None:
    plan = hub.plan(pipeline())
    with pytest.raises(CannotReplay, match=r"plant\.placed"):
        replay(plan, hub.context(plan), "plant.nothing")
