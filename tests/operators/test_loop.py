"""A loop: what comes back takes effect at its event time plus the delay, in every run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import headwater as hw
from operators.execution.replay import replay

START = datetime(2024, 6, 1, tzinfo=UTC)
COUNT = pa.schema([("at", pa.timestamp("us", "UTC")), ("count", pa.int64())])
EVENT = pa.schema([("key", pa.string()), ("at", pa.timestamp("us", "UTC"))])
ROWS = 400
DELAY = 45


class Counter:
    """Counts rows and gives the count out with each batch; an echo of a count divisible by seven sets it to zero."""

    name = "loop.count"
    kind = "counter"
    version = "1"
    tick = None
    row_wise = False
    keeps_key = False

    def __init__(self, events: hw.Stream, echoes: hw.Stream | str, out: hw.Stream) -> None:
        self.params: dict[str, Any] = {}
        self.inputs = (
            hw.Input(events, "gathered", ("at",)),
            hw.later(echoes, delay=f"{DELAY}m", reads=("count",)),
        )
        self.outputs = (out,)

    def step(self, batch: hw.Batch, state: hw.State) -> list[hw.Output]:
        if batch.is_tick:
            return []
        if batch.input == "loop.echoes":
            state["count"] = b"0"
            return []
        count = int(state.raw("count") or b"0") + batch.rows.num_rows
        state["count"] = str(count).encode()
        row = pa.record_batch([batch.rows["at"][-1:], pa.array([count])], schema=COUNT)
        return [hw.Output(self.name, row, (hw.ranges_of(batch.addresses),))]

    def holds(self, state: hw.State) -> int:
        return hw.END

    def derives(self) -> dict[str, tuple[hw.Derived, ...]]:
        return {}


def sevens(batch: pa.RecordBatch) -> Any:
    return pa.array([count % 7 == 0 for count in batch["count"].to_pylist()])


def build(*, by_name: bool = False) -> hw.Pipeline:
    """`by_name`: the counter listens to a stream that is only declared after it."""
    p = hw.Pipeline("loop", owner="tests")
    events = p.stream("events", EVENT, key="key", time="at", partitions=1)
    p.source(events, [{"key": f"k{n % 3}", "at": START + timedelta(minutes=n)} for n in range(ROWS)], chunk=4)
    echoes = "echoes" if by_name else hw.Stream("loop.echoes", hw.Schema(COUNT), time="at", partitions=1)
    counts = p.add(Counter(events, echoes, hw.Stream("loop.count", hw.Schema(COUNT), time="at", partitions=1)))
    p.filter(counts, sevens, reads=["count"], to="echoes")
    return p


def expected() -> list[int]:
    """The same by hand: batches of four rows, a minute apart; an echo acts on the first batch that begins later."""
    found: list[int] = []
    echoes: list[int] = []
    count = 0
    for first in range(0, ROWS, 4):
        while echoes and echoes[0] + DELAY <= first - (0 if echoes[0] + DELAY < first else 1):
            echoes.pop(0)
            count = 0
        count += 4
        found.append(count)
        if count % 7 == 0:
            echoes.append(first + 3)
    return found


@pytest.mark.parametrize(("workers", "by_name"), [(1, False), (1, True), (2, True)])
def test_feedback_acts_at_its_event_time_plus_the_delay(tmp_path: Path, workers: int, by_name: bool) -> None:
    with hw.connect(tmp_path) as hub:
        hub.run(build(by_name=by_name), until="caught-up", workers=workers)
        counts = hub.read("loop.count").to_arrow()["count"].to_pylist()
        assert counts == expected()
        assert max(counts) < ROWS
        assert "loop.echoes" in {one.stream for one in build(by_name=by_name).spec().operators[1].inputs}
        plan = hub.plan(build(by_name=by_name))
        assert replay(plan, hub.context(plan), "loop.count").equal


def test_a_name_that_the_pipeline_does_not_have_is_refused() -> None:
    p = hw.Pipeline("loop", owner="tests")
    events = p.stream("events", EVENT, key="key", time="at", partitions=1)
    p.add(Counter(events, "echos", hw.Stream("loop.count", hw.Schema(COUNT), time="at", partitions=1)))
    with pytest.raises(hw.PlanError, match=r"listens to loop\.echos"):
        p.plan()


def test_a_column_that_the_named_stream_does_not_have_is_refused() -> None:
    p = hw.Pipeline("loop", owner="tests")
    events = p.stream("events", EVENT, key="key", time="at", partitions=1)
    counts = p.add(Counter(events, "echoes", hw.Stream("loop.count", hw.Schema(COUNT), time="at", partitions=1)))
    p.map(counts, lambda batch: batch.select(["at"]), reads=["at"], schema=COUNT.remove(1), to="echoes")
    with pytest.raises(hw.PlanError, match=r"'count' of loop\.echoes"):
        p.plan()
