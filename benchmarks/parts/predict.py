"""How fast predictions are, next to scikit-learn alone.

    python -m benchmarks.parts.predict [--rows 500000]

One logistic regression over ten columns of a flight: five numbers standardised, two binned, three one-hot. The peers
are scikit-learn's `predict_proba` on a matrix that is ready, and with its own preprocessing from the same columns. Ours
begin at record batches; the operator also takes rows into and out of its waiting room, judges whether each prediction
is usable, records features with a digest, and keeps parents. Rates are rows a second; the best of three runs counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from operators.execution.state import State
from operators.model.encoder import matrix
from operators.model.features import features
from operators.model.format import decode, dump, encode, load
from operators.model.learner import Learner, learner
from operators.model.stream import ModelEvent, model_rows, model_stream
from operators.operator import Batch
from operators.predict import predict
from streams.message import END
from streams.parents import Addresses
from streams.schema import Schema
from streams.stream import Stream

NUMBERS = ["distance", "temp", "humid", "wind", "seats"]
BINS = {"delay": [-20, -10, -5, 0, 5, 10, 15, 20, 30, 45, 60, 120], "hour": list(range(1, 24))}
WORDS = {"carrier": 16, "origin": 3, "dest": 105}
UTC = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema(
    [("flight", pa.string()), ("at", UTC)]
    + [(name, pa.float64()) for name in (*NUMBERS, *BINS)]
    + [(name, pa.string()) for name in WORDS]
    + [("late", pa.bool_())]
)
SOURCE = Stream("b.flights", Schema(SCHEMA), key=("flight",), time="at", partitions=1)

Job = Callable[[], int]


def flights(rows: int, seed: int = 0) -> pa.Table:
    random = np.random.default_rng(seed)
    delay = random.gamma(1.0, 20.0, rows) - 10.0
    columns: list[Any] = [
        pa.array(np.char.add("F", np.arange(rows).astype(str))),
        pa.array(np.arange(rows)).cast(UTC),
        *(pa.array(random.normal(size=rows)) for _ in NUMBERS),
        pa.array(delay),
        pa.array(random.integers(0, 24, rows).astype(float)),
        *(
            pa.array([f"{name}{n}" for n in range(most)]).take(pa.array(random.integers(0, most, rows)))
            for name, most in WORDS.items()
        ),
        pa.array(delay + random.normal(0, 10, rows) > 15),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def trained(table: pa.Table) -> Learner:
    from sklearn.linear_model import SGDClassifier

    declared = features(NUMBERS, binned=BINS, onehot=WORDS)
    made = learner(SGDClassifier(loss="log_loss", random_state=0), declared, SCHEMA, classes=[False, True])
    for batch in table.slice(0, 20_000).to_batches(max_chunksize=1_000):
        made.partial_fit(batch, batch["late"])
    return made


def batches(table: pa.Table, size: int) -> list[Batch]:
    read = table.select([name for name in SCHEMA.names if name != "late"])
    found = []
    for offset, rows in enumerate(read.combine_chunks().to_batches(max_chunksize=size)):
        times = rows.column("at").cast(pa.int64()).to_numpy()
        places = Addresses.of_message("b.flights", 0, offset, rows.num_rows)
        found.append(Batch("b.flights", rows, places, times, int(times[0])))
    return found


def operator_job(made: Learner, taken: list[Batch], at_once: int) -> Job:
    """Steps over the batches, so many at once as an engine would hand them over."""
    columns = [*NUMBERS, *BINS, *WORDS]
    model = model_stream("b.model")
    operator = predict(SOURCE, model, to="b.scores", features=columns, classes=[False, True])
    event = ModelEvent.of(
        dump(made),
        model="b.model",
        version=1,
        at=-1,
        event="checkpoint",
        role="champion",
        estimator="sgd",
        trained_rows=made.trained_rows,
    )

    def job() -> int:
        state = State()
        for at, rows in enumerate(model_rows([event])):
            places = Addresses.of_message("b.model", 0, at, rows.num_rows)
            list(operator.step(Batch("b.model", rows, places, np.full(rows.num_rows, -1), -1), state))
        count = 0
        for start in range(0, len(taken), at_once):
            for outputs, _ in operator.steps(taken[start : start + at_once], state):
                count += sum(output.rows.num_rows for output in outputs)
        last = Batch(
            "",
            pa.RecordBatch.from_pylist([], pa.schema([])),
            taken[0].addresses.slice(0, 0),
            np.empty(0, dtype=np.int64),
            END,
        )
        return count + sum(output.rows.num_rows for output in operator.step(last, state))

    return job


def jobs(rows: int) -> Iterator[tuple[str, Job]]:
    table = flights(rows)
    made = trained(table)
    small = table.combine_chunks().to_batches(max_chunksize=10_000)
    ready = np.concatenate([matrix(made.encoder.blocks(made.encoder.columns(batch)), len(batch)) for batch in small])
    estimator = made.estimator
    cut = np.array_split(ready, len(small))
    yield "scikit-learn, matrix ready", lambda: sum(len(estimator.predict_proba(part)) for part in cut)
    yield from _sklearn_pipeline(table)
    yield "learner, batches of 10,000", lambda: sum(len(made.predict_proba(batch)) for batch in small)
    tiny = table.slice(0, rows // 5).to_batches(max_chunksize=500)
    yield "learner, batches of 500", lambda: sum(len(made.predict_proba(batch)) for batch in tiny)
    yield "predict, batches of 10,000", operator_job(made, batches(table, 10_000), 1)
    yield "predict, batches of 1,000, 16 at once", operator_job(made, batches(table, 1_000), 16)
    content = encode(dump(made))
    yield (
        f"load a model of {len(content):,} bytes",
        lambda: sum(load(decode(content, "b")) is not None for _ in range(100)),
    )
    yield "save it", lambda: sum(len(encode(dump(made))) > 0 for _ in range(100))


def _sklearn_pipeline(table: pa.Table) -> Iterator[tuple[str, Job]]:
    try:
        import pandas  # noqa: F401
    except ImportError:
        return
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import SGDClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, StandardScaler

    prepare = ColumnTransformer(
        [
            ("numbers", StandardScaler(), NUMBERS),
            ("bins", KBinsDiscretizer(12, quantile_method="averaged_inverted_cdf"), list(BINS)),
            ("words", OneHotEncoder(handle_unknown="ignore"), list(WORDS)),
        ]
    )
    whole = make_pipeline(prepare, SGDClassifier(loss="log_loss", random_state=0))
    begun = table.slice(0, 20_000).to_pandas()
    whole.fit(begun, begun["late"])
    frames = [batch.to_pandas() for batch in table.combine_chunks().to_batches(max_chunksize=10_000)]
    yield "scikit-learn with its preprocessing", lambda: sum(len(whole.predict_proba(frame)) for frame in frames)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=500_000)
    rows = parser.parse_args().rows
    first: float | None = None
    print(f"{'':40} {'rows/s':>14} {'ratio':>8}")
    for name, job in jobs(rows):
        best, count = float("inf"), 0
        for _ in range(3):
            begun = time.perf_counter()
            count = job()
            best = min(best, time.perf_counter() - begun)
        rate = count / best
        first = first or rate
        print(f"{name:40} {rate:14,.0f} {rate / first:8.2f}")


if __name__ == "__main__":
    main()
