"""Which values were seen before: rows as 128-bit fingerprints, and sets of them that are kept in small sorted tables.

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
    found = []
    for seed in _SEEDS:
        words = np.full(rows, seed, dtype=np.uint64)
        for column in columns:
            words = _mixed(words * _GOLDEN + _hashed(column, seed))
        found.append(words)
    return Fingerprints(*found)


def first_seen(prints: Fingerprints) -> Bools:
    """True for the first row of each value, in row order."""
    order = np.lexsort((prints.low, prints.high))
    high, low = prints.high[order], prints.low[order]
    first = np.ones(len(order), dtype=bool)
    # lexsort is stable, so the first of a run of equals is the earliest row.
    first[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    found = np.empty(len(order), dtype=bool)
    found[order] = first
    return found


def contained(memory: Memory, prefix: str, prints: Fingerprints) -> Bools:
    """True where a fingerprint is in the set that lies in memory under this prefix."""
    found = np.zeros(len(prints.high), dtype=bool)
    for name in _segments(memory, prefix):
        found |= _in_segment(_words(memory[name], 0), _words(memory[name], 1), prints)
    return found


def remember(memory: Memory, prefix: str, prints: Fingerprints) -> None:
    """Add fingerprints that the set does not hold yet.

    The set is a stack of sorted tables, each more than twice as long as the next: adding n of them to N rewrites
    O(n log N) entries on average, not N.
    """
    if not len(prints.high):
        return
    names = _segments(memory, prefix)
    high, low = prints
    while names and memory[names[-1]].num_rows <= 2 * len(high):
        top = memory[names.pop()]
        high = np.concatenate([_words(top, 0), high])
        low = np.concatenate([_words(top, 1), low])
    for name in _segments(memory, prefix)[len(names) :]:
        del memory[name]
    order = np.lexsort((low, high))
    table = pa.Table.from_arrays([pa.array(high[order]), pa.array(low[order])], schema=_SCHEMA)
    memory[f"{prefix}{len(names):03d}"] = table


def _segments(memory: Memory, prefix: str) -> list[str]:
    return [name for name in sorted(memory) if name.startswith(prefix)]


def _words(table: pa.Table, column: int) -> Words:
    chunks = table.column(column)
    return chunks.chunk(0).to_numpy() if chunks.num_chunks == 1 else chunks.to_numpy()


def _in_segment(high: Words, low: Words, prints: Fingerprints) -> Bools:
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
