"""Filter: the rows of a stream for which a user's predicate is true."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.errors import WrongOutput
from operators.execution.state import State
from operators.function import Call, RowOperator, each_from_its_own, kind_of, like, refuse_unknown
from operators.operator import Batch, Derived, Operator, Output
from operators.versions import version_of
from streams.expression import computed
from streams.stream import Stream

Predicate = Callable[[pa.RecordBatch], Any]


def filter(
    source: Stream,
    predicate: Predicate | Any,
    *,
    reads: Sequence[str],
    to: str,
    row_wise: bool = True,
    name: str | None = None,
    version: str = "1",
) -> Operator:
    """The rows of `source` for which the predicate is true (null counts as false), with all their columns.

    The predicate is an Arrow expression, or a function that takes a batch with the columns `reads` and gives one truth
    value a row. Raises as `map` does.
    """
    return FilterOperator(name or to, source, predicate, tuple(reads), to, row_wise=row_wise, version=version)


class FilterOperator(RowOperator):
    """See `filter`."""

    kind = "filter"
    keeps_key = True

    def __init__(
        self,
        name: str,
        source: Stream,
        predicate: Predicate | Any,
        reads: tuple[str, ...],
        to: str,
        *,
        row_wise: bool,
        version: str,
    ) -> None:
        refuse_unknown(source, reads, name)
        super().__init__(name, source, tuple(source.schema.arrow.names), row_wise)
        expression = isinstance(predicate, pc.Expression)
        self._call = Call(name, source, _projection(predicate) if expression else predicate, reads)
        self._to = like(source, to)
        self.outputs = (self._to,)
        self.params: dict[str, Any] = {"source": source.name, "reads": list(reads)}
        if expression:
            self.params["where"] = str(predicate)
        self.version = version_of(f"filter 1, {version}", self.params, *(() if expression else (predicate,)))

    def step(self, batch: Batch, state: State) -> Iterable[Output]:
        count = batch.rows.num_rows
        if not count:
            return
        answer = self._call(batch.rows, batch.addresses)
        if isinstance(answer, pa.ChunkedArray):
            answer = answer.combine_chunks()
        if isinstance(answer, np.ndarray):
            answer = pa.array(answer)
        if not isinstance(answer, pa.BooleanArray) or len(answer) != count:
            raise WrongOutput(
                f"The predicate gave {kind_of(answer)}; expected are {count} truth values.",
                where=self._call.where(batch.addresses),
                fix="Return one boolean a row.",
            )
        chosen = np.flatnonzero(answer.fill_null(False).to_numpy(zero_copy_only=False))
        if len(chosen) == count:
            yield Output(self._to.name, batch.rows, (batch.addresses,))
        elif len(chosen):
            yield Output(self._to.name, batch.rows.take(pa.array(chosen)), (batch.addresses.take(chosen),))

    def derives(self) -> dict[str, tuple[Derived, ...]]:
        return {self._to.name: each_from_its_own(self.source)}


def _projection(expression: pc.Expression) -> Predicate:
    return lambda rows: computed(expression, rows)
