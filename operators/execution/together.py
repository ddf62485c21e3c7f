"""Several batches in one step: what does not grow with rows is paid once, and outputs are cut as if it had not been."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
import pyarrow as pa

from catalog.errors import HeadwaterError
from operators.execution.state import State
from operators.operator import Batch, Operator, Output
from streams.message import END
from streams.parents import Addresses, joined

#: What one of several batches gives: its outputs, and the `holds` behind it.
Step = tuple[list[Output], int]
Steps = Callable[[Sequence[Batch], State], Iterable[Step]]


def steps_of(operator: Operator) -> Steps | None:
    """How the operator takes several batches at once; None if it does not. A row-wise one takes them of one channel."""
    if operator.row_wise:
        return partial(_row_wise_steps, operator)
    return getattr(operator, "steps", None) if operator.tick is None else None


def as_one(batches: Sequence[Batch]) -> Batch:
    """The rows of batches of one input, with the clock of the last."""
    if len(batches) == 1:
        return batches[0]
    rows = pa.Table.from_batches([batch.rows for batch in batches]).combine_chunks().to_batches()[0]
    late = None
    if any(batch.late is not None for batch in batches):
        late = np.concatenate(
            [np.zeros(len(batch.times), dtype=bool) if batch.late is None else batch.late for batch in batches]
        )
    return Batch(
        batches[0].input,
        rows,
        joined([batch.addresses for batch in batches]),
        np.concatenate([batch.times for batch in batches]),
        batches[-1].clock,
        late,
    )


def _row_wise_steps(operator: Operator, batches: Sequence[Batch], state: State) -> Iterable[Step]:
    ends = [int(batch.addresses.offset[-1]) + 1 for batch in batches]
    pieces: list[list[Output]] = [[] for _ in batches]
    whole = as_one(batches)
    for output in operator.step(whole, state):
        first = output.parents[0]
        if not isinstance(first, Addresses) or len(first) != output.rows.num_rows:
            raise HeadwaterError("A row-wise step must give one parent address a row", where=output.stream)
        if first is whole.addresses and len(output.parents) == 1:
            _cut_row_by_row(pieces, output, batches)
        else:
            cut_into(pieces, output, np.searchsorted(first.offset, ends).tolist())
    return [(piece, END) for piece in pieces]


def _cut_row_by_row(pieces: Sequence[list[Output]], output: Output, batches: Sequence[Batch]) -> None:
    """Cut an output that has one row for each row of the batches: each piece descends from its batch as it is, whose
    addresses cost less to write down than a part of all of them."""
    start = 0
    for piece, batch in zip(pieces, batches, strict=True):
        count = len(batch.addresses)
        piece.append(Output(output.stream, output.rows.slice(start, count), (batch.addresses,)))
        start += count


def cut_into(pieces: Sequence[list[Output]], output: Output, ends: Sequence[int]) -> None:
    """Add the rows up to each end to the piece of that place."""
    start = 0
    for piece, end in zip(pieces, ends, strict=True):
        if end > start:
            piece.append(output.slice(start, end))
            start = end
