"""Columns of text as JSON string literals, without a look at each row."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc


def quoted(column: pa.StringArray) -> pa.StringArray:
    """Each text as a JSON string literal, quotes included; nulls stay null."""
    plain = pc.binary_join_element_wise('"', column, '"', "")
    special = _rows_to_escape(column)
    if not len(special):
        return plain
    rows = pa.array(special)
    # Few texts need escapes, as a rule; each of those is escaped once however often it occurs.
    distinct = column.take(rows).dictionary_encode()
    escaped = pa.array([_escaped(text) for text in distinct.dictionary.to_pylist()], pa.string())
    mask = np.zeros(len(column), dtype=bool)
    mask[special] = True
    return pc.replace_with_mask(plain, pa.array(mask), escaped.take(distinct.indices))


def offsets_and_data(column: pa.Array) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8]]:
    """The n + 1 offsets of a string or binary array's values, and the bytes that they point into."""
    large = pa.types.is_large_string(column.type) or pa.types.is_large_binary(column.type)
    _, offsets, data = column.buffers()
    if offsets is None or not offsets.size:
        return np.zeros(1, dtype=np.int32), np.zeros(0, dtype=np.uint8)
    points = np.frombuffer(offsets, dtype=np.int64 if large else np.int32)
    return points[column.offset : column.offset + len(column) + 1], np.frombuffer(data or b"", dtype=np.uint8)


_SPECIAL: Final = np.array([code < 0x20 or code in b'"\\' for code in range(256)])


def _rows_to_escape(column: pa.StringArray) -> npt.NDArray[np.int64]:
    offsets, data = offsets_and_data(column)
    at = np.flatnonzero(_SPECIAL[data[offsets[0] : offsets[-1]]]) + offsets[0]
    rows = np.unique(np.searchsorted(offsets, at, side="right") - 1)
    if column.null_count and len(rows):
        rows = rows[column.is_valid().to_numpy(zero_copy_only=False)[rows]]
    return rows


def _escaped(text: str) -> str:
    return orjson.dumps(text).decode()
