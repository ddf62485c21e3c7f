"""`hw.testing.check`: good functions and operators pass; each way to be bad is found, with rows that show it."""

from __future__ import annotations

import ctypes
import datetime as dt
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import headwater as hw
from headwater.testing import CannotCheck, CheckFailed, check
from headwater.testing.cuts import whole
from headwater.testing.difference import difference
from headwater.testing.rehearsal import outside, rehearse, written
from operators.clean.impute import last_value, mean
from operators.errors import WrongOutput
from operators.execution.state import State
from operators.map import map as map_rows
from operators.operator import Batch, Derived, Input, Output
from streams.conform import conform
from streams.message import END
from streams.rules import between
from streams.schema import Schema
from streams.stream import Stream
from streams.window_rules import unique

START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


@dataclass
class Reading:
    sensor: str
    site: str
    at: dt.datetime
    celsius: float | None


@dataclass
class Site:
    site: str
    city: str


def readings(count: int = 30) -> list[dict[str, object]]:
    return [
        {
            "sensor": f"s{n % 3}",
            "site": "ab"[n % 2],
            "at": START + dt.timedelta(minutes=n),
            "celsius": None if n % 7 == 3 else 500.0 if n % 9 == 4 else float(n),
        }
        for n in range(count)
    ]


SITES = [{"site": "a", "city": "Rome"}, {"site": "b", "city": "Oslo"}]


# Functions


def to_f(rows: pa.RecordBatch) -> pa.RecordBatch:
    return rows.append_column("f", pc.add(pc.multiply(rows["celsius"], 1.8), 32))


def test_a_good_function_passes():
    check(
        to_f,
        rows=[{"celsius": 20.0}, {"celsius": 0.1}],
        expect=[{"celsius": 20.0, "f": 68.0}, {"celsius": 0.1, "f": 32.18}],
    )


def test_expected_rows_may_name_some_columns_and_agree_in_nine_digits():
    check(to_f, rows=readings(3), expect=[{"f": 32}, {"f": 33.8000000001}, {"f": 35.6}])


def test_without_rows_there_is_nothing_to_differ():
    check(to_f, rows=[], expect=[], schema=Reading)


def test_rows_may_be_anything_that_arrow_reads():
    table = pa.table({"celsius": [1.0, 2.0]})
    check(to_f, rows=table, expect=table.append_column("f", pa.array([33.8, 35.6])))
    check(to_f, rows=table.to_pandas(), expect=[{"f": 33.8}, {"f": 35.6}])
    check(to_f, rows=[Reading("s", "a", START, 1.0)], expect=[{"f": 33.8, "sensor": "s"}], schema=Reading)


def test_a_wrong_expectation_shows_the_fields_that_differ():
    with pytest.raises(CheckFailed) as failed:
        check(
            to_f,
            rows=[{"celsius": 20.0}, {"celsius": 30.0}],
            expect=[{"celsius": 20.0, "f": 70.0}, {"celsius": 30.0, "f": 86.0}],
        )
    assert "2 made, 2 expected" in str(failed.value)
    assert "~ f is 68.0, expected 70.0  (where {celsius: 20.0})" in str(failed.value)
    assert "86" not in str(failed.value)


def test_missing_and_surplus_rows_are_shown():
    with pytest.raises(AssertionError, match=r"\(1 made, 2 expected\)") as failed:
        check(to_f, rows=[{"celsius": 20.0}], expect=[{"celsius": 20.0}, {"celsius": 99.0}])
    assert "- expected, not made: {celsius: 99.0}" in str(failed.value)


def test_another_order_is_said_to_be_that():
    with pytest.raises(CheckFailed, match="the rows are the same, their order is not"):
        check(to_f, rows=[{"celsius": 1.0}, {"celsius": 2.0}], expect=[{"celsius": 2.0}, {"celsius": 1.0}])


def test_a_column_that_is_not_made_cannot_be_expected():
    with pytest.raises(CheckFailed, match="columns that were not made: 'kelvin'"):
        check(to_f, rows=[{"celsius": 20.0}], expect=[{"kelvin": 3}])


def numbered(values: Iterable[Any]) -> Callable[[pa.RecordBatch], pa.RecordBatch]:
    """Appends the next values of an iterator that lives on between calls."""
    ahead = iter(values)
    return lambda rows: rows.append_column("x", pa.array([next(ahead) for _ in range(rows.num_rows)], pa.int64()))


@pytest.mark.parametrize(
    "function",
    [
        lambda rows: rows.append_column("x", pa.array([random.random() for _ in range(rows.num_rows)])),
        lambda rows: rows.append_column("x", pa.array(np.random.default_rng().random(rows.num_rows))),
        lambda rows: rows.append_column("x", pa.array([time.perf_counter_ns()] * rows.num_rows)),
        numbered(range(10**6)),
    ],
    ids=["random", "numpy", "clock", "memory"],
)
def test_an_impure_function_is_found(function):
    with pytest.raises(CheckFailed, match=r"other rows when it is called once more(.|\n)*~ x is .*, then"):
        check(function, rows=[{"celsius": 20.0}])


def test_a_function_that_looks_at_the_whole_batch_is_found():
    def share(rows: pa.RecordBatch) -> pa.RecordBatch:
        return rows.append_column("share", pc.divide(rows["celsius"], pc.sum(rows["celsius"])))

    with pytest.raises(CheckFailed, match=r"when they come one row at a time(.|\n)*in pieces 1.0"):
        check(share, rows=[{"celsius": 20.0}, {"celsius": 30.0}])


def test_a_function_that_needs_several_rows_is_found():
    def growth(rows: pa.RecordBatch) -> pa.RecordBatch:
        return rows.append_column("first", pa.repeat(rows["celsius"][1].as_py(), rows.num_rows))

    with pytest.raises(CheckFailed, match="raised StepFailed when rows came one row at a time, and not before"):
        check(growth, rows=[{"celsius": 20.0}, {"celsius": 30.0}])


def test_a_function_that_changes_its_input_is_found():
    def zeroing(rows: pa.RecordBatch) -> pa.RecordBatch:
        buffer = rows["celsius"].buffers()[1]
        ctypes.memset(buffer.address, 0, buffer.size)
        return rows

    with pytest.raises(CheckFailed, match="changed the rows that it was given"):
        check(zeroing, rows=[{"celsius": 20.0}])


def test_a_function_that_raises_is_said_to():
    def broken(rows: pa.RecordBatch) -> pa.RecordBatch:
        raise KeyError("nothing")

    with pytest.raises(hw.HeadwaterError, match="KeyError"):
        check(broken, rows=[{"celsius": 20.0}])


# Operators


@dataclass
class Stepping:
    """An operator made of a function of (operator, batch, state)."""

    inputs: tuple[Input, ...]
    outputs: tuple[Stream, ...]
    function: Callable[[Any, Batch, State], Iterable[Output]]
    name: str = "out"
    kind: str = "function"
    version: str = "1"
    tick: int | None = None
    row_wise: bool = False
    keeps_key: bool = True
    params: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)

    def step(self, batch: Batch, state: State) -> Iterable[Output]:
        return self.function(self, batch, state)

    def holds(self, state: State) -> int:
        return END

    def derives(self) -> dict[str, tuple[Derived, ...]]:
        return {}


NUMBERS = pa.schema([pa.field("key", pa.string(), False), ("at", pa.timestamp("us", "UTC")), ("n", pa.int64())])
SOURCE = Stream("in", Schema(NUMBERS), key=("key",), time="at")
OTHER = replace(SOURCE, name="other")
OUT = replace(SOURCE, name="out")
ROWS = [{"key": f"k{n % 3}", "at": START + dt.timedelta(seconds=n), "n": n} for n in range(20)]


def stepping(function: Callable[[Any, Batch, State], Iterable[Output]], *more: Input) -> Stepping:
    return Stepping((Input(SOURCE, reads=("key", "at", "n")), *more), (OUT,), function)


def made(batch: Batch, values: Any) -> list[Output]:
    return [Output("out", batch.rows.set_column(2, "n", pa.array(values, pa.int64())), (batch.addresses,))]


def total(self: Any, batch: Batch, state: State) -> list[Output]:
    if batch.is_tick:
        return []
    before = int(state.raw("total") or b"0")
    totals = before + np.cumsum(batch.rows["n"].to_numpy())
    state["total"] = str(totals[-1]).encode()
    return made(batch, totals)


def test_an_operator_that_remembers_in_its_state_passes():
    check(stepping(total), rows=ROWS)


def test_expected_rows_of_an_operator_go_by_key():
    one = stepping(lambda self, batch, state: [] if batch.is_tick else made(batch, pc.multiply(batch.rows["n"], 2)))
    expected = [{"key": row["key"], "n": 2 * int(row["n"])} for row in ROWS]
    check(one, rows={"in": ROWS}, expect={"out": expected})
    with pytest.raises(CheckFailed, match=r"their order of \{key: 'k0'\} is not"):
        check(one, rows=ROWS, expect=sorted(expected, key=lambda row: -int(row["n"])))
    with pytest.raises(CheckFailed, match="not the expected ones"):
        check(one, rows=ROWS, expect=expected[1:])


def refuses(function: Callable[[Any, Batch, State], Iterable[Output]], message: str, *more: Input) -> str:
    with pytest.raises(CheckFailed, match=message) as failed:
        check(stepping(function, *more), rows={"in": ROWS, "other": ROWS} if more else ROWS)
    return str(failed.value)


def test_randomness_is_found():
    def noisy(self: Any, batch: Batch, state: State) -> list[Output]:
        return [] if batch.is_tick else made(batch, [random.getrandbits(60) for _ in range(batch.rows.num_rows)])

    told = refuses(noisy, "other rows when it is run once more on equal rows")
    assert "seeds from the parameters" in told
    assert "~ n is" in told


def test_memory_in_the_object_is_found():
    def counting(self: Any, batch: Batch, state: State) -> list[Output]:
        self.memory["n"] = self.memory.get("n", 0) + batch.rows.num_rows
        return [] if batch.is_tick else made(batch, [self.memory["n"]] * batch.rows.num_rows)

    assert "belongs into the state" in refuses(counting, "when the same object is used a second time")


def test_memory_that_does_not_survive_a_restart_is_found():
    def counting(self: Any, batch: Batch, state: State) -> list[Output]:
        if batch.clock == END:
            self.memory.clear()
            return []
        totals = self.memory.get("n", 0) + np.arange(1, batch.rows.num_rows + 1)
        self.memory["n"] = int(totals[-1])
        return made(batch, totals)

    assert "one row at a time" in refuses(counting, "stopped and restored between two steps")


def test_dependence_on_batches_is_found():
    def sums(self: Any, batch: Batch, state: State) -> list[Output]:
        return [] if batch.is_tick else made(batch, [pc.sum(batch.rows["n"]).as_py()] * batch.rows.num_rows)

    assert "carry what a later row needs" in refuses(sums, "other rows when they come one row at a time")


def test_dependence_on_how_inputs_interleave_is_found():
    def learning(self: Any, batch: Batch, state: State) -> list[Output]:
        if batch.input != "other":
            return total(self, batch, state)
        state["total"] = str(int(state.raw("total") or b"0") * 2 + batch.rows.num_rows).encode()
        return []

    refuses(learning, "other rows when they come", Input(OTHER, reads=("key", "at", "n")))


def test_what_comes_back_takes_effect_after_its_delay():
    def follow(self: Any, batch: Batch, state: State) -> list[Output]:
        if batch.input == "other":
            state["latest"] = str(batch.rows["n"][-1].as_py()).encode()
            return []
        latest = int(state.raw("latest") or b"-1")
        return [] if batch.is_tick else made(batch, [latest] * batch.rows.num_rows)

    back = Input(OTHER, "partitioned", ("n",), delay=5_000_000, later=True)
    same = [row | {"key": "a"} for row in ROWS[:8]]
    check(
        stepping(follow, back),
        rows={"in": same, "other": same},
        expect=[{"n": n} for n in [-1, -1, -1, -1, -1, -1, 0, 1]],
    )


def test_an_altered_batch_is_found():
    def altering(self: Any, batch: Batch, state: State) -> list[Output]:
        batch.times[:] = 0
        return [] if batch.is_tick else made(batch, batch.rows["n"])

    refuses(altering, "changed the batch that it was given")


def test_parents_that_follow_batches_are_found():
    def careless(self: Any, batch: Batch, state: State) -> list[Output]:
        if batch.is_tick:
            return []
        first = np.zeros(batch.rows.num_rows, dtype=np.int64)
        return [Output("out", batch.rows, (batch.addresses.take(first),))]

    assert "a row descends from" in refuses(careless, "gives other parents when they come one row at a time")


def test_a_state_that_cannot_be_stored_is_found():
    def listing(self: Any, batch: Batch, state: State) -> list[Output]:
        state["seen"] = [1, 2, 3]
        return []

    with pytest.raises(WrongOutput, match="'seen' is a list"):
        check(stepping(listing), rows=ROWS)


def test_rows_that_do_not_fit_the_output_are_refused():
    with pytest.raises(WrongOutput, match="key: string, at"):
        check(stepping(lambda self, batch, state: [Output("out", batch.rows, ())]), rows=ROWS)


def test_names_that_are_no_streams_are_refused():
    with pytest.raises(CannotCheck, match=r"'elsewhere' is no stream here. There are in."):
        check(stepping(total), rows={"elsewhere": ROWS})
    with pytest.raises(CannotCheck, match="'elsewhere' is no stream"):
        check(stepping(total), rows=ROWS, expect={"elsewhere": []})
    with pytest.raises(CannotCheck, match="A str cannot be checked"):
        check("function", rows=ROWS)  # type: ignore[arg-type]


def test_rows_have_to_fit_the_input():
    with pytest.raises(hw.SchemaError, match="time zone"):
        check(stepping(total), rows=[{"key": "a", "at": dt.datetime(2024, 1, 1), "n": 1}])


def test_a_mapped_function_passes_as_an_operator():
    operator = map_rows(SOURCE, lambda rows: rows.select(["n"]), reads=["n"], to="out", row_wise=True)
    check(operator, rows=ROWS, expect=[{"key": row["key"], "n": row["n"]} for row in ROWS])


def test_late_rows_are_late_however_rows_are_cut():
    def lateness(self: Any, batch: Batch, state: State) -> list[Output]:
        if batch.is_tick:
            return []
        late = np.zeros(batch.rows.num_rows, dtype=np.int64) if batch.late is None else batch.late.astype(np.int64)
        return made(batch, late)

    seconds = [0, 10, 5, 9, 20, 12, 30, 1, 31]
    rows = [{"key": "a", "at": START + dt.timedelta(seconds=n), "n": n} for n in seconds]
    strict = stepping(lateness)
    check(strict, rows=rows, expect=[{"n": n} for n in [0, 0, 1, 1, 0, 1, 0, 1, 0]])
    lenient = Stepping((Input(replace(SOURCE, lateness=6_000_000), reads=("key", "at", "n")),), (OUT,), lateness)
    check(lenient, rows=rows, expect=[{"n": n} for n in [0, 0, 0, 0, 0, 1, 0, 1, 0]])


# Pipelines


def plant() -> hw.Pipeline:
    p = hw.Pipeline("plant")
    source = p.stream("readings", Reading, key="sensor", time="at")
    sites = p.table("sites", Site, key="site")
    valid = p.clean(
        source,
        to="valid",
        expect=[between("celsius", -80, 150), unique(["sensor", "site"], within="10m")],
        impute={"celsius": mean()},
    )
    placed = p.join(valid, sites, on="site", to="placed")
    p.map(placed, to_f, reads=["sensor", "at", "celsius"], to="fahrenheit", key="sensor", time="at")
    return p


def test_the_operators_of_a_pipeline_pass_and_give_what_is_expected():
    rows = readings(3)
    check(
        plant(),
        rows={"readings": rows, "sites": SITES},
        expect={
            "fahrenheit": [{"sensor": f"s{n}", "f": 32 + 1.8 * n} for n in range(3)],
            "plant.placed": [
                {"sensor": "s1", "sites_city": "Oslo"},
                *({"sensor": s, "sites_city": "Rome"} for s in ("s0", "s2")),
            ],
            "valid.quarantine": [],
        },
    )


def test_all_operators_are_checked_when_nothing_is_expected():
    p = plant()
    p.map(p.streams["plant.valid"], numbered(range(10**6)), reads=["sensor", "at"], to="worse", key="sensor", time="at")
    with pytest.raises(CheckFailed, match=r"plant.worse"):
        check(p, rows={"readings": readings(), "sites": SITES})


def test_a_pipeline_may_be_checked_from_its_middle():
    valid = [{"sensor": "s0", "site": "b", "at": START, "celsius": 1.0}]
    check(plant(), rows={"valid": valid, "sites": SITES}, expect={"placed": [{"sensor": "s0", "sites_city": "Oslo"}]})


def test_a_stream_from_outside_cannot_be_expected():
    with pytest.raises(CannotCheck, match="No operator writes this stream"):
        check(plant(), rows={"readings": readings()}, expect={"sites": SITES})


def test_an_as_of_join_passes():
    p = hw.Pipeline("plant")
    source = p.stream("readings", Reading, key="sensor", time="at")
    other = p.stream("weather", Reading, key="sensor", time="at")
    filled = p.clean(source, to="filled", impute={"celsius": last_value(default=0.0)})
    p.join(filled, other, on="sensor", to="both", how="asof")
    later = [row | {"at": row["at"] + dt.timedelta(seconds=30)} for row in readings(20)]  # type: ignore[operator]
    check(p, rows={"readings": readings(20), "weather": later})


def test_a_rehearsal_gives_what_the_engine_gives(tmp_path: Path):
    p = plant()
    nodes = p.plan().nodes
    lanes = {}
    for name, rows in (("plant.readings", readings()), ("plant.sites", SITES)):
        stream = p.streams[name]
        lanes[name] = outside(stream, conform(rows, stream.schema, where=name).combine_chunks().to_batches()[0])
    with hw.connect(tmp_path / "ws") as hub:
        hub.register(p)
        hub.publish("plant.sites", SITES)
        hub.publish("plant.readings", readings())
        hub.run(p, until="caught-up")
        for name in ("plant.valid", "plant.placed", "plant.fahrenheit"):
            operator = nodes[name].operator
            assert operator is not None
            emitted = rehearse(lambda one=operator: one, lanes, whole)
            for output in operator.outputs:
                chosen = [one for one in emitted if one.output.stream == output.name]
                lanes[output.name] = written(operator, output, chosen, keeps_partition=nodes[name].keeps_partition)
                found = [row for lane in lanes[output.name] for row in lane.rows.to_pylist()]
                assert found == hub.read(output.name).table.to_pylist()


# Differences


def test_equal_rows_do_not_differ():
    nan = float("nan")
    assert difference([{"a": nan, "b": [1, {"c": None}]}], [{"a": nan, "b": [1, {"c": None}]}]) is None


def test_long_differences_are_cut():
    told = difference([], [{"n": n} for n in range(50)])
    assert told is not None
    assert told.endswith("… and 42 more")
    assert len(told.splitlines()) == 9


def test_rows_of_different_keys_may_change_places():
    one, two = [{"k": 1, "n": 1}, {"k": 2, "n": 2}], [{"k": 2, "n": 2}, {"k": 1, "n": 1}]
    assert difference(one, two, order="key", key=("k",)) is None
    assert difference(one, two, order="none") is None
    assert difference(one, two) is not None
