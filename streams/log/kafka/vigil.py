"""Keeps an eye on calls that wait for a broker: one that takes long is told of in the program's log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock, Thread
from time import monotonic, sleep
from typing import Final

logger = logging.getLogger(__name__)

#: A broker that does not answer for so long is told of in the program's log.
SILENCE_SECONDS: Final = 1.0


@dataclass(eq=False)
class _Wait:
    doing: str
    began: float = field(default_factory=monotonic)
    told: bool = False


class Vigil:
    """For calls that give no sign while they wait. One thread looks at them, once a second; without calls it ends."""

    def __init__(self, servers: str) -> None:
        self._servers = servers
        self._lock = Lock()
        self._waits: set[_Wait] = set()
        self._awake = False

    @contextmanager
    def over(self, doing: str) -> Iterator[None]:
        """Says that the broker is waited for if what is done meanwhile takes long, and when it is back."""
        wait = _Wait(doing)
        with self._lock:
            self._waits.add(wait)
            if not self._awake:
                self._awake = True
                Thread(target=self._look, name="headwater-vigil", daemon=True).start()
        try:
            yield
        finally:
            with self._lock:
                self._waits.discard(wait)
        if wait.told:
            logger.warning("the broker at %s is back after %.1f s", self._servers, monotonic() - wait.began)

    def _look(self) -> None:
        idle = 0
        while idle < 10:
            sleep(SILENCE_SECONDS)
            with self._lock:
                waits = list(self._waits)
                idle = 0 if waits else idle + 1
                self._awake = idle < 10
            for wait in waits:
                if not wait.told and monotonic() - wait.began >= 2 * SILENCE_SECONDS:
                    wait.told = True
                    logger.warning("waiting for the broker at %s (%s)", self._servers, wait.doing)
