"""Join keys as 64-bit codes, computed for whole columns: rows are matched by sorting and searching numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Codes = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.int64]

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)
_HASHED = np.uint64(1 << 63)
#: The mask that keeps the first n bytes of a word.
_FIRST_BYTES = np.array([(1 << (8 * n)) - 1 for n in range(9)], dtype=np.uint64)
#: The longest text or bytes that fit into a code beside their length.
_LONGEST_EXACT = 7
_NO_CODES: Codes = np.empty(0, dtype=np.uint64)


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of n rows. Equal keys have equal codes; the reverse is certain only if either side is `exact`,
    otherwise `same_keys` tells. `known` is False where a field is null or NaN: such a key equals no other.
    """

    columns: tuple[Any, ...]
    codes: Codes
    known: Mask | None
    exact: bool

    def __len__(self) -> int:
        return len(self.codes)


def joinable(left: pa.DataType, right: pa.DataType) -> bool:
    """True if keys of these two types can be equal and have the same code when they are."""
    left, right = _plain_type(left), _plain_type(right)
    families = (pa.types.is_signed_integer, pa.types.is_unsigned_integer, _is_text, _is_bytes, pa.types.is_floating)
    if any(belongs(left) and belongs(right) for belongs in families):
        return True
    if pa.types.is_timestamp(left) and pa.types.is_timestamp(right):
        return left.unit == right.unit and (left.tz is None) == (right.tz is None)
    others = (
        pa.types.is_boolean,
        pa.types.is_date,
        pa.types.is_time,
        pa.types.is_decimal,
        pa.types.is_fixed_size_binary,
    )
    return left == right and any(belongs(left) for belongs in others)


def keys_of(columns: Sequence[Any], seed: int = 0) -> Keys:
    """The keys made of these columns (Arrow arrays of equal length). `seed` chooses the hash function."""
    plain = tuple(_plain(column) for column in columns)
    known: Mask | None = None
    codes: Codes | None = None
    exact = len(plain) == 1
    for column in plain:
        column_codes, column_exact, column_known = _column_codes(column, seed)
        known = column_known if known is None or column_known is None else known & column_known
        exact = exact and column_exact
        codes = column_codes if codes is None else _mixed((codes * _MULTIPLIER + np.uint64(seed)) ^ column_codes)
    assert codes is not None, "a key has at least one column"
    return Keys(plain, codes, _both_known(plain, known), exact)


def same_keys(left: Sequence[Any], at_left: Positions, right: Sequence[Any], at_right: Positions) -> Mask:
    """Whether the key columns are equal, row `at_left[i]` against row `at_right[i]`."""
    same = np.ones(len(at_left), dtype=bool)
    if not len(at_left):
        return same
    left_indices, right_indices = pa.array(at_left), pa.array(at_right)
    for one, other in zip(left, right, strict=True):
        equal = pc.equal(_plain(one.take(left_indices)), _plain(other.take(right_indices)))
        same &= pc.fill_null(equal, False).to_numpy(zero_copy_only=False)
    return same


def _both_known(columns: tuple[Any, ...], floats_known: Mask | None) -> Mask | None:
    known = floats_known
    for column in columns:
        if column.null_count:
            valid = column.is_valid().to_numpy(zero_copy_only=False)
            known = valid if known is None else known & valid
    return known


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)


def _plain(column: Any) -> Any:
    """One array without dictionary, extension or view encoding."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        column = column.storage
        kind = column.type
    if pa.types.is_dictionary(kind):
        return _plain(column.dictionary_decode())
    if pa.types.is_string_view(kind):
        return column.cast(pa.string())
    if pa.types.is_binary_view(kind) or pa.types.is_fixed_size_binary(kind):
        return column.cast(pa.binary())
    if pa.types.is_decimal(kind):
        return column.cast(pa.string())
    return column


def _column_codes(column: Any, seed: int) -> tuple[Codes, bool, Mask | None]:
    kind = column.type
    if _is_text(kind) or _is_bytes(kind):
        codes, exact = _text_codes(column, seed)
        return codes, exact, None
    if pa.types.is_floating(kind):
        values = pc.fill_null(column.cast(pa.float64()), 0.0).to_numpy(zero_copy_only=False) + 0.0
        return values.view(np.uint64), True, ~np.isnan(values)
    if pa.types.is_boolean(kind):
        column = column.cast(pa.uint8())
    elif pa.types.is_temporal(kind):
        column = column.view(pa.int32() if kind.bit_width == 32 else pa.int64())
    if column.null_count:
        column = pc.fill_null(column, 0)
    numbers = column.to_numpy(zero_copy_only=False)
    wide = np.uint64 if pa.types.is_unsigned_integer(column.type) else np.int64
    return numbers.astype(wide, copy=False).view(np.uint64), True, None


def _text_codes(column: Any, seed: int) -> tuple[Codes, bool]:
    """Up to seven bytes are their own code, beside their length; longer ones are hashed, eight bytes at a time,
    with the highest bit set, which no short one has."""
    count = len(column)
    if not count:
        return _NO_CODES, True
    wide = pa.types.is_large_string(column.type) or pa.types.is_large_binary(column.type)
    _, offset_buffer, data = column.buffers()
    offsets = np.frombuffer(offset_buffer, dtype=np.int64 if wide else np.int32)
    offsets = offsets[column.offset : column.offset + count + 1]
    first, end = int(offsets[0]), int(offsets[-1])
    raw = np.empty(0, dtype=np.uint8)
    if end > first:
        raw = np.frombuffer(data, dtype=np.uint8, count=end - first, offset=first)
    lengths = np.diff(offsets)
    longest = int(lengths.max())
    words = _even_words if longest * count == len(raw) else _uneven_words
    return _hashed(words(raw, offsets[:-1] - first, lengths, longest), lengths, longest, seed)


def _hashed(words: Iterable[tuple[Any, Codes]], lengths: Any, longest: int, seed: int) -> tuple[Codes, bool]:
    """Codes from the rows' successive words: which rows have one more, and that."""
    sizes = lengths.astype(np.uint64)
    hashed = head = _NO_CODES
    for number, (rows, word) in enumerate(words):
        if number:
            hashed[rows] = _mixed(hashed[rows] ^ word)
            continue
        head = word | (sizes << np.uint64(56))
        if longest <= _LONGEST_EXACT:
            return head, True
        hashed = _mixed((sizes * _MULTIPLIER + np.uint64(seed)) ^ word)
    return np.where(lengths > _LONGEST_EXACT, hashed | _HASHED, head), False


def _even_words(raw: Any, starts: Any, lengths: Any, longest: int) -> Iterator[tuple[Any, Codes]]:
    """Words of texts that are all `longest` bytes long."""
    count = len(lengths)
    padded = np.zeros((count, -(-max(longest, 1) // 8) * 8), dtype=np.uint8)
    padded[:, :longest] = raw.reshape(count, longest)
    for word in padded.view("<u8").T:
        yield slice(None), word


def _uneven_words(raw: Any, starts: Any, lengths: Any, longest: int) -> Iterator[tuple[Any, Codes]]:
    padded = np.zeros(len(raw) + 8, dtype=np.uint8)
    padded[: len(raw)] = raw
    words: Codes = np.ndarray(shape=(len(raw) + 1,), dtype="<u8", buffer=padded.data, strides=(1,))
    yield slice(None), words[starts] & _FIRST_BYTES[np.minimum(lengths, 8)]
    for at in range(8, longest, 8):
        rows = np.flatnonzero(lengths > at)
        yield rows, words[starts[rows] + at] & _FIRST_BYTES[np.minimum(lengths[rows] - at, 8)]


def _mixed(codes: Codes) -> Codes:
    codes = codes * _MULTIPLIER
    codes ^= codes >> _HALF
    return codes
