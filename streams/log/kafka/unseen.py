"""Commits that are certain, and whose markers may not yet be in every partition."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from threading import Lock
from time import sleep

from streams.log.kafka.wire import Place, Wire


class Unseen:
    """What this process has committed and not yet seen: of each writer the newest commit, since its next transaction
    begins when the one before is seen. Who reads what a commit did not write need not wait for it. Any thread may call
    any method."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._lock = Lock()
        self._commits: dict[str, Mapping[Place, int]] = {}

    def add(self, transactional_id: str, ends: Mapping[Place, int]) -> None:
        """A transaction was committed; it is seen once these ends are."""
        with self._lock:
            self._commits[transactional_id] = ends

    def places(self, read: Collection[Place]) -> list[Place]:
        """The partitions whose ends are to be told before these are read."""
        with self._lock:
            return list(dict.fromkeys(place for _, ends in self._of(read) for place in ends))

    def told(self, found: Mapping[Place, int], read: Collection[Place]) -> bool:
        """Take in where partitions end; True if nothing is left unseen of what these were written with."""
        with self._lock:
            for transactional_id, ends in self._of(read):
                if _is_seen(ends, found):
                    del self._commits[transactional_id]
            return not self._of(read)

    def wait(self, read: Collection[Place] | None = None) -> None:
        """Return once all that was committed to these until now, or to any, is seen."""
        with self._lock:
            commits = self._of(read)
        try:
            for transactional_id, ends in commits:
                wait_until_seen(self._wire, ends, transactional_id)
        finally:
            with self._lock:
                for transactional_id, ends in commits:
                    if self._commits.get(transactional_id) is ends:
                        del self._commits[transactional_id]

    def _of(self, read: Collection[Place] | None) -> list[tuple[str, Mapping[Place, int]]]:
        commits = self._commits.items()
        return [(name, ends) for name, ends in commits if read is None or not ends.keys().isdisjoint(read)]


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
