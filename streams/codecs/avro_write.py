"""Flat columns to Avro's binary encoding, all rows at once.

Fixed bytes and varints of neighbouring columns become rows of a byte grid, of which a mask takes the bytes that
are really there; strings go between such pieces as Arrow joins them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

_ROWS_AT_ONCE: Final = 1 << 14
_FIXED: Final = {pa.float32(): "<f4", pa.float64(): "<f8"}


def write_rows(columns: Sequence[pa.Array], nullable: Sequence[bool], header: bytes) -> list[bytes]:
    """For each row `header` and the row's values, in order; `columns` have physical types without nesting."""
    values: list[bytes] = []
    count = len(columns[0])
    for start in range(0, count, _ROWS_AT_ONCE):
        part = [column.slice(start, _ROWS_AT_ONCE) for column in columns]
        values += _write(part, nullable, header).to_pylist()
    return values


def _write(columns: Sequence[pa.Array], nullable: Sequence[bool], header: bytes) -> pa.BinaryArray:
    count = len(columns[0])
    grid = _Grid(count)
    grid.constant(header)
    pieces: list[pa.Array] = []
    for column, may_be_null in zip(columns, nullable, strict=True):
        valid = None
        if may_be_null:
            valid = column.is_valid().to_numpy(zero_copy_only=False) if column.null_count else None
            grid.branch(valid)
        kind = column.type
        if pa.types.is_string(kind) or pa.types.is_binary(kind):
            raw = column.cast(pa.binary())
            raw = raw if valid is None else pc.fill_null(raw, b"")
            grid.varint(pc.binary_length(raw).to_numpy(), valid)
            pieces += [grid.array(), raw]
            grid = _Grid(count)
        elif pa.types.is_integer(kind):
            grid.varint(_numbers(column), valid)
        elif pa.types.is_boolean(kind):
            grid.fixed(_numbers(column).astype(np.uint8)[:, None], valid)
        elif kind in _FIXED:
            raw_values = np.ascontiguousarray(_numbers(column), dtype=_FIXED[kind])
            grid.fixed(raw_values.view(np.uint8).reshape(count, -1), valid)
        else:
            data = np.frombuffer(column.buffers()[1], dtype=np.uint8).reshape(-1, kind.byte_width)
            grid.fixed(data[column.offset : column.offset + count], valid)
    if grid.width or not pieces:
        pieces.append(grid.array())
    if len(pieces) == 1:
        return pieces[0]
    return pc.binary_join_element_wise(*pieces, b"")


class _Grid:
    """The bytes of some neighbouring columns: per part a byte matrix and, where rows differ in length, a mask."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.width = 0
        self._parts: list[tuple[Bytes, Mask | None]] = []

    def constant(self, data: bytes) -> None:
        self._add(np.broadcast_to(np.frombuffer(data, dtype=np.uint8), (self.rows, len(data))), None)

    def branch(self, valid: Mask | None) -> None:
        """The branch of a union with null first."""
        if valid is None:
            self.constant(b"\2")
        else:
            self._add((valid.view(np.uint8) * np.uint8(2))[:, None], None)

    def fixed(self, data: Bytes, valid: Mask | None) -> None:
        self._add(data, None if valid is None else np.broadcast_to(valid[:, None], data.shape))

    def varint(self, numbers: npt.NDArray[Any], valid: Mask | None) -> None:
        """Zigzag, then seven bits a byte, the lowest first, the high bit on all but the last."""
        signed = numbers.astype(np.int64, copy=False)
        rest = ((signed << 1) ^ (signed >> 63)).view(np.uint64)
        if valid is not None:
            rest = np.where(valid, rest, np.uint64(0))
        bits = int(rest.max()).bit_length() if len(rest) else 0
        width = max(1, -(-bits // 7))
        data = np.empty((self.rows, width), dtype=np.uint8)
        mask = np.empty((self.rows, width), dtype=bool)
        mask[:, 0] = True if valid is None else valid
        for at in range(width - 1):
            low = rest.astype(np.uint8)
            rest = rest >> np.uint64(7)
            more = rest != 0
            data[:, at] = (low & 0x7F) | (more.view(np.uint8) << 7)
            mask[:, at + 1] = more
        data[:, -1] = rest
        self._add(data, None if width == 1 and valid is None else mask)

    def array(self) -> pa.BinaryArray:
        grid = np.concatenate([data for data, _ in self._parts], axis=1)
        offsets = np.zeros(self.rows + 1, dtype=np.int32)
        if all(mask is None for _, mask in self._parts):
            offsets[:] = np.arange(self.rows + 1) * self.width
        else:
            masks = [np.ones(data.shape, dtype=bool) if mask is None else mask for data, mask in self._parts]
            mask = np.concatenate(masks, axis=1)
            np.cumsum(np.count_nonzero(mask, axis=1), out=offsets[1:])
            grid = grid[mask]
        return pa.Array.from_buffers(
            pa.binary(), self.rows, [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(grid))]
        )

    def _add(self, data: Bytes, mask: Mask | None) -> None:
        self.width += data.shape[1]
        self._parts.append((data, mask))


def _numbers(column: pa.Array) -> npt.NDArray[Any]:
    """The values, anything where null."""
    if pa.types.is_boolean(column.type):
        return pc.fill_null(column, False).to_numpy(zero_copy_only=False)
    width = column.type.bit_width // 8
    kind = f"<f{width}" if pa.types.is_floating(column.type) else f"<i{width}"
    return np.frombuffer(column.buffers()[1], dtype=kind)[column.offset : column.offset + len(column)]
