"""The label model beside majority vote, in many seeded worlds: HEADWATER_LABEL_WORLDS says in how many (500: all).

Every row that somebody votes on is labelled by the model of its time, which never saw it, and by the majority, where a
tie counts as a draw. "At least as good": the model is right as often or, if it is right less often, by no more than two
standard errors of the paired difference, which is what chance does to two equally good ways to label. In 99 % of the
worlds it has to be; in 96 % it has to be right as often without any tolerance (the strict share). All 500 take some ten
minutes: `-o faulthandler_timeout=0` says that no thread hangs.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from operators.execution.state import State
from operators.label import label
from operators.label.function import labeling_function
from operators.label.labels import Labels
from operators.operator import Batch, Operator, Output, tick_at
from streams.message import END
from streams.parents import Addresses
from streams.schema import Schema
from streams.stream import Stream
from tests.operators.label_worlds import World, world

WORLDS = int(os.environ.get("HEADWATER_LABEL_WORLDS", "60"))
CHUNK = 1_000
TOLERANCE = 2.0
UTC = pa.timestamp("us", "UTC")


@dataclass(frozen=True)
class Result:
    """Shares of rows with a vote that were labelled right; a tie counts as a draw among the tied. `worse` is how much
    worse the model is than the majority, in standard errors of the difference. `error` is the calibration error."""

    seed: int
    model: float
    majority: float
    worse: float
    error: float
    majority_error: float
    facts: dict[str, object]

    @property
    def gain(self) -> float:
        return self.model - self.majority


def operators_for(one: World) -> tuple[Stream, tuple[Operator, ...]]:
    """The operators that label a world, of which each function reads its votes from a column of its own."""
    names = [f"f{number}" for number in range(one.votes.shape[1])]
    schema = pa.schema([("at", UTC), *((name, pa.int8()) for name in names)])
    source = Stream("world", Schema(schema), time="at", partitions=1)
    classes = list(range(len(one.prior)))

    def function(name: str) -> object:
        return labeling_function(reads=[name], name=f"says {name}")(lambda rows: rows[name])

    prior = dict(zip(classes, one.prior.tolist(), strict=True)) if one.prior_known else "learn"
    made = label(
        source,
        [function(name) for name in names],  # type: ignore[misc]
        to="labels",
        classes=classes,
        prior=prior,  # type: ignore[arg-type]
        update_every=CHUNK,
        forgetting=10 * CHUNK,
    )
    return source, made


def batch_of(stream: str, rows: pa.RecordBatch, offset: int, clock: int, reads: tuple[str, ...]) -> Batch:
    times = rows.column("at").cast(pa.int64()).to_numpy()
    where = Addresses.of_message(stream, 0, offset, rows.num_rows)
    return Batch(stream, rows.select(list(reads)), where, times, clock)


def labelled(one: World) -> list[pa.RecordBatch]:
    """The labels of a world: each row by the model that held when it came."""
    source, (votes, model, labels) = operators_for(one)
    rows = len(one.truth)
    table = pa.RecordBatch.from_arrays(
        [pa.array(np.arange(rows)).cast(UTC), *(pa.array(column) for column in one.votes.T)],
        schema=source.schema.arrow,
    )
    states = {operator.name: State() for operator in (votes, model, labels)}
    found: list[Output] = []

    def step(operator: Operator, batch: Batch) -> list[Output]:
        return list(operator.step(batch, states[operator.name]))

    for start in range(0, rows, CHUNK):
        raw = batch_of("world", table.slice(start, CHUNK), start, start, votes.inputs[0].reads)
        for output in step(votes, raw):
            name = output.stream
            for made in step(model, batch_of(name, output.rows, start, start, ("pattern",))):
                if made.stream == model.name:
                    when = int(made.rows.column("at").cast(pa.int64())[0].as_py())
                    found += step(labels, batch_of(model.name, made.rows, when, start, labels.inputs[1].reads))
            found += step(labels, batch_of(name, output.rows, start, start, labels.inputs[0].reads))
    found += step(labels, tick_at(END))
    return [output.rows for output in found]


def judged(one: World) -> Result:
    table = pa.Table.from_batches(labelled(one))
    classes = len(one.prior)
    order = np.argsort(table.column("at").cast(pa.int64()).to_numpy())
    chances = np.stack([table.column(f"p_{number}").to_numpy()[order] for number in range(classes)], axis=1)
    counts = np.stack([(one.votes == number).sum(axis=1) for number in range(classes)], axis=1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    voted = counts.sum(axis=1) > 0
    ours, theirs = _right(chances, one)[voted], _right(shares, one)[voted]
    spread = float((ours - theirs).std()) / len(ours) ** 0.5
    later = voted & (np.arange(len(voted)) >= CHUNK)
    return Result(
        seed=one.seed,
        model=float(ours.mean()),
        majority=float(theirs.mean()),
        worse=float((theirs - ours).mean()) / spread if spread else 0.0,
        error=calibration_error(chances[later], one.truth[later]),
        majority_error=calibration_error(shares[later], one.truth[later]),
        facts=one.facts,
    )


def _right(chances: npt.NDArray[np.float64], one: World) -> npt.NDArray[np.float64]:
    top = chances >= chances.max(axis=1, keepdims=True) - 1e-12
    return np.asarray(top[np.arange(len(top)), one.truth] / top.sum(axis=1))


def calibration_error(chances: npt.NDArray[np.float64], truth: npt.NDArray[np.int64]) -> float:
    """How far the probability of the likeliest class lies from how often it is right, over ten bins."""
    confidence, right = chances.max(axis=1), chances.argmax(axis=1) == truth
    place = np.minimum((confidence * 10).astype(int), 9)
    bins = [np.bincount(place, weight, 10) for weight in (confidence, right.astype(float))]
    return float(np.abs(bins[0] - bins[1]).sum() / max(len(truth), 1))


@pytest.fixture(scope="module")
def results() -> list[Result]:
    return [judged(world(seed)) for seed in range(WORLDS)]


def test_the_label_model_is_at_least_as_good_as_the_majority(results: list[Result]) -> None:
    gains = np.array([one.gain for one in results])
    worse = [one for one in results if one.gain < 0 and one.worse > TOLERANCE]
    print(
        f"\n{len(results)} worlds: accuracy {np.mean([one.model for one in results]):.4f}, "
        f"majority {np.mean([one.majority for one in results]):.4f}, least gain {gains.min():+.4f}; "
        f"at least as good in {1 - len(worse) / len(results):.1%} (strictly in {np.mean(gains >= 0):.1%}, "
        f"within a thousandth in {np.mean(gains >= -0.001):.1%}, better by more than two standard errors in "
        f"{np.mean([one.worse < -TOLERANCE for one in results]):.1%})"
    )
    for one in sorted(results, key=lambda one: one.gain)[:8]:
        if one.gain < 0:
            print(f"  seed {one.seed}: {one.gain:+.4f} ({one.worse:.1f} standard errors) {one.facts}")
    assert len(worse) <= 0.01 * len(results)
    assert np.mean(gains >= 0) >= 0.96
    assert gains.mean() > 0.03


def test_probabilities_are_near_how_often_they_are_right(results: list[Result]) -> None:
    errors = [one.error for one in results]
    print(
        f"\ncalibration error {np.mean(errors):.3f}, of the majority {np.mean([r.majority_error for r in results]):.3f}"
    )
    assert np.mean(errors) < 0.06


def test_a_model_that_is_worse_is_found() -> None:
    one = world(3)
    wrong = World(one.seed, (one.truth + 1) % len(one.prior), one.votes, one.prior, one.prior_known, one.facts)
    assert judged(wrong).model < 0.5


def test_worlds_are_as_they_say() -> None:
    many = [world(seed, rows=300) for seed in range(60)]
    assert {one.facts["classes"] for one in many} >= {2, 4, 10}
    assert min(one.votes.shape[1] for one in many) <= 3
    assert max(one.votes.shape[1] for one in many) >= 29
    assert all(one.facts["adversaries"] <= 0.3 * one.votes.shape[1] for one in many)
    assert any(one.facts["adversaries"] and one.facts["correlated"] and one.facts["drifting"] for one in many)
    assert isinstance(operators_for(many[0])[1][2], Labels)
