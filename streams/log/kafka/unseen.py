"""Commits that are certain, and whose markers may not yet be in every partition."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from time import sleep

from streams.log.kafka.wire import Place, Wire


class Unseen:
    """What this process has committed and not yet seen. Any thread may call any method."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._lock = Lock()
        self._commits: list[tuple[str, dict[Place, int]]] = []

    def add(self, transactional_id: str, ends: dict[Place, int]) -> None:
        """A transaction was committed; it is seen once these ends are."""
        with self._lock:
            self._commits.append((transactional_id, ends))

    def places(self) -> list[Place]:
        """The partitions whose ends are to be told."""
        with self._lock:
            return list(dict.fromkeys(place for _, ends in self._commits for place in ends))

    def told(self, found: Mapping[Place, int]) -> bool:
        """Take in where partitions end; True if nothing is left unseen."""
        with self._lock:
            self._commits = [one for one in self._commits if not _is_seen(one[1], found)]
            return not self._commits

    def wait(self) -> None:
        """Return once all that was committed until now is seen."""
        with self._lock:
            commits, self._commits = self._commits, []
        for transactional_id, ends in commits:
            wait_until_seen(self._wire, ends, transactional_id)


def wait_until_seen(wire: Wire, ends: Mapping[Place, int], transactional_id: str) -> None:
    """A commit is certain before its markers are in all partitions. Wait until they are there, and what was written
    before these ends is seen by readers of what is committed. Behind an older transaction of another writer that
    is still open it stays hidden: that is not waited for."""
    tries = 0
    while not _is_seen(ends, wire.ends(ends)):
        tries += 1
        if tries % 8 == 0:
            told = wire.patiently(
                lambda: wire.admin.describe_transactions([transactional_id]), doing="asking for a transaction"
            )
            if not any(one.state.value.startswith("Prepare") for one in told.values()):
                return
        sleep(0.0005 * tries)


def _is_seen(ends: Mapping[Place, int], found: Mapping[Place, int]) -> bool:
    return all(found.get(place, -1) >= end for place, end in ends.items())
