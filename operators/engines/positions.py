"""How far tasks have come, told to a log whose own tools show it. Nothing is ever read back from there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from time import monotonic
from typing import Final

from operators.execution.source_task import SourceTask
from operators.execution.task import Task
from streams.log.protocol import Log, ShowsPositions

#: Positions are told again after so many seconds at the earliest.
SECONDS: Final = 5.0


class ShownPositions:
    """What a worker tells of its tasks. Of inputs that all tasks of an operator read whole, the first one's count."""

    def __init__(self, log: Log) -> None:
        self._log = log if isinstance(log, ShowsPositions) else None
        self._told: dict[str, dict[tuple[str, int], int]] = defaultdict(dict)
        self._next = 0.0

    def tell(self, tasks: Iterable[Task | SourceTask], *, now: bool = False) -> None:
        """Tell what has changed, if it is time to, or `now`."""
        if self._log is None or (not now and monotonic() < self._next):
            return
        self._next = monotonic() + SECONDS
        found: dict[str, dict[tuple[str, int], int]] = defaultdict(dict)
        for task in tasks:
            if isinstance(task, Task):
                found[task.node.name] |= task.positions()
        for operator, positions in found.items():
            told = self._told[operator]
            changed = {place: offset for place, offset in positions.items() if told.get(place) != offset}
            if changed and self._log.show_positions(operator, changed):
                told |= changed
