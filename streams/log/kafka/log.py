"""The Kafka log: topics, transactions and read-committed readers of a Kafka cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from threading import Lock
from time import monotonic, sleep
from typing import Final
from weakref import WeakSet

from kafka import TopicPartition
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from streams.log.kafka.address import Address
from streams.log.kafka.ends import Ends
from streams.log.kafka.fetch import Fetcher
from streams.log.kafka.groups import commit_offsets, readers_of
from streams.log.kafka.leases import KafkaLeases
from streams.log.kafka.producer import Producer
from streams.log.kafka.topics import Topics
from streams.log.kafka.unseen import Unseen
from streams.log.kafka.wire import Place, Wire
from streams.log.kafka.writer import KafkaWriter, Transactions
from streams.log.protocol import LogError, Reader, Topic
from streams.message import Fetched

#: Looking back for the newest messages begins so many offsets before the end: markers take offsets too.
_FIRST_LOOK: Final = 8


class KafkaLog:
    """A log on the Kafka cluster at `url` (`kafka://host:port`). Its contract is `Log`.

    Any thread may call any method. Opening it raises LogError within ten seconds if no broker answers; a broker that
    goes away later is waited for, and the program's log says so. Topics, transactional ids and leases of one `prefix`
    are a log of their own. After a fork the child opens the log anew.
    """

    def __init__(self, url: str | Address) -> None:
        self.address = Address.parse(url) if isinstance(url, str) else url
        self._producer = _producer(self.address)
        self._wire = Wire(self.address)
        self._topics = Topics(self._wire)
        self._unseen = Unseen(self._wire)
        self._fetcher = Fetcher(self._wire, self._unseen)
        self._ends = Ends(self._fetcher)
        self._waiting: Wire | None = None
        self._writers: dict[str, WeakSet[KafkaWriter]] = {}
        self._lock = Lock()
        self._leases: KafkaLeases | None = None
        self._pid = os.getpid()
        self._closed = False

    def create(self, topics: Iterable[Topic]) -> None:
        """Make the topics that do not exist. TopicMismatch, and nothing made, if one exists otherwise."""
        self._topics.create(topics)

    def topics(self) -> list[Topic]:
        """All topics of ours, by name."""
        return self._topics.all()

    def bounds(self, topic: str) -> list[tuple[int, int]]:
        """For each partition its first readable offset and the offset after its last committed message.
        UnknownTopic."""
        places = self._places(topic)
        self._unseen.wait(places)
        found = self._wire.bounds(places)
        self._learn({place: end for place, (_, end) in found.items()})
        return [found[place] for place in places]

    def ends(self, places: Iterable[tuple[str, int]]) -> tuple[int, ...]:
        """The offset after the last committed message of each of these partitions, as of at most a pass over a worker's
        tasks ago; one request to each broker for all that are asked for again and again. UnknownTopic."""
        asked = [self._place(topic, partition) for topic, partition in places]
        found = self._ends.of(asked)
        # Who sees an end and then reads must come to it.
        self._fetcher.learn(found)
        return tuple(found[place] for place in asked)

    def read(self, topic: str, partition: int, offset: int, *, max_bytes: int = 4 << 20) -> Fetched:
        """Committed messages from `offset` on, up to about `max_bytes` (at least one message if there is one); empty at
        the end. UnknownTopic; Corrupt for messages that cannot be decoded."""
        return self._fetcher.read(self._place(topic, partition), offset, max_bytes)

    def last(self, topic: str, partition: int, count: int = 1) -> Fetched:
        """The newest `count` committed messages, oldest first; fewer if there are fewer. UnknownTopic."""
        place = self._place(topic, partition)
        self._unseen.wait([place])
        first, end = self._wire.bounds([place])[place]
        self._learn({place: end})
        reach = 2 * count + _FIRST_LOOK
        while True:
            start = max(first, end - reach)
            found = self._between(place, start, end)
            if len(found) >= count or start == first:
                keep = slice(max(len(found) - count, 0), None)
                return Fetched(
                    found.offsets[keep],
                    found.timestamps[keep],
                    found.keys[keep],
                    found.values[keep],
                    found.headers[keep],
                    found.next,
                )
            reach *= 8

    def writer(self, task: str, owner: str = "") -> KafkaWriter:
        """Own the task: earlier writers of it are fenced and their open transactions are gone when this returns.
        `owner` is not kept: the broker knows owners by their epoch."""
        producer = self._producer(self._wire, self.address.prefix + task, self._topics.known())
        writer = KafkaWriter(task, producer, self._topics, self._wire, self._unseen, self._renew)
        with self._lock:
            earlier = list(self._writers.setdefault(task, WeakSet()))
            self._writers[task].clear()
            self._writers[task].add(writer)
        for one in earlier:
            one.replace()
        return writer

    def version(self) -> int:
        """A number that differs from the one before if anybody committed in between to a topic that was read, or whose
        ends were asked for, through this object, or to any topic before one was; one request to each broker."""
        ends = self._ends.anew(self._fetcher.followed())
        if not ends:
            self._unseen.wait()
            ends = self._wire.ends(place for topic in self._topics.all() for place in self._places(topic.name))
        self._fetcher.learn(ends)
        return sum(ends.values()) + len(ends)

    def wait(self, timeout: float, since: int) -> int:
        """The version, as soon as it is not `since`, or after `timeout` seconds."""
        deadline = monotonic() + timeout
        pause = 0.001
        while (version := self.version()) == since and (left := deadline - monotonic()) > 0:
            sleep(min(pause, left))
            pause = min(1.2 * pause, 0.01)
        return version

    def wait_for_more(self, timeout: float) -> None:
        """Return as soon as there is more in what `ends` was lately asked for, or after `timeout` seconds; the broker
        says so by itself, and what is new is here then."""
        try:
            if self._waiting is None:
                self._waiting = Wire(self.address)
            self._ends.wait(self._waiting, timeout)
        except (KafkaError, LogError):
            # The next read waits for the broker, and says so.
            sleep(min(timeout, 0.01))

    def show_positions(self, reader: str, positions: Mapping[tuple[str, int], int]) -> bool:
        """Commit these as the offsets of the consumer group `reader`, under this log's prefix: tools that watch a
        cluster show its lag by them. Nothing reads them back; False, and a line in the program's log, if they could not
        be committed."""
        offsets = {
            TopicPartition(self._topics.name(topic), partition): OffsetAndMetadata(offset, "", -1)
            for (topic, partition), offset in positions.items()
        }
        return commit_offsets(self._wire, self.address.prefix + reader, offsets)

    def readers(self) -> list[Reader]:
        """The consumer groups that read topics of this log, by name."""
        return readers_of(self._wire, self.address.prefix)

    @property
    def leases(self) -> KafkaLeases:
        """Who works on which task."""
        with self._lock:
            if self._leases is None:
                self._leases = KafkaLeases(self._wire, self._topics)
            return self._leases

    def close(self) -> None:
        """Abort what is open in this process, and close the connections."""
        if self._closed or self._pid != os.getpid():
            return
        self._closed = True
        for writers in self._writers.values():
            for writer in list(writers):
                writer.close()
        if self._leases is not None:
            self._leases.close()
        self._fetcher.close()
        if self._waiting is not None:
            self._waiting.close()
        self._wire.close()

    def __enter__(self) -> KafkaLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _learn(self, ends: Mapping[Place, int]) -> None:
        self._fetcher.learn(ends)
        self._ends.learn(ends)

    def _renew(self) -> None:
        self._fetcher.renew()
        self._ends.renew()

    def _place(self, topic: str, partition: int) -> Place:
        self._topics.get(topic, partition)
        return Place(self._topics.name(topic), partition)

    def _places(self, topic: str) -> list[Place]:
        name = self._topics.name(topic)
        return [Place(name, number) for number in range(self._topics.get(topic).partitions)]

    def _between(self, place: Place, start: int, end: int) -> Fetched:
        """All messages from offset `start` to before `end`."""
        parts: list[Fetched] = []
        at = start
        while at < end:
            fetched = self._fetcher.read(place, at, 64 << 20)
            if fetched.next == at:
                break
            parts.append(fetched)
            at = fetched.next
        return Fetched(
            tuple(offset for part in parts for offset in part.offsets),
            tuple(time for part in parts for time in part.timestamps),
            tuple(key for part in parts for key in part.keys),
            tuple(value for part in parts for value in part.values),
            tuple(headers for part in parts for headers in part.headers),
            max(at, end),
        )


def _producer(address: Address) -> Callable[..., Transactions]:
    """What the address's client writes with. LogError if it is not installed."""
    if address.client == "python":
        return Producer
    try:
        # Only who asks for it needs librdkafka.
        from streams.log.kafka.fast_producer import FastProducer
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "confluent_kafka":
            raise
        raise LogError(
            "The faster client for Kafka is not installed",
            where=address.shown,
            fix="pip install 'headwater[fast]', or use kafka:// instead of kafka+fast://.",
        ) from error
    return FastProducer
