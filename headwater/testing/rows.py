"""Rows as people write them in a test: lists of dicts or dataclasses, or anything that Arrow can read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

import pyarrow as pa

from headwater.testing.difference import difference
from headwater.testing.failure import CannotCheck, CheckFailed
from streams.conform import conform
from streams.stream import Stream


def by_stream(data: Any, only: str | None) -> Mapping[str, Any]:
    if isinstance(data, Mapping):
        return data
    if only is None:
        raise CannotCheck("It is not said of which stream these rows are.", fix='Write {"stream name": [rows]}.')
    return {only: data}


def named_rows(data: Mapping[str, Any], streams: Mapping[str, Stream]) -> dict[str, tuple[Stream, Any]]:
    """Rows by the full names of their streams; the pipeline's name may be left out in front."""
    found = {}
    for name, rows in data.items():
        fitting = [one for one in streams if one == name] or [one for one in streams if one.endswith(f".{name}")]
        if len(fitting) != 1:
            raise CannotCheck(
                f"{name!r} is {'no stream' if not fitting else 'more than one stream'} here.",
                fix=f"There are {', '.join(sorted(streams))}.",
            )
        found[fitting[0]] = (streams[fitting[0]], rows)
    return found


def batch_of(data: Any, stream: Stream) -> pa.RecordBatch:
    return single_batch(conform(data, stream.schema, where=stream.name))


def guessed(data: Any, name: str) -> pa.RecordBatch:
    try:
        return single_batch(_table(data))
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise CannotCheck(
            f"The rows cannot be read: {error}", where=name, fix="Give their types with schema=."
        ) from error


def expected_rows(data: Any, schema: pa.Schema, where: str) -> pa.Table:
    """Expected rows with the types of the rows made, and only the columns that they name."""
    plain = [_plain(one) for one in data] if isinstance(data, list | tuple) else data
    names = (
        list(dict.fromkeys(name for row in plain for name in row))
        if isinstance(plain, list)
        else _table(data).column_names
    )
    unknown = [name for name in names if name not in schema.names]
    if unknown:
        raise CheckFailed(
            f"Expected are columns that were not made: {', '.join(map(repr, unknown))}",
            where=where,
            fix=f"There are {', '.join(schema.names)}.",
        )
    wanted = pa.schema([schema.field(name).with_nullable(True) for name in (names or schema.names)])
    try:
        if isinstance(plain, list):
            return pa.Table.from_pylist(plain, schema=wanted)
        return _table(data).select(wanted.names).cast(wanted)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise CheckFailed(
            f"What is expected cannot be a row that was made: {error}", where=where, fix=f"Rows are {_types(wanted)}."
        ) from error


def _table(data: Any) -> pa.Table:
    if isinstance(data, list | tuple):
        return pa.Table.from_pylist([_plain(one) for one in data])
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data])
    return pa.Table.from_pandas(data, preserve_index=False) if hasattr(data, "iloc") else pa.table(data)


def single_batch(table: pa.Table) -> pa.RecordBatch:
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)


def _types(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)


def table_difference(made: pa.Table, expected: pa.Table, **options: Any) -> str | None:
    return difference(made.to_pylist(), expected.to_pylist(), **options)


def _plain(row: Any) -> Any:
    return asdict(row) if is_dataclass(row) and not isinstance(row, type) else row
