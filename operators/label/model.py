"""The model operator: counts patterns of votes as they come and estimates the label model after every so many rows.

It goes through the rows in the order of their event time, in chunks of exactly so many, whatever batches they came in.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa

from operators.alarms import alarm_rows, alarm_stream, alarms_derive
from operators.execution.state import State
from operators.join.rows import kept
from operators.label.estimate import Estimate, estimate
from operators.label.model_stream import Described, model_rows, model_stream
from operators.label.pattern import Counted, Floats
from operators.label.votes import PATTERN, Votes
from operators.label.watch import Watch
from operators.operator import Batch, Derived, Input, Output
from operators.versions import version_of
from streams.message import BEGINNING, END
from streams.parents import OffsetRange, Ranges
from streams.stream import Stream

#: Patterns that weigh less than this are forgotten, and no more than so many are kept.
LIGHTEST: Final = 0.05
MOST_PATTERNS: Final = 10_000

_WAITING: Final = "waiting"
_CHUNK: Final = "chunk"
_COUNTS: Final = "counts"
_FACTS: Final = "facts"


class LabelModel:
    """See `operators.label.declare.label`, model="patterns".

    State: rows that the clock has not passed, the patterns of the chunk that is not full, the counted patterns of all
    chunks before (older ones weigh less), where they lay, and what is known of each function's accuracy.
    """

    kind = "label model"
    row_wise = False
    keeps_key = False
    tick: int | None = None

    def __init__(
        self,
        votes: Votes,
        described: Described,
        to: str,
        *,
        prior: Floats | None,
        update_every: int,
        forgetting: int | None,
        version: str,
    ) -> None:
        self.name = f"{to}.model"
        self._votes = votes
        self._described = described
        self._prior = prior
        self._every = update_every
        self._fading = 1.0 if forgetting is None else 0.5 ** (update_every / forgetting)
        self._watch = Watch(self.name, tuple(one.name for one in votes.functions))
        self._model = model_stream(self.name, described)
        self._alarms = alarm_stream(to, description=f"Labelling functions of {to} whose accuracy has changed")
        self._waiting = pa.schema(
            [
                ("time", pa.int64()),
                ("partition", pa.int32()),
                ("offset", pa.int64()),
                ("row", pa.int32()),
                (PATTERN, votes.coding.type),
            ]
        )
        self._chunk = pa.schema([(PATTERN, votes.coding.type), ("weight", pa.float64())])
        self.outputs: tuple[Stream, ...] = (self._model, self._alarms)
        self.params: dict[str, Any] = {
            "votes": votes.output.name,
            "classes": list(described.classes),
            "voices": [list(one) for one in votes.coding.voices],
            "prior": None if prior is None else prior.tolist(),
            "update_every": update_every,
            "forgetting": forgetting,
        }
        self.version = version_of(f"label model 2, {version}", self.params)

    def __repr__(self) -> str:
        return f"label_model({self._votes.output.name!r}, to={self.name!r})"

    @property
    def inputs(self) -> tuple[Input, ...]:
        return (Input(self._votes.output, "gathered", (PATTERN,)),)

    def step(self, batch: Batch, state: State) -> Iterable[Output]:
        waiting = self._arrived(batch, state)
        late = batch.times < batch.clock
        moment = batch.clock if late.any() else BEGINNING
        if waiting is None:
            return
        times = waiting.column("time").to_numpy()
        due = int(np.searchsorted(times, batch.clock))
        if batch.clock == END:
            due = len(times)
        start = 0
        facts = self._facts(state)
        while due - start >= self._every - facts["chunk"]:
            end = start + self._every - facts["chunk"]
            self._count(waiting.slice(start, end - start), facts, state)
            yield from self._update(max(int(times[end - 1]), moment, facts["at"]), facts, state)
            start = end
        self._count(waiting.slice(start, due - start), facts, state)
        self._keep(waiting.slice(due), state)
        state[_FACTS] = orjson.dumps(facts, option=orjson.OPT_SORT_KEYS)

    def holds(self, state: State) -> int:
        """The row that would complete the chunk, if it is among those that wait."""
        waiting = state.table(_WAITING)
        missing = self._every - self._facts(state)["chunk"]
        if waiting is None or waiting.num_rows < missing:
            return END
        return int(waiting.column("time")[missing - 1].as_py())

    def derives(self) -> dict[str, tuple[Derived, ...]]:
        patterns = ((self._votes.output.name, PATTERN),)
        rows = [self._votes.output.time] if self._votes.output.time else []
        when = tuple((self._votes.output.name, name) for name in rows)
        model = tuple(
            Derived(
                name,
                when if name == "at" else () if name in ("version", "functions", "classes", "voices") else patterns,
            )
            for name in self._model.schema.names
        )
        return {self._model.name: model, self._alarms.name: alarms_derive(fields=(*patterns, *when))}

    def _arrived(self, batch: Batch, state: State) -> pa.RecordBatch | None:
        """All rows that wait, those of the batch among them, by time and then by where they lie."""
        known = state.table(_WAITING)
        parts = [] if known is None else known.to_batches()
        if batch.rows.num_rows:
            parts.append(kept(batch, self._waiting))
        if not parts:
            return None
        whole = pa.Table.from_batches(parts).combine_chunks().to_batches()[0]
        time, partition, offset, row = (whole.column(at).to_numpy() for at in range(4))
        order = np.lexsort((row, offset, partition, time))
        return whole if (np.diff(order) == 1).all() else whole.take(pa.array(order))

    def _count(self, rows: pa.RecordBatch, facts: dict[str, Any], state: State) -> None:
        """Put rows into the chunk, and remember where they lay."""
        if not rows.num_rows:
            return
        counted = self._counted(_CHUNK, state).plus(Counted.of(self._votes.coding, rows.column(PATTERN)))
        self._set(_CHUNK, counted, state)
        facts["chunk"] += rows.num_rows
        facts["rows"] += rows.num_rows
        partitions, offsets = rows.column("partition").to_numpy(), rows.column("offset").to_numpy()
        for partition in np.unique(partitions).tolist():
            here = offsets[partitions == partition]
            first, end = facts["ranges"].get(str(partition), (int(here.min()), 0))
            facts["ranges"][str(partition)] = [min(first, int(here.min())), max(end, int(here.max()) + 1)]

    def _update(self, at: int, facts: dict[str, Any], state: State) -> Iterable[Output]:
        chunk = self._counted(_CHUNK, state)
        counted = self._counted(_COUNTS, state).faded(self._fading, LIGHTEST, MOST_PATTERNS).plus(chunk)
        self._set(_COUNTS, counted, state)
        del state[_CHUNK]
        facts["chunk"] = 0
        facts["version"] += 1
        facts["at"] = at
        found = self._estimated(counted)
        rows = model_rows(found, self._described, version=facts["version"], at=at, seen=facts["rows"])
        parents = (self._ranges(facts),)
        yield Output(self._model.name, rows, parents)
        alarms = self._watch.look(self._votes.coding, chunk, at, self._estimated, state)
        if alarms:
            yield Output(self._alarms.name, alarm_rows(alarms), parents)

    def _estimated(self, counted: Counted) -> Estimate:
        return estimate(self._votes.coding, counted, len(self._described.classes), self._prior)

    def _ranges(self, facts: dict[str, Any]) -> Ranges:
        name = self._votes.output.name
        return Ranges(
            tuple(OffsetRange(name, int(partition), *span) for partition, span in sorted(facts["ranges"].items()))
        )

    def _facts(self, state: State) -> dict[str, Any]:
        stored = state.raw(_FACTS)
        if stored is None:
            return {"chunk": 0, "rows": 0, "version": 0, "at": BEGINNING, "ranges": {}}
        return dict(orjson.loads(stored))

    def _counted(self, name: str, state: State) -> Counted:
        table = state.table(name)
        if table is None:
            return Counted.nothing(self._votes.coding)
        whole = table.combine_chunks()
        return Counted(whole.column(0).combine_chunks(), whole.column(1).to_numpy())

    def _set(self, name: str, counted: Counted, state: State) -> None:
        state[name] = pa.RecordBatch.from_arrays([counted.patterns, pa.array(counted.weight)], schema=self._chunk)

    def _keep(self, rows: pa.RecordBatch, state: State) -> None:
        if rows.num_rows:
            # Copied, so that the rows that have left are not stored with those that wait.
            state[_WAITING] = rows.take(pa.array(np.arange(rows.num_rows)))
        elif _WAITING in state:
            del state[_WAITING]
