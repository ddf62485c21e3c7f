"""The label operator: each row's votes become probabilities, by the label model that held at its event time.

Rows wait until the clock has passed them, as in an as-of join, so that which model labels a row is a fact of the
data. Before the first model the majority decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from operators.execution.state import State
from operators.execution.together import Step, as_one, cut_into
from operators.join.held import MANY, Held
from operators.join.rows import addresses_of, kept, kept_schema, own_columns, times_of
from operators.join.together import Waiting, bounds_if_in_time, by_input, cut_by_time, one_by_one, releases
from operators.label.answers import Answers
from operators.label.estimate import Estimate
from operators.label.function import LabelError
from operators.label.model_stream import IN_FORCE, MODEL_SCHEMA, Described, estimate_of
from operators.label.pattern import Floats
from operators.label.votes import PATTERN, Votes
from operators.operator import Batch, Derived, Input, Output
from operators.versions import version_of
from streams.message import BEGINNING, END
from streams.parents import Addresses, joined
from streams.schema import Schema
from streams.stream import Stream

_IN_FORCE = "model in force"


@dataclass(frozen=True)
class _Model:
    """What a model answers, with its version and where its row lies."""

    version: int
    answers: Answers
    where: tuple[int, int, int]


class Labels:
    """Votes as labels: key, event time and kept columns, then

    `p_<class>` (the probability of each class), `label` (the likeliest; null where no function votes), `confidence`
    (its probability), `abstained` (no function votes), `model_version` (null: the majority decided).
    """

    kind = "label"
    row_wise = False
    keeps_key = True
    tick: int | None = None

    def __init__(
        self, votes: Votes, described: Described, model: Stream | None, to: str, *, prior: Floats | None, lag: int,
        version: str,
    ) -> None:  # fmt: skip
        self.name = to
        self._votes = votes
        self._described = described
        self._model = model
        self._prior = prior
        self._lag = lag
        self._classes = pa.array(described.classes)
        # Behind them what is told where nobody votes.
        self._told = pa.concat_arrays([self._classes, pa.nulls(1, self._classes.type)])
        source = votes.output
        self._reads = (*votes.kept, PATTERN)
        self._schema = kept_schema(pa.schema([source.schema.arrow.field(name) for name in self._reads]))
        self._held = Held("rows held", self._schema, source.key)
        wanted = [MODEL_SCHEMA.arrow.field(name) for name in IN_FORCE]
        self._model_schema = kept_schema(pa.schema(wanted))
        self._models = Held("models held", self._model_schema, ())
        self._output = self._stream()
        self.outputs = (self._output,)
        self.keeps_key = votes.keeps_key
        self.params: dict[str, Any] = {
            "votes": source.name,
            "model": None if model is None else model.name,
            "classes": list(described.classes),
            "prior": None if prior is None else prior.tolist(),
            "lag": lag,
        }
        self.version = version_of(f"label 2, {version}", self.params)

    def __repr__(self) -> str:
        by = "the majority" if self._model is None else self._model.name
        return f"label({self._votes.output.name!r}, by {by}, to={self.name!r})"

    @property
    def inputs(self) -> tuple[Input, ...]:
        votes = Input(self._votes.output, "partitioned", self._reads)
        return (votes,) if self._model is None else (votes, Input(self._model, "broadcast", IN_FORCE, self._lag))

    def step(self, batch: Batch, state: State) -> Iterable[Output]:
        if self._model is None:
            return [] if not batch.rows.num_rows else [self._labelled([(batch.rows, batch.addresses, None)])]
        is_votes = batch.input == self._votes.output.name
        late = batch.times < batch.clock
        outputs: list[Output] = []
        # Rows leave when more of them come: leaving with each model as well would only cut them finer.
        if batch.is_tick or is_votes or self._held.count(state) >= MANY:
            outputs += self._release(state, batch.clock)
        if not batch.rows.num_rows:
            return outputs
        if not is_votes:
            self._models.push(state, kept(self._delayed(batch), self._model_schema))
            return outputs
        self._held.push(state, kept(batch, self._schema, ~late if late.any() else None))
        if late.any():
            rows = kept(batch, self._schema, late)
            outputs.append(
                self._labelled([(own_columns(rows), addresses_of(rows, batch.input), self._in_force(state))])
            )
        return outputs

    def steps(self, batches: Sequence[Batch], state: State) -> Iterable[Step]:
        """The same as one step after the other."""
        if self._model is None:
            whole = as_one(batches)
            pieces: list[list[Output]] = [[] for _ in batches]
            ends = np.cumsum([batch.rows.num_rows for batch in batches]).tolist()
            cut_into(pieces, self._labelled([(whole.rows, whole.addresses, None)]), ends)
            return [(piece, END) for piece in pieces]
        name, time = self._votes.output.name, self._votes.output.time
        bounds = bounds_if_in_time(batches, 0)
        if bounds is None or time is None or any(batch.input != name for batch in batches):
            return one_by_one(self, batches, state)
        reached, last = releases(batches, bounds, name, [], BEGINNING)
        holds = Waiting(self._held.times(state), batches, name).earliest(reached)
        for batch in by_input(batches[:last]):
            self._held.push(state, kept(batch, self._schema))
        outputs = list(self.step(batches[last], state))
        return list(zip(cut_by_time(outputs, time, reached), holds, strict=True))

    def holds(self, state: State) -> int:
        return self._held.earliest(state)

    def derives(self) -> dict[str, tuple[Derived, ...]]:
        votes = self._votes.output.name
        found = [Derived(name, ((votes, name),)) for name in self._votes.kept]
        pattern = ((votes, PATTERN),)
        model = () if self._model is None else tuple((self._model.name, name) for name in IN_FORCE if name != "version")
        made: dict[str, tuple[tuple[str, str], ...]] = {
            "abstained": pattern,
            "model_version": () if self._model is None else ((self._model.name, "version"),),
        }
        rest = self._output.schema.names[len(found) :]
        return {self.name: (*found, *(Derived(name, made.get(name, (*pattern, *model))) for name in rest))}

    def _delayed(self, batch: Batch) -> Batch:
        """A model holds from its event time and the lag on."""
        return Batch(batch.input, batch.rows, batch.addresses, batch.times + self._lag, batch.clock)

    def _release(self, state: State, bound: int) -> list[Output]:
        """Label the rows before `bound`, each by the model that held at its time."""
        rows: Any = self._held.release(state, bound)
        models: Any = self._models.release(state, bound)
        parts: list[tuple[pa.RecordBatch, Addresses, _Model | None]] = []
        times = times_of(rows) if rows is not None else np.empty(0, dtype=np.int64)
        done = 0
        # One round a model that came into force, not a row.
        for at in range(0 if models is None else models.num_rows):
            end = int(np.searchsorted(times, models.column(0)[at].as_py()))
            if end > done:
                parts.append(self._part(rows.slice(done, end - done), state))
                done = end
            state[_IN_FORCE] = models.slice(at, 1).take(pa.array([0]))
        if done < len(times):
            parts.append(self._part(rows.slice(done), state))
        return [self._labelled(parts)] if parts else []

    def _part(self, rows: Any, state: State) -> tuple[pa.RecordBatch, Addresses, _Model | None]:
        return own_columns(rows), addresses_of(rows, self._votes.output.name), self._in_force(state)

    def _in_force(self, state: State) -> _Model | None:
        def read() -> _Model | None:
            table: Any = state.table(_IN_FORCE)
            if table is None:
                return None
            row: Any = table.combine_chunks()
            partition, offset, at = (int(row.column(place)[0].as_py()) for place in (1, 2, 3))
            found = estimate_of(row, 0, len(self._described.functions), len(self._described.classes))
            return _Model(int(row.column("version")[0].as_py()), self._answers(found), (partition, offset, at))

        return state.derived(_IN_FORCE, (_IN_FORCE,), read)

    def _answers(self, model: Estimate | None) -> Answers:
        return Answers(self._votes.coding, len(self._described.classes), self._prior, model)

    def _labelled(self, parts: Sequence[tuple[pa.RecordBatch, Addresses, _Model | None]]) -> Output:
        made = [
            self._columns(rows, self._answers(None), None)
            if model is None
            else self._columns(rows, model.answers, model.version)
            for rows, _, model in parts
        ]
        batch = made[0]
        if len(made) > 1:
            batch = pa.Table.from_batches(made).combine_chunks().to_batches()[0]
        parents: list[Addresses] = [joined([where for _, where, _ in parts])]
        if self._model is not None:
            parents.append(joined([self._brought(model, rows.num_rows) for rows, _, model in parts]))
        return Output(self.name, batch, tuple(parents))

    def _columns(self, rows: pa.RecordBatch, answers: Answers, version: int | None) -> pa.RecordBatch:
        found = answers.of(rows.column(PATTERN))
        columns = [rows.column(name) for name in self._votes.kept]
        columns += map(pa.array, found.chances)
        label = self._told.take(pa.array(found.best))
        columns += [label, pa.array(found.confidence), label.is_null()]
        columns.append(pa.repeat(pa.scalar(version, pa.int64()), rows.num_rows))
        return pa.RecordBatch.from_arrays(columns, schema=self._output.schema.arrow)

    def _brought(self, model: _Model | None, count: int) -> Addresses:
        """Where the model of each row lies."""
        assert self._model is not None
        return Addresses.of_row(self._model.name, None if model is None else model.where, count)

    def _stream(self) -> Stream:
        source = self._votes.output
        taken = set(self._votes.kept)
        fields = [source.schema.arrow.field(name) for name in self._votes.kept]
        texts = self._described.texts
        made = [(f"p_{text}", pa.float64(), False, f"The probability of {text}.") for text in texts]
        made += [
            ("label", self._classes.type, True, "The likeliest class; null where no function votes."),
            ("confidence", pa.float64(), False, "The probability of that class."),
            ("abstained", pa.bool_(), False, "True where no function votes; the probabilities are the class prior's."),
            ("model_version", pa.int64(), True, "The label model that decided; null: the majority of the votes."),
        ]
        for name, kind, nullable, text in made:
            fields.append(pa.field(name, kind, nullable, {"description": text}))
            if name in taken:
                raise LabelError(
                    f"The column {name!r} is kept and made", where=self.name, fix="Do not keep it, or rename it first."
                )
        return Stream(
            self.name,
            Schema(pa.schema(fields)),
            key=source.key,
            time=source.time,
            partitions=source.partitions,
            entities=source.entities,
            addresses=source.addresses,
            description=f"Weak labels ({', '.join(texts)}) of {self._votes.source.name}",
            tags=("labels",),
        )
