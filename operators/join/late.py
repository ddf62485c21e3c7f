"""The side stream of a join: rows that came after the clock had passed them, as they came."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.join.columns import UTC_TIME, Left, Right
from operators.operator import Batch, Derived, Output
from streams.message import BEGINNING, END
from streams.schema import Schema
from streams.stream import Stream

INPUT = "late_input"
CLOCK = "late_clock"


def bound_of(clock: int, lateness: int) -> int:
    """Rows with an event time before this are complete, and one that comes now is too late."""
    return clock if clock in (BEGINNING, END) else max(clock - lateness, BEGINNING)


class Late:
    """Says what `<to>.late` holds and fills it.

    Its event time is the clock at which a row was found late, so it is itself in order. Left columns keep their
    names, right columns have the right stream's last name before theirs; the other side's are null.
    """

    def __init__(self, to: str, left: Left, rights: Sequence[Right]) -> None:
        columns = [pa.field(INPUT, pa.string(), nullable=False), pa.field(CLOCK, UTC_TIME, nullable=False)]
        columns += [column.with_nullable(True) for column in left.schema]
        self._own = {left.stream.name: {name: name for name in left.reads}}
        for right in rights:
            taken = {column.name for column in columns}
            names = {own: _free(f"{right.stream.name.rpartition('.')[2]}_{own}", taken) for own in right.reads}
            self._own[right.stream.name] = names
            columns += [column.with_name(names[column.name]).with_nullable(True) for column in right.schema]
        schema = Schema(pa.schema(columns)).described(
            {INPUT: "The input that the row came by.", CLOCK: "How far event time was when it came."}
        )
        self.stream = Stream(
            f"{to}.late",
            schema,
            time=CLOCK,
            partitions=left.stream.partitions,
            description=f"Rows that came too late to be joined in {to}",
            role="late",
        )

    def output(self, batch: Batch, late: npt.NDArray[np.bool_]) -> Output:
        """The late rows of a batch of one of the inputs."""
        chosen = np.flatnonzero(late)
        names = {output: own for own, output in self._own[batch.input].items()}
        columns = []
        for column in self.stream.schema.arrow:
            if column.name == INPUT:
                columns.append(pa.repeat(pa.scalar(batch.input), len(chosen)))
            elif column.name == CLOCK:
                columns.append(pa.array(np.full(len(chosen), batch.clock), pa.int64()).cast(UTC_TIME))
            elif column.name in names:
                columns.append(batch.rows.column(names[column.name]).take(pa.array(chosen)))
            else:
                columns.append(pa.nulls(len(chosen), column.type))
        rows = pa.RecordBatch.from_arrays(columns, schema=self.stream.schema.arrow)
        return Output(self.stream.name, rows, (batch.addresses.take(chosen),))

    def derives(self) -> tuple[Derived, ...]:
        return (
            Derived(INPUT, ()),
            Derived(CLOCK, ()),
            *(
                Derived(output, ((stream, own),))
                for stream, names in self._own.items()
                for own, output in names.items()
            ),
        )


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name
