"""Vote patterns: the votes of all functions on one row, coded as one value, so that equal rows are handled once.

A pattern is a mixed-radix integer where it fits 62 bits, otherwise as many bytes as there are functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Votes = npt.NDArray[np.int8]
Digits = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

#: What a function votes that does not vote.
ABSTAIN: Final = -1
#: More classes than this do not fit a vote of one byte.
MOST_CLASSES: Final = 120

_LARGEST_CODE: Final = 1 << 62
#: Codes below this are looked up in a table, others are hashed.
_SMALL_SPACE: Final = 1 << 20


@dataclass(frozen=True)
class Coding:
    """How votes become patterns. `voices` says for each function which classes it may vote for, by number; its digit is
    0 where it abstains, else one more than the place of its vote among them."""

    voices: tuple[tuple[int, ...], ...]

    @cached_property
    def radices(self) -> tuple[int, ...]:
        return tuple(len(classes) + 1 for classes in self.voices)

    @cached_property
    def space(self) -> int | None:
        """How many patterns there can be; None if they are coded as bytes."""
        size = prod(self.radices)
        return size if size <= _LARGEST_CODE else None

    @property
    def type(self) -> pa.DataType:
        return pa.binary(len(self.voices)) if self.space is None else pa.int64()

    def digits_of(self, function: int, votes: Votes) -> Digits:
        """The digits of a function's votes, which name none but its own classes."""
        digit = np.zeros(256, dtype=np.uint8)
        for place, number in enumerate(self.voices[function]):
            digit[number] = place + 1
        return digit[votes.view(np.uint8)]

    def votes_of(self, function: int, digits: Digits) -> Votes:
        return np.array([ABSTAIN, *self.voices[function]], dtype=np.int8)[digits]

    def encode(self, digits: Sequence[Digits]) -> pa.Array:
        """The pattern of each row; `digits` has one array a function."""
        if self.space is None:
            rows = np.ascontiguousarray(np.stack(digits, axis=1))
            return pa.FixedSizeBinaryArray.from_buffers(self.type, len(rows), [None, pa.py_buffer(rows)])
        return pa.array(_number(digits, self.radices).astype(np.int64))

    def decode(self, patterns: pa.Array) -> Votes:
        """The votes, shape (patterns, functions)."""
        return np.stack([self.votes_of(at, digits) for at, digits in enumerate(self._digits(patterns))], axis=1)

    def _digits(self, patterns: pa.Array) -> list[Digits]:
        if self.space is None:
            width = len(self.voices)
            first = patterns.offset * width
            raw = np.frombuffer(patterns.buffers()[1], dtype=np.uint8)[first : first + len(patterns) * width]
            return list(raw.reshape(-1, width).T)
        rest = patterns.to_numpy()
        found = []
        for radix in self.radices:
            rest, digit = np.divmod(rest, radix)
            found.append(digit.astype(np.uint8))
        return found

    def distinct(self, patterns: pa.Array) -> tuple[pa.Array, npt.NDArray[Any]]:
        """The patterns that there are, each once, and for each row the place of its own among them."""
        if self.space is not None and self.space <= min(_SMALL_SPACE, 8 * len(patterns)):
            codes = patterns.to_numpy()
            place = np.zeros(self.space, dtype=np.int32)
            place[codes] = 1
            there = np.flatnonzero(place)
            place[there] = np.arange(len(there), dtype=np.int32)
            return pa.array(there), place[codes]
        encoded = patterns.dictionary_encode()
        return encoded.dictionary, encoded.indices.to_numpy()


@dataclass(frozen=True)
class Counted:
    """Distinct patterns with how often each came (a weight where old rows count less), in the order of the patterns."""

    patterns: pa.Array
    weight: Floats

    @classmethod
    def nothing(cls, coding: Coding) -> Counted:
        return cls(pa.array([], coding.type), np.empty(0))

    @classmethod
    def of(cls, coding: Coding, patterns: pa.Array) -> Counted:
        found, places = coding.distinct(patterns)
        return cls(found, np.bincount(places, minlength=len(found)).astype(np.float64)).ordered()

    @property
    def rows(self) -> float:
        return float(self.weight.sum())

    def plus(self, other: Counted) -> Counted:
        if not len(self.weight) or not len(other.weight):
            return other if not len(self.weight) else self
        encoded = pa.concat_arrays([self.patterns, other.patterns]).dictionary_encode()
        weight = np.concatenate([self.weight, other.weight])
        places = encoded.indices.to_numpy()
        total = np.bincount(places, weight, len(encoded.dictionary)).astype(np.float64)
        return Counted(encoded.dictionary, total).ordered()

    def faded(self, share: float, least: float, most: int) -> Counted:
        """Every weight times `share`, without those below `least`, and no more than the `most` heaviest."""
        weight = self.weight * share
        kept = weight >= least
        if np.count_nonzero(kept) > most:
            heaviest = np.argsort(-weight, kind="stable")[:most]
            kept = np.zeros(len(weight), dtype=bool)
            kept[heaviest] = True
        return Counted(self.patterns.filter(pa.array(kept)), weight[kept])

    def ordered(self) -> Counted:
        """The same in the order of the patterns."""
        order = pc.sort_indices(self.patterns)
        return Counted(self.patterns.take(order), self.weight[order.to_numpy()])


def _number(digits: Sequence[Digits], radices: Sequence[int]) -> npt.NDArray[Any]:
    """Neighbours are brought together two by two, so that most of the work is done on one byte a row."""
    level: list[tuple[npt.NDArray[Any], int]] = list(zip(digits, radices, strict=True))
    while len(level) > 1:
        paired = []
        for (low, radix), (high, other) in zip(level[::2], level[1::2], strict=False):
            size = radix * other
            kind = _unsigned(size)
            # Not in place: the digits may be somebody's votes.
            code = np.multiply(high, kind(radix), dtype=kind)
            code += low
            paired.append((code, size))
        level = paired + (level[-1:] if len(level) % 2 else [])
    return level[0][0]


def _unsigned(size: int) -> type[np.unsignedinteger[Any]]:
    for kind in (np.uint8, np.uint16, np.uint32):
        if size <= np.iinfo(kind).max + 1:
            return kind
    return np.uint64
