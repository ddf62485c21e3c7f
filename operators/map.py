"""Map: a user's function as an operator, with its reads, its mapping from rows to rows and its lineage declared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from operators.errors import StepFailed, WrongOutput
from operators.execution.state import State
from operators.filter import filter
from operators.function import (
    Call,
    CannotMap,
    Mapped,
    RowOperator,
    UndeclaredRead,
    listed,
    refuse_unknown,
)
from operators.operator import Batch, Derived, Operator, Output
from operators.repartition import repartition
from operators.versions import version_of
from streams.parents import Addresses, Ranges, ranges_of
from streams.schema import Schema
from streams.stream import Stream

__all__ = ["CannotMap", "Mapped", "StepFailed", "UndeclaredRead", "WrongOutput", "filter", "map", "repartition"]

Function = Callable[[pa.RecordBatch], Any]


def map(
    source: Stream,
    fn: Function,
    *,
    reads: Sequence[str],
    to: str,
    schema: Schema | pa.Schema | None = None,
    key: str | Sequence[str] | None = None,
    time: str | None = None,
    add: bool = False,
    derives: Mapping[str, Sequence[str]] | None = None,
    row_wise: bool = False,
    name: str | None = None,
    version: str = "1",
) -> Operator:
    """Rows of `to` are what `fn` makes of a batch of `source` in which only the columns `reads` are.

    `fn` gives back a RecordBatch or Table, alone or as `Mapped(rows, parents=indices)` (or a tuple of both), where the
    indices say which input row each output row comes from. Without them an equal number of rows means one for
    one; another number means that each comes from the whole batch. Where the mapping is known, the source's key and
    event time are carried over if `fn` does not make columns of those names; with `add` all its columns are.

    `schema` is what `fn` makes; without it `fn` is called once with no rows to see. `key` and `time` are the output's,
    without them the source's. `derives` says which of `reads` each made column depends on; a column that it leaves out
    depends on all of them, marked coarse. `row_wise` promises that `fn` treats each row by itself, so that it may be
    given several batches at once.

    Raises CannotMap for what cannot be declared. While running, StepFailed names the operator and the rows that
    `fn` failed on, WrongOutput the column that does not fit, UndeclaredRead the one that `reads` lacks.
    """
    return MapOperator(
        name or to,
        source,
        fn,
        tuple(reads),
        to,
        schema=schema.arrow if isinstance(schema, Schema) else schema,
        key=(key,) if isinstance(key, str) else None if key is None else tuple(key),
        time=time,
        add=add,
        derives={field: tuple(sources) for field, sources in (derives or {}).items()},
        row_wise=row_wise,
        version=version,
    )


class MapOperator(RowOperator):
    """See `map`."""

    kind = "map"

    def __init__(
        self,
        name: str,
        source: Stream,
        fn: Function,
        reads: tuple[str, ...],
        to: str,
        *,
        schema: pa.Schema | None,
        key: tuple[str, ...] | None,
        time: str | None,
        add: bool,
        derives: dict[str, tuple[str, ...]],
        row_wise: bool,
        version: str,
    ) -> None:
        refuse_unknown(source, reads, name)
        self._call = Call(name, source, fn, reads)
        made = schema if schema is not None else self._inferred(source, reads)
        names = source.schema.arrow.names
        needed = {*(source.key if key is None else key), source.time if time is None else time}
        wanted = names if add else needed
        self._carried = tuple(field for field in names if field in wanted and field not in made.names)
        arrow = pa.schema([*(source.schema.arrow.field(field) for field in self._carried), *made])
        self._made = made
        self._to = _output(source, to, arrow, key, time, name)
        taken = {*reads, *self._carried}
        super().__init__(name, source, tuple(field for field in names if field in taken), row_wise)
        self.keeps_key = bool(source.key) and self._to.key == source.key and set(source.key) <= set(self._carried)
        self._derives = self._checked_derives(derives, reads, made, name)
        self.outputs = (self._to,)
        self.params: dict[str, Any] = {
            "source": source.name,
            "reads": list(reads),
            "schema": [[field.name, str(field.type), field.nullable] for field in arrow],
            "key": list(self._to.key),
            "time": self._to.time,
            "add": add,
        }
        self.version = version_of(f"map 1, {version}", self.params, fn)

    def step(self, batch: Batch, state: State) -> Iterable[Output]:
        if not batch.rows.num_rows:
            return
        rows, indices = self._call.rows(batch.rows, batch.addresses)
        made = self._fitted(rows, batch.addresses)
        count = batch.rows.num_rows
        parents: Addresses | Ranges = batch.addresses
        if indices is None and made.num_rows != count:
            if self._carried:
                raise WrongOutput(
                    f"{made.num_rows} rows were made of {count}, and it is not said which of which, so "
                    f"{listed(self._carried)} cannot be carried over.",
                    where=self._call.where(batch.addresses),
                    fix="Return Mapped(rows, parents=indices), or make these columns in the function.",
                )
            parents = ranges_of(batch.addresses, "batch")
        carried = [batch.rows.column(field) for field in self._carried]
        if indices is not None:
            parents = batch.addresses.take(indices)
            carried = [column.take(pa.array(indices)) for column in carried]
        if made.num_rows:
            columns = [*carried, *made.columns]
            yield Output(self._to.name, pa.RecordBatch.from_arrays(columns, schema=self._to.schema.arrow), (parents,))

    def derives(self) -> dict[str, tuple[Derived, ...]]:
        carried = (Derived(field, ((self.source.name, field),)) for field in self._carried)
        return {self._to.name: (*carried, *self._derives)}

    def _inferred(self, source: Stream, reads: tuple[str, ...]) -> pa.Schema:
        arrow = source.schema.arrow
        empty = pa.RecordBatch.from_pylist([], schema=pa.schema([arrow.field(field) for field in reads]))
        advice = "Give schema=, so that it need not be tried without rows."
        try:
            rows, _ = self._call.rows(empty, None)
        except UndeclaredRead:
            raise
        except StepFailed as error:
            raise CannotMap(
                f"What the function makes cannot be seen: {error.what}", where=error.where, fix=advice
            ) from error
        unknown = [field.name for field in rows.schema if pa.types.is_null(field.type)]
        if unknown:
            raise CannotMap(f"Without rows {listed(unknown)} has no type.", where=self._call.name, fix=advice)
        return rows.schema.remove_metadata()

    def _fitted(self, rows: pa.RecordBatch, addresses: Addresses) -> pa.RecordBatch:
        """The rows with the declared columns in the declared order; WrongOutput if they do not fit."""
        if rows.schema.equals(self._made):
            return rows
        where = self._call.where(addresses)
        declared, got = self._made.names, rows.schema.names
        if sorted(declared) != sorted(got):
            raise WrongOutput(
                f"The function gave the columns {listed(got)}; expected are {listed(declared)}.",
                where=where,
                fix="Return exactly these columns, or declare the others with schema=.",
            )
        columns = []
        for field in self._made:
            column = rows.column(field.name)
            if pa.types.is_null(column.type):
                column = pa.nulls(len(column), field.type)
            if column.type != field.type:
                raise WrongOutput(
                    f"The function gave {field.name!r} as {column.type}; expected is {field.type}.",
                    where=where,
                    fix="Cast it in the function, or declare the other type with schema=.",
                )
            if not field.nullable and column.null_count:
                raise WrongOutput(
                    f"The function gave {column.null_count} nulls in {field.name!r}; expected are none.",
                    where=where,
                    fix="Fill them in the function, or declare the column as nullable.",
                )
            columns.append(column)
        return pa.RecordBatch.from_arrays(columns, schema=self._made)

    def _checked_derives(
        self, derives: dict[str, tuple[str, ...]], reads: tuple[str, ...], made: pa.Schema, name: str
    ) -> tuple[Derived, ...]:
        for field, sources in derives.items():
            if field not in made.names:
                raise CannotMap(f"derives= names {field!r}, which the function does not make.", where=name)
            unread = sorted(set(sources) - set(reads))
            if unread:
                raise CannotMap(f"derives= has {field!r} depend on {listed(unread)}, not in reads=.", where=name)
        stream = self.source.name
        return tuple(
            Derived(field, tuple((stream, one) for one in derives.get(field, reads)), coarse=field not in derives)
            for field in made.names
        )


def _output(
    source: Stream, to: str, arrow: pa.Schema, key: tuple[str, ...] | None, time: str | None, name: str
) -> Stream:
    for field in arrow:
        if pa.types.is_timestamp(field.type) and field.type.tz is None:
            raise CannotMap(
                f"{field.name!r} is a timestamp without time zone.", where=name, fix="Make it a timestamp in UTC."
            )
    key = source.key if key is None else key
    time = source.time if time is None else time
    missing = [field for field in (*key, *([time] if time else [])) if field not in arrow.names]
    if missing:
        raise CannotMap(
            f"The output has no column {listed(missing)}, its key or event time.",
            where=name,
            fix=f"It has {listed(arrow.names)}.",
        )
    kept = {field.name for field in arrow}
    return Stream(
        to,
        Schema(arrow),
        key=key,
        time=time,
        partitions=source.partitions,
        entities={field: what for field, what in source.entities.items() if field in kept},
        addresses=tuple(field for field in source.addresses if field in kept),
    )
