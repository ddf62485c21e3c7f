"""A small model stream for tests: learners over two columns, what a trainer would say of them, and a trainer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from operators.execution.state import State
from operators.model.format import Artefact, decode, dump, encode, load
from operators.model.learner import Learner, learner
from operators.model.stream import Learns, ModelEvent, model_rows, model_stream
from operators.operator import Batch, Derived, Input, Output
from streams.message import END
from streams.parents import ranges_of
from streams.stream import Stream

MINUTE = 60_000_000
UTC = pa.timestamp("us", "UTC")
SCHEMA = pa.schema(
    [
        pa.field("sensor", pa.string(), False),
        pa.field("at", UTC, False),
        ("celsius", pa.float64()),
        ("site", pa.string()),
        ("hot", pa.bool_()),
    ]
)


def rows(count: int, *, start: int = 0, seed: int = 0, spacing: int = MINUTE) -> pa.RecordBatch:
    """One row a minute from minute `start` on; a row is hot above 30 degrees."""
    rng = np.random.default_rng(seed)
    celsius = rng.normal(30, 5, count)
    times = (start + np.arange(count)) * spacing
    return pa.RecordBatch.from_arrays(
        [
            pa.array([f"s{n}" for n in rng.integers(0, 6, count)]),
            pa.array(times).cast(UTC),
            pa.array(celsius),
            pa.array(rng.choice(["north", "south"], count)),
            pa.array(celsius > 30),
        ],
        schema=SCHEMA,
    )


def classifier(*, seed: int = 0, count: int = 200, classes: Sequence[Any] = (False, True)) -> Learner:
    from sklearn.linear_model import SGDClassifier

    made = learner(SGDClassifier(loss="log_loss", random_state=0), ["celsius", "site"], SCHEMA, classes=classes)
    batch = rows(count, seed=seed)
    hot = batch["hot"].to_numpy(zero_copy_only=False).astype(int)
    made.partial_fit(batch, [classes[at] for at in hot])
    return made


def event(
    version: int,
    minute: int,
    *,
    what: str = "checkpoint",
    role: str = "champion",
    estimator: str = "sgd",
    content: bytes | None = None,
    seed: int | None = None,
    model: str = "plant.model",
) -> ModelEvent:
    """What a trainer says at a minute; by default the model that comes of that seed, or of the version."""
    if content is None and what != "retired":
        content = encode(dump(classifier(seed=version if seed is None else seed)))
    return ModelEvent(model, version, minute * MINUTE, what, role, estimator, 200, content)  # type: ignore[arg-type]


def messages(*events: ModelEvent, chunk: int = 1 << 20) -> pa.RecordBatch:
    return pa.Table.from_batches(model_rows(events, chunk=chunk)).combine_chunks().to_batches()[0]


class Trainer:
    """Learns from every hundred rows and says so at the time of the last; keeps what it has in its state."""

    kind = "train"
    version = "1"
    tick = None
    row_wise = False
    keeps_key = False
    learns = Learns(("celsius", "site"), (False, True))

    def __init__(self, source: Stream, to: str, control: Stream | None = None) -> None:
        self.name = to
        self.params: dict[str, Any] = {}
        self._source = source
        self._to = to
        self.inputs: tuple[Input, ...] = (Input(source, "gathered", tuple(SCHEMA.names)),)
        self.outputs = (model_stream(to),)

    def step(self, batch: Batch, state: State) -> Iterable[Output]:
        if batch.is_tick:
            return []
        made = load(decode(state.raw("model") or b"", "state")) if "model" in state else classifier(count=2)
        made.partial_fit(batch.rows, batch.rows["hot"])
        artefact: Artefact = dump(made)
        state["model"] = encode(artefact)
        version = int(state.raw("version") or b"0") + 1
        state["version"] = str(version).encode()
        said = ModelEvent.of(
            artefact,
            model=self._to,
            version=version,
            at=int(batch.times.max()),
            event="checkpoint",
            role="champion",
            estimator="sgd",
            trained_rows=made.trained_rows,
        )
        return [Output(self._to, one, (ranges_of(batch.addresses),)) for one in model_rows([said])]

    def holds(self, state: State) -> int:
        return END

    def derives(self) -> dict[str, tuple[Derived, ...]]:
        sources = tuple((self._source.name, name) for name in ("celsius", "site", "hot"))
        return {self._to: tuple(Derived(name, sources) for name in self.outputs[0].schema.arrow.names)}
