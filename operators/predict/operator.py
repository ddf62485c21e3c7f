"""The predict operator: each row meets the model that held at its event time.

Rows wait until the clock has passed them, as in an as-of join, so that which model scores a row is a fact of the
data, whatever came first and however it was cut; or, where a service wants its answers, they are scored as they come.
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
from operators.model.columns import digest_of
from operators.model.learner import Class
from operators.model.stream import MODEL_SCHEMA
from operators.operator import Batch, Derived, Input, Output
from operators.predict.inbox import Inbox, Refused
from operators.predict.models import InForce, Loaded, Loading
from operators.predict.scores import Scores
from operators.versions import version_of
from streams.message import BEGINNING, END
from streams.parents import Addresses, joined
from streams.stream import Stream


@dataclass(frozen=True)
class Declared:
    """What a person said about a prediction. `own` are the source's columns that reach the output, `features` those
    of them that models read, `kinds` what each of these is."""

    source: Stream
    model: Stream
    own: tuple[str, ...]
    features: tuple[str, ...]
    kinds: dict[str, str]
    classes: tuple[Class, ...] | None
    min_confidence: float
    lag: int
    tick: int | None
    wait: bool


@dataclass(frozen=True)
class Outputs:
    """The streams that predictions go to; `shadow` is None where challengers are not scored."""

    scores: Stream
    shadow: Stream | None
    refused: Stream


class Predict:
    """The operator that `operators.predict.predict` makes.

    State: rows that wait, models that wait, the content of the models in force. A row behind its stream's clock is
    scored at once, by the model in force. A model that is refused changes nothing: the one before goes on.
    """

    kind = "predict"
    row_wise = False
    keeps_key = True

    def __init__(self, declared: Declared, outputs: Outputs, version: str) -> None:
        self.name = outputs.scores.name
        self.tick = declared.tick
        self._declared = declared
        self._streams = outputs
        self._scores = Scores(declared.classes, declared.min_confidence)
        self._loading = Loading(declared.classes, beside=outputs.shadow is not None)
        self._inbox = Inbox(declared.model.name, self._loading.problem)
        self._schema = kept_schema(pa.schema([declared.source.schema.arrow.field(name) for name in declared.own]))
        self._rows = Held("rows held", self._schema, declared.source.key)
        self._models = Held("models held", self._inbox.schema, ())
        self.params: dict[str, Any] = {
            "source": declared.source.name,
            "model": declared.model.name,
            "columns": list(declared.own),
            "features": list(declared.features),
            "classes": None if declared.classes is None else list(declared.classes),
            "min_confidence": declared.min_confidence,
            "shadows": outputs.shadow is not None,
            "lag": declared.lag,
            "tick": declared.tick,
            "wait": declared.wait,
        }
        self.version = version_of(f"predict 1, {version}", self.params)

    def __repr__(self) -> str:
        return f"predict({self._declared.source.name!r}, {self._declared.model.name!r}, to={self.name!r})"

    @property
    def inputs(self) -> tuple[Input, ...]:
        declared = self._declared
        return (
            Input(declared.source, "partitioned", declared.own),
            Input(declared.model, "broadcast", tuple(MODEL_SCHEMA.names), declared.lag),
        )

    @property
    def outputs(self) -> tuple[Stream, ...]:
        streams = self._streams
        return tuple(one for one in (streams.scores, streams.shadow, streams.refused) if one is not None)

    def step(self, batch: Batch, state: State) -> Iterable[Output]:
        is_rows = batch.input == self._declared.source.name
        if not self._declared.wait:
            return self._at_once(batch, state)
        late = batch.times < batch.clock
        outputs: list[Output] = []
        # Rows leave when more of them come: leaving with each model as well would only cut them finer.
        if batch.is_tick or is_rows or self._rows.count(state) >= MANY:
            refused, scored = self._release(state, batch.clock)
            outputs += [*(output for _, output in refused), *scored]
        if not batch.rows.num_rows:
            return outputs
        if not is_rows:
            self._take_models(batch, state)
            return outputs
        self._rows.push(state, kept(batch, self._schema, ~late if late.any() else None))
        late_rows = int(np.count_nonzero(late))
        if late_rows:
            outputs += self._scored(kept(batch, self._schema, late), [(late_rows, self._loading.in_force(state))])
        return outputs

    def steps(self, batches: Sequence[Batch], state: State) -> Iterable[Step]:
        """The same as one step after the other."""
        name = self._declared.source.name
        if not self._declared.wait:
            return self._steps_at_once(batches, state)
        bounds = bounds_if_in_time(batches, 0)
        if bounds is None:
            return one_by_one(self, batches, state)
        waiting = Waiting(self._rows.times(state), batches, name)
        reached, last = releases(batches, bounds, name, [waiting], BEGINNING)
        holds = waiting.earliest(reached)
        for batch in by_input(batches[: last + 1]):
            self._push(batch, state)
        pieces: list[list[Output]] = [[] for _ in batches]
        if last >= 0:
            refused, scored = self._release(state, int(reached[last]))
            assert self._declared.source.time is not None
            pieces = cut_by_time(scored, self._declared.source.time, reached)
            for time, output in refused:
                pieces[int(np.searchsorted(reached, time, side="right"))].insert(0, output)
        for batch in batches[last + 1 :]:
            self._push(batch, state)
        return list(zip(pieces, holds, strict=True))

    def _push(self, batch: Batch, state: State) -> None:
        if batch.input == self._declared.source.name:
            self._rows.push(state, kept(batch, self._schema))
        else:
            self._take_models(batch, state)

    def holds(self, state: State) -> int:
        return self._rows.earliest(state)

    def derives(self) -> dict[str, tuple[Derived, ...]]:
        declared, streams = self._declared, self._streams
        source, model = declared.source.name, declared.model.name
        kept_columns = {name: Derived(name, ((source, name),)) for name in declared.own}
        read = tuple((source, name) for name in declared.features)
        made = {
            "model": Derived("model", ()),
            "estimator": Derived("estimator", ((model, "estimator"),)),
            "model_version": Derived("model_version", ((model, "version"),)),
            "features_digest": Derived("features_digest", read),
        }
        found = {}
        for stream in self.outputs:
            found[stream.name] = tuple(
                kept_columns.get(name) or made.get(name) or Derived(name, (*read, (model, "content")))
                for name in stream.schema.arrow.names
            )
        found[streams.refused.name] = tuple(
            Derived(name, ((model, name if name in ("model", "version", "at") else "content"),))
            for name in streams.refused.schema.arrow.names
        )
        return found

    def _at_once(self, batch: Batch, state: State) -> list[Output]:
        """Score rows by the model that holds at the clock of their batch."""
        outputs: list[Output] = []
        if batch.input == self._declared.model.name:
            self._take_models(batch, state)
        due = END if batch.is_tick else min(batch.clock, END - 1) + 1
        for _, some in _by_time(self._models.release(state, due)):
            outputs += self._apply(state, some)
        if batch.input == self._declared.source.name and batch.rows.num_rows:
            outputs += self._scored(kept(batch, self._schema), [(batch.rows.num_rows, self._loading.in_force(state))])
        return outputs

    def _steps_at_once(self, batches: Sequence[Batch], state: State) -> Iterable[Step]:
        name = self._declared.source.name
        if self._models.count(state) or any(batch.input != name for batch in batches):
            return one_by_one(self, batches, state)
        ends = np.cumsum([batch.rows.num_rows for batch in batches])
        pieces: list[list[Output]] = [[] for _ in batches]
        for output in self._at_once(as_one(batches), state):
            cut_into(pieces, output, (ends * (output.rows.num_rows // ends[-1])).tolist())
        return [(piece, END) for piece in pieces]

    def _take_models(self, batch: Batch, state: State) -> None:
        """Models wait like rows, for their time and the lag."""
        times = batch.times + self._declared.lag
        late = Batch(batch.input, batch.rows, batch.addresses, times, batch.clock)
        self._models.push(state, kept(late, self._inbox.schema))

    def _release(self, state: State, bound: int) -> tuple[list[tuple[int, Output]], list[Output]]:
        """Score the rows before `bound`, each by the models that held at its time. The refusals of models, each with
        the time at which that model would have taken effect, and the predictions in the order of event time."""
        rows: Any = self._rows.release(state, bound)
        times = times_of(rows) if rows is not None else np.empty(0, dtype=np.int64)
        refused: list[tuple[int, Output]] = []
        parts: list[tuple[int, InForce]] = []
        done = 0
        for time, some in _by_time(self._models.release(state, bound)):
            end = int(np.searchsorted(times, time))
            if end > done:
                parts.append((end - done, self._loading.in_force(state)))
                done = end
            refused += [(time, output) for output in self._apply(state, some)]
        if done < len(times):
            parts.append((len(times) - done, self._loading.in_force(state)))
        return refused, self._scored(rows, parts)

    def _apply(self, state: State, rows: Any) -> Iterable[Output]:
        for one in self._inbox.take(state, rows):
            refused = one if isinstance(one, Refused) else self._loading.apply(state, one)
            if refused is not None:
                yield self._refusal(refused)

    def _refusal(self, refused: Refused) -> Output:
        stream = self._streams.refused
        address = refused.address
        row = {
            "model": refused.model,
            "version": refused.version,
            "at": refused.at,
            "partition": address.partition,
            "offset": address.offset,
            "reason": refused.reason,
        }
        rows = pa.RecordBatch.from_pylist([row], schema=stream.schema.arrow)
        where = np.array([address.partition]), np.array([address.offset]), np.array([address.row])
        return Output(stream.name, rows, (Addresses(address.stream, *where),))

    def _scored(self, rows: Any, parts: Sequence[tuple[int, InForce]]) -> list[Output]:
        """Predictions for rows, of which so many in turn meet the models in force."""
        if not parts:
            return []
        parts = _joined_parts(parts)
        own = own_columns(rows)
        starts = np.cumsum([0, *(count for count, _ in parts)]).tolist()
        made: list[dict[str, pa.Array]] = []
        brought: list[Addresses] = []
        for start, (count, (model, _)) in zip(starts, parts, strict=False):
            made.append(self._scores.columns(own.slice(start, count), model))
            brought.append(self._brought(model, count))
        columns: dict[str, Any] = {name: own.column(name) for name in own.schema.names}
        columns["model"] = pa.repeat(self._declared.model.name, rows.num_rows)
        columns |= {name: pa.concat_arrays([one[name] for one in made]) for name in made[0]}
        columns["features_digest"] = digest_of(own, self._declared.features, self._declared.kinds)
        schema = self._streams.scores.schema.arrow
        batch = pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)
        addresses = addresses_of(rows, self._declared.source.name)
        outputs = [Output(self._streams.scores.name, batch, (addresses, joined(brought)))]
        beside = [
            self._shadows(rows.slice(start, count), shadows)
            for start, (count, (_, shadows)) in zip(starts, parts, strict=False)
            if shadows
        ]
        if beside:
            assert self._streams.shadow is not None
            outputs.append(_together(self._streams.shadow, beside))
        return outputs

    def _shadows(self, rows: Any, models: Sequence[Loaded]) -> tuple[pa.RecordBatch, Addresses, Addresses]:
        """A row for each row and challenger, those of one row side by side."""
        assert self._streams.shadow is not None
        schema = self._streams.shadow.schema.arrow
        own = own_columns(rows)
        batches, brought = [], []
        for model in models:
            columns: dict[str, Any] = {name: own.column(name) for name in own.schema.names}
            columns |= self._scores.columns(own, model)
            columns["model"] = pa.repeat(self._declared.model.name, rows.num_rows)
            columns["estimator"] = pa.repeat(model.estimator, rows.num_rows)
            batches.append(pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema))
            brought.append(self._brought(model, rows.num_rows))
        count = rows.num_rows
        order = np.arange(count * len(models)).reshape(len(models), count).T.ravel()
        whole = pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
        sources = addresses_of(rows, self._declared.source.name).take(np.repeat(np.arange(count), len(models)))
        return whole.take(pa.array(order)), sources, joined(brought).take(order)

    def _brought(self, model: Loaded | None, rows: int) -> Addresses:
        """The row of the model stream that a prediction descends from."""
        place = None if model is None else model.address[1:]
        return Addresses.of_row(self._declared.model.name, place, rows)


def _by_time(models: Any | None) -> Iterable[tuple[int, Any]]:
    """Rows of the model stream, those of one time together, in order."""
    if models is None:
        return
    times = times_of(models)
    starts = np.flatnonzero(np.append(True, np.diff(times) != 0)).tolist()
    for start, end in zip(starts, [*starts[1:], len(times)], strict=True):
        yield int(times[start]), models.slice(start, end - start)


def _joined_parts(parts: Sequence[tuple[int, InForce]]) -> list[tuple[int, InForce]]:
    """Runs of rows that meet the same models as one: a checkpoint of a challenger that nobody scores changes none."""
    found: list[tuple[int, InForce]] = []
    for count, models in parts:
        if found and found[-1][1] == models:
            count += found.pop()[0]
        found.append((count, models))
    return found


def _together(stream: Stream, made: Sequence[tuple[pa.RecordBatch, Addresses, Addresses]]) -> Output:
    if len(made) == 1:
        batch, rows, models = made[0]
        return Output(stream.name, batch, (rows, models))
    whole = pa.Table.from_batches([batch for batch, _, _ in made]).combine_chunks().to_batches()[0]
    return Output(
        stream.name, whole, (joined([rows for _, rows, _ in made]), joined([models for _, _, models in made]))
    )
