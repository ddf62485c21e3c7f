"""Training and prediction: how many rows a second next to a bare loop of scikit-learn and to river, and how right the
predictions are on a stream whose rule changes, next to baselines and to river's trees.

    python -m benchmarks.parts.train [--rows N] [--repeat N]

What is not installed (river, pandas) is skipped, and said so.
"""

from __future__ import annotations

import argparse
import datetime as dt
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import headwater as hw
from operators.execution.state import State
from operators.model.encoder import matrix
from operators.model.features import features
from operators.model.learner import learner
from operators.operator import Batch
from operators.train.declare import train
from streams.parents import Addresses
from streams.schema import Schema
from streams.stream import Stream

CHUNK = 500
BATCH = 1_000
#: Batches that an engine would hand over together.
TOGETHER = 16
MINUTE = 60_000_000
START = 1_356_998_400_000_000
NUMBERS = ["distance", "temp", "wind", "visib", "planned", "age"]
WORDS = ["carrier", "origin", "dest", "hour"]
FEATURES = features(
    NUMBERS,
    binned={"delay": [-10, -5, 0, 5, 10, 15, 20, 30, 45, 60, 90]},
    onehot={"dest": 110, **dict.fromkeys(WORDS[:2], 20)},
)
Measured = dict[str, tuple[float, str]]


def flights(rows: int) -> pa.Table:
    """Departures, more or less, and whether they came late."""
    random = np.random.default_rng(7)
    delay = random.exponential(20, rows) - 10
    return pa.table(
        {
            "id": pa.array(np.arange(rows).astype(str)),
            "known_at": pa.array(START + np.arange(rows) * MINUTE).cast(pa.timestamp("us", "UTC")),
            "delay": delay,
            **{name: random.normal(50, 20, rows) for name in NUMBERS},
            "carrier": np.array([f"C{n}" for n in range(16)])[random.integers(0, 16, rows)],
            "origin": np.array(["EWR", "JFK", "LGA"])[random.integers(0, 3, rows)],
            "dest": np.array([f"D{n}" for n in range(105)])[random.integers(0, 105, rows)],
            "late": delay + random.normal(0, 10, rows) > 15,
        }
    )


def estimators() -> dict[str, Any]:
    from sklearn.linear_model import SGDClassifier

    return {
        "usual": SGDClassifier(loss="log_loss", random_state=0),
        "average": SGDClassifier(loss="log_loss", average=True, random_state=0),
        "constant": SGDClassifier(loss="log_loss", learning_rate="constant", eta0=0.01, random_state=0),
    }


def ours(table: pa.Table, candidates: dict[str, Any]) -> Callable[[], str]:
    examples = Stream("examples", Schema(table.schema), key=("id",), time="known_at", partitions=1)
    operator = train(examples, target="late", features=FEATURES, candidates=candidates, chunk=CHUNK, to="model")
    given = operator.inputs[0]
    batches = []
    for offset, start in enumerate(range(0, table.num_rows, BATCH)):
        (rows,) = table.slice(start, BATCH).combine_chunks().to_batches()
        times = rows["known_at"].cast(pa.int64()).to_numpy()
        places = Addresses.of_message("examples", 0, offset, rows.num_rows)
        batches.append(Batch("examples", rows.select(list(given.reads)), places, times, int(times[0])))

    def run() -> str:
        state, versions = State(), 0
        for first in range(0, len(batches), TOGETHER):
            steps = operator.steps(batches[first : first + TOGETHER], state)
            versions += sum(len(outputs) for outputs, _ in steps)
            state.changes()
            state.settle()
        return f"{versions} versions"

    return run


def encoded(table: pa.Table) -> tuple[Any, Any]:
    """The same numbers that our learner sees, made beforehand: the bare loop need not encode."""
    fresh = learner(estimators()["usual"], FEATURES, table.schema, classes=[False, True])
    (rows,) = table.combine_chunks().to_batches()
    columns = fresh.encoder.columns(rows)
    fresh.encoder.learn(columns)
    return matrix(fresh.encoder.blocks(columns), rows.num_rows), np.asarray(rows["late"]).astype(np.int64)


def bare(table: pa.Table, candidates: dict[str, Any]) -> Callable[[], str]:
    """Test, then train, with nothing around it: no encoding, order, state, comparison or versions."""
    from sklearn.base import clone

    values, labels = encoded(table)

    def run() -> str:
        right = 0
        for estimator in candidates.values():
            fresh = clone(estimator)
            for start in range(0, len(values), CHUNK):
                rows, truth = values[start : start + CHUNK], labels[start : start + CHUNK]
                if start:
                    right += int((fresh.predict_proba(rows).argmax(axis=1) == truth).sum())
                fresh.partial_fit(rows, truth, classes=[0, 1])
        return f"accuracy {right / len(candidates) / (len(values) - CHUNK):.3f}"

    return run


def by_river(table: pa.Table) -> Callable[[], str]:
    from river import compose, linear_model, preprocessing

    records = table.drop(["id", "known_at"]).to_pylist()

    def run() -> str:
        numbers = compose.Select("delay", *NUMBERS) | preprocessing.StandardScaler()
        words = compose.Select("carrier", "origin", "dest") | preprocessing.OneHotEncoder()
        model = (numbers + words) | linear_model.LogisticRegression()
        right = 0
        for record in records:
            given = {name: value for name, value in record.items() if name != "late"}
            right += model.predict_one(given) == record["late"]
            model.learn_one(given, record["late"])
        return f"accuracy {right / len(records):.3f}"

    return run


def turning(rows: int) -> pa.Table:
    """Two numbers and a rule that turns round twice; labels come in runs, so that no-change is hard to beat."""
    random = np.random.default_rng(3)
    mood = np.repeat(random.normal(0, 0.6, rows // 50 + 1), 50)[:rows]
    first, second = random.normal(size=rows) + mood, random.normal(size=rows)
    side = np.where((np.arange(rows) // (rows // 3)) % 2 == 0, 1.0, -1.0)
    late = side * (first + second) + random.logistic(size=rows) * 0.3 > 0
    at = pa.array(START + np.arange(rows) * MINUTE).cast(pa.timestamp("us", "UTC"))
    return pa.table({"id": np.arange(rows).astype(str), "at": at, "first": first, "second": second, "late": late})


def through_a_pipeline(table: pa.Table) -> tuple[dict[str, float], float]:
    """Train, predict and evaluate on the embedded engine; the truth comes an hour later. Accuracies, seconds."""
    p = hw.Pipeline("bench", owner="bench", partitions=1)
    seen = table.select(["id", "at", "first", "second"])
    known = pc.add(table["at"], pa.scalar(dt.timedelta(hours=1)))
    truth = pa.table({"id": table["id"], "known_at": known, "late": table["late"]})
    rows = p.stream("rows", seen.schema, key="id", time="at")
    outcomes = p.stream("outcomes", truth.schema, key="id", time="known_at")
    p.source(rows, seen, chunk=BATCH)
    p.source(outcomes, truth, chunk=BATCH)
    examples = p.join(outcomes, rows, how="asof", on="id", fields=["first", "second"], prefix="", to="examples")
    model = p.train(
        examples,
        target="late",
        features=["first", "second"],
        candidates=estimators(),
        chunk=100,
        checkpoint_every=500,
        retrain_on=hw.later("quality.alarms", delay="1h"),
        to="model",
    )
    scores = p.predict(rows, model, to="scores", shadows=False)
    p.evaluate(scores, outcomes, label="late", window="12h", alarm_windows=1, to="quality")
    with tempfile.TemporaryDirectory() as folder, hw.connect(folder) as hub:
        began = time.perf_counter()
        hub.run(p, until="caught-up")
        seconds = time.perf_counter() - began
        quality = hub.read("bench.quality").to_arrow()
    weights = quality["rows"].to_numpy()
    names = {"headwater": "accuracy", "no-change": "accuracy_no_change", "majority": "accuracy_majority"}
    return {
        name: float(np.average(quality[column].to_numpy(), weights=weights)) for name, column in names.items()
    }, seconds


def trees_of_river(table: pa.Table) -> dict[str, float]:
    """Hoeffding trees, which are told the truth at once."""
    from river import tree

    found = {}
    for name, model in (
        ("river, Hoeffding tree", tree.HoeffdingTreeClassifier()),
        ("river, adaptive Hoeffding tree", tree.HoeffdingAdaptiveTreeClassifier(seed=0)),
    ):
        right = 0
        for record in table.select(["first", "second", "late"]).to_pylist():
            label = record.pop("late")
            right += model.predict_one(record) == label
            model.learn_one(record, label)
        found[name] = right / table.num_rows
    return found


def rates(rows: int, repeat: int) -> Measured:
    table = flights(rows)
    few = table.slice(0, max(rows // 20, CHUNK))
    usual = {"usual": estimators()["usual"]}
    contenders: dict[str, tuple[Callable[[], Callable[[], str]], int, int]] = {
        "headwater, 3 candidates": (lambda: ours(table, estimators()), rows, repeat),
        "scikit-learn, bare, 3 of them": (lambda: bare(table, estimators()), rows, repeat),
        "headwater, 1 candidate": (lambda: ours(table, usual), rows, repeat),
        "scikit-learn, bare, 1 of them": (lambda: bare(table, usual), rows, repeat),
        "river, logistic regression": (lambda: by_river(few), few.num_rows, 1),
    }
    runs: dict[str, tuple[Callable[[], str], int, int]] = {}
    for name, (make, count, times) in contenders.items():
        try:
            runs[name] = (make(), count, times)
        except ImportError as error:
            print(f"SKIPPED {name}: {error}", file=sys.stderr)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    said: dict[str, str] = {}
    # In turns, so that a busy moment of the machine does not fall on one of them; processor time for the same reason.
    for turn in range(repeat):
        for name, (run, _, times) in runs.items():
            if turn < times:
                began = time.process_time()
                said[name] = run()
                seconds[name].append(time.process_time() - began)
    return {name: (count / statistics.median(seconds[name]), said[name]) for name, (_, count, _) in runs.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=3)
    chosen = parser.parse_args()
    found = rates(chosen.rows, chosen.repeat)
    print(f"Test and train, {chosen.rows:,} rows, chunks of {CHUNK}, {dt.date.today()}, median of {chosen.repeat}")
    print(f"{'':32}{'rows/s of CPU':>14}{'to bare':>10}   made")
    for name, (rate, said) in found.items():
        peer = found["scikit-learn, bare, 3 of them" if "3" in name else "scikit-learn, bare, 1 of them"][0]
        print(f"{name:32}{rate:>14,.0f}{rate / peer:>10.2f}   {said}")
    table = turning(chosen.rows // 5)
    accuracies, seconds = through_a_pipeline(table)
    print(f"\nA rule that turns round twice, {table.num_rows:,} rows, the truth an hour later")
    print(f"(train, predict and evaluate in one job: {table.num_rows / seconds:,.0f} rows/s)")
    try:
        accuracies |= trees_of_river(table)
    except ImportError as error:
        print(f"SKIPPED river: {error}", file=sys.stderr)
    for name, accuracy in accuracies.items():
        print(f"{name:32}{accuracy:>14.3f}")


if __name__ == "__main__":
    main()
