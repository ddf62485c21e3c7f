"""How an embedded worker counts what it does for its pages; of several worker processes, who started them shows all."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from time import monotonic
from typing import Final

from operators.engines.pages import Standing
from operators.engines.tally import Counts, Tally, merged
from operators.engines.worker import Worker
from operators.execution.context import Context
from operators.execution.plan import Plan
from streams.log.protocol import Log

#: A worker process tells its counts so often.
TOLD_SECONDS: Final = 1.0


class Counting:
    """Counts what one worker does. `context` is the one to give to its tasks."""

    def __init__(self, plan: Plan, context: Context) -> None:
        self._tally = Tally(plan)
        self._run = context.run
        self._moved = monotonic()
        self._due = 0.0
        self.context = replace(context, committed=self._tally.committed)

    def look(self, log: Log, worker: Worker) -> None:
        """The worker has come round once more."""
        self._moved = monotonic()
        self._tally.look(log, worker.tasks, worker.failed, now=False)

    def due(self) -> list[Counts] | None:
        """The counts, if it is time to tell them."""
        if monotonic() < self._due:
            return None
        self._due = monotonic() + TOLD_SECONDS
        return self._tally.counts()

    def standing(self) -> Standing:
        return Standing(self._run, self._tally.counts(), monotonic() - self._moved)


class Collected:
    """The counts that the worker processes of one run tell, those that are gone too. One thread takes them in, any
    may ask for the standing."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._told: dict[Hashable, list[Counts]] = {}
        self._moved: dict[Hashable, float] = {}
        self._gone: list[Counts] = []
        self._all: list[Counts] = []

    def begin(self, process: Hashable) -> None:
        self._moved = {**self._moved, process: monotonic()}

    def take(self, process: Hashable, counts: list[Counts]) -> None:
        self._told[process] = counts
        self.begin(process)
        self._merge()

    def end(self, process: Hashable) -> None:
        gone = [replace(one, running=False) for one in self._told.pop(process, ())]
        self._gone = merged([*self._gone, *gone])
        self._moved = {other: moved for other, moved in self._moved.items() if other != process}
        self._merge()

    def standing(self) -> Standing:
        return Standing(self._run, self._all, monotonic() - min(self._moved.values(), default=monotonic()))

    def _merge(self) -> None:
        self._all = merged([*self._gone, *(one for counts in self._told.values() for one in counts)])
