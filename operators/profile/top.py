"""The most frequent values: exact counts while there are few different values, an even sample of the rows beyond.

What is kept depends on the rows alone and not on their order: counters that make room by what is frequent so far
(Misra-Gries, space-saving) would give other counts for other batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from operators.profile.bins import Integers
from operators.profile.hashing import Words, hashed_words

#: Up to so many different values are counted exactly.
MOST_VALUES: Final = 512
#: So many rows (of different value or event time) are sampled, and a value counts if so many of them have it.
SAMPLE: Final = 512
LEAST: Final = 8
#: Texts are kept up to so many letters; values are told apart by their hashes.
LETTERS: Final = 80

_WHOLE: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Counted:
    """Different hashes, ascending, how often each came and what value it stands for (text)."""

    hashes: Words
    counts: Integers
    texts: pa.Array

    def __len__(self) -> int:
        return len(self.hashes)

    @classmethod
    def nothing(cls) -> Counted:
        return cls(np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int64), pa.array([], pa.string()))

    def merge(self, other: Counted) -> Counted:
        if not len(other):
            return self
        if not len(self):
            return other
        hashes = np.concatenate([self.hashes, other.hashes])
        # Both are sorted, and a stable sort is quick for what is nearly so.
        order = np.argsort(hashes, kind="stable")
        ordered = hashes[order]
        starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        counts = np.add.reduceat(np.concatenate([self.counts, other.counts])[order], starts)
        texts = pa.concat_arrays([self.texts, other.texts]).take(pa.array(order[starts]))
        return Counted(ordered[starts], counts, texts)

    def below(self, bound: int) -> Counted:
        end = int(np.searchsorted(self.hashes, np.uint64(bound)))
        return Counted(self.hashes[:end], self.counts[:end], self.texts.slice(0, end))


@dataclass(frozen=True, slots=True)
class Top:
    """`values`: exact counts, None once there were more than MOST_VALUES different ones. `sample`: the rows with the
    smallest hashes of value and event time, all those below `bound`; the hashes are of the pair."""

    values: Counted | None
    sample: Counted
    bound: int

    @classmethod
    def nothing(cls) -> Top:
        return cls(Counted.nothing(), Counted.nothing(), _WHOLE)

    def merge(self, other: Top) -> Top:
        """What would be kept of both together."""
        values = None
        if self.values is not None and other.values is not None:
            merged = self.values.merge(other.values)
            values = merged if len(merged) <= MOST_VALUES else None
        bound = min(self.bound, other.bound)
        sample = self.sample.below(bound).merge(other.sample.below(bound))
        if len(sample) > SAMPLE:
            bound = int(sample.hashes[SAMPLE])
            sample = sample.below(bound)
        return Top(values, sample, bound)

    @property
    def exact(self) -> bool:
        return self.values is not None

    def most(self, count: int) -> list[tuple[str, float]]:
        """The most frequent values with how often they came, the most frequent first. If not `exact` that is estimated,
        and a value that less than about LEAST / SAMPLE of the rows have is left out."""
        if self.values is not None:
            texts, counts, weight = self.values.texts, self.values.counts, 1.0
        else:
            by_text = self.sample.texts.dictionary_encode()
            counts = np.zeros(len(by_text.dictionary), dtype=np.int64)
            np.add.at(counts, by_text.indices.to_numpy(), self.sample.counts)
            frequent = np.flatnonzero(counts >= LEAST)
            texts, counts = by_text.dictionary.take(pa.array(frequent)), counts[frequent]
            weight = 2.0**63 / self.bound if self.bound < _WHOLE else 1.0
        found = sorted(zip(-counts, texts.to_pylist(), strict=True))
        return [(text, float(-negative) * weight) for negative, text in found[:count]]


def pair_hashes(values: Words, times: Words) -> Words:
    """The hash of a value and its event time, from the hashes of both."""
    return hashed_words(values * np.uint64(3) + times)
