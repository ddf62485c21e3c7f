"""Many messages as the bytes of Kafka's record batches, column by column instead of message by message."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from streams.message import Headers

#: Messages up to this size are packed, into blocks of about `BLOCK_BYTES`: less than the smallest limit of a topic.
LARGEST_PACKED: Final = 256 << 10
BLOCK_BYTES: Final = 512 << 10
#: A message needs no more bytes than these beside its key, value and headers.
_OVERHEAD: Final = 20

Ints = npt.NDArray[np.int64]


def packed(
    keys: Sequence[bytes | None], values: Sequence[bytes | None], headers: Sequence[Headers] | Headers
) -> Iterator[tuple[int, Any]]:
    """Blocks of consecutive messages: how many, and their bytes as they stand in a record batch behind its header, all
    with its first timestamp. The form is that of https://kafka.apache.org/documentation/#record."""
    written, which = _headers(headers, len(values))
    key_lengths, value_lengths = _lengths(keys), _lengths(values)
    header_lengths = np.array([len(one) for one in written], dtype=np.int64)[which]
    ends = np.cumsum(np.maximum(key_lengths, 0) + np.maximum(value_lengths, 0) + header_lengths + _OVERHEAD)
    cuts = np.searchsorted(ends, np.arange(BLOCK_BYTES, int(ends[-1]), BLOCK_BYTES), side="left") + 1
    bounds = np.unique(np.concatenate([[0], cuts, [len(values)]]))
    choices = pa.array(written, pa.binary())
    for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        here = slice(start, stop)
        chosen = which[here]
        same = choices[int(chosen[0])] if (chosen == chosen[0]).all() else choices.take(pa.array(chosen))
        yield (
            stop - start,
            _block(
                None if (key_lengths[here] < 0).all() else pa.array(keys[here], pa.binary()),
                key_lengths[here],
                pa.array(values[here], pa.binary()),
                value_lengths[here],
                same,
                header_lengths[here],
            ),
        )


def _block(
    keys: pa.BinaryArray | None,
    key_lengths: Ints,
    values: pa.BinaryArray,
    value_lengths: Ints,
    headers: pa.BinaryArray | pa.BinaryScalar,
    header_lengths: Ints,
) -> memoryview:
    count = len(values)
    delta, key, value = _Varints(np.arange(count)), _Varints(key_lengths), _Varints(value_lengths)
    sizes = np.maximum(key_lengths, 0) + np.maximum(value_lengths, 0) + header_lengths
    size = _Varints(sizes + 2 + delta.widths + key.widths + value.widths)
    # No attributes, and no time of its own.
    nothing = _Constant(count, b"\0\0")
    if keys is None:
        parts = [_joined(size, nothing, delta, key, value), values.fill_null(b""), headers]
    else:
        before, between = _joined(size, nothing, delta, key), _joined(value)
        parts = [before, keys.fill_null(b""), between, values.fill_null(b""), headers]
    whole = pc.binary_join_element_wise(*parts, b"")
    offsets = np.frombuffer(whole.buffers()[1], np.int32)[whole.offset : whole.offset + count + 1]
    return memoryview(whole.buffers()[2])[int(offsets[0]) : int(offsets[-1])]


class _Varints:
    """Zigzag numbers of seven bits a byte."""

    def __init__(self, numbers: Ints) -> None:
        self.zigzag = ((numbers << 1) ^ (numbers >> 63)).astype(np.uint64)
        self.widths = np.ones(len(numbers), dtype=np.int64)
        for width in range(1, 10):
            more = self.zigzag >= np.uint64(1 << (7 * width))
            if not more.any():
                break
            self.widths += more

    def write(self, data: npt.NDArray[np.uint8], at: Ints) -> None:
        for place in range(int(self.widths.max())):
            has = self.widths > place
            low = (self.zigzag[has] >> np.uint64(7 * place)) & np.uint64(0x7F)
            goes_on = (self.widths[has] > place + 1).astype(np.uint64) << np.uint64(7)
            data[at[has] + place] = low | goes_on


class _Constant:
    """The same bytes everywhere."""

    def __init__(self, count: int, value: bytes) -> None:
        self.widths = np.full(count, len(value), dtype=np.int64)
        self._value = value

    def write(self, data: npt.NDArray[np.uint8], at: Ints) -> None:
        for place, byte in enumerate(self._value):
            data[at + place] = byte


def _joined(*parts: _Varints | _Constant) -> pa.BinaryArray:
    """The parts of each row one behind the other."""
    ends = np.cumsum(sum(part.widths for part in parts))
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    data = np.empty(int(ends[-1]), dtype=np.uint8)
    at = offsets[:-1].astype(np.int64)
    for part in parts:
        part.write(data, at)
        at = at + part.widths
    return pa.Array.from_buffers(pa.binary(), len(ends), [None, pa.py_buffer(offsets), pa.py_buffer(data)])


def _lengths(of: Sequence[bytes | None]) -> Ints:
    """How long each is, -1 for None."""
    if of and of[0] is None and not any(of) and of.count(None) == len(of):
        return np.full(len(of), -1, dtype=np.int64)
    if None in of:
        return np.fromiter((-1 if one is None else len(one) for one in of), dtype=np.int64, count=len(of))
    return np.fromiter(map(len, of), dtype=np.int64, count=len(of))  # type: ignore[arg-type]


def _headers(headers: Sequence[Headers] | Headers, count: int) -> tuple[list[bytes], Ints]:
    """The headers that there are as bytes, and which of them each message has; equal ones are mostly one object."""
    if isinstance(headers, tuple):
        return [header_bytes(headers)], np.zeros(count, dtype=np.int64)
    objects = np.fromiter(map(id, headers), dtype=np.int64, count=count)
    _, first, which = np.unique(objects, return_index=True, return_inverse=True)
    return [header_bytes(headers[at]) for at in first.tolist()], which.reshape(-1)


def record(delta: int, key: bytes | None, value: bytes | None, headers: Headers) -> bytes:
    """One message as it stands in a record batch, at this place in it."""
    body = b"".join(
        (
            b"\0\0",
            _varint(delta),
            _varint(-1 if key is None else len(key)),
            key or b"",
            _varint(-1 if value is None else len(value)),
            value or b"",
            header_bytes(headers),
        )
    )
    return _varint(len(body)) + body


def header_bytes(headers: Headers) -> bytes:
    """Headers as they stand in a record."""
    parts = [_varint(len(headers))]
    for name, value in headers:
        encoded = name.encode()
        parts += [_varint(len(encoded)), encoded, _varint(len(value)), value]
    return b"".join(parts)


def _varint(number: int) -> bytes:
    left = (number << 1) ^ (number >> 63)
    found = bytearray()
    while left > 0x7F:
        found.append(left & 0x7F | 0x80)
        left >>= 7
    found.append(left)
    return bytes(found)
