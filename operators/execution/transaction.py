"""A transaction of a task in the making: what it took, in which order, and what it will say of itself."""

from __future__ import annotations

from typing import Any

from operators.execution.emit import Emission
from operators.execution.merge import Taken
from operators.execution.progress import merged_ranges


class Transaction:
    """Counts what one transaction of a task takes; what it makes is in `emission`."""

    def __init__(self, emission: Emission) -> None:
        self.emission = emission
        self.rows_taken = 0
        self.took_any = False
        self._rows_in: dict[str, int] = {}
        self._late: dict[str, int] = {}
        self._unattributed: dict[str, int] = {}
        self._order: list[list[Any]] = []
        self._took: list[tuple[Any, ...]] = []
        self._forced: list[list[Any]] = []

    def take(self, taken: Taken) -> None:
        """A batch was taken."""
        batch, channel = taken.batch, taken.channel
        if batch is None or channel is None:
            self._order.append([-1, taken.clock])
            self.took_any = True
            return
        name = batch.stream
        _add(self._rows_in, name, batch.rows.num_rows)
        if batch.late is not None:
            _add(self._late, name, int(batch.late.sum()))
        if batch.unattributed:
            _add(self._unattributed, name, batch.unattributed)
        self._order.append([*channel.id, batch.first, batch.end])
        self._took.append((name, batch.partition, batch.first, batch.end))
        self.rows_taken += batch.rows.num_rows
        self.took_any = True

    def force(self, channels: list[list[Any]]) -> None:
        """The next batch is taken without waiting for these channels."""
        self._forced.extend(channels)

    def skip(self, gaps: list[list[Any]]) -> None:
        """These ranges are gone from the log, and passed over."""
        self._forced.extend(gaps)
        self.took_any |= bool(gaps)

    def facts(self) -> dict[str, Any]:
        """What the progress row says of the transaction; see `Progress`."""
        return {
            "rows_in": self._rows_in,
            "rows_out": self.emission.rows,
            "late": self._late,
            "unattributed": self._unattributed,
            "forced": self._forced,
            "took": merged_ranges(self._took),
            "parents": self.emission.parent_spans(),
            "order": self._order,
        }


def _add(counts: dict[str, int], name: str, count: int) -> None:
    counts[name] = counts.get(name, 0) + count
