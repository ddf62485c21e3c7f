"""Drives one operator as an engine would: batches with a clock that no later row is behind, then a last tick."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random

import numpy as np
import pyarrow as pa

from operators.execution.state import State, decode_value, encode_value
from operators.operator import TICK, Batch, Operator, Output
from streams.message import BEGINNING, END
from streams.parents import Addresses
from streams.stream import Stream


@dataclass(frozen=True)
class Arrival:
    """Rows of one stream in the order in which they come, with their event times in microseconds."""

    stream: Stream
    rows: pa.RecordBatch
    times: Sequence[int]

    def permuted(self, order: Sequence[int]) -> Arrival:
        return Arrival(self.stream, self.rows.take(pa.array(order, pa.int64())), [self.times[at] for at in order])


def restored(state: State) -> State:
    """The state as another process would find it."""
    return State({name: decode_value(encode_value(state[name])) for name in state})


def tick(clock: int) -> Batch:
    empty = np.empty(0, dtype=np.int64)
    return Batch(TICK, pa.RecordBatch.from_pylist([], pa.schema([])), Addresses("", empty, empty, empty), empty, clock)


def batch_of(
    operator: Operator, arrival: Arrival, clock: int, offset: int = 0, start: int = 0, stop: int | None = None
) -> Batch:
    """Rows `start` to `stop`, with the columns that the operator reads; row i of a stream lies at offset + i."""
    reads = next(taken.reads for taken in operator.inputs if taken.stream.name == arrival.stream.name)
    rows = arrival.rows.select(list(reads)).slice(start, None if stop is None else stop - start)
    count = rows.num_rows
    addresses = Addresses(
        arrival.stream.name,
        np.zeros(count, dtype=np.int32),
        np.full(count, offset, dtype=np.int64),
        np.arange(start, start + count, dtype=np.int32),
    )
    times = np.array(arrival.times[start : start + count], dtype=np.int64)
    return Batch(arrival.stream.name, rows, addresses, times, clock)


def run(
    operator: Operator,
    arrivals: Sequence[Arrival],
    random: Random,
    *,
    restore: bool = True,
    states: list[State] | None = None,
) -> dict[str, list[Output]]:
    """All outputs by stream; the last state is added to `states`.

    Batches are cut and interleaved at random, each stream in its own order; the clock is anything that is not beyond
    a row still to come and does not go back; streams without event time come first.
    """
    pieces: list[tuple[Arrival, int, int]] = []
    first = [arrival for arrival in arrivals if arrival.stream.time is None]
    for arrival in first:
        pieces.extend((arrival, start, stop) for start, stop in _cuts(len(arrival.times), random))
    queues = [
        [(arrival, start, stop) for start, stop in _cuts(len(arrival.times), random)]
        for arrival in arrivals
        if arrival.stream.time is not None
    ]
    while any(queues):
        pieces.append(random.choice([queue for queue in queues if queue]).pop(0))
    earliest = END
    limits = []
    for arrival, start, stop in reversed(pieces):
        earliest = min([earliest, *arrival.times[start:stop]])
        limits.append(earliest)
    state = State()
    outputs: dict[str, list[Output]] = {stream.name: [] for stream in operator.outputs}
    clock = watermark = BEGINNING
    for (arrival, start, stop), limit in zip(pieces, reversed(limits), strict=True):
        if arrival.stream.time is not None:
            watermark = max(watermark, min(operator.holds(state), limit))
            clock = max(clock, min(limit, END - 1) - random.choice([0, 0, 0, 1, 5]))
            if random.random() < 0.2:
                _take(operator, tick(clock), state, outputs, watermark)
        _take(operator, batch_of(operator, arrival, clock, start=start, stop=stop), state, outputs, watermark)
        state.settle()
        if restore and random.random() < 0.3:
            state = restored(state)
    _take(operator, tick(END), state, outputs, watermark)
    assert operator.holds(state) == END
    if states is not None:
        states.append(state)
    return outputs


def _take(operator: Operator, batch: Batch, state: State, outputs: dict[str, list[Output]], watermark: int) -> None:
    for output in operator.step(batch, state):
        for part in output.parents:
            assert not isinstance(part, Addresses) or len(part) == output.rows.num_rows
        stream = next(stream for stream in operator.outputs if stream.name == output.stream)
        if stream.time is not None:
            times = output.rows.column(stream.time).cast(pa.int64()).to_numpy()
            assert (times >= watermark).all(), "a row came behind the watermark that was announced"
        outputs[output.stream].append(output)


def _cuts(count: int, random: Random) -> list[tuple[int, int]]:
    inner = sorted(random.randint(0, count) for _ in range(random.randint(0, 6)))
    edges = [0, *inner, count]
    return list(pairwise(edges))


def rows_of(outputs: Sequence[Output]) -> list[dict[str, object]]:
    return [row for output in outputs for row in output.rows.to_pylist()]


def parent_rows(outputs: Sequence[Output], slot: int) -> list[int]:
    """The row numbers of one slot's parents, -1 for none."""
    return [address.row if address.offset >= 0 else -1 for output in outputs for address in output.parents[slot]]


def shuffled(arrival: Arrival, random: Random, alike: Sequence[object]) -> Arrival:
    """Another order of arrival; rows with equal `alike` keep theirs."""
    order = list(range(len(alike)))
    random.shuffle(order)
    slots: dict[object, list[int]] = {}
    for place, row in enumerate(order):
        slots.setdefault(alike[row], []).append(place)
    for value, places in slots.items():
        for place, row in zip(places, [row for row in range(len(alike)) if alike[row] == value], strict=True):
            order[place] = row
    return arrival.permuted(order)
