"""Digests: what a partition holds, independent of where its messages lie and how they are cut."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.execution.state import State
from streams.log.protocol import Log
from streams.message import TASK, header
from streams.read import PartitionReader
from streams.schema import Schema
from streams.stream import Stream

#: Columns in which operators keep the addresses of rows that they hold.
ADDRESS_COLUMNS = frozenset({"@partition", "@offset", "@row"})


def digest_rows(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> str:
    """SHA-256 over the rows as one chunk: null slots zeroed, NaN canonical, columns in the schema's order."""
    table = pa.Table.from_batches(list(batches), schema=schema)
    hasher = hashlib.sha256()
    for field, column in zip(table.schema, table.columns, strict=True):
        hasher.update(f"{field.name}:{field.type}:{table.num_rows}\n".encode())
        array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
        if isinstance(array, pa.ChunkedArray):
            array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], field.type)
        _update(hasher.update, array)
    return hasher.hexdigest()


def _update(update: Callable[[Any], None], array: pa.Array) -> None:
    valid = array.is_valid()
    update(np.packbits(valid.to_numpy(zero_copy_only=False)).tobytes())
    kind = array.type
    if pa.types.is_struct(kind):
        for child in array.flatten():
            _update(update, child)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        lengths = pc.fill_null(pc.list_value_length(array), 0)
        update(lengths.cast(pa.int64()).to_numpy(zero_copy_only=False).tobytes())
        _update(update, pc.list_flatten(array))
    elif (
        pa.types.is_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_large_binary(kind)
    ):
        raw = array.cast(pa.large_binary())
        raw = pc.fill_null(raw, b"") if raw.null_count else raw
        lengths = pc.binary_length(raw)
        update(lengths.to_numpy(zero_copy_only=False).astype(np.int64).tobytes())
        buffers = raw.buffers()
        if buffers[2] is not None:
            offsets = np.frombuffer(buffers[1], dtype=np.int64)[raw.offset : raw.offset + len(raw) + 1]
            update(memoryview(buffers[2])[int(offsets[0]) : int(offsets[-1])])
    elif pa.types.is_floating(kind):
        values = pc.fill_null(array, 0.0).to_numpy(zero_copy_only=False).copy()
        values[np.isnan(values)] = np.nan
        update(values.tobytes())
    elif pa.types.is_boolean(kind):
        update(np.packbits(pc.fill_null(array, False).to_numpy(zero_copy_only=False)).tobytes())
    elif pa.types.is_null(kind):
        return
    elif pa.types.is_integer(kind) or pa.types.is_temporal(kind):
        width = kind.bit_width
        plain = array.view(pa.int64() if width == 64 else pa.int32()) if pa.types.is_temporal(kind) else array
        update(pc.fill_null(plain, 0).to_numpy(zero_copy_only=False).tobytes())
    else:
        _update(update, array.cast(pa.string()))


def rows_by_writer(log: Log, stream: Stream, schemas: Callable[[int], Schema]) -> dict[str, pa.Table]:
    """The rows of every partition and writing task ("partition writer") in order, without columns declared as
    addresses. Corrupt."""
    names = [name for name in stream.schema.arrow.names if name not in stream.addresses]
    schema = pa.schema([stream.schema.arrow.field(name) for name in names])
    found: dict[str, list[pa.RecordBatch]] = {}
    for partition in range(stream.partitions):
        reader = PartitionReader(log, stream, partition, schemas, columns=names)
        while batches := reader.fetch():
            for batch in batches:
                if batch.failure is not None:
                    raise batch.failure
                writer = header(batch.headers, TASK)
                who = "" if writer is None else writer.decode()
                found.setdefault(f"{partition} {who}", []).append(batch.rows)
    return {who: pa.Table.from_batches(rows, schema=schema) for who, rows in sorted(found.items())}


def digest_stream(log: Log, stream: Stream, schemas: Callable[[int], Schema]) -> dict[str, str]:
    """For every partition and writing task ("partition writer") the digest of its rows in order. Columns
    declared as addresses are left out."""
    found = rows_by_writer(log, stream, schemas)
    return {who: digest_rows(rows.to_batches(), rows.schema) for who, rows in found.items()}


def digest_state(state: State) -> str:
    """SHA-256 over a task's state: names and canonical values, without the addresses of rows that it holds."""
    hasher = hashlib.sha256()
    for name in state:
        value = state[name]
        hasher.update(name.encode() + b"\0")
        if isinstance(value, bytes):
            hasher.update(value)
        else:
            kept = value.select([column for column in value.column_names if column not in ADDRESS_COLUMNS])
            hasher.update(digest_rows(kept.to_batches(), kept.schema).encode())
    return hasher.hexdigest()
