"""The ways in which a check cuts rows into batches: the same ones every time."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from headwater.testing.rehearsal import Cut


def whole(count: int) -> Sequence[int]:
    return ()


def single(count: int) -> Sequence[int]:
    return range(0, count, max(count // 500, 1))


@dataclass(frozen=True)
class _Ragged:
    """Pieces of one to five rows or so, the same ones every time."""

    seed: int

    def __call__(self, count: int) -> Sequence[int]:
        chosen = random.Random(self.seed)
        longest = max(count // 200, 5)
        cuts = [chosen.randint(1, longest)]
        while cuts[-1] < count:
            cuts.append(cuts[-1] + chosen.randint(1, longest))
        return cuts[:-1]


CUTS: tuple[tuple[str, Cut], ...] = (
    ("one row at a time", single),
    ("in pieces of a few rows", _Ragged(1)),
    ("in other pieces of a few rows", _Ragged(2)),
)
