"""How fast rows are labelled, and how well: functions, label model and labels, next to Snorkel and crowd-kit.

    python -m benchmarks.parts.label [--rows 1000000] [--worlds 20] [--repeat 3]

Ten functions vote on the same rows. Ours steps through batches as in a running job (rows held back until the clock has
passed them, parents kept), without log and codecs. Rates are rows a second of processor time of one core, the best of
some runs; a ratio is ours to the peer's. Then the label models meet in seeded worlds of votes, each learning from all
votes of a world and labelling them (tests/operators/label_worlds.py). What is not installed (snorkel, crowd-kit) is
left out, and said so.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import logging
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    # One core for everybody.
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from operators.execution.state import State
from operators.label import label
from operators.label.estimate import estimate, majority, probabilities
from operators.label.function import LabelingFunction, labeling_function
from operators.label.pattern import Coding, Counted
from operators.operator import Batch, Operator, Output, tick_at
from streams.message import END
from streams.parents import Addresses
from streams.schema import Schema
from streams.stream import Stream
from tests.operators.label_worlds import World, world

UTC = pa.timestamp("us", "UTC")
CLASSES = ("good", "bad")
FUNCTIONS = 10
#: What a row-wise applier takes in a second or two.
ROWS_ONE_BY_ONE = 20_000
ROWS_FOR_DAWID_SKENE = 100_000

Votes = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float64]
SCHEMA = pa.schema([("at", UTC), *((f"x{number}", pa.float32()) for number in range(FUNCTIONS))])
SOURCE = Stream("b.rows", Schema(SCHEMA), time="at", partitions=1)


def made(rows: int) -> tuple[npt.NDArray[np.int64], pa.RecordBatch]:
    """The truth, and ten measurements of which each tells a little of it. A tenth of the values is null."""
    random = np.random.default_rng(7)
    truth = (random.random(rows) < 0.3).astype(np.int64)
    columns = [pa.array(np.arange(rows)).cast(UTC)]
    for number in range(FUNCTIONS):
        value = (truth * (0.9 + 0.2 * number) + random.normal(0, 1, rows)).astype(np.float32)
        columns.append(pa.array(value, mask=random.random(rows) < 0.1))
    return truth, pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def limit_of(number: int) -> float:
    return 0.45 + 0.1 * number


def functions() -> list[LabelingFunction]:
    """Half of them vote for one class only, the others for both."""

    def one(number: int) -> LabelingFunction:
        limit = pa.scalar(limit_of(number), pa.float32())
        otherwise = None if number % 2 else "good"
        made = labeling_function(reads=[f"x{number}"], name=f"f{number}", label="bad", otherwise=otherwise)
        return made(lambda rows: pc.greater(rows.column(0), limit))

    return [one(number) for number in range(FUNCTIONS)]


def batches(stream: str, rows: pa.RecordBatch, size: int, reads: tuple[str, ...]) -> list[Batch]:
    times = rows.column("at").cast(pa.int64()).to_numpy()
    taken = rows.select(list(reads))
    return [
        Batch(
            stream,
            taken.slice(start, size),
            Addresses.of_message(stream, 0, start, min(size, rows.num_rows - start)),
            times[start : start + size],
            int(times[start]),
        )
        for start in range(0, rows.num_rows, size)
    ]


def stepped(operator: Operator, given: list[Batch], first: list[Batch] | None = None) -> list[Output]:
    state = State()
    return [output for batch in [*(first or []), *given, tick_at(END)] for output in operator.step(batch, state)]


def timed(job: Callable[[], Any], repeat: int) -> tuple[float, Any]:
    """Processor time of the best of so many runs, and what the job gave."""
    best, answer = float("inf"), None
    for _ in range(repeat):
        start = time.process_time()
        answer = job()
        best = min(best, time.process_time() - start)
    return best, answer


@dataclass
class Line:
    name: str
    rows: int
    seconds: float
    told: str = ""

    @property
    def rate(self) -> float:
        return self.rows / self.seconds


def report(title: str, lines: list[Line]) -> None:
    print(f"\n{title}")
    print(f"{'':38}{'rows':>12}{'seconds':>10}{'M rows/s':>10}{'ours is':>10}")
    ours = lines[0].rate
    for line in lines:
        ratio = "" if line is lines[0] else f"{ours / line.rate:.1f} x"
        print(f"{line.name:38}{line.rows:>12,}{line.seconds:>10.2f}{line.rate / 1e6:>10.3f}{ratio:>10}  {line.told}")


def quality(chances: Floats, truth: npt.NDArray[np.int64], voted: npt.NDArray[np.bool_]) -> str:
    top = chances >= chances.max(axis=1, keepdims=True) - 1e-12
    right = (top[np.arange(len(top)), truth] / top.sum(axis=1))[voted].mean()
    return f"accuracy {right:.4f}, calibration error {calibration_error(chances[voted], truth[voted]):.3f}"


def calibration_error(chances: Floats, truth: npt.NDArray[np.int64]) -> float:
    confidence, right = chances.max(axis=1), chances.argmax(axis=1) == truth
    place = np.minimum((confidence * 10).astype(int), 9)
    sums = [np.bincount(place, weight, 10) for weight in (confidence, right.astype(float))]
    return float(np.abs(sums[0] - sums[1]).sum() / max(len(truth), 1))


def rates(rows: int, size: int, repeat: int) -> None:
    truth, table = made(rows)
    votes, model, labels = label(
        SOURCE, functions(), to="b.labels", classes=CLASSES, update_every=max(rows // 5, 1), forgetting=None
    )
    seconds, outputs = timed(lambda: stepped(votes, batches("b.rows", table, size, votes.inputs[0].reads)), repeat)
    cast = pa.Table.from_batches([one.rows for one in outputs]).combine_chunks().to_batches()[0]
    matrix: Votes = np.stack([cast.column(f"f{number}").to_numpy() for number in range(FUNCTIONS)], axis=1)
    lines = [Line(f"headwater, batches of {size:,}", rows, seconds)]
    few = table.slice(0, ROWS_ONE_BY_ONE)
    lines += snorkel_applier(few)
    report("Ten functions vote", lines)

    name = votes.outputs[0].name
    seconds, outputs = timed(lambda: stepped(model, batches(name, cast, size, model.inputs[0].reads)), repeat)
    updates = [one for one in outputs if one.stream == model.outputs[0].name]
    fit = [Line(f"headwater, {len(updates)} updates", rows, seconds)]
    row = updates[-1].rows.select(list(labels.inputs[1].reads))
    first = [Batch("b.labels.model", row, Addresses.of_message("b.labels.model", 0, 0, 1), np.array([0]), -1)]
    given = batches(name, cast, size, labels.inputs[0].reads)
    seconds, outputs = timed(lambda: stepped(labels, given, first), repeat)
    made_labels = pa.Table.from_batches([one.rows for one in outputs])
    chances = np.stack([made_labels.column(f"p_{one}").to_numpy() for one in CLASSES], axis=1)
    voted = (matrix >= 0).any(axis=1)
    step = [Line("headwater", rows, seconds, quality(chances, truth, voted))]
    print_peers(matrix, truth, voted, fit, step)


def print_peers(
    matrix: Votes, truth: npt.NDArray[np.int64], voted: npt.NDArray[np.bool_], fit: list[Line], step: list[Line]
) -> None:
    if importlib.util.find_spec("snorkel"):
        seconds, fitted = timed(lambda: snorkel_model(matrix, len(CLASSES)), 1)
        fit.append(Line("snorkel LabelModel.fit, 100 epochs", len(matrix), seconds))
        seconds, chances = timed(lambda: fitted.predict_proba(matrix), 1)
        step.append(Line("snorkel predict_proba", len(matrix), seconds, quality(chances, truth, voted)))
    if importlib.util.find_spec("crowdkit"):
        part = matrix[:ROWS_FOR_DAWID_SKENE]
        seconds, chances = timed(lambda: dawid_skene(part, len(CLASSES)), 1)
        told = quality(chances, truth[: len(part)], voted[: len(part)])
        fit.append(Line("crowd-kit DawidSkene, fit and predict", len(part), seconds, told))
    report("The label model learns", fit)
    shares = majority(matrix[:200_000], len(CLASSES))
    step[0].told += f" (majority: {quality(shares, truth[:200_000], voted[:200_000])})"
    report("Labels by the model", step)


def snorkel_applier(rows: pa.RecordBatch) -> list[Line]:
    if not importlib.util.find_spec("snorkel"):
        return []
    from snorkel.labeling import LabelingFunction as Theirs
    from snorkel.labeling import PandasLFApplier

    def one(number: int) -> Any:
        limit, name, silent = limit_of(number), f"x{number}", -1 if number % 2 else 0

        def vote(row: Any) -> int:
            value = row[name]
            return -1 if value != value else 1 if value > limit else silent

        return Theirs(f"f{number}", vote)

    frame = rows.to_pandas()
    applier = PandasLFApplier([one(number) for number in range(FUNCTIONS)])
    seconds, _ = timed(lambda: applier.apply(frame, progress_bar=False), 1)
    return [Line("snorkel PandasLFApplier", rows.num_rows, seconds)]


def snorkel_model(votes: Votes, classes: int, prior: Floats | None = None) -> Any:
    from snorkel.labeling.model import LabelModel

    logging.getLogger().setLevel(logging.WARNING)
    fitted = LabelModel(cardinality=classes, verbose=False)
    balance = None if prior is None else prior.tolist()
    fitted.fit(votes.astype(int), n_epochs=100, seed=1, class_balance=balance, progress_bar=False)
    return fitted


def dawid_skene(votes: Votes, classes: int) -> Floats:
    import pandas as pd
    from crowdkit.aggregation import DawidSkene

    task, worker = np.nonzero(votes >= 0)
    frame = pd.DataFrame({"task": task, "worker": worker, "label": votes[task, worker]})
    found = DawidSkene(n_iter=50).fit_predict_proba(frame)
    chances = np.full((len(votes), classes), 1.0 / classes)
    chances[found.index.to_numpy()[:, None], found.columns.to_numpy()[None, :]] = found.to_numpy()
    return chances


def worlds(count: int) -> None:
    """Each label model learns from all votes of a world and labels them; rows without a vote are left out."""
    if not count:
        return
    solvers: dict[str, Callable[[World], Floats]] = {"headwater": ours_in, "majority": majority_in}
    if importlib.util.find_spec("snorkel"):
        solvers["snorkel LabelModel"] = lambda one: snorkel_model(
            one.votes, len(one.prior), one.prior if one.prior_known else None
        ).predict_proba(one.votes.astype(int))
    if importlib.util.find_spec("crowdkit"):
        solvers["crowd-kit DawidSkene"] = lambda one: dawid_skene(one.votes, len(one.prior))
    right: dict[str, list[float]] = {name: [] for name in solvers}
    errors: dict[str, list[float]] = {name: [] for name in solvers}
    spent = dict.fromkeys(solvers, 0.0)
    failed = dict.fromkeys(solvers, 0)
    for seed in range(count):
        one = world(seed)
        voted = (one.votes >= 0).any(axis=1)
        for name, solve in solvers.items():
            start = time.process_time()
            try:
                with contextlib.redirect_stderr(None):
                    chances = solve(one)
            except Exception as error:
                print(f"  {name} fails in world {seed}: {type(error).__name__}: {error}")
                failed[name] += 1
                chances = np.full((len(one.votes), len(one.prior)), 1.0 / len(one.prior))
            spent[name] += time.process_time() - start
            top = chances >= chances.max(axis=1, keepdims=True) - 1e-12
            hit = top[np.arange(len(top)), one.truth] / top.sum(axis=1)
            right[name].append(float(hit[voted].mean()))
            errors[name].append(calibration_error(chances[voted], one.truth[voted]))
    print(f"\nLabel models in {count} worlds of votes (2-30 functions, 2-10 classes; copies, adversaries, drift)")
    print(f"{'':28}{'accuracy':>10}{'>= majority':>13}{'worst':>9}{'calibration error':>20}{'seconds':>10}")
    for name in solvers:
        gain = np.array(right[name]) - np.array(right["majority"])
        told = f", failed {failed[name]}" if failed[name] else ""
        print(
            f"{name:28}{np.mean(right[name]):>10.4f}{np.mean(gain >= -1e-12):>13.1%}{gain.min():>+9.3f}"
            f"{np.mean(errors[name]):>20.3f}{spent[name]:>10.1f}{told}"
        )


def ours_in(one: World) -> Floats:
    classes = len(one.prior)
    coding = Coding((tuple(range(classes)),) * one.votes.shape[1])
    digits = [coding.digits_of(at, np.ascontiguousarray(column)) for at, column in enumerate(one.votes.T)]
    patterns = coding.encode(digits)
    there, places = coding.distinct(patterns)
    prior = one.prior if one.prior_known else None
    found = estimate(coding, Counted.of(coding, patterns), classes, prior)
    return probabilities(found, coding.decode(there))[places]


def majority_in(one: World) -> Floats:
    return majority(one.votes, len(one.prior))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=100_000, help="rows in a batch")
    parser.add_argument("--repeat", type=int, default=3, help="the best of so many runs of ours counts")
    parser.add_argument("--worlds", type=int, default=20, help="in so many worlds the label models meet; 0: in none")
    options = parser.parse_args()
    for peer in ("snorkel", "crowdkit"):
        if not importlib.util.find_spec(peer):
            print(f"{peer} is not installed and left out")
    rates(options.rows, options.batch, options.repeat)
    worlds(options.worlds)


if __name__ == "__main__":
    main()
