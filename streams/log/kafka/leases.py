"""Who works on what, on Kafka: every claim is a message of one small topic, and everyone reads the same order of them.

A lease's expiry permits a takeover; what fences is the transactional id, which `Log.writer` takes over.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final

import orjson
from kafka import KafkaProducer
from kafka.errors import KafkaError

from streams.log.kafka.fetch import Fetcher
from streams.log.kafka.topics import LEASES, Topics
from streams.log.kafka.wire import Place, Wire, client_settings
from streams.log.leases import is_gone
from streams.log.protocol import Held, Topic

#: Messages of the topic are kept for so long: longer than any lease.
KEPT_SECONDS: Final = 900
LONGEST_SECONDS: Final = 600.0


@dataclass
class Standing:
    """Who holds what after so many messages; times are the broker's, in microseconds since 1970."""

    tasks: dict[str, Held] = field(default_factory=dict)
    workers: dict[str, int] = field(default_factory=dict)
    now: int = 0

    def apply(self, said: dict[str, Any], at: int) -> bool:
        """Take one message in, written at `at`; False for a claim that was not granted."""
        self.now = max(self.now, at)
        until = self.now + round(said.get("seconds", 0.0) * 1_000_000)
        kind, owner = said["do"], said["owner"]
        if kind == "claim":
            held = self.tasks.get(said["task"])
            if held is not None and held.owner != owner and held.expires > self.now:
                return False
            epoch = 0 if held is None else held.epoch + (held.owner != owner)
            self.tasks[said["task"]] = Held(said["task"], owner, epoch, until)
        elif kind == "renew":
            for task, held in self.tasks.items():
                if held.owner == owner:
                    self.tasks[task] = held._replace(expires=until)
        elif kind == "release":
            held = self.tasks.get(said["task"])
            if held is not None and held.owner == owner:
                del self.tasks[said["task"]]
        elif kind == "announce":
            self.workers[owner] = until
        return True


class KafkaLeases:
    """The leases of one log, and its workers; `Leases` in streams/log/protocol.py is its contract. A lease lasts
    ten minutes at most.

    A claim is granted if, where its message lies, the task was free, expired or the owner's: everyone who reads the
    topic comes to the same answer.
    """

    def __init__(self, wire: Wire, topics: Topics) -> None:
        topics.create(
            [Topic(LEASES, 1, retention=KEPT_SECONDS * 1_000_000)],
            {"segment.ms": str(300_000), "segment.bytes": "1048576"},
        )
        self._wire = wire
        self._place = Place(topics.name(LEASES), 0)
        self._fetcher = Fetcher(wire)
        self._lock = Lock()
        self._standing = Standing()
        self._position = wire.bounds([self._place])[self._place][0]
        self._producer = wire.patiently(self._open, doing="opening the leases")

    def _open(self) -> KafkaProducer:
        return KafkaProducer(**client_settings(self._wire.address), metrics_enabled=False, bootstrap_timeout_ms=5_000)

    def claim(self, task: str, owner: str, seconds: float) -> bool:
        """Take the task if it is free, expired, the owner's already, or its owner is gone; False if not."""
        with self._lock:
            self._follow()
            held = self._standing.tasks.get(task)
            if held is not None and held.owner != owner and is_gone(held.owner):
                self._say("release", held.owner, task=task)
            return self._say("claim", owner, task=task, seconds=seconds)

    def renew(self, owner: str, seconds: float) -> list[str]:
        """Hold every task of this owner for `seconds` from now; the tasks that it still holds, sorted."""
        with self._lock:
            self._say("renew", owner, seconds=seconds)
            return sorted(task for task, held in self._standing.tasks.items() if held.owner == owner)

    def release(self, task: str, owner: str) -> None:
        """Give the task up; nothing happens if another owner has it by now."""
        with self._lock:
            self._say("release", owner, task=task)

    def held(self) -> list[Held]:
        """All leases that have an owner, expired ones too, by task."""
        with self._lock:
            self._follow()
            return [self._standing.tasks[task] for task in sorted(self._standing.tasks)]

    def announce(self, worker: str, seconds: float) -> None:
        """Say that this worker is there for `seconds` from now; 0 says that it leaves."""
        with self._lock:
            self._say("announce", worker, seconds=seconds)

    def workers(self) -> list[str]:
        """The workers that are there, sorted."""
        with self._lock:
            self._follow()
            now = self._standing.now
            return sorted(name for name, until in self._standing.workers.items() if until > now and not is_gone(name))

    def close(self) -> None:
        try:
            self._producer.close(timeout=1)
        except KafkaError:
            # All that it said was confirmed when it was said.
            return

    def _say(self, kind: str, owner: str, *, task: str = "", seconds: float = 0.0) -> bool:
        said = {"do": kind, "owner": owner, "task": task, "seconds": min(seconds, LONGEST_SECONDS)}

        def attempt() -> int:
            sent = self._producer.send(self._place.topic, value=orjson.dumps(said), partition=0)
            return int(sent.get(timeout=30).offset)

        return self._follow(self._wire.patiently(attempt, doing="writing a lease"))

    def _follow(self, until: int = -1) -> bool:
        """Take in what was said since; whether the claim at offset `until` was granted."""
        granted = False
        self._fetcher.renew()
        while True:
            fetched = self._fetcher.read(self._place, self._position, 1 << 20)
            for offset, at, value in zip(fetched.offsets, fetched.timestamps, fetched.values, strict=True):
                answer = self._standing.apply(orjson.loads(value or b"{}"), at)
                if offset == until:
                    granted = answer
            moved = fetched.next > self._position
            self._position = fetched.next
            if not moved and self._position > until:
                return granted
