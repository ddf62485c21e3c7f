"""The votes operator: every labelling function on every batch, one column of votes each, and their pattern."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from operators.execution.state import State
from operators.function import Call, refuse_unknown
from operators.label.function import Ballot, Class, LabelError, LabelingFunction, votes_of
from operators.label.pattern import Coding, Digits
from operators.operator import Batch, Derived, Input, Output
from operators.versions import version_of
from streams.message import END
from streams.parents import Addresses
from streams.schema import Schema
from streams.stream import Stream

PATTERN: Final = "pattern"

#: Functions are given so many rows at once: what they make of them stays in a processor's cache.
ROWS_AT_ONCE: Final = 1 << 16


class Votes:
    """Rows of `source` as votes: its key, event time and the columns `keep`, then for each function the number of the
    class that it votes for (-1: it abstains), then the pattern of all votes."""

    kind = "votes"
    tick: int | None = None

    def __init__(
        self,
        source: Stream,
        functions: Sequence[LabelingFunction],
        classes: Sequence[Class],
        keep: Sequence[str],
        to: str,
        *,
        version: str,
    ) -> None:
        self.name = to
        self.source = source
        self.functions = tuple(one.fitted(source.schema.arrow, f"{to}, {one.name}") for one in functions)
        self._refuse(keep)
        self.ballots = tuple(Ballot(one, classes) for one in self.functions)
        self.coding = Coding(tuple(ballot.voices for ballot in self.ballots))
        names = source.schema.arrow.names
        kept = {*source.key, *keep, *([source.time] if source.time else [])}
        self.kept = tuple(name for name in names if name in kept)
        reads = {*self.kept, *(name for one in self.functions for name in one.reads)}
        self._reads = tuple(name for name in names if name in reads)
        self._calls = tuple(self._call(one) for one in self.functions)
        self._tables = {one.table.name: one.table for one in self.functions if one.table is not None}
        self.row_wise = not self._tables
        self.keeps_key = bool(source.key)
        self.output = self._stream()
        self.outputs = (self.output,)
        self.params: dict[str, Any] = {
            "source": source.name,
            "classes": list(classes),
            "keep": list(keep),
            "voices": [list(ballot.voices) for ballot in self.ballots],
            "functions": [one.described() for one in self.functions],
        }
        self.version = version_of(f"votes 1, {version}", self.params, *(one.fn for one in self.functions))

    def __repr__(self) -> str:
        return f"votes({self.source.name!r}, {len(self.functions)} functions, to={self.name!r})"

    @property
    def inputs(self) -> tuple[Input, ...]:
        tables = []
        for name, table in self._tables.items():
            wanted = {field for one in self.functions if one.table is not None and one.table.name == name
                      for field in one.table_reads}  # fmt: skip
            tables.append(Input(table, "broadcast", tuple(f for f in table.schema.arrow.names if f in wanted)))
        return (Input(self.source, "partitioned", self._reads), *tables)

    def step(self, batch: Batch, state: State) -> Iterable[Output]:
        rows = batch.rows
        if batch.is_tick or not rows.num_rows:
            return
        if batch.input != self.source.name:
            self._learn(batch, state)
            return
        votes = np.empty((len(self.functions), rows.num_rows), dtype=np.int8)
        patterns = []
        for start in range(0, rows.num_rows, ROWS_AT_ONCE):
            stop = min(start + ROWS_AT_ONCE, rows.num_rows)
            where = batch.addresses.slice(start, stop)
            digits = [self._digits(at, rows.slice(start, stop - start), where, state) for at in range(len(votes))]
            for at, ballot in enumerate(self.ballots):
                votes[at, start:stop] = votes_of(ballot, digits[at])
            patterns.append(self.coding.encode(digits))
        columns = [*(rows.column(name) for name in self.kept), *map(pa.array, votes), pa.concat_arrays(patterns)]
        made = pa.RecordBatch.from_arrays(columns, schema=self.output.schema.arrow)
        yield Output(self.name, made, (batch.addresses,))

    def holds(self, state: State) -> int:
        return END

    def derives(self) -> dict[str, tuple[Derived, ...]]:
        source = self.source.name
        found = [Derived(name, ((source, name),)) for name in self.kept]
        every: dict[tuple[str, str], None] = {}
        for one in self.functions:
            pairs = [(source, name) for name in one.reads]
            pairs += [(one.table.name, name) for name in one.table_reads]
            every.update(dict.fromkeys(pairs))
            found.append(Derived(one.name, tuple(pairs)))
        return {self.name: (*found, Derived(PATTERN, tuple(every)))}

    def _digits(self, at: int, rows: pa.RecordBatch, addresses: Addresses, state: State) -> Digits:
        function, call, ballot = self.functions[at], self._calls[at], self.ballots[at]
        if function.table is not None:
            known = state.table(f"table {function.table.name}")
            if known is None:
                return np.zeros(rows.num_rows, dtype=np.uint8)
            call = self._call(function, known)
        answer = call(rows, addresses)
        if function.row_wise:
            return ballot.digits_by_row(answer, call.where(addresses))
        return ballot.digits(answer, rows.num_rows, call.where(addresses))

    def _call(self, function: LabelingFunction, *more: Any) -> Call:
        called = function.fn
        if function.row_wise:
            # A Python loop over rows, as the user asked for; SlowFunction said what it costs.
            def called(rows: pa.RecordBatch) -> Any:
                return [function.fn(row) for row in rows.to_pylist()]

        elif more:

            def called(rows: pa.RecordBatch) -> Any:
                return function.fn(rows, *more)

        return Call(f"{self.name}, {function.name}", self.source, called, function.reads)

    def _learn(self, batch: Batch, state: State) -> None:
        """Keep the newest row of each key of a table."""
        name = f"table {batch.input}"
        known = state.table(name)
        table = pa.Table.from_batches([batch.rows])
        if known is not None:
            table = pa.concat_tables([known, table]).combine_chunks()
        keys = self._tables[batch.input].key
        column = table.column(keys[0] if keys[0] in table.column_names else 0).combine_chunks()
        places = column.dictionary_encode().indices.to_numpy(zero_copy_only=False)
        newest = np.full(int(places.max()) + 1, -1, dtype=np.int64)
        np.maximum.at(newest, places, np.arange(len(places)))
        state[name] = table.take(pa.array(np.sort(newest)))

    def _stream(self) -> Stream:
        source = self.source
        schema = source.schema.arrow
        fields = [schema.field(name) for name in self.kept]
        for one in self.functions:
            described = {"description": f"The class that {one.name} votes for, by number; -1: it abstains."}
            fields.append(pa.field(one.name, pa.int8(), nullable=False, metadata=described))
        described = {"description": "All votes as one value: equal for equal votes."}
        fields.append(pa.field(PATTERN, self.coding.type, nullable=False, metadata=described))
        return Stream(
            self.name,
            Schema(pa.schema(fields)),
            key=source.key,
            time=source.time,
            partitions=source.partitions,
            entities={field: what for field, what in source.entities.items() if field in self.kept},
            addresses=tuple(field for field in source.addresses if field in self.kept),
            description=f"What {len(self.functions)} labelling functions say of {source.name}",
            tags=("votes",),
        )

    def _refuse(self, keep: Sequence[str]) -> None:
        if not self.functions:
            raise LabelError("There are no labelling functions", where=self.name, fix="Give at least one.")
        refuse_unknown(self.source, keep, self.name)
        kept = {*self.source.key, *keep, self.source.time, PATTERN}
        names = [one.name for one in self.functions]
        for one in self.functions:
            refuse_unknown(self.source, one.reads, f"{self.name}, {one.name}")
            if names.count(one.name) > 1 or one.name in kept:
                raise LabelError(
                    f"The name {one.name!r} is taken by another function or column",
                    where=self.name,
                    fix="Give each function a name of its own: it is the name of its column of votes.",
                )
