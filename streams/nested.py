"""Nested columns rebuilt with other values inside: the one recursion over structs and lists."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from streams.types import is_list


def rebuild(column: pa.Array, kind: pa.DataType, leaf: Callable[[pa.Array, pa.DataType], pa.Array]) -> pa.Array:
    """The column as the type `kind`, which has the same structs and lists, with `leaf(values, type)` applied to all
    that is neither. pa.ArrowInvalid if a list does not fit a list of fixed size."""
    if pa.types.is_struct(kind):
        pairs = zip(column.flatten(), kind, strict=True)
        children = [rebuild(child, field.type, leaf) for child, field in pairs]
        return pa.StructArray.from_arrays(children, fields=list(kind), mask=column.is_null())
    if is_list(kind):
        items = rebuild(pc.list_flatten(column), kind.value_type, leaf)
        return list_array(column, items, kind)
    return leaf(column, kind)


def list_lengths(column: pa.Array) -> npt.NDArray[np.int64]:
    """How many values of `pc.list_flatten(column)` each row has: none where the list is null."""
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    return lengths.astype(np.int64)


def list_array(like: pa.Array, items: pa.Array, kind: pa.DataType) -> pa.Array:
    """Lists of the type `kind` with the lengths and nulls of `like`, whose flattened values are `items`."""
    lengths = list_lengths(like)
    missing = like.is_null()
    if pa.types.is_fixed_size_list(kind):
        present = like.is_valid().to_numpy(zero_copy_only=False)
        if (lengths[present] != kind.list_size).any():
            raise pa.ArrowInvalid(f"a list does not have {kind.list_size} items")
        slots = np.repeat(present, kind.list_size)
        positions = pa.array(np.cumsum(slots) - 1, mask=~slots)
        return pa.FixedSizeListArray.from_arrays(items.take(positions), type=kind, mask=missing)
    large = pa.types.is_large_list(kind)
    offsets = np.zeros(len(like) + 1, dtype=np.int64 if large else np.int32)
    np.cumsum(lengths, out=offsets[1:])
    build = pa.LargeListArray if large else pa.ListArray
    return build.from_arrays(pa.array(offsets), items, type=kind, mask=missing)
