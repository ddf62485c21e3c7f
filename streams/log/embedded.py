"""The embedded log: one SQLite file in WAL mode, shared by many processes of one machine."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from pathlib import Path

from streams.log import retention
from streams.log.database import Database, Synchronous
from streams.log.embedded_writer import EmbeddedWriter
from streams.log.fetch import fetch, fetch_last
from streams.log.layout import Slot
from streams.log.leases import Leases, owner_name
from streams.log.protocol import LogError, Topic, TopicMismatch, UnknownTopic
from streams.message import Fetched

_DAY = 86_400_000_000


def microseconds() -> int:
    """The time of day, in microseconds since 1970 UTC."""
    return time.time_ns() // 1000


class EmbeddedLog:
    """A log in the SQLite file at `path`, which is made if it is not there. Its contract is `Log`.

    Any thread may call any method: reads take a connection from a pool, writes take turns on one. A writer belongs
    to one thread at a time, and from its first `flush` to its `commit` it holds the file's one write lock. After a
    fork the child opens the file anew; writers do not outlive a fork.

    `synchronous` "full" survives power loss; "normal" may then lose the newest commits, never parts of them.
    `busy_timeout` (seconds) is how long a call waits for other writers before LogBusy. `lease_seconds` is how long
    a new writer's lease lasts unless it is renewed.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        synchronous: Synchronous = "full",
        busy_timeout: float = 10.0,
        clock: Callable[[], int] = microseconds,
        lease_seconds: float = 30.0,
    ) -> None:
        self._database = Database(path, synchronous=synchronous, busy_timeout=busy_timeout)
        self._clock = clock
        self._lease = round(lease_seconds * 1_000_000)
        self._slots: dict[tuple[str, int], Slot] = {}
        #: A version of the log, and by slot the offset after the last message as of then.
        self._known: tuple[int, dict[int, int]] = (-1, {})
        #: Who works on what.
        self.leases = Leases(self._database, clock)

    @property
    def path(self) -> Path:
        return self._database.path

    def create(self, topics: Iterable[Topic]) -> None:
        """Make the topics that do not exist. TopicMismatch, and nothing made, if one exists otherwise."""
        wanted = list(topics)
        if not _missing(self.topics(), wanted):
            return
        with self._database.writing() as connection:
            for topic in _missing(_topics(connection), wanted):
                connection.execute(
                    "INSERT INTO topic VALUES (?, ?, ?, ?)",
                    (topic.name, topic.partitions, topic.retention, topic.compact),
                )
                connection.executemany(
                    "INSERT INTO slot (topic, partition, first, next) VALUES (?, ?, 0, 0)",
                    zip(repeat(topic.name), range(topic.partitions), strict=False),
                )

    def topics(self) -> list[Topic]:
        """All topics, by name."""
        with self._database.reading() as connection:
            return _topics(connection)

    def bounds(self, topic: str) -> list[tuple[int, int]]:
        """For each partition its first readable offset and the offset after its last committed message.
        UnknownTopic."""
        self._slot(topic, 0)
        with self._database.reading() as connection:
            return connection.execute(
                "SELECT first, next FROM slot WHERE topic = ? ORDER BY partition", (topic,)
            ).fetchall()

    def read(self, topic: str, partition: int, offset: int, *, max_bytes: int = 4 << 20) -> Fetched:
        """Committed messages from `offset` on, up to `max_bytes` of keys, headers and values (at least one message
        if there is one); empty at the end. UnknownTopic."""
        slot = self._slot(topic, partition)
        # Most reads of a running job find nothing new, and need not go to the file for that.
        if offset >= self._ends()[slot.id]:
            return Fetched((), (), (), (), (), offset)
        with self._database.reading() as connection:
            return fetch(connection, slot, offset, max_bytes)

    def ends(self, places: Iterable[tuple[str, int]]) -> tuple[int, ...]:
        """The offset after the last committed message of each of these partitions. UnknownTopic."""
        ends = self._ends()
        return tuple(ends[self._slot(topic, partition).id] for topic, partition in places)

    def last(self, topic: str, partition: int, count: int = 1) -> Fetched:
        """The newest `count` committed messages, oldest first; fewer if there are fewer. UnknownTopic."""
        slot = self._slot(topic, partition)
        with self._database.reading() as connection:
            return fetch_last(connection, slot, count)

    def writer(self, task: str, owner: str = "") -> EmbeddedWriter:
        """Own the task: earlier writers of it are fenced and their open transactions are gone when this
        returns. `owner` is told by `leases`; by default it names this process. LogBusy, LogFull."""
        owner = owner or owner_name()
        self._database.expel(task)
        with self._database.writing(durable=False) as connection:
            connection.execute(
                "INSERT INTO lease (task, owner, epoch, expires) VALUES (?, ?, 1, ?) ON CONFLICT (task)"
                " DO UPDATE SET owner = excluded.owner, epoch = epoch + 1, expires = excluded.expires",
                (task, owner, self._clock() + self._lease),
            )
            (epoch,) = connection.execute("SELECT epoch FROM lease WHERE task = ?", (task,)).fetchone()
        return EmbeddedWriter(self._database, self._slot, self._clock, task, epoch)

    def sweep(self, now: int | None = None) -> int:
        """Drop the messages that are older than their topic's retention at `now` (microseconds; default: the clock),
        from the start of each partition up to the first that is not; how many. LogBusy, LogFull."""
        now = self._clock() if now is None else now
        return sum(retention.sweep(self._database, topic, now) for topic in self.topics())

    def compact(self, topic: str, *, grace: int = _DAY) -> int:
        """Keep the newest message of each key, and forget keys whose newest message is a None value older than `grace`
        microseconds, by when every reader should have seen it; how many messages were removed. UnknownTopic; LogError
        for a topic that is not compact; LogBusy, LogFull."""
        if not self._slot(topic, 0).compact:
            raise LogError("The topic is not compact", where=topic, fix="Create it with compact=True.")
        (settings,) = (known for known in self.topics() if known.name == topic)
        return retention.compact(self._database, settings, self._clock() - grace)

    def version(self) -> int:
        """A number that differs from the one before if anybody committed in between; microseconds to get, and
        comparable within this object alone."""
        return self._database.version()

    def wait(self, timeout: float, since: int) -> int:
        """The version, as soon as it is not `since` or after `timeout` seconds; it may also change for a lease."""
        deadline = time.monotonic() + timeout
        pause = 0.001
        while (version := self.version()) == since and (left := deadline - time.monotonic()) > 0:
            self._database.doze(min(pause, left))
            pause = min(1.1 * pause, 0.005)
        return version

    def close(self) -> None:
        """Abort what is open in this process, and close the file."""
        self._database.close()

    def __enter__(self) -> EmbeddedLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ends(self) -> dict[int, int]:
        version = self.version()
        if version != self._known[0]:
            with self._database.reading() as connection:
                ends = dict(connection.execute("SELECT id, next FROM slot"))
            self._known = (version, ends)
        return self._known[1]

    def _slot(self, topic: str, partition: int) -> Slot:
        known = self._slots.get((topic, partition))
        if known is not None:
            return known
        # Topics are never removed and never change, so what was found once stays true.
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT slot.id, topic, partition, compact FROM slot JOIN topic ON topic.name = topic WHERE topic = ?",
                (topic,),
            ).fetchall()
        self._slots.update(((name, number), Slot(id, name, number, bool(flag))) for id, name, number, flag in rows)
        if not rows:
            raise UnknownTopic(
                f"There is no topic {topic!r}", where=str(self.path), fix="Create it, or check the name."
            )
        if (topic, partition) not in self._slots:
            raise UnknownTopic(
                f"There is no partition {partition}", where=topic, fix=f"Its partitions are 0 to {len(rows) - 1}."
            )
        return self._slots[topic, partition]


def _topics(connection: sqlite3.Connection) -> list[Topic]:
    rows = connection.execute("SELECT name, partitions, retention, compact FROM topic ORDER BY name").fetchall()
    return [Topic(name, partitions, retention, bool(compact)) for name, partitions, retention, compact in rows]


def _missing(present: Sequence[Topic], wanted: Iterable[Topic]) -> list[Topic]:
    """The wanted topics that are not there yet, each once. TopicMismatch if one is there with other settings."""
    known = {topic.name: topic for topic in present}
    missing = []
    for topic in wanted:
        if topic.partitions < 1:
            raise LogError("A topic needs at least one partition", where=topic.name, fix="Set `partitions`.")
        there = known.setdefault(topic.name, topic)
        if there is topic:
            missing.append(topic)
        elif there != topic:
            raise TopicMismatch(
                f"The topic exists as {there}, not as {topic}",
                where=topic.name,
                fix="Settings are fixed for life: ask for the ones it has, or take another name.",
            )
    return missing
