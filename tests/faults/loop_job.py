"""A job with a loop, joins that hold rows, and quarantine: what is killed and must come out the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

import headwater as hw
from operators.execution.state import State
from operators.operator import Batch, Derived, Input, Output
from streams.message import END
from streams.parents import ranges_of
from streams.stream import Stream

START = datetime(2024, 3, 1, tzinfo=UTC)
HOUR = 3_600_000_000
LEVEL = pa.schema(
    [("sensor", pa.string()), ("at", pa.timestamp("us", "UTC")), ("level", pa.float64()), ("seen", pa.int64())]
)


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


def readings(count: int) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "sensor": f"s{n % 11}",
                "at": START + timedelta(minutes=n),
                "celsius": 999.0 if n % 97 == 5 else (n * 7919) % 400 / 10,
            }
            for n in range(count)
        ]
    )


def settings(count: int) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {"sensor": f"s{n % 11}", "set_at": START + timedelta(minutes=37 * n), "target": float(n % 40)}
            for n in range(count // 37)
        ]
    )


class Learner:
    """Follows the mean of what it sees, and starts anew when an alarm says so: the order of its inputs matters."""

    kind = "learner"
    version = "1"
    state_version = "1"
    tick = None
    row_wise = False
    keeps_key = False
    params: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, name: str, rows: Stream, alarms: Stream | None, out: Stream, above: float | None) -> None:
        self.name = name
        self._above = above
        loop = () if alarms is None else (Input(alarms, "gathered", ("level",), delay=6 * HOUR, later=True),)
        column = rows.schema.arrow.names[-2]
        self._column = column
        self.inputs = (Input(rows, "gathered", (rows.time or "", column)), *loop)
        self.outputs = (out,)

    def step(self, batch: Batch, state: State) -> Iterable[Output]:
        level, seen = map(float, (state.raw("memory") or b"0 0").decode().split())
        if batch.is_tick:
            return []
        if batch.input != self.inputs[0].stream.name:
            state["memory"] = f"{level / 2!r} 0".encode()
            return []
        for value in batch.rows.column(1).to_pylist():
            seen += 1
            level += ((value or 0.0) - level) / min(seen, 50)
        state["memory"] = f"{level!r} {seen!r}".encode()
        if self._above is not None and level <= self._above:
            return []
        out = self.outputs[0]
        at = batch.rows.column(0)[-1:]
        made = pa.RecordBatch.from_arrays(
            [pa.array(["all"]), at, pa.array([level]), pa.array([int(seen)])], schema=out.schema.arrow
        )
        return [Output(out.name, made, (ranges_of(batch.addresses),))]

    def holds(self, state: State) -> int:
        return END

    def derives(self) -> dict[str, tuple[Derived, ...]]:
        return {}


def hotter(batch: pa.RecordBatch) -> pa.RecordBatch:
    return pa.record_batch({"above": pc.subtract(batch["celsius"], pc.fill_null(batch["settings_target"], 20.0))})


def build(count: int = 6000, partitions: int = 4, function: Any = hotter, **options: Any) -> hw.Pipeline:
    """`options` are those of the map with `function`."""
    p = hw.Pipeline("plant", owner="plant-team", partitions=partitions)
    raw = p.stream("readings", Reading, key="sensor", time="at", expect=[hw.between("celsius", -80, 150)])
    targets = p.stream("settings", Setting, key="sensor", time="set_at")
    p.source(raw, lambda: readings(count), chunk=64)
    p.source(targets, lambda: settings(count), chunk=5)
    valid = p.clean(raw, to="valid")
    placed = p.join(valid, targets, on="sensor", how="asof", to="placed")
    p.join(valid, targets, on="sensor", how="window", after="30m", before="0s", kind="left", to="near")
    options.setdefault("schema", pa.schema([("above", pa.float64())]))
    warm = p.map(placed, function, reads=["celsius", "settings_target"], to="warm", add=True, **options)
    level = Stream("plant.level", hw.Schema(LEVEL), time="at", partitions=1)
    alarms = Stream("plant.alarms", hw.Schema(LEVEL), time="at", partitions=1)
    p.add(Learner("plant.level", warm, alarms, level, None))
    p.add(Learner("plant.alarms", level, None, alarms, 18.5))
    return p
