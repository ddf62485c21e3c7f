"""Steps that fail or return what does not fit: nothing of them counts, nothing goes past them, and all comes right once
they are mended."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import headwater as hw
from operators.execution.state import State
from operators.operator import Batch, Derived, Input, Output
from streams.message import END
from streams.stream import Stream
from tests.faults import loop_job
from tests.faults.facts import digests

HOT = pa.schema([("fahrenheit", pa.float64())])


def fahrenheit(batch: pa.RecordBatch) -> pa.RecordBatch:
    return pa.record_batch({"fahrenheit": pc.add(pc.multiply(batch["celsius"], 1.8), 32.0)})


def spoiled(spoil: Callable[[pa.RecordBatch], Any], above: float = 20.0) -> Callable[[pa.RecordBatch], Any]:
    """The right function, but for batches with a value above so many degrees."""

    def function(batch: pa.RecordBatch) -> Any:
        return spoil(batch) if (pc.max(batch["celsius"]).as_py() or 0) >= above else fahrenheit(batch)

    return function


def raises(batch: pa.RecordBatch) -> Any:
    raise ValueError("too hot to handle")


def out_of_memory(batch: pa.RecordBatch) -> Any:
    raise MemoryError("no room for 3 GB")


def io_error(batch: pa.RecordBatch) -> Any:
    raise OSError(errno.EIO, "the share is away")


def reads_more(batch: pa.RecordBatch) -> Any:
    return batch["sensor"]


def other_columns(batch: pa.RecordBatch) -> Any:
    return pa.record_batch({"kelvin": batch["celsius"]})


def other_types(batch: pa.RecordBatch) -> Any:
    return pa.record_batch({"fahrenheit": pc.cast(batch["celsius"], pa.string())})


def fewer_rows(batch: pa.RecordBatch) -> Any:
    return fahrenheit(batch)[1:]


def no_rows_at_all(batch: pa.RecordBatch) -> Any:
    return None


def wrong_parents(batch: pa.RecordBatch) -> Any:
    return hw.Mapped(fahrenheit(batch), parents=[999] * batch.num_rows)


#: What is wrong, and what the error says of it.
SPOILED = {
    raises: ["The function raised ValueError: too hot to handle", "mend the function"],
    other_columns: ["gave the columns 'kelvin'; expected are 'fahrenheit'", "or declare the others with schema="],
    other_types: ["gave 'fahrenheit' as string; expected is double", "Cast it in the function"],
    fewer_rows: ["rows were made of", "parents=indices"],
    no_rows_at_all: ["The function gave a NoneType", "Return a RecordBatch"],
    wrong_parents: ["indices for", "one index a row"],
    reads_more: ["asked for 'sensor', which is not in reads=", "reads=['celsius', 'sensor']"],
}
NEVER_QUARANTINED = {
    out_of_memory: ["MemoryError: no room for 3 GB", "more memory"],
    io_error: ["OSError", "the share is away"],
}


@pytest.mark.parametrize("spoil", [*SPOILED, *NEVER_QUARANTINED], ids=lambda spoil: spoil.__name__)
def test_a_step_that_fails_stops_its_tasks_until_it_is_mended(plant, filled, spoil):
    plant.fill()
    failed = plant.fails(plant.pipeline(spoiled(spoil)))
    assert {task.split("/")[0] for task in failed.failed} == {"plant.warm"}
    assert all(isinstance(error, hw.StepFailed) for error in failed.failed.values())
    assert all(word in str(failed) for word in {**SPOILED, **NEVER_QUARANTINED}[spoil])
    assert all(error.where.startswith("plant.valid ") for error in failed.failed.values())
    assert ("on_error='quarantine'" in str(failed)) == (spoil in SPOILED)
    assert plant.count("plant.valid") == 400
    assert 0 < pc.max(plant.hub.read("plant.warm").table["celsius"]).as_py() < 20.0

    plant.run(plant.pipeline())
    assert digests(plant.hub, plant.pipeline()) == filled


@pytest.mark.parametrize("spoil", [raises, fewer_rows], ids=lambda spoil: spoil.__name__)
def test_a_row_wise_step_that_fails_counts_up_to_the_batch_that_is_to_blame(plant, filled, spoil):
    plant.fill()
    plant.fails(plant.pipeline(spoiled(spoil), row_wise=True))
    assert 0 < pc.max(plant.hub.read("plant.warm").table["celsius"]).as_py() < 20.0
    plant.run(plant.pipeline(row_wise=True))
    assert digests(plant.hub, plant.pipeline()) == filled


@pytest.mark.parametrize("spoil", SPOILED, ids=lambda spoil: spoil.__name__)
def test_a_batch_on_which_a_step_fails_is_listed_and_passed_over_where_that_was_asked_for(plant, rows, spoil):
    pipeline = plant.fill(function=spoiled(spoil), on_error="quarantine")
    plant.run(pipeline)
    listed = list(plant.hub.read("plant.warm.failed"))
    assert listed
    assert all(SPOILED[spoil][0] in one["error"] for one in listed)
    passed_over = sum(one["rows"] for one in listed)
    assert plant.count("plant.warm") == 400 - passed_over
    found = plant.hub.read("plant.valid", ranges={one["partition"]: (one["first"], one["end"]) for one in listed[:1]})
    assert len(found) == listed[0]["rows"]
    bounds = plant.bounds()
    plant.run(pipeline)
    assert plant.bounds() == bounds


@pytest.mark.parametrize("spoil", NEVER_QUARANTINED, ids=lambda spoil: spoil.__name__)
def test_errors_that_say_nothing_about_the_rows_are_never_quarantined(plant, rows, spoil):
    plant.fill()
    failed = plant.fails(plant.pipeline(spoiled(spoil), on_error="quarantine"))
    assert {task.split("/")[0] for task in failed.failed} == {"plant.warm"}
    assert plant.count("plant.warm.failed") == 0
    plant.run(plant.pipeline(on_error="quarantine"))
    assert plant.count("plant.warm") == 400


def test_a_function_that_makes_no_rows_is_no_error(plant, rows):
    plant.fill()
    plant.run(plant.pipeline(lambda batch: hw.Mapped(fahrenheit(batch)[:0], parents=[])))
    assert plant.count("plant.valid") == 400
    assert plant.count("plant.warm") == 0
    bounds = plant.bounds()
    plant.run(plant.pipeline(lambda batch: hw.Mapped(fahrenheit(batch)[:0], parents=[])))
    assert plant.bounds() == bounds


def test_tasks_that_fail_alike_share_a_line(plant, rows):
    plant.fill()
    failed = plant.fails(plant.pipeline(raises))
    first, *lines, last = str(failed).splitlines()
    assert first == f"{len(failed.failed)} of 8 tasks stopped:"
    assert len(lines) == 1
    assert lines[0].strip().startswith(", ".join(sorted(failed.failed)))
    assert last.startswith("[plant] ")


@pytest.mark.parametrize("workers", [1, 3])
def test_errors_are_told_alike_from_one_process_and_from_several(plant, rows, workers):
    plant.fill()
    failed = plant.fails(plant.pipeline(raises), workers=workers)
    (what,) = {error.what for error in failed.failed.values()}
    assert what == "plant.warm failed: The function raised ValueError: too hot to handle"
    assert all(type(error) is hw.StepFailed for error in failed.failed.values())
    assert all(error.fix.startswith("Nothing of this step was written") for error in failed.failed.values())
    assert len(str(failed).splitlines()) == 3


def failing_at(job, placed: pa.Table) -> Callable[[pa.RecordBatch], Any]:
    """The loop job's map, but for one row in the middle on which it raises."""
    at = placed.num_rows // 2
    while True:
        celsius, target = (placed[name][at] for name in ("celsius", "settings_target"))
        same = pc.and_(pc.equal(placed["celsius"], celsius), pc.equal(placed["settings_target"], target))
        if pc.sum(same).as_py() == 1:
            break
        at += 1

    def function(batch: pa.RecordBatch) -> Any:
        bad = pc.and_(pc.equal(batch["celsius"], celsius), pc.equal(batch["settings_target"], target))
        if pc.any(bad).as_py():
            raise ValueError("one bad row")
        return job.hotter(batch)

    return function


@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_goes_past_a_task_that_failed(plant, looped, workers):
    """The loop behind it depends on the order of its input: it must wait, and come out as if nothing had been."""
    function = failing_at(loop_job, looped.hub.read("plant.placed").table)
    failed = plant.fails(loop_job.build(1500, function=function), workers=workers)
    (task,) = failed.failed
    assert task.startswith("plant.warm/")
    assert plant.count("plant.placed") == looped.count("plant.placed")
    assert 0 < plant.count("plant.level") < looped.count("plant.level")

    plant.run(loop_job.build(1500), workers=workers)
    wanted = digests(looped.hub, loop_job.build(1500))
    assert digests(plant.hub, loop_job.build(1500)) == wanted


# Operators of one's own


@dataclass
class Counting:
    """Counts rows; writes what `write` makes of the count at every batch."""

    name: str
    inputs: tuple[Input, ...]
    outputs: tuple[Stream, ...]
    write: Callable[[int, pa.RecordBatch], Iterable[Output]]
    state_version: str = "1"
    kind: str = "counting"
    version: str = "1"
    tick: int | None = None
    row_wise: bool = False
    keeps_key: bool = False
    params: dict[str, Any] = field(default_factory=dict)

    def step(self, batch: Batch, state: State) -> Iterable[Output]:
        count = int(state.raw("count") or b"0") + batch.rows.num_rows
        state["count"] = b"%d" % count
        return self.write(count, batch.rows) if batch.rows.num_rows else []

    def holds(self, state: State) -> int:
        return END

    def derives(self) -> dict[str, tuple[Derived, ...]]:
        return {}


@dataclass
class Migrating(Counting):
    """The count is kept in dozens; knows how to bring the older form there."""

    broken: bool = False

    def step(self, batch: Batch, state: State) -> Iterable[Output]:
        dozens, rest = map(int, (state.raw("dozens") or b"0 0").split())
        count = dozens * 12 + rest + batch.rows.num_rows
        state["dozens"] = b"%d %d" % divmod(count, 12)
        return self.write(count, batch.rows) if batch.rows.num_rows else []

    def migrate(self, state: State) -> None:
        count = int(state.raw("count") or b"0")
        del state["count"]
        if self.broken:
            raise KeyError("dozens")
        state["dozens"] = b"%d %d" % divmod(count, 12)


COUNTS = pa.schema([pa.field("count", pa.int64(), nullable=False)])


def counting(
    write: Callable[[int, pa.RecordBatch], Any] | None = None, kind: type = Counting, **options: Any
) -> hw.Pipeline:
    p = hw.Pipeline("plant", owner="plant-team")
    raw = p.stream("readings", READING, key="sensor", time="at", codec="arrow")
    out = Stream("plant.counts", hw.Schema(COUNTS), partitions=1)
    p.add(kind("plant.counts", (Input(raw, "gathered", ("celsius",)),), (out,), write or counts, **options))
    return p


READING = pa.schema(
    [
        pa.field("sensor", pa.string(), nullable=False),
        pa.field("at", pa.timestamp("us", "UTC"), nullable=False),
        ("celsius", pa.float64()),
    ]
)


def counts(count: int, rows: pa.RecordBatch) -> list[Output]:
    return [Output("plant.counts", pa.RecordBatch.from_pylist([{"count": count}], schema=COUNTS), ())]


def half_bad(bad: Callable[[], Output]) -> Callable[[int, pa.RecordBatch], Any]:
    """One good output, then one that does not fit, once so many rows are there."""

    def write(count: int, rows: pa.RecordBatch) -> Any:
        return [*counts(count, rows), bad()] if count > 200 else counts(count, rows)

    return write


BAD_OUTPUTS = {
    "stream": (lambda: Output("plant.other", pa.record_batch({"count": [1]}), ()), "not among its outputs"),
    "column": (lambda: Output("plant.counts", pa.record_batch({"n": [1]}), ()), "columns (n: int64)"),
    "type": (lambda: Output("plant.counts", pa.record_batch({"count": ["1"]}), ()), "columns (count: string)"),
    "null": (
        lambda: Output("plant.counts", pa.RecordBatch.from_arrays([pa.array([None], pa.int64())], schema=COUNTS), ()),
        "required field is null",
    ),
}


@pytest.mark.parametrize("bad", BAD_OUTPUTS)
def test_an_output_that_does_not_fit_takes_the_whole_step_with_it(plant, undisturbed, rows, bad):
    make, told = BAD_OUTPUTS[bad]

    def pipeline(write: Any = None) -> hw.Pipeline:
        p = counting(write)
        p.source(p.streams["plant.readings"], pa.Table.from_pylist(rows(0, 300), schema=READING), chunk=10)
        return p

    undisturbed.run(pipeline())
    failed = plant.fails(pipeline(half_bad(make)))
    assert list(failed.failed) == ["plant.counts/0"]
    assert told in str(failed)
    assert 0 < max(plant.hub.read("plant.counts").table["count"].to_pylist()) <= 200
    plant.run(pipeline())
    assert digests(plant.hub, pipeline()) == digests(undisturbed.hub, pipeline())


def test_a_state_value_that_cannot_be_stored_is_named(plant, rows):
    class Careless(Counting):
        def step(self, batch: Batch, state: State) -> Iterable[Output]:
            state["count"] = 7  # type: ignore[assignment]
            return []

    plant.hub.register(counting())
    plant.hub.publish("plant.readings", rows())
    failed = plant.fails(counting(kind=Careless))
    assert "state value 'count' is a int" in str(failed)
    plant.run(counting())
    assert max(plant.hub.read("plant.counts").table["count"].to_pylist()) == 100


def test_a_state_of_another_version_is_refused_and_kept_until_it_is_migrated(plant, rows):
    plant.hub.register(counting())
    plant.hub.publish("plant.readings", rows())
    plant.run(counting())
    plant.hub.publish("plant.readings", rows(100))
    bounds = plant.bounds()

    failed = plant.fails(counting(state_version="2"))
    assert type(failed.failed["plant.counts/0"]).__name__ == "StateMismatch"
    assert "has version 1, the operator wants 2" in str(failed)
    assert "migrate(state)" in str(failed)
    broken = plant.fails(counting(kind=Migrating, state_version="2", broken=True))
    assert "migrate(state) raised KeyError" in str(broken)
    assert plant.bounds() == bounds

    plant.run(counting(kind=Migrating, state_version="2"))
    assert max(plant.hub.read("plant.counts").table["count"].to_pylist()) == 200
    plant.hub.publish("plant.readings", rows(200))
    plant.run(counting(kind=Migrating, state_version="2"))
    assert max(plant.hub.read("plant.counts").table["count"].to_pylist()) == 300


@dataclass
class Ticking(Counting):
    """Holds rows back until the tick behind them, as a window does."""

    broken_from: int | None = None

    def step(self, batch: Batch, state: State) -> Iterable[Output]:
        held = int(state.raw("held") or b"0")
        if not batch.is_tick:
            state["held"] = b"%d" % (held + batch.rows.num_rows)
            state["since"] = state.raw("since") or b"%d" % batch.times.min()
            return []
        if self.broken_from is not None and batch.clock >= self.broken_from:
            raise ZeroDivisionError("no rows in the window")
        if held:
            del state["held"]
            del state["since"]
        return counts(held, batch.rows) if held else []

    def holds(self, state: State) -> int:
        return int(state.raw("since") or END)


@pytest.mark.parametrize("broken_from", [1_709_258_400_000_000, END], ids=["in the middle", "at the end"])
def test_a_step_that_fails_at_a_tick_gets_the_same_tick_again(plant, undisturbed, rows, broken_from):
    def pipeline(**options: Any) -> hw.Pipeline:
        p = counting(kind=Ticking, tick=3_600_000_000, **options)
        p.source(p.streams["plant.readings"], pa.Table.from_pylist(rows(0, 500), schema=READING), chunk=10)
        return p

    undisturbed.run(pipeline())
    failed = plant.fails(pipeline(broken_from=broken_from))
    assert "plant.counts failed at a tick: ZeroDivisionError: no rows in the window" in str(failed)
    plant.fails(pipeline(broken_from=broken_from))
    ticked = undisturbed.count("plant.counts")
    assert plant.count("plant.counts") < ticked or broken_from == END
    plant.run(pipeline())
    assert digests(plant.hub, pipeline()) == digests(undisturbed.hub, pipeline())


# Processes


def test_a_step_that_ends_its_process_ends_the_run_after_some_tries(plant, rows):
    def dies(batch: pa.RecordBatch) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)

    plant.fill()
    failed = plant.fails(plant.pipeline(dies), workers=2)
    (error,) = failed.failed.values()
    assert "died 6 times in a row (exit code -9)" in error.what
    assert "one worker" in error.fix
    plant.run(plant.pipeline(), workers=2)
    assert plant.count("plant.warm") == 400


def test_an_interrupted_run_says_so_and_the_next_goes_on(plant, looped):
    passes = []

    def interrupt() -> None:
        passes.append(1)
        if len(passes) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    report = plant.run(loop_job.build(1500), watch=interrupt)
    assert report.interrupted
    assert plant.count("plant.warm") < 1500
    assert not plant.run(loop_job.build(1500)).interrupted
    wanted = digests(looped.hub, loop_job.build(1500))
    assert digests(plant.hub, loop_job.build(1500)) == wanted


def test_a_run_for_ever_ends_when_no_task_is_left(plant, rows):
    p = hw.Pipeline("plant")
    raw = p.stream("readings", READING, key="sensor", time="at", codec="arrow", partitions=1)
    p.map(raw, raises, reads=["celsius"], to="warm", schema=HOT, add=True)
    plant.hub.register(p)
    plant.hub.publish(raw, rows())
    for workers in (1, 2):
        with pytest.raises(hw.RunFailed, match="1 of 1 tasks stopped"):
            plant.hub.run(p, workers=workers)
