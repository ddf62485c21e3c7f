"""Hashes of values as Apache DataSketches' theta sketches make them: MurmurHash3 (x64, 128 bits, seed 9001), its first
half without the lowest bit. They are the same on every machine, so sketches of different streams can be compared.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from streams.quoting import offsets_and_data

Words: TypeAlias = npt.NDArray[np.uint64]

_SEED: Final = np.uint64(9001)
_C1: Final = np.uint64(0x87C37B91114253D5)
_C2: Final = np.uint64(0x4CF5AD432745937F)
_M1: Final = np.uint64(0xFF51AFD7ED558CCD)
_M2: Final = np.uint64(0xC4CEB9FE1A85EC53)
_N1: Final = np.uint64(0x52DCE729)
_N2: Final = np.uint64(0x38495AB5)
_FIVE: Final = np.uint64(5)
_ONE: Final = np.uint64(1)
_33: Final = np.uint64(33)
#: The first 0 to 8 bytes of a word.
_MASKS: Final = np.array([(1 << 8 * count) - 1 for count in range(9)], dtype=np.uint64)


def hashed(values: pa.Array) -> Words:
    """The hash of each value of an array without nulls: booleans, integers, dates and times as 64-bit integers (times
    in microseconds), floats as doubles, text as UTF-8, binary as it is, decimals as their text. Shape (n,)."""
    kind = values.type
    if pa.types.is_floating(kind):
        # One zero and one NaN.
        doubles = values.cast(pa.float64()).to_numpy(zero_copy_only=False) + 0.0
        unknown = np.isnan(doubles)
        if unknown.any():
            doubles[unknown] = np.nan
        return hashed_words(doubles.view(np.uint64))
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_temporal(kind):
        return hashed_words(as_int64(values).to_numpy(zero_copy_only=False).view(np.uint64))
    if pa.types.is_decimal(kind):
        values = values.cast(pa.string())
    return _hashed_bytes(values.cast(pa.large_binary()))


def as_int64(values: pa.Array) -> pa.Array:
    """Booleans, integers (64-bit unsigned ones by their bits), days, and times and durations in microseconds."""
    kind = values.type
    if pa.types.is_timestamp(kind):
        values = values.cast(pa.timestamp("us", kind.tz), safe=False)
    elif pa.types.is_duration(kind):
        values = values.cast(pa.duration("us"), safe=False)
    elif pa.types.is_time(kind):
        values = values.cast(pa.time64("us"), safe=False)
    elif pa.types.is_date(kind):
        values = values.cast(pa.date32()).cast(pa.int32())
    elif pa.types.is_boolean(kind):
        values = values.cast(pa.int8())
    elif pa.types.is_uint64(kind):
        return values.view(pa.int64())
    return values.cast(pa.int64(), safe=False)


def hashed_words(words: Words) -> Words:
    """The hashes of 8-byte values."""
    first = words * _C1
    first = _rotated(first, 31)
    first *= _C2
    first ^= _SEED
    second = np.full_like(first, _SEED)
    return _finished(first, second, np.uint64(8))


def _hashed_bytes(values: pa.Array) -> Words:
    """A loop over blocks of 16 bytes, not over values."""
    if not len(values):
        return np.empty(0, dtype=np.uint64)
    offsets, data = offsets_and_data(values)
    lengths = np.diff(offsets)
    # Read as 8-byte words that begin at any byte; behind the last value there have to be two more.
    padded = np.concatenate([data[offsets[0] : offsets[-1]], np.zeros(24, dtype=np.uint8)])
    words = np.ndarray((len(padded) - 7,), dtype="<u8", buffer=padded.data, strides=(1,))
    at = offsets[:-1] - offsets[0]
    first = np.full(len(values), _SEED, dtype=np.uint64)
    second = first.copy()
    blocks, rest = lengths // 16, lengths % 16
    for block in range(int(blocks.max())):
        rows = np.flatnonzero(blocks > block)
        here = at[rows] + 16 * block
        one, other = first[rows], second[rows]
        one ^= _mixed_first(words[here])
        one = (_rotated(one, 27) + other) * _FIVE + _N1
        other ^= _mixed_second(words[here + 8])
        first[rows], second[rows] = one, (_rotated(other, 31) + one) * _FIVE + _N2
    end = at + 16 * blocks
    if (rest > 8).any():
        second ^= _mixed_second(words[end + 8] & _MASKS[np.maximum(rest - 8, 0)])
    first ^= _mixed_first(words[end] & _MASKS[np.minimum(rest, 8)])
    return _finished(first, second, lengths.astype(np.uint64))


def _mixed_first(words: Words) -> Words:
    return _rotated(words * _C1, 31) * _C2


def _mixed_second(words: Words) -> Words:
    return _rotated(words * _C2, 33) * _C1


def _finished(first: Words, second: Words, length: Any) -> Words:
    """Changes both in place."""
    first ^= length
    second ^= length
    first += second
    second += first
    _avalanche(first)
    _avalanche(second)
    first += second
    first >>= _ONE
    return first


def _avalanche(words: Words) -> None:
    words ^= words >> _33
    words *= _M1
    words ^= words >> _33
    words *= _M2
    words ^= words >> _33


def _rotated(words: Words, by: int) -> Words:
    turned = words << np.uint64(by)
    turned |= words >> np.uint64(64 - by)
    return turned


def without_nulls(values: pa.Array) -> pa.Array:
    return pc.drop_null(values) if values.null_count else values
