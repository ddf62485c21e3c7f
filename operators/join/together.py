"""Several batches in one step of a join. What a join releases it releases in the order of event time, so what each
batch by itself would have released can be cut out of what all of them release together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa

from operators.execution.state import State
from operators.execution.together import Step, as_one, cut_into
from operators.join.held import MANY
from operators.join.keys import Positions
from operators.join.late import bound_of
from operators.join.rows import Times
from operators.operator import Batch, Output
from streams.message import END


class _Steps(Protocol):
    def step(self, batch: Batch, state: State) -> Iterable[Output]: ...
    def holds(self, state: State) -> int: ...


def one_by_one(operator: _Steps, batches: Sequence[Batch], state: State) -> Iterable[Step]:
    for batch in batches:
        yield list(operator.step(batch, state)), operator.holds(state)


def bounds_if_in_time(batches: Sequence[Batch], lateness: int) -> Times | None:
    """The bound of each batch; None if one of them has a row that comes too late."""
    bounds = np.array([bound_of(batch.clock, lateness) for batch in batches], dtype=np.int64)
    if any(int(batch.times.min()) < bound for batch, bound in zip(batches, bounds.tolist(), strict=True)):
        return None
    return bounds


def by_input(batches: Sequence[Batch]) -> list[Batch]:
    """One batch for each input that any of them is of."""
    found: dict[str, list[Batch]] = {}
    for batch in batches:
        found.setdefault(batch.input, []).append(batch)
    return [as_one(some) for some in found.values()]


class Waiting:
    """The event times of one side's rows over several batches: `held` wait since before, `batches` are of all inputs,
    of which those of `stream` are counted."""

    def __init__(self, held: Times, batches: Sequence[Batch], stream: str) -> None:
        own = [(at, batch.times) for at, batch in enumerate(batches) if batch.input == stream]
        self.times = np.concatenate([held, *(times for _, times in own)])
        came = [np.full(len(held), -1), *(np.full(len(times), at) for at, times in own)]
        self._came = np.concatenate(came)

    def many(self, at: int, reached: int) -> bool:
        """True if very many rows wait before batch `at`, after all before `reached` have left."""
        if len(self.times) < MANY:
            return False
        return int(np.count_nonzero((self._came < at) & (self.times >= reached))) >= MANY

    def earliest(self, reached: Times) -> list[int]:
        """Behind each batch the smallest event time that still waits; END if none does."""
        found = []
        # One round a batch, not a row: a step takes a few dozen batches at most.
        for at, bound in enumerate(reached.tolist()):
            waits = self.times[(self._came <= at) & (self.times >= bound)]
            found.append(int(waits.min()) if len(waits) else END)
        return found

    def released(self, last: int) -> Times:
        """The times of the rows that leave before `last`, ascending."""
        return np.sort(self.times[self.times < last])


def releases(
    batches: Sequence[Batch], bounds: Times, always: str, counted: Sequence[Waiting], start: int
) -> tuple[Times, int]:
    """Behind each batch the bound up to which rows have left (`start` before the first that lets rows leave), and which
    of the batches is the last that does, -1 if none. Those of the input `always` do, others when very many
    `counted` rows wait."""
    reached, last, found = start, -1, []
    for at, (batch, bound) in enumerate(zip(batches, bounds.tolist(), strict=True)):
        if batch.input == always or any(waiting.many(at, reached) for waiting in counted):
            reached, last = bound, at
        found.append(reached)
    return np.array(found, dtype=np.int64), last


def counts_before(times: Times, bounds: Times, less: int = 0) -> Positions:
    """For each bound how many of the ascending times are before it by more than `less`."""
    return np.searchsorted(times, [bound_of(bound, less) for bound in bounds.tolist()])


def cut_by_time(outputs: Iterable[Output], time: str, reached: Times) -> list[list[Output]]:
    """The outputs, whose column `time` is in order, cut at what was reached behind each batch."""
    pieces: list[list[Output]] = [[] for _ in reached]
    for output in outputs:
        ends = np.searchsorted(output.rows.column(time).view(pa.int64()).to_numpy(), reached)
        cut_into(pieces, output, ends.tolist())
    return pieces
