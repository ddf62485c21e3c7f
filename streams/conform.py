"""Data from anywhere made to fit a stream's schema, or refused with field, row and value; nothing gets lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from streams.fit import Fitting, RowOf, first_failing
from streams.schema import Schema
from streams.types import SchemaError, is_list, is_nested, nullable_throughout, type_text


def conform(data: Any, schema: Schema, *, where: str, first: int = 0) -> pa.Table:
    """The data as a table of exactly this schema, columns matched by name.

    `data` is anything with the Arrow interface (tables and batches of Arrow, polars, …), a pandas DataFrame (its
    missing values become null, its index is left out), a list of dicts or dataclass instances, or a dict of columns.
    Conversions that keep every value are made (integers to another width, other time zones to UTC,
    dictionaries to plain values, floats to the nearest float of the declared width); NaN stays NaN.

    SchemaError, which starts with `where` and names field, row (counted from `first`) and value: a column that the
    schema does not have, a required one missing or null, a timestamp without a time zone, a value that would change.
    """
    fitting = Fitting(where, strict=True, first=first)
    table = _as_table(data, schema, fitting)
    given = table.column_names
    for name in given:
        if given.count(name) > 1:
            raise fitting.error("Two columns have the same name", name, "Rename one of them.")
        if name not in schema.arrow.names:
            fitting.extra(name, schema.names)
    columns = []
    for wanted in schema.arrow:
        if wanted.name in given:
            column = _fit_chunks(table.column(wanted.name), wanted, fitting)
        else:
            fitting.missing(wanted, wanted.name, given)
            column = pa.chunked_array([pa.nulls(table.num_rows, wanted.type)])
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=schema.arrow)


def check_fits(rows: pa.RecordBatch, schema: Schema, *, where: str | None = None) -> None:
    """SchemaError unless the rows have exactly the schema's columns and no null in a required field."""
    if not rows.schema.equals(schema.arrow):
        _check_columns(rows, schema, Fitting(where, strict=True))
    check_nulls(rows, schema, where=where)


def check_nulls(rows: pa.RecordBatch, schema: Schema, *, where: str | None = None) -> None:
    """SchemaError for a null in a required field of rows that have the schema's columns."""
    for at, wanted, nested in schema.guarded:
        column = rows.column(at)
        if nested or column.null_count:
            _refuse_nulls(column, wanted, wanted.name, lambda row: row, Fitting(where, strict=True))


def _check_columns(rows: pa.RecordBatch, schema: Schema, fitting: Fitting) -> None:
    if rows.schema.names != schema.arrow.names:
        raise SchemaError(
            f"The columns are {', '.join(rows.schema.names)}",
            where=fitting.where or "rows",
            fix=f"The schema has {', '.join(schema.names)}, in this order: use `conform` or `project`.",
        )
    for column, wanted in zip(rows.columns, schema.arrow, strict=True):
        if not _same_type(column.type, wanted.type):
            raise fitting.error(
                f"The column is {column.type}, the schema says {type_text(wanted.type)}",
                wanted.name,
                "Use `conform` or `project`.",
            )


def _same_type(given: pa.DataType, wanted: pa.DataType) -> bool:
    """Equal but for what nested fields say about nulls, which is checked on the values."""
    if given == wanted:
        return True
    if is_list(given) and is_list(wanted):
        sizes = [kind.list_size if pa.types.is_fixed_size_list(kind) else None for kind in (given, wanted)]
        same = given.id == wanted.id and sizes[0] == sizes[1]
        return same and _same_type(given.value_type, wanted.value_type)
    if pa.types.is_struct(given) and pa.types.is_struct(wanted):
        return [f.name for f in given] == [f.name for f in wanted] and all(
            _same_type(one.type, other.type) for one, other in zip(given, wanted, strict=True)
        )
    return False


def _fit_chunks(column: pa.ChunkedArray, wanted: pa.Field, fitting: Fitting) -> pa.ChunkedArray:
    chunks, start = [], 0
    for chunk in column.chunks:
        row_of = _rows_from(start)
        fitted = fitting.column(chunk, wanted, wanted.name, row_of)
        _refuse_nulls(fitted, wanted, wanted.name, row_of, fitting)
        chunks.append(fitted)
        start += len(chunk)
    return pa.chunked_array(chunks, wanted.type)


def _rows_from(start: int) -> RowOf:
    return lambda row: start + row


def _refuse_nulls(column: pa.Array, wanted: pa.Field, path: str, row_of: RowOf, fitting: Fitting) -> None:
    if not wanted.nullable and column.null_count:
        first = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise fitting.error(
            "A required field is null", path, "Give it a value, or declare the field nullable.", row_of(first)
        )
    if is_list(wanted.type) and not nullable_throughout(wanted.type.value_field):
        parents = pc.list_parent_indices(column)
        items = pc.list_flatten(column)
        _refuse_nulls(items, wanted.type.value_field, f"{path}[]", lambda at: row_of(parents[at].as_py()), fitting)
    elif pa.types.is_struct(wanted.type) and not all(map(nullable_throughout, wanted.type)):
        present = column.is_valid()
        rows = np.flatnonzero(present.to_numpy(zero_copy_only=False))
        for child, field in zip(column.filter(present).flatten(), wanted.type, strict=True):
            _refuse_nulls(child, field, f"{path}.{field.name}", lambda at: row_of(int(rows[at])), fitting)


def _as_table(data: Any, schema: Schema, fitting: Fitting) -> pa.Table:
    if isinstance(data, pa.Table):
        return data
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data])
    if type(data).__module__.partition(".")[0] == "pandas" and hasattr(data, "columns"):
        return _from_pandas(data, fitting)
    if hasattr(data, "__arrow_c_stream__"):
        return pa.table(data)
    if hasattr(data, "__arrow_c_array__"):
        return pa.Table.from_batches([pa.record_batch(data)])
    if isinstance(data, Mapping):
        return _from_columns(data, schema, fitting)
    if isinstance(data, Sequence) and not isinstance(data, str | bytes):
        return _from_rows(data, schema, fitting)
    raise SchemaError(
        f"Rows cannot be taken from {type(data).__name__}",
        where=fitting.where,
        fix="Give an Arrow table, a pandas or polars DataFrame, a list of dicts or a dict of columns.",
    )


def _from_pandas(frame: Any, fitting: Fitting) -> pa.Table:
    try:
        return pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise SchemaError(
            f"The DataFrame has a column of mixed values: {error}",
            where=fitting.where,
            fix="Give every column one type, for example with astype.",
        ) from error


def _from_columns(data: Mapping[str, Any], schema: Schema, fitting: Fitting) -> pa.Table:
    columns = {
        name: _values_to_arrow(values, name, schema, fitting) if isinstance(values, list | tuple) else _array(values)
        for name, values in data.items()
    }
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise SchemaError(
            f"The columns have different lengths: {lengths}",
            where=fitting.where,
            fix="Give every column as many values.",
        )
    return pa.table(columns)


def _array(values: Any) -> Any:
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    return pa.array(values)


def _from_rows(rows: Sequence[Any], schema: Schema, fitting: Fitting) -> pa.Table:
    # The rows are Python objects already: turning them into columns has to touch each of them.
    if rows and is_dataclass(rows[0]):
        rows = [{field.name: getattr(row, field.name) for field in fields(row)} for row in rows]
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise SchemaError(
                f"Row {number} is {type(row).__name__}",
                where=fitting.where,
                fix="Give a list of dicts, or of instances of one dataclass.",
            )
    names = dict.fromkeys(name for row in rows for name in row)
    for name in names:
        if name not in schema.arrow.names:
            fitting.extra(name, schema.names)
    if not rows:
        return schema.arrow.empty_table()
    columns = {
        name: _values_to_arrow([row.get(name) for row in rows], name, schema, fitting)
        for name in schema.names
        if name in names
    }
    return pa.table(columns) if columns else pa.table({schema.names[0]: pa.nulls(len(rows))})


def _values_to_arrow(values: Sequence[Any], name: str, schema: Schema, fitting: Fitting) -> pa.Array:
    """Python values as Arrow infers them, so that the conversion to the wanted type is checked like any other."""
    if name not in schema.arrow.names:
        fitting.extra(name, schema.names)
    wanted = schema.arrow.field(name)
    if is_nested(wanted.type):
        values = [_plain(value) for value in values]
    _check_times(values, wanted.type, name, fitting)
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        pass  # Mixed or very large values: perhaps the wanted type holds all of them.
    try:
        return pa.array(values, wanted.type)
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        row = first_failing(values, _attempt(wanted.type))
        raise fitting.error(
            f"{values[row]!r} does not fit {type_text(wanted.type)}", name, "Correct the value.", row
        ) from error


def _attempt(kind: pa.DataType) -> Callable[[Any], object]:
    def attempt(values: Any) -> None:
        try:
            pa.array(values, kind)
        except (OverflowError, TypeError, ValueError) as error:
            raise pa.ArrowInvalid(str(error)) from error

    return attempt


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _check_times(values: Sequence[Any], kind: pa.DataType, path: str, fitting: Fitting, rows: Any = None) -> None:
    """Arrow takes a naive datetime among others for UTC, and cuts a datetime to a date: neither may pass."""
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        for at, value in enumerate(values):
            if isinstance(value, datetime):
                row = at if rows is None else rows[at]
                if pa.types.is_date(kind):
                    raise fitting.error(f"{value!r} is not a date", path, "Give value.date().", row)
                if value.tzinfo is None:
                    fix = "Attach its time zone: value.replace(tzinfo=timezone.utc) if it is UTC."
                    raise fitting.error(f"{value!r} has no time zone", path, fix, row)
    elif is_list(kind):
        found = [(at, item) for at, value in enumerate(values) if isinstance(value, list) for item in value]
        inner = [at if rows is None else rows[at] for at, _ in found]
        _check_times([item for _, item in found], kind.value_type, f"{path}[]", fitting, inner)
    elif pa.types.is_struct(kind):
        for field in kind:
            children = [value.get(field.name) if isinstance(value, Mapping) else None for value in values]
            _check_times(children, field.type, f"{path}.{field.name}", fitting, rows)
