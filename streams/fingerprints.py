"""Which values were seen before: rows as 128-bit fingerprints, and sets of them that lie in sorted tables.

Fingerprints are equal for equal values on every machine; integers of any width, and dates and times of one unit,
are equal to each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from streams.rule import Bools, Memory

Words = npt.NDArray[np.uint64]

_SCHEMA: Final = pa.schema([pa.field("high", pa.uint64(), False), pa.field("low", pa.uint64(), False)])
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_TAIL: Final = "tail"
BLOCK: Final = 1024
_SEEDS: Final = (np.uint64(0x243F6A8885A308D3), np.uint64(0x13198A2E03707344))


class Fingerprints(NamedTuple):
    """Two 64-bit hashes for each row. Shapes (n,)."""

    high: Words
    low: Words

    def take(self, indices: npt.NDArray[np.int64] | Bools) -> Fingerprints:
        return Fingerprints(self.high[indices], self.low[indices])


def fingerprints(columns: Sequence[pa.Array], rows: int) -> Fingerprints:
    """The fingerprint of each row of the columns. Nulls count as a value of their own. pa.ArrowNotImplementedError
    for nested types."""
    return Fingerprints(*(_chained(columns, rows, seed) for seed in _SEEDS))


def hashes(columns: Sequence[pa.Array], rows: int) -> Words:
    """The first 64 bits of the fingerprint of each row, in half the time. Shape (n,)."""
    return _chained(columns, rows, _SEEDS[0])


def _chained(columns: Sequence[pa.Array], rows: int, seed: np.uint64) -> Words:
    words = np.full(rows, seed, dtype=np.uint64)
    for column in columns:
        words = _mixed(words * _GOLDEN + _hashed(column, seed))
    return words


def first_seen(prints: Fingerprints) -> Bools:
    """True for the first row of each value, in row order."""
    found = np.ones(len(prints.high), dtype=bool)
    ordered = np.sort(prints.high)
    repeated = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if not len(repeated):
        return found
    nearest = np.minimum(np.searchsorted(repeated, prints.high), len(repeated) - 1)
    rows = np.flatnonzero(repeated[nearest] == prints.high)
    high, low = prints.take(rows)
    # lexsort is stable, so the first of a run of equals is the earliest row.
    order = np.lexsort((low, high))
    high, low = high[order], low[order]
    found[rows[order[1:]]] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    return found


def contained(memory: Memory, prefix: str, prints: Fingerprints) -> Bools:
    """True where a fingerprint is in the set that lies in memory under this prefix."""
    found = np.zeros(len(prints.high), dtype=bool)
    segments = [name for name in memory if name.startswith(prefix)]
    if not segments:
        return found
    # Asking in order walks through a segment once instead of jumping about in it.
    order = np.argsort(prints.high)
    asked = prints.take(order)
    for name in segments:
        held = _prints(memory[name])
        found |= _in_segment(_sorted(*held) if name.endswith(_TAIL) else held, asked)
    answer = np.empty(len(found), dtype=bool)
    answer[order] = found
    return answer


def remember(memory: Memory, prefix: str, prints: Fingerprints) -> None:
    """Add fingerprints that the set does not hold yet, in order.

    The set lies in sorted segments of BLOCK, 2 BLOCK, 4 BLOCK … entries, one for each bit of their number, and an
    unsorted tail. So an entry is rewritten once for each doubling of the set, and how it lies depends on the
    sequence of entries alone, not on the batches in which they came.
    """
    if not len(prints.high):
        return
    tail = memory.get(f"{prefix}{_TAIL}")
    if tail is not None:
        prints = _joined([_prints(tail), prints])
    whole = len(prints.high) // BLOCK * BLOCK
    if whole:
        _add_blocks(memory, prefix, Fingerprints(prints.high[:whole], prints.low[:whole]))
    memory[f"{prefix}{_TAIL}"] = _table(prints.high[whole:], prints.low[whole:])


def _add_blocks(memory: Memory, prefix: str, prints: Fingerprints) -> None:
    there = sorted((name for name in memory if name.startswith(prefix) and not name.endswith(_TAIL)), reverse=True)
    before = sum(memory[name].num_rows for name in there) // BLOCK
    after = before + len(prints.high) // BLOCK
    pieces = [_prints(memory[name]) for name in there] + [prints]
    levels = [level for level in range(after.bit_length() - 1, -1, -1) if after >> level & 1]
    # The largest segments that stay as they are come first in the sequence.
    while levels and there and there[0] == f"{prefix}{levels[0]:02d}":
        levels.pop(0)
        there.pop(0)
        pieces.pop(0)
    for name in there:
        del memory[name]
    rest = _joined(pieces)
    start = 0
    for level in levels:
        end = start + (BLOCK << level)
        memory[f"{prefix}{level:02d}"] = _table(*_sorted(rest.high[start:end], rest.low[start:end]))
        start = end


def _sorted(high: Words, low: Words) -> Fingerprints:
    """By the first half, which is quick for the sorted runs that segments are made of; look-ups allow for equals."""
    order = np.argsort(high, kind="stable")
    return Fingerprints(high[order], low[order])


def _table(high: Words, low: Words) -> pa.Table:
    return pa.Table.from_arrays([pa.array(high), pa.array(low)], schema=_SCHEMA)


def _prints(table: pa.Table) -> Fingerprints:
    return Fingerprints(_words(table, 0), _words(table, 1))


def _joined(parts: Sequence[Fingerprints]) -> Fingerprints:
    return Fingerprints(np.concatenate([part.high for part in parts]), np.concatenate([part.low for part in parts]))


def _words(table: pa.Table, column: int) -> Words:
    chunks = table.column(column)
    return chunks.chunk(0).to_numpy() if chunks.num_chunks == 1 else chunks.to_numpy()


def _in_segment(held: Fingerprints, prints: Fingerprints) -> Bools:
    high, low = held
    found = np.zeros(len(prints.high), dtype=bool)
    at = np.searchsorted(high, prints.high)
    open_rows = np.flatnonzero(at < len(high))
    # Once round, except where two different values share the first 64 bits.
    while len(open_rows):
        here = at[open_rows]
        same = high[here] == prints.high[open_rows]
        found[open_rows] |= same & (low[here] == prints.low[open_rows])
        at[open_rows] += 1
        open_rows = open_rows[same & ~found[open_rows] & (at[open_rows] < len(high))]
    return found


def _hashed(column: pa.Array, seed: np.uint64) -> Words:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _hashed_values(column, seed)
    if pa.types.is_floating(kind):
        values = pc.fill_null(column.cast(pa.float64()), 0.0).to_numpy() + 0.0
        values = np.where(np.isnan(values), np.nan, values)
        words = values.view(np.uint64)
    elif pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_temporal(kind):
        words = pc.fill_null(_as_int64(column), 0).to_numpy().view(np.uint64)
    else:
        words = _hashed_text(column, seed)
    words = _mixed(words ^ seed)
    if column.null_count:
        words = np.where(column.is_null().to_numpy(zero_copy_only=False), ~seed, words)
    return words


def _hashed_values(column: pa.DictionaryArray, seed: np.uint64) -> Words:
    """Each value of the dictionary is hashed once."""
    values = np.append(_hashed(column.dictionary, seed), ~seed)
    return values[pc.fill_null(column.indices.cast(pa.int64()), len(values) - 1).to_numpy(zero_copy_only=False)]


def _as_int64(column: pa.Array) -> pa.Array:
    if pa.types.is_date32(column.type) or pa.types.is_time32(column.type):
        column = column.cast(pa.int32())
    return column.cast(pa.int64(), safe=False)


def _hashed_text(column: pa.Array, seed: np.uint64) -> Words:
    """The sum over a text's bytes of (byte + 1) times a pseudo-random weight for its position, modulo 2^64."""
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        column = column.cast(pa.large_string())
    column = pc.fill_null(column.cast(pa.large_binary()), b"")
    buffers = column.buffers()
    offsets = np.frombuffer(buffers[1], dtype=np.int64)[column.offset : column.offset + len(column) + 1]
    data = np.frombuffer(buffers[2] or b"", dtype=np.uint8)[offsets[0] : offsets[-1]] if len(column) else b""
    lengths = np.diff(offsets)
    starts = offsets[:-1] - offsets[0]
    longest = int(lengths.max(initial=0))
    weights = _mixed(np.arange(longest, dtype=np.uint64) * _GOLDEN + seed) | np.uint64(1)
    terms = np.asarray(data, dtype=np.uint64) + np.uint64(1) if longest else np.zeros(0, dtype=np.uint64)
    terms *= weights[np.arange(len(terms)) - np.repeat(starts, lengths)]
    totals = np.zeros(len(terms) + 1, dtype=np.uint64)
    np.cumsum(terms, out=totals[1:])
    return totals[starts + lengths] - totals[starts] + lengths.astype(np.uint64) * seed


def _mixed(words: Words) -> Words:
    """The finishing function of splitmix64: every input bit reaches every output bit."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
