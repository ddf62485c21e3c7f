"""A join that is fed several batches at once leaves what it leaves when it is fed one after the other."""

from __future__ import annotations

from random import Random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import operators.join.lookup
import operators.join.segments
import operators.join.together
import operators.join.window
from operators.execution.digest import digest_state
from operators.execution.state import State
from operators.join import join
from operators.operator import Batch, Output
from streams.parents import Addresses
from streams.schema import Schema
from streams.stream import Stream

UTC = pa.timestamp("us", tz="UTC")
ROWS = Schema(pa.schema([("k", pa.string()), ("at", UTC), ("id", pa.int64())]))
LEFT = Stream("p.left", ROWS, key=("k",), time="at")
RIGHT = Stream("p.right", ROWS, key=("k",), time="at")
TABLE = Stream("p.table", ROWS, key=("k",), kind="table", partitions=1)

JOINS: dict[str, dict[str, Any]] = {
    "asof": {"right": RIGHT, "how": "asof"},
    "asof within a tolerance": {"right": RIGHT, "how": "asof", "tolerance": 3, "broadcast": True},
    "asof of matches": {"right": RIGHT, "how": "asof", "kind": "inner"},
    "asof with lateness": {"right": RIGHT, "how": "asof", "lateness": 2},
    "table": {"right": TABLE},
    "table of matches": {"right": TABLE, "kind": "inner"},
    "window": {"right": RIGHT, "how": "window", "before": 2, "after": 3},
    "window of first ones": {"right": RIGHT, "how": "window", "after": 4, "many": "one"},
    "window of matches": {"right": RIGHT, "how": "window", "before": 3, "after": 1, "kind": "inner"},
    "window with lateness": {"right": RIGHT, "how": "window", "before": 1, "after": 2, "lateness": 2},
}


def batches_of(random: Random, right: Stream, late: bool) -> list[Batch]:
    """Batches as a task's merge gives them: with clocks that rise, no row before its clock but for late ones."""
    found = []
    clock = 0
    for number in range(random.randint(1, 12)):
        clock += random.choice([0, 0, 1, 2, 9])
        stream = random.choice([LEFT, right])
        count = random.randint(1, 6)
        earliest = clock - 4 if late and random.random() < 0.2 else clock
        times = [random.randint(earliest, clock + 4) for _ in range(count)]
        rows = pa.record_batch(
            [
                pa.array([random.choice(["a", "b", None, "a long key of many bytes"]) for _ in times], pa.string()),
                pa.array(times, pa.int64()).cast(UTC),
                pa.array(range(number * 100, number * 100 + count), pa.int64()),
            ],
            schema=ROWS.arrow,
        )
        event_times = rows.column(1).view(pa.int64()).to_numpy()
        found.append(Batch(stream.name, rows, Addresses.of_message(stream.name, 0, number, count), event_times, clock))
    return found


def shown(outputs: list[Output]) -> list[Any]:
    """Rows by stream with their parents, however they are cut."""
    return [
        (output.stream, row, [next(iter(part.slice(at, at + 1))) for part in output.parents])
        for output in outputs
        for at, row in enumerate(output.rows.to_pylist())
    ]


@pytest.mark.parametrize("kind", list(JOINS))
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**9), late=st.booleans())
def test_several_batches_at_once_leave_the_same(kind: str, seed: int, late: bool) -> None:
    random = Random(seed)
    options = dict(JOINS[kind])
    right = options.pop("right")
    operator: Any = join(LEFT, right, on="k", to="p.out", **options)
    batches = batches_of(random, right, late)
    alone, together = State(), State()
    one_by_one = [(shown(list(operator.step(batch, alone))), operator.holds(alone)) for batch in batches]
    at_once = []
    start = 0
    while start < len(batches):
        end = random.randint(start + 1, len(batches))
        at_once += [(shown(outputs), holds) for outputs, holds in operator.steps(batches[start:end], together)]
        start = end
    assert at_once == one_by_one
    assert digest_state(together) == digest_state(alone)
    assert operator.holds(together) == operator.holds(alone)


def test_it_holds_across_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators.join.segments, "SEGMENT_ROWS", 3)
    monkeypatch.setattr(operators.join.together, "MANY", 7)
    monkeypatch.setattr(operators.join.lookup, "MANY", 7)
    monkeypatch.setattr(operators.join.window, "MANY", 7)
    for kind in JOINS:
        for seed in range(25):
            test_several_batches_at_once_leave_the_same.hypothesis.inner_test(kind, seed, seed % 3 == 0)
