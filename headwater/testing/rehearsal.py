"""Rehearsal: an operator's tasks run in memory, in the order of the engine's merge, cut and restored at will."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.testing.failure import CheckFailed
from operators.errors import WrongOutput
from operators.execution.digest import digest_rows
from operators.execution.emit import fitted
from operators.execution.merge import Channel, ChannelId, Merge, Taken
from operators.execution.plan import tasks_of
from operators.execution.progress import task_name
from operators.execution.state import State, decode_value
from operators.operator import Batch, Operator, Output, tick_at
from streams.keys import split
from streams.message import BEGINNING, END
from streams.parents import Addresses, Parents
from streams.read import Arrived, event_times
from streams.stream import Stream

Times: TypeAlias = npt.NDArray[np.int64]

#: Where to cut so many rows: ascending positions between 0 and the number.
Cut: TypeAlias = Callable[[int], Sequence[int]]

#: Offsets of one writer in a partition lie below this; the next writer's follow.
_OFFSETS_OF_WRITER = 1 << 32


@dataclass(frozen=True)
class Lane:
    """Rows that one writer wrote to one partition, in their order. `bounds` ascend: no row from here on is earlier,
    late ones aside. Rows lie at one offset each, so that their addresses do not depend on how they are cut."""

    stream: Stream
    partition: int
    writer: str
    rows: pa.RecordBatch
    times: Times
    bounds: Times
    offset: int = 0

    def batches(self, cut: Cut, reads: Sequence[str]) -> Iterable[Arrived]:
        count = self.rows.num_rows
        # A late row begins a batch: whether a row is late must not depend on where the others are cut.
        late = np.flatnonzero(self.times < self.bounds)
        edges = np.unique(np.concatenate([[0, count], np.asarray(cut(count), dtype=np.int64), late])).astype(np.int64)
        rows = self.rows.select(list(reads))
        for start, stop in pairwise(edges.tolist()):
            offsets = np.arange(self.offset + start, self.offset + stop, dtype=np.int64)
            yield Arrived(
                self.stream.name,
                self.partition,
                self.writer,
                int(offsets[0]),
                int(offsets[-1]) + 1,
                rows.slice(start, stop - start),
                Addresses.of_offsets(self.stream.name, self.partition, offsets),
                self.times[start:stop].copy(),
                int(self.bounds[start]),
                BEGINNING,
                BEGINNING,
            )


Lanes: TypeAlias = Mapping[str, Sequence[Lane]]


@dataclass(frozen=True)
class Emitted:
    """Rows that a task wrote, under its bound at that time."""

    task: int
    output: Output
    bound: int


def outside(stream: Stream, rows: pa.RecordBatch) -> list[Lane]:
    """The lanes of rows that come from outside: each row in the partition of its key, bounds by declared lateness."""
    pieces = [(0, np.arange(rows.num_rows))]
    if stream.key and rows.num_rows:
        pieces = split(rows, stream.key, stream.partitions, where=stream.name)
    found = []
    for partition, indices in pieces:
        here = rows.take(pa.array(indices, pa.int64()))
        times = np.array(event_times(here, stream.time), dtype=np.int64)
        found.append(Lane(stream, partition, "", here, times, _bounds(times, stream.lateness)))
    return found


def written(operator: Operator, stream: Stream, emitted: Iterable[Emitted], *, keeps_partition: bool) -> list[Lane]:
    """The lanes of what the operator's tasks wrote to one of its outputs."""
    kept: dict[tuple[int, int], list[tuple[pa.RecordBatch, int]]] = {}
    for one in emitted:
        rows = one.output.rows
        if keeps_partition or not stream.key:
            kept.setdefault((one.task % stream.partitions, one.task), []).append((rows, one.bound))
            continue
        for partition, indices in split(rows, stream.key, stream.partitions, where=stream.name):
            kept.setdefault((partition, one.task), []).append((rows.take(pa.array(indices)), one.bound))
    lanes = []
    for (partition, task), pieces in sorted(kept.items()):
        rows = pa.Table.from_batches([rows for rows, _ in pieces]).combine_chunks().to_batches()[0]
        bounds = np.repeat([bound for _, bound in pieces], [rows.num_rows for rows, _ in pieces]).astype(np.int64)
        times = np.array(event_times(rows, stream.time), dtype=np.int64)
        if stream.time is None:
            bounds = times
        writer = task_name(operator.name, task)
        lanes.append(Lane(stream, partition, writer, rows, times, bounds, task * _OFFSETS_OF_WRITER))
    return lanes


def rehearse(make: Callable[[], Operator], lanes: Lanes, cut: Cut, *, restore: bool = False) -> list[Emitted]:
    """What all tasks of an operator write, task after task.

    `make` gives the operator to use: once, or with `restore` before every step, when the state too is what was stored.
    Raises what a step raises, WrongOutput, or CheckFailed if a step alters its input.
    """
    operator = make()
    found: list[Emitted] = []
    for number in range(tasks_of(operator)):
        found += _Task(operator, number, lanes, cut, make if restore else None).run()
    return found


class _Task:
    """One task, from its first batch to its last tick; see operators.execution.task for the one that commits."""

    def __init__(
        self, operator: Operator, number: int, lanes: Lanes, cut: Cut, restore: Callable[[], Operator] | None
    ) -> None:
        self._operator = operator
        self._number = number
        self._restore = restore
        self._state = State()
        self._stored: dict[str, bytes] = {}
        self._bound = BEGINNING
        self._holds = END
        self._stalled = False
        self._emitted: list[Emitted] = []
        self._merge = Merge([])
        for index, given in enumerate(operator.inputs):
            for lane in lanes.get(given.stream.name, ()):
                if given.mode == "partitioned" and lane.partition != number:
                    continue
                id = ChannelId(index, lane.partition, lane.writer)
                self._merge.channels[id] = Channel(id, delay=given.delay, feedback=given.later, watermark=END)
                for batch in lane.batches(cut, given.reads):
                    self._merge.add(id, batch)

    def run(self) -> list[Emitted]:
        while (taken := self._merge.next(self._tick_due())) is not None:
            if taken.batch is None:
                self._tick(taken.clock)
            else:
                self._take(taken)
                self._stalled = False
        self._tick(END)
        return self._emitted

    def _take(self, taken: Taken) -> None:
        batch = taken.batch
        assert batch is not None
        self._step(Batch(batch.stream, batch.rows, batch.addresses, batch.times, taken.clock, batch.late))

    def _tick(self, clock: int) -> None:
        before = self._operator.holds(self._state)
        self._step(tick_at(clock))
        self._stalled = self._operator.holds(self._state) == before

    def _tick_due(self) -> int | None:
        every = self._operator.tick
        held = self._operator.holds(self._state)
        if every is None or self._stalled or held in (BEGINNING, END):
            return None
        return (max(held, self._merge.clock) // every + 1) * every

    def _step(self, batch: Batch) -> None:
        before = _contents(batch)
        outputs = list(self._operator.step(batch, self._state))
        if _contents(batch) != before:
            raise CheckFailed(
                "The step changed the batch that it was given",
                where=f"{self._operator.name}, {batch.input or 'tick'}",
                fix="Make new arrays instead: other operators read the same rows.",
            )
        self._bound = max(self._bound, min(batch.clock, self._holds))
        for output in outputs:
            self._emit(output)
        self._holds = max(self._operator.holds(self._state), min(self._holds, batch.clock))
        self._settle()

    def _emit(self, output: Output) -> None:
        stream = next((one for one in self._operator.outputs if one.name == output.stream), None)
        if stream is None:
            raise WrongOutput(
                f"A step returned rows for {output.stream}, which is not among its outputs",
                where=self._operator.name,
                fix="Declare the stream as an output of the operator.",
            )
        rows = fitted(output.rows, stream)
        _check_parents(output.parents, rows, stream)
        if rows.num_rows:
            self._emitted.append(Emitted(self._number, Output(stream.name, rows, output.parents), self._bound))

    def _settle(self) -> None:
        """Store what the step changed; with `restore`, go on from there, with another copy of the operator."""
        for name, value in self._state.changes().items():
            if value is None:
                self._stored.pop(name, None)
            else:
                self._stored[name] = value
        self._state.settle()
        if self._restore is not None:
            self._state = State({name: decode_value(value) for name, value in self._stored.items()})
            self._operator = self._restore()


def _bounds(times: Times, lateness: int) -> Times:
    """What a reader of an outside stream knows at each row, were every row a message."""
    known = times != BEGINNING
    behind = np.maximum.accumulate(np.where(known, times, BEGINNING + lateness)) - lateness
    before = np.append(BEGINNING, behind[:-1])
    least = np.minimum(np.where(known, times, behind), behind)
    return np.maximum.accumulate(np.maximum(before, least)) if len(times) else times


def _contents(batch: Batch) -> tuple[object, ...]:
    places = batch.addresses
    parts = (places.partition, places.offset, places.row, batch.times)
    return digest_rows([batch.rows], batch.rows.schema), *(np.asarray(part).tobytes() for part in parts)


def _check_parents(parents: Parents, rows: pa.RecordBatch, stream: Stream) -> None:
    for part in parents:
        if isinstance(part, Addresses) and len(part) != rows.num_rows:
            raise WrongOutput(
                f"A step returned {rows.num_rows} rows with parents for {len(part)}",
                where=stream.name,
                fix="Give one parent address for each row and each way of descent.",
            )
