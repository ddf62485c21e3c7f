"""Upkeep of an embedded log while a job runs: retention and compaction (Kafka brokers do this themselves)."""

from __future__ import annotations

import logging
from collections.abc import Callable

from streams.log.embedded import EmbeddedLog
from streams.log.protocol import LogBusy, LogFull

logger = logging.getLogger(__name__)

EVERY = 30_000_000
#: A compact topic is compacted when it has grown by so many messages, and to twice what it last came to.
LEAST_GROWTH = 1_000


class Upkeep:
    """Call it often: at most every 30 seconds it drops what retention no longer keeps and compacts what has grown. If
    the log is busy or full it tries again the next time.

    `clock` is the time of day in microseconds.
    """

    def __init__(self, log: EmbeddedLog, clock: Callable[[], int]) -> None:
        self._log = log
        self._clock = clock
        self._due = clock() + EVERY
        self._ends: dict[str, int] = {}

    def __call__(self) -> None:
        if self._clock() < self._due:
            return
        try:
            self.now()
        except (LogBusy, LogFull) as error:
            logger.warning("the log's upkeep is put off: %s", error)

    def now(self) -> int:
        """Do it now; how many messages were removed."""
        self._due = self._clock() + EVERY
        removed = self._log.sweep()
        for topic in self._log.topics():
            if not topic.compact:
                continue
            bounds = self._log.bounds(topic.name)
            end = sum(end for _, end in bounds)
            if end - self._ends.get(topic.name, 0) >= max(LEAST_GROWTH, self._ends.get(topic.name, 0)):
                removed += self._log.compact(topic.name)
                self._ends[topic.name] = end
        return removed
