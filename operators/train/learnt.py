"""Which rows a model has learnt from: offset ranges, the parents of its versions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from streams.parents import Addresses, OffsetRange, Ranges, ranges_of


@dataclass
class Learnt:
    """The smallest offset range of each partition that holds all rows learnt from so far."""

    ranges: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)

    def add(self, addresses: Addresses) -> None:
        for one in ranges_of(addresses).ranges:
            first, end = self.ranges.get((one.stream, one.partition), (one.first, one.end))
            self.ranges[one.stream, one.partition] = min(first, one.first), max(end, one.end)

    def as_parents(self) -> Ranges:
        found = (OffsetRange(stream, partition, *span) for (stream, partition), span in sorted(self.ranges.items()))
        return Ranges(tuple(found))

    def told(self) -> list[list[str | int]]:
        """As JSON values."""
        return [[stream, partition, *span] for (stream, partition), span in sorted(self.ranges.items())]

    @classmethod
    def of(cls, told: Sequence[Sequence[str | int]]) -> Learnt:
        """What `told` said."""
        return cls({(str(s), int(p)): (int(first), int(end)) for s, p, first, end in told})
