"""Avro's binary encoding to flat columns, many messages at once.

A position for each message moves over the fields; every step is checked against the message's end before
the bytes are used. Errors do not name a message: the codec finds it by reading parts again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Positions = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_MESSAGES_AT_ONCE: Final = 1 << 15
#: A step may look this far beyond a message before it is checked.
_SLACK: Final = 16


def read_rows(
    values: Sequence[bytes], kinds: Sequence[pa.DataType], nullable: Sequence[bool], header: bytes
) -> list[pa.Array]:
    """One array for each of `kinds` (physical types without nesting). pa.ArrowInvalid unless each value is `header` and
    exactly one row."""
    if len(values) <= _MESSAGES_AT_ONCE:
        return _Reader(values, header).columns(kinds, nullable)
    parts = [
        _Reader(values[start : start + _MESSAGES_AT_ONCE], header).columns(kinds, nullable)
        for start in range(0, len(values), _MESSAGES_AT_ONCE)
    ]
    return [pa.concat_arrays(columns) for columns in zip(*parts, strict=True)]


class _Reader:
    def __init__(self, values: Sequence[bytes], header: bytes) -> None:
        self._data = b"".join((*values, bytes(_SLACK)))
        self._bytes = np.frombuffer(self._data, dtype=np.uint8)
        lengths = np.fromiter(map(len, values), dtype=np.int64, count=len(values))
        self._ends = np.cumsum(lengths)
        self._at = self._ends - lengths
        self._rows = len(values)
        self._header(header, lengths)

    def columns(self, kinds: Sequence[pa.DataType], nullable: Sequence[bool]) -> list[pa.Array]:
        found = [self._column(kind, may_be_null) for kind, may_be_null in zip(kinds, nullable, strict=True)]
        if (self._at != self._ends).any():
            raise pa.ArrowInvalid("it is longer than its schema says")
        return found

    def _header(self, header: bytes, lengths: npt.NDArray[np.int64]) -> None:
        if (lengths < len(header)).any():
            raise pa.ArrowInvalid("it is too short for the magic byte and the schema id")
        # Each byte is looked at in all messages: there are five.
        for offset, byte in enumerate(header):
            if (self._bytes[self._at + offset] != byte).any():
                raise pa.ArrowInvalid(f"it does not begin with {header.hex()}, the magic byte and the schema id")
        self._at = self._at + len(header)

    def _column(self, kind: pa.DataType, nullable: bool) -> pa.Array:
        if not nullable:
            at, array = self._values(kind, self._at, self._ends, None)
            self._at = at
            return array
        branch = self._take(self._at, self._ends, 1)
        if ((branch != 0) & (branch != 2)).any():
            raise pa.ArrowInvalid("a union has a branch that does not exist")
        after = self._at + 1
        valid = branch == 2
        if valid.all():
            self._at, array = self._values(kind, after, self._ends, None)
            return array
        rows = np.flatnonzero(valid)
        at, array = self._values(kind, after[rows], self._ends[rows], valid)
        after[rows] = at
        self._at = after
        return array

    def _values(
        self, kind: pa.DataType, at: Positions, ends: Positions, valid: Mask | None
    ) -> tuple[Positions, pa.Array]:
        """The values at these positions, and the positions after them; `valid` says which rows they are."""
        if pa.types.is_string(kind) or pa.types.is_binary(kind):
            return self._strings(kind, at, ends, valid)
        if pa.types.is_integer(kind):
            numbers, at = self._varints(at, ends)
            if kind.bit_width == 32 and ((numbers < -(2**31)) | (numbers >= 2**31)).any():
                raise pa.ArrowInvalid("an int is wider than 32 bits")
            return at, _spread(numbers.astype(np.int32) if kind.bit_width == 32 else numbers, valid, kind)
        if pa.types.is_boolean(kind):
            flags = self._take(at, ends, 1)
            if (flags > 1).any():
                raise pa.ArrowInvalid("a boolean is neither 0 nor 1")
            return at + 1, _spread(flags.astype(bool), valid, kind)
        width = kind.bit_width // 8
        self._check(at, ends, width)
        if pa.types.is_floating(kind):
            return at + width, _spread(self._view(f"<f{width}")[at], valid, kind)
        grid = self._bytes[at[:, None] + np.arange(width)]
        return at + width, _spread_fixed(grid, valid, kind)

    def _strings(
        self, kind: pa.DataType, at: Positions, ends: Positions, valid: Mask | None
    ) -> tuple[Positions, pa.Array]:
        lengths, at = self._varints(at, ends)
        if ((lengths < 0) | (lengths > ends - at)).any():
            raise pa.ArrowInvalid("a string or bytes value ends beyond the message")
        stops = np.cumsum(lengths)
        total = int(stops[-1]) if len(stops) else 0
        which = np.repeat(at - (stops - lengths), lengths)
        which += np.arange(total)
        offsets = np.zeros(self._rows + 1, dtype=np.int32)
        if valid is None:
            offsets[1:] = stops
        else:
            sizes = np.zeros(self._rows, dtype=np.int64)
            sizes[valid] = lengths
            np.cumsum(sizes, out=offsets[1:])
        buffers = [_bitmap(valid), pa.py_buffer(offsets), pa.py_buffer(self._bytes[which])]
        array = pa.Array.from_buffers(kind, self._rows, buffers)
        array.validate(full=True)
        return at + lengths, array

    def _varints(self, at: Positions, ends: Positions) -> tuple[npt.NDArray[np.int64], Positions]:
        first = self._take(at, ends, 1)
        if not len(first) or first.max() < 0x80:
            return _unzigzag(first.astype(np.uint64)), at + 1
        words = self._view("<u8")[at]
        stops = ~words & np.uint64(0x8080808080808080)
        # The lowest high bit that is not set marks the last byte; what lies above it belongs to later values.
        lowest = stops & (~stops + np.uint64(1))
        sizes = np.frexp(lowest.astype(np.float64))[1].astype(np.int64) >> 3
        numbers = _join_sevens(words & (lowest | (lowest - np.uint64(1))))
        long = np.flatnonzero(stops == 0)
        if len(long):
            numbers[long], sizes[long] = self._long_varints(at[long], words[long])
        self._check(at, ends, sizes)
        return _unzigzag(numbers), at + sizes

    def _long_varints(self, at: Positions, words: npt.NDArray[np.uint64]) -> tuple[Any, Any]:
        """Varints of nine or ten bytes."""
        ninth = self._bytes[at + 8].astype(np.uint64)
        tenth = self._bytes[at + 9].astype(np.uint64)
        ten = ninth >= 0x80
        if (ten & (tenth > 1)).any():
            raise pa.ArrowInvalid("a number is wider than 64 bits")
        numbers = _join_sevens(words) | ((ninth & np.uint64(0x7F)) << np.uint64(56))
        numbers |= np.where(ten, tenth, np.uint64(0)) << np.uint64(63)
        return numbers, np.where(ten, 10, 9)

    def _take(self, at: Positions, ends: Positions, width: int) -> npt.NDArray[np.uint8]:
        self._check(at, ends, width)
        return self._bytes[at]

    def _check(self, at: Positions, ends: Positions, width: int | npt.NDArray[np.int64]) -> None:
        if (at + width > ends).any():
            raise pa.ArrowInvalid("it is shorter than its schema says")

    def _view(self, kind: str) -> npt.NDArray[Any]:
        """At each byte position the number that begins there."""
        width = np.dtype(kind).itemsize
        return np.ndarray((len(self._data) - width + 1,), dtype=kind, buffer=self._data, strides=(1,))


def _join_sevens(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The low seven bits of each of eight bytes, together 56: neighbours are joined, then pairs, then fours."""
    words = words & np.uint64(0x7F7F7F7F7F7F7F7F)
    words = (words & np.uint64(0x007F007F007F007F)) | ((words & np.uint64(0x7F007F007F007F00)) >> np.uint64(1))
    words = (words & np.uint64(0x00003FFF00003FFF)) | ((words & np.uint64(0x3FFF00003FFF0000)) >> np.uint64(2))
    return (words & np.uint64(0x000000000FFFFFFF)) | ((words & np.uint64(0x0FFFFFFF00000000)) >> np.uint64(4))


def _unzigzag(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    return ((numbers >> np.uint64(1)) ^ (~(numbers & np.uint64(1)) + np.uint64(1))).view(np.int64)


def _spread(values: npt.NDArray[Any], valid: Mask | None, kind: pa.DataType) -> pa.Array:
    if valid is None:
        return pa.array(values, kind)
    full = np.zeros(len(valid), dtype=values.dtype)
    full[valid] = values
    return pa.array(full, kind, mask=~valid)


def _spread_fixed(grid: npt.NDArray[np.uint8], valid: Mask | None, kind: pa.DataType) -> pa.Array:
    full = grid
    if valid is not None:
        full = np.zeros((len(valid), kind.byte_width), dtype=np.uint8)
        full[valid] = grid
    data = pa.py_buffer(np.ascontiguousarray(full))
    return pa.Array.from_buffers(kind, len(full), [_bitmap(valid), data])


def _bitmap(valid: Mask | None) -> pa.Buffer | None:
    return None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
