"""Nested columns rebuilt with other values inside: the one recursion over structs and lists."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from streams.types import is_list, list_word


def rebuild(column: pa.Array, kind: pa.DataType, leaf: Callable[[pa.Array, pa.DataType], pa.Array]) -> pa.Array:
    """The column as the type `kind`, which has the same structs and lists, with `leaf(values, type)` applied to all
    that is neither. pa.ArrowInvalid if a list does not fit a list of fixed size."""
    if pa.types.is_struct(kind):
        pairs = zip(column.flatten(), kind, strict=True)
        children = [rebuild(child, field.type, leaf) for child, field in pairs]
        return pa.StructArray.from_arrays(children, fields=list(kind), mask=column.is_null())
    if is_list(kind):
        items = rebuild(pc.list_flatten(column), kind.value_type, leaf)
        plain = list_array(list_offsets(column), items, kind.value_field, column.is_null())
        return plain if list_word(kind) == "list" else plain.cast(kind)
    return leaf(column, kind)


def list_offsets(column: pa.Array) -> pa.Array:
    """The n + 1 offsets of a list column's values in `pc.list_flatten(column)`."""
    offsets = np.zeros(len(column) + 1, dtype=np.int32)
    np.cumsum(pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False), out=offsets[1:])
    return pa.array(offsets)


def list_array(offsets: pa.Array, items: pa.Array, field: pa.Field, mask: pa.Array) -> pa.ListArray:
    return pa.ListArray.from_arrays(offsets, items, type=pa.list_(field), mask=mask)
