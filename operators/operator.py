"""What an operator is: a named, versioned, pure step from input streams to output streams."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.execution.state import State
from streams.duration import Duration, parse_duration
from streams.message import END
from streams.parents import Addresses, Parents
from streams.schema import Schema
from streams.stream import Stream

Mode = Literal["partitioned", "gathered", "broadcast"]

#: The input name of a tick: a batch without rows that a task inserts itself at a fixed point of event time.
TICK = ""

_NOT_KNOWN_YET = Schema(pa.schema([("not_known_yet", pa.string())]))


@dataclass(frozen=True, slots=True)
class Input:
    """How an operator takes one stream.

    `reads` are the columns that its step is handed, and no others. `delay` (microseconds of event time) and
    `later` mark feedback: the rows take effect at their event time + delay. `named`: of the stream only the name
    is known yet, and the pipeline puts the stream in its place.
    """

    stream: Stream
    mode: Mode = "partitioned"
    reads: tuple[str, ...] = ()
    delay: int = 0
    later: bool = False
    named: bool = False


def later(stream: Stream | str, *, delay: Duration, reads: Sequence[str] = (), mode: Mode = "gathered") -> Input:
    """An input that closes a loop: a stream made, directly or not, from the operator's own output. Its rows take
    effect at their event time + `delay`, so that the loop has an order.

    The stream, or the name of one that the same pipeline declares, be it later. An operator of one's own names the
    columns that it `reads`; `train` knows them itself.
    """
    named = isinstance(stream, str)
    taken = Stream(stream, _NOT_KNOWN_YET) if isinstance(stream, str) else stream
    return Input(taken, mode, tuple(reads), parse_duration(delay), later=True, named=named)


@dataclass(frozen=True, slots=True)
class Batch:
    """What a step is given: rows of one input, or a tick.

    `rows` holds the columns that the input declares in `reads`. `addresses` says where each row lies. `times` are
    the rows' event times (int64 microseconds since 1970; BEGINNING where the stream has no event time). `clock`:
    no row earlier than this will come on any input, late ones aside. `late` marks (bool, shape (n,)) rows
    behind their channel's watermark; None if there is none.
    """

    input: str
    rows: pa.RecordBatch
    addresses: Addresses
    times: npt.NDArray[np.int64]
    clock: int
    late: npt.NDArray[np.bool_] | None = None

    @property
    def is_tick(self) -> bool:
        return self.input == TICK


def tick_at(clock: int) -> Batch:
    """The batch without rows that a step is given at a tick."""
    nothing = pa.RecordBatch.from_arrays([], names=[])
    return Batch(TICK, nothing, Addresses.of_message(TICK, 0, 0, 0), np.empty(0, dtype=np.int64), clock)


@dataclass(frozen=True, slots=True)
class Output:
    """Rows for one output stream; `parents` has one part for each way in which rows descend, each as long as
    `rows` (or Ranges, which hold for all of them)."""

    stream: str
    rows: pa.RecordBatch
    parents: Parents

    def slice(self, start: int, stop: int) -> Output:
        """The rows from `start` up to, not including, `stop`, with their parents."""
        if start == 0 and stop == self.rows.num_rows:
            return self
        parents = tuple(part.slice(start, stop) if isinstance(part, Addresses) else part for part in self.parents)
        return Output(self.stream, self.rows.slice(start, stop - start), parents)


@dataclass(frozen=True, slots=True)
class Derived:
    """Field lineage: an output field and the (stream, field) pairs it depends on; `coarse` if nobody said which
    of the operator's `reads` they are."""

    field: str
    sources: tuple[tuple[str, str], ...]
    coarse: bool = False


class Operator(Protocol):
    """A pure step: no clock, no unseeded randomness, no I/O; equal batches and state give equal outputs.

    Everything it remembers is in `state`, so that it can be killed after any step and go on elsewhere.

    It may also have `steps(batches, state)`, which gives for each batch the outputs and what `holds` is behind it, and
    leaves the same state as one `step` after the other: that is then called where several batches are there.
    """

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str:
        """clean, join, map, …"""

    @property
    def version(self) -> str:
        """Changes whenever the same input could give other output."""

    @property
    def inputs(self) -> tuple[Input, ...]: ...
    @property
    def outputs(self) -> tuple[Stream, ...]:
        """The first is the main one; side streams (quarantine, late) follow."""

    @property
    def params(self) -> dict[str, Any]:
        """What the version was made from, as JSON values, for people and the catalog."""

    @property
    def tick(self) -> int | None:
        """Microseconds of event time between ticks while the operator holds rows; None for no ticks but the last."""

    @property
    def row_wise(self) -> bool:
        """True if a step treats each row by itself and keeps no state: it may be fed several messages at once."""

    @property
    def keeps_key(self) -> bool:
        """True if an output row has the key of the row it was made from, so that it stays in the task's partition."""

    def step(self, batch: Batch, state: State) -> Iterable[Output]: ...

    def holds(self, state: State) -> int:
        """The earliest event time that may still be emitted from what is held back; END if nothing is held."""
        return END

    def derives(self) -> dict[str, tuple[Derived, ...]]:
        """Field lineage by output stream name."""
