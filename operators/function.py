"""Users' functions inside operators: called with the columns that they declared, their answers and errors checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from catalog.errors import HeadwaterError
from operators.errors import StepFailed, WrongOutput
from operators.execution.state import State
from operators.operator import Derived, Input
from streams.message import END
from streams.parents import Addresses, IntArray
from streams.stream import Stream


class UndeclaredRead(StepFailed):
    """A user's function asked for a column that is not among its `reads`."""


class CannotMap(HeadwaterError):
    """A map, filter or repartition was declared that cannot be made."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Mapped:
    """Rows that a function made, and for each the row (counted from 0 in its input) that it was made from."""

    rows: Any
    parents: Any


class Call:
    """A function, called with the columns `reads` of a batch and no others."""

    def __init__(self, name: str, source: Stream, fn: Callable[[pa.RecordBatch], Any], reads: tuple[str, ...]) -> None:
        self.name = name
        self._source = source
        self._fn = fn
        self._reads = reads

    def __call__(self, rows: pa.RecordBatch, addresses: Addresses | None) -> Any:
        """What the function gives back. StepFailed if it raises, UndeclaredRead if it wanted another column."""
        try:
            return self._fn(rows.select(list(self._reads)))
        except (HeadwaterError, MemoryError, OSError):
            raise
        except Exception as error:
            where = self.where(addresses)
            for column in self._source.schema.arrow.names:
                if column not in self._reads and re.search(rf"(?<!\w){re.escape(column)}(?!\w)", str(error)):
                    raise UndeclaredRead(
                        f"The function asked for {column!r}, which is not in reads=.",
                        where=where,
                        fix=f"Add it: reads={[*self._reads, column]}.",
                    ) from error
            raise StepFailed(
                f"The function raised {type(error).__name__}: {error}.",
                where=where,
                fix="Nothing of this step was written: mend the function, or the rows that it cannot take.",
            ) from error

    def rows(self, rows: pa.RecordBatch, addresses: Addresses | None) -> tuple[pa.RecordBatch, IntArray | None]:
        """The rows that the function made and, if it says so, which input row each was made from."""
        answer = self(rows, addresses)
        indices = None
        if isinstance(answer, Mapped):
            answer, indices = answer.rows, answer.parents
        elif isinstance(answer, tuple) and len(answer) == 2:
            answer, indices = answer
        if hasattr(answer, "__arrow_c_stream__") and not isinstance(answer, pa.Table):
            answer = pa.table(answer)
        if isinstance(answer, pa.Table):
            batches = answer.combine_chunks().to_batches()
            answer = batches[0] if batches else pa.RecordBatch.from_pylist([], schema=answer.schema)
        if not isinstance(answer, pa.RecordBatch):
            raise WrongOutput(
                f"The function gave {kind_of(answer)}; expected are rows.",
                where=self.where(addresses),
                fix="Return a RecordBatch, a Table, or Mapped(rows, parents=indices).",
            )
        return answer, None if indices is None else self._checked(indices, answer, rows, addresses)

    def where(self, addresses: Addresses | None) -> str:
        """The operator, and the messages that it was given."""
        if addresses is None or not len(addresses):
            return f"{self.name}, without rows"
        first, last = int(addresses.offset[0]), int(addresses.offset[-1])
        offsets = f"{first}" if first == last else f"{first} to {last}"
        return f"{self.name}, {addresses.stream} {int(addresses.partition[0])}:{offsets}"

    def _checked(
        self, indices: Any, made: pa.RecordBatch, rows: pa.RecordBatch, addresses: Addresses | None
    ) -> IntArray:
        found = np.asarray(indices, dtype=np.int64) if len(indices) else np.empty(0, dtype=np.int64)
        wrong = len(found) != made.num_rows or (len(found) and not 0 <= found.min() <= found.max() < rows.num_rows)
        if wrong:
            raise WrongOutput(
                f"The function gave {len(found)} indices for {made.num_rows} rows made of {rows.num_rows}.",
                where=self.where(addresses),
                fix="Give one index a row, from 0 up to the number of rows that went in.",
            )
        return found


class RowOperator:
    """What map, filter and repartition have in common: one partitioned input, no state, nothing held back."""

    tick: int | None = None
    keeps_key = False

    def __init__(self, name: str, source: Stream, input_reads: tuple[str, ...], row_wise: bool) -> None:
        self.name = name
        self.row_wise = row_wise
        self.inputs = (Input(source, "partitioned", input_reads),)
        self.source = source

    def holds(self, state: State) -> int:
        return END


def refuse_unknown(source: Stream, names: Sequence[str], where: str) -> None:
    unknown = sorted(set(names) - set(source.schema.arrow.names))
    if unknown:
        raise CannotMap(
            f"{source.name} has no column {listed(unknown)}.",
            where=where,
            fix=f"It has {listed(source.schema.arrow.names)}.",
        )


def like(source: Stream, to: str) -> Stream:
    """A stream of the same rows, as an operator writes it."""
    return Stream(
        to,
        source.schema,
        key=source.key,
        time=source.time,
        partitions=source.partitions,
        entities=source.entities,
        addresses=source.addresses,
    )


def each_from_its_own(source: Stream) -> tuple[Derived, ...]:
    return tuple(Derived(name, ((source.name, name),)) for name in source.schema.arrow.names)


def listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names) or "nothing"


def kind_of(answer: Any) -> str:
    kind = f"a {type(answer).__name__}"
    return f"{kind} of {len(answer)} {getattr(answer, 'type', '')}".rstrip() if hasattr(answer, "__len__") else kind
