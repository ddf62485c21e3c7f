"""A column's values as a profile sees them: their hashes, their text, what is a number in them."""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.profile.bins import Doubles, Integers
from operators.profile.hashing import Words, as_int64, hashed
from operators.profile.top import LETTERS, MOST_VALUES, SAMPLE, Counted, Top, pair_hashes

#: What kind of thing a column holds: it decides what is measured of it.
Kind = Literal["number", "flag", "time", "text", "binary", "list", "other"]

_KINDS: Final[tuple[tuple[Kind, tuple[Any, ...]], ...]] = (
    ("flag", (pa.types.is_boolean,)),
    ("number", (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_duration)),
    ("time", (pa.types.is_timestamp, pa.types.is_date)),
    ("number", (pa.types.is_time,)),
    ("text", (pa.types.is_string, pa.types.is_large_string)),
    ("binary", (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)),
    ("list", (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)),
)
_DAY: Final = 86_400_000_000


def kind_of_type(kind: pa.DataType) -> Kind:
    for word, tests in _KINDS:
        if any(test(kind) for test in tests):
            return word
    return "other"


def plain(column: pa.Array) -> pa.Array:
    """The values without nulls, as far as they are told apart: of doubles one zero and one NaN, times in microseconds,
    dates in days."""
    values = pc.drop_null(column) if column.null_count else column
    kind = values.type
    if not pa.types.is_floating(kind):
        if pa.types.is_timestamp(kind):
            return values.cast(pa.timestamp("us", kind.tz), safe=False)
        if pa.types.is_duration(kind):
            return values.cast(pa.duration("us"), safe=False)
        if pa.types.is_time(kind):
            return values.cast(pa.time64("us"), safe=False)
        return values.cast(pa.date32()) if pa.types.is_date(kind) else values
    doubles = values.cast(pa.float64()).to_numpy(zero_copy_only=False) + 0.0
    unknown = np.isnan(doubles)
    if unknown.any():
        doubles[unknown] = np.nan
    return pa.array(doubles)


def doubles_of(values: pa.Array) -> Doubles:
    """Numbers (durations and times of day in seconds, flags as 0 and 1) as doubles; shape (n,)."""
    kind = values.type
    if pa.types.is_floating(kind):
        return values.to_numpy(zero_copy_only=False)
    if pa.types.is_decimal(kind) or pa.types.is_uint64(kind):
        return values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    found = as_int64(values).to_numpy(zero_copy_only=False).astype(np.float64)
    return found / 1e6 if pa.types.is_duration(kind) or pa.types.is_time(kind) else found


def times_of(values: pa.Array) -> Integers:
    """Timestamps and dates as microseconds since 1970."""
    found = as_int64(values).to_numpy(zero_copy_only=False)
    return found * np.int64(_DAY) if pa.types.is_date(values.type) else found


def lengths_of(values: pa.Array, kind: Kind) -> Doubles:
    """How many letters, bytes or items each value has."""
    if kind == "text":
        lengths = pc.utf8_length(values)
    elif kind == "binary":
        lengths = pc.binary_length(values.cast(pa.binary()) if pa.types.is_fixed_size_binary(values.type) else values)
    else:
        lengths = pc.list_value_length(values)
    return lengths.to_numpy(zero_copy_only=False).astype(np.float64)


def counted_values(values: pa.Array, times: Integers, known: Top, *, repeats: bool) -> tuple[Words, Top]:
    """The hashes of values that came at these times, and what `Top` keeps of them; `known` says what is still asked
    for. Times are int64 of shape (n,). It is quicker to know whether texts mostly `repeats`; it changes nothing."""
    if known.values is None and not repeats:
        hashes = hashed(values)
        return hashes, Top(None, _sampled(values, hashes, times, known.bound), known.bound)
    encoded = values.dictionary_encode()
    dictionary, indices = encoded.dictionary, encoded.indices.to_numpy(zero_copy_only=False)
    hashes = hashed(dictionary)
    counted = None
    if known.values is not None and len(dictionary) <= MOST_VALUES:
        order = np.argsort(hashes)
        counts = np.bincount(indices, minlength=len(dictionary))
        counted = Counted(hashes[order], counts[order], texts_of(dictionary.take(pa.array(order))))
    sample = _sampled(dictionary, hashes[indices], times, known.bound, indices)
    return hashes, Top(counted, sample, known.bound)


def texts_of(values: pa.Array) -> pa.Array:
    """The values as text, long ones cut."""
    kind = values.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return pa.array([value[: LETTERS // 2].hex() for value in values.to_pylist()], pa.string())
    if pa.types.is_timestamp(kind):
        naive = values.view(pa.int64()).view(pa.timestamp(kind.unit))
        return pc.binary_join_element_wise(naive.cast(pa.string()), "Z", "")
    if pa.types.is_duration(kind):
        return as_int64(values).cast(pa.string())
    return pc.utf8_slice_codeunits(values.cast(pa.string()), 0, LETTERS)


def _sampled(values: pa.Array, hashes: Words, times: Integers, bound: int, indices: Integers | None = None) -> Counted:
    """The rows whose pair of value and time has one of the smallest hashes; `indices` say which value each row has."""
    pairs = pair_hashes(hashes, times.view(np.uint64))
    rows = np.flatnonzero(pairs < np.uint64(bound))
    if not len(rows):
        return Counted.nothing()
    if len(rows) > 4 * SAMPLE:
        few = rows[pairs[rows] <= np.partition(pairs[rows], 2 * SAMPLE)[2 * SAMPLE]]
        if len(np.unique(pairs[few])) > SAMPLE:
            rows = few
    distinct, first, counts = np.unique(pairs[rows], return_index=True, return_counts=True)
    # One more than are kept, so that it is seen where the next sample ends.
    chosen = rows[first[: SAMPLE + 1]]
    taken = values.take(pa.array(chosen if indices is None else indices[chosen]))
    return Counted(distinct[: SAMPLE + 1], counts[: SAMPLE + 1], texts_of(taken))
