"""Base64 of whole columns: one call of the library for all values."""

from __future__ import annotations

import binascii

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from streams.quoting import offsets_and_data

_PAD = ord("=")


def to_base64(column: pa.BinaryArray) -> pa.StringArray:
    """Each value in base64 with padding; nulls stay null."""
    plain = pc.fill_null(column, b"")
    lengths = pc.binary_length(plain).to_numpy()
    missing = -lengths % 3
    filled = pc.binary_join_element_wise(plain, pa.array([b"", b"\0", b"\0\0"]).take(pa.array(missing)), b"")
    offsets, data = offsets_and_data(filled)
    text = np.frombuffer(binascii.b2a_base64(data[offsets[0] : offsets[-1]].data, newline=False), dtype=np.uint8).copy()
    ends = np.cumsum((lengths + missing) // 3 * 4)
    text[ends[missing >= 1] - 1] = _PAD
    text[ends[missing == 2] - 2] = _PAD
    points = np.concatenate(([0], ends)).astype(np.int32)
    return _string_array(points, text, column)


def from_base64(column: pa.StringArray) -> pa.BinaryArray:
    """The values of base64 texts with padding; nulls stay null. pa.ArrowInvalid if a text is something else."""
    plain = pc.fill_null(column, "")
    offsets, data = offsets_and_data(plain)
    text = data[offsets[0] : offsets[-1]].copy()
    ends = offsets[1:] - offsets[0]
    lengths = np.diff(offsets)
    if (lengths % 4).any():
        raise pa.ArrowInvalid("a base64 text has a length that is not a multiple of four")
    full = lengths > 0
    padding = np.zeros(len(lengths), dtype=np.int32)
    last = full & (text[np.where(full, ends - 1, 0)] == _PAD) if len(text) else full
    padding[last] += 1
    text[ends[last] - 1] = ord("A")
    second = last & (text[np.where(last, ends - 2, 0)] == _PAD) if len(text) else last
    padding[second] += 1
    text[ends[second] - 2] = ord("A")
    try:
        values = np.frombuffer(binascii.a2b_base64(text.tobytes(), strict_mode=True), dtype=np.uint8)
    except binascii.Error as error:
        raise pa.ArrowInvalid(f"not a base64 text: {error}") from error
    ends = ends // 4 * 3
    kept = np.ones(len(values), dtype=bool)
    kept[ends[last] - 1] = False
    kept[ends[second] - 2] = False
    points = np.concatenate(([0], np.cumsum(lengths // 4 * 3 - padding))).astype(np.int32)
    return _string_array(points, values[kept], column).cast(pa.binary())


def _string_array(points: np.ndarray, data: np.ndarray, like: pa.Array) -> pa.StringArray:
    bitmap = pa.py_buffer(np.packbits(like.is_valid().to_numpy(zero_copy_only=False), bitorder="little"))
    return pa.StringArray.from_buffers(
        len(like), pa.py_buffer(points), pa.py_buffer(data), bitmap if like.null_count else None
    )
