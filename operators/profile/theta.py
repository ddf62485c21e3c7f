"""Distinct values: the smallest hashes of a set, from which its size and its overlap with other sets follow.

As bytes it is a compact theta sketch of Apache DataSketches, which its libraries read and unite with their own.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

import numpy as np

from operators.profile.errors import SketchError
from operators.profile.hashing import Words

_WHOLE: Final = 2**63 - 1
_SEED_HASH: Final = 0x93CC
_FAMILY, _SERIAL = 3, 3
_READ_ONLY, _EMPTY, _COMPACT, _ORDERED = 2, 4, 8, 16


@dataclass(frozen=True, slots=True)
class Theta:
    """At most `size` hashes, ascending and distinct: all hashes of the set below `theta`.

    Which they are depends on the set alone, so sketches of parts can be united in any order. The estimate's relative
    standard error is 1 / sqrt(size); up to `size` values it is exact. (Bar-Yossef et al. 2002, Dasgupta et al. 2015.)
    """

    size: int
    theta: int
    hashes: Words

    @classmethod
    def nothing(cls, size: int) -> Theta:
        return cls(size, _WHOLE, np.empty(0, dtype=np.uint64))

    def add(self, hashes: Words) -> Theta:
        """With these hashes, in any order and repeated at will."""
        new = hashes[hashes < np.uint64(self.theta)]
        if not len(new):
            return self
        if len(self.hashes):
            at = np.minimum(np.searchsorted(self.hashes, new), len(self.hashes) - 1)
            new = new[self.hashes[at] != new]
            if not len(new):
                return self
        return self._cut(np.concatenate([self.hashes, new]), self.theta, self.size)

    def merge(self, other: Theta) -> Theta:
        """The sketch of both sets together; of the smaller size where they differ."""
        theta, size = min(self.theta, other.theta), min(self.size, other.size)
        both = np.concatenate([self.hashes, other.hashes])
        return self._cut(both[both < np.uint64(theta)], theta, size)

    @property
    def estimate(self) -> float:
        """How many distinct values there are."""
        return len(self.hashes) / self.share

    @property
    def share(self) -> float:
        """The share of all possible hashes that is kept; 1.0 if the sketch is exact."""
        return 1.0 if self.exact else self.theta / 2.0**63

    @property
    def exact(self) -> bool:
        return self.theta == _WHOLE

    def overlap(self, other: Theta) -> float:
        """How many values both sets have, estimated."""
        theta = min(self.theta, other.theta)
        mine, others = (one.hashes[one.hashes < np.uint64(theta)] for one in (self, other))
        both = len(np.intersect1d(mine, others, assume_unique=True))
        return both / (1.0 if theta == _WHOLE else theta / 2.0**63)

    def contained_in(self, other: Theta) -> float:
        """The share of this set's values that the other has, estimated; NaN for the empty set."""
        mine = self.estimate
        return min(self.overlap(other) / mine, 1.0) if mine else float("nan")

    def to_bytes(self) -> bytes:
        """The compact, ordered form of Apache DataSketches."""
        count = len(self.hashes)
        flags = _READ_ONLY | _COMPACT | _ORDERED
        if not count:
            return struct.pack("<BBBBBBH", 1, _SERIAL, _FAMILY, 0, 0, flags | _EMPTY, _SEED_HASH)
        entries = self.hashes.astype("<u8").tobytes()
        if self.exact and count == 1:
            return struct.pack("<BBBBBBH", 1, _SERIAL, _FAMILY, 0, 0, flags, _SEED_HASH) + entries
        longs = 2 if self.exact else 3
        head = struct.pack("<BBBBBBHII", longs, _SERIAL, _FAMILY, 0, 0, flags, _SEED_HASH, count, 0)
        return head + (b"" if self.exact else struct.pack("<Q", self.theta)) + entries

    @classmethod
    def from_bytes(cls, data: bytes, size: int) -> Theta:
        """What `to_bytes` wrote, of a sketch of this `size`. SketchError for something else."""
        try:
            longs, serial, family, _, _, flags, seed_hash = struct.unpack_from("<BBBBBBH", data)
            known = (serial, family, seed_hash) == (_SERIAL, _FAMILY, _SEED_HASH) and longs in (1, 2, 3)
            if not known or not flags & _ORDERED:
                raise SketchError("This is no ordered compact theta sketch", fix="Read what Theta.to_bytes wrote.")
            if flags & _EMPTY:
                return cls.nothing(size)
            count = struct.unpack_from("<I", data, 8)[0] if longs > 1 else 1
            theta = struct.unpack_from("<Q", data, 16)[0] if longs > 2 else _WHOLE
            hashes = np.frombuffer(data, dtype="<u8", count=count, offset=8 * longs).astype(np.uint64)
        except (struct.error, ValueError) as error:
            raise SketchError(
                f"A theta sketch is cut or damaged: {error}", fix="Read what Theta.to_bytes wrote."
            ) from error
        return cls(size, theta, hashes)

    def _cut(self, hashes: Words, theta: int, size: int) -> Theta:
        """Of these hashes below `theta`, which are sorted in place, those that are kept."""
        if len(hashes) > 4 * size:
            smallest = self._cut(np.partition(hashes, 2 * size)[: 2 * size], theta, size)
            if len(smallest.hashes) == size and smallest.theta < theta:
                return smallest
        # Quick for what is nearly sorted, as two sketches one behind the other are.
        hashes.sort(kind="stable")
        distinct = hashes[np.concatenate([[True], hashes[1:] != hashes[:-1]])] if len(hashes) else hashes
        if len(distinct) > size:
            theta = int(distinct[size])
            distinct = distinct[:size].copy()
        return Theta(size, theta, distinct)
