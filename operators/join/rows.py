"""Rows that wait in state: the columns that an input declares, beside each row's event time and address."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from operators.operator import Batch
from streams.parents import NO_PARENT, Addresses

Times = npt.NDArray[np.int64]

#: The first columns of rows in state, found by place: a stream may have columns of the same names.
_OURS = [("@time", pa.int64()), ("@partition", pa.int32()), ("@offset", pa.int64()), ("@row", pa.int32())]
_FIRST = len(_OURS)


def kept_schema(columns: pa.Schema) -> pa.Schema:
    """The schema of rows in state whose own columns are these."""
    return pa.schema([pa.field(name, kind) for name, kind in _OURS] + list(columns))


def kept(batch: Batch, schema: pa.Schema, chosen: npt.NDArray[np.bool_] | None = None) -> Any:
    """A batch's rows (those `chosen`) as a record batch of `schema`, in their order."""
    addresses = batch.addresses
    ours = [
        pa.array(np.ascontiguousarray(values, dtype=kind))
        for values, kind in (
            (batch.times, np.int64),
            (addresses.partition, np.int32),
            (addresses.offset, np.int64),
            (addresses.row, np.int32),
        )
    ]
    columns = [batch.rows.column(name) for name in schema.names[_FIRST:]]
    rows = pa.RecordBatch.from_arrays(ours + columns, schema=schema)
    return rows if chosen is None else rows.filter(pa.array(chosen))


def times_of(rows: Any) -> Times:
    return rows.column(0).to_numpy()


def addresses_of(rows: Any, stream: str) -> Addresses:
    """Where the rows lie; rows of nulls (of an outer join) have no parent."""
    columns = [rows.column(place) for place in range(1, _FIRST)]
    if columns[0].null_count:
        columns = [pc.fill_null(column, NO_PARENT) for column in columns]
    return Addresses(stream, *(column.to_numpy() for column in columns))


def own_columns(rows: Any) -> Any:
    """A record batch of kept rows without their times and addresses."""
    return pa.RecordBatch.from_arrays(rows.columns[_FIRST:], schema=pa.schema(list(rows.schema)[_FIRST:]))


def column_of(rows: Any, schema: pa.Schema, name: str) -> Any:
    """A stream's own column among kept rows of this schema."""
    return rows.column(schema.names.index(name, _FIRST))


def taken(rows: Any, positions: npt.NDArray[np.int64]) -> Any:
    """One record batch with the rows at these positions; a negative one gives a row of nulls."""
    if not isinstance(rows, pa.RecordBatch) and rows.column(0).num_chunks > 1:
        return _taken_by_chunk(rows, positions)
    missing = positions < 0
    indices = pa.array(positions, mask=missing) if missing.any() else pa.array(positions)
    return one_batch(rows.take(indices))


def chosen_columns(schema: pa.Schema, names: Sequence[str]) -> list[int]:
    """The places of the event times, the addresses and these columns among kept rows."""
    return [*range(_FIRST), *(schema.names.index(name, _FIRST) for name in names)]


def _taken_by_chunk(rows: pa.Table, positions: npt.NDArray[np.int64]) -> Any:
    """Arrow would join all chunks before it takes from them; here only the rows that are taken are copied."""
    batches = [batch for batch in rows.to_batches() if batch.num_rows]
    ends = np.cumsum([batch.num_rows for batch in batches])
    where = np.searchsorted(ends, positions, side="right")
    where[positions < 0] = -1
    parts, places = [], []
    for number in np.unique(where).tolist():
        at = np.flatnonzero(where == number)
        if number < 0:
            parts.append(_nulls(rows.schema, len(at)))
        else:
            batch = batches[number]
            parts.append(batch.take(pa.array(positions[at] - (ends[number] - batch.num_rows))))
        places.append(at)
    if not parts:
        return one_batch(rows.slice(0, 0))
    whole = one_batch(pa.Table.from_batches(parts))
    if len(places) == 1:
        return whole
    order = np.empty(len(positions), dtype=np.int64)
    order[np.concatenate(places)] = np.arange(len(positions))
    return whole.take(pa.array(order))


def _nulls(schema: pa.Schema, count: int) -> Any:
    return pa.RecordBatch.from_arrays([pa.nulls(count, field.type) for field in schema], schema=schema)


def one_batch(rows: Any) -> Any:
    """The rows of a table or record batch as one record batch."""
    if isinstance(rows, pa.RecordBatch):
        return rows
    batches = rows.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=rows.schema)
