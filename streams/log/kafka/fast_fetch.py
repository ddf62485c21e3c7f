"""Reading committed messages with librdkafka (the extra `fast`): it fetches ahead, in threads of its own."""

from __future__ import annotations

from time import monotonic
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, TopicPartition

from streams.log.kafka.decode import Columns
from streams.log.kafka.fast_settings import fast_settings
from streams.log.kafka.fetch import KEPT_BYTES, Fetcher, Window
from streams.log.kafka.wire import Place, Wire
from streams.log.protocol import Corrupt
from streams.message import Headers

#: A partition is not fetched further while so many bytes of it wait to be read.
WAITING_BYTES: Final = 16 << 20
#: Messages are taken from librdkafka so many at a time.
AT_ONCE: Final = 20_000
#: So many offsets before its end a partition is far behind; nearer, one request is quicker than a fetch under way.
BACKLOG: Final = 5_000
#: What librdkafka does not bring in this time is asked for directly.
PATIENCE: Final = 5.0


class FastFetcher(Fetcher):
    """A `Fetcher` that takes from librdkafka what a reader far behind the end of a partition goes through."""

    def __init__(self, wire: Wire) -> None:
        super().__init__(wire)
        self._consumer: Any = Consumer(
            {
                **fast_settings(wire.address),
                "group.id": f"{wire.address.prefix}headwater-readers",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 20,
                "fetch.min.bytes": 1,
                "fetch.message.max.bytes": 4 << 20,
                "queued.max.messages.kbytes": 64 << 10,
                "queued.min.messages": 100_000,
                "check.crcs": True,
            }
        )
        self._assigned: dict[Place, int] = {}
        self._paused: set[Place] = set()
        self._known: dict[Headers, Headers] = {}

    def close(self) -> None:
        super().close()
        self._consumer.close()

    def _fetch(self, place: Place, window: Window) -> None:
        """Near the end of a partition ask for it and the others that are followed; far from it take what librdkafka
        has fetched of it meanwhile."""
        if window.stable - window.next < BACKLOG:
            self._unassign(place)
            super()._fetch(place, window)
            return
        self._assign(place, window)
        until = monotonic() + PATIENCE
        while not window.waiting() and window.next < window.stable:
            self._take(0.05)
            if monotonic() > until:
                # A leader moved, or the offset is gone: the other client knows what to do.
                self._unassign(place)
                super()._fetch(place, window)
                return

    def _assign(self, place: Place, window: Window) -> None:
        at = self._assigned.get(place)
        if at == window.next:
            if place in self._paused:
                self._paused.discard(place)
                self._consumer.resume([TopicPartition(*place)])
            return
        self._unassign(place)
        self._consumer.incremental_assign([TopicPartition(*place, window.next)])
        self._assigned[place] = window.next

    def _unassign(self, place: Place) -> None:
        if self._assigned.pop(place, None) is not None:
            self._paused.discard(place)
            self._consumer.incremental_unassign([TopicPartition(*place)])

    def _take(self, seconds: float) -> None:
        """Move what librdkafka holds into the windows."""
        found: dict[Place, Columns] = {}
        for message in self._consumer.consume(AT_ONCE, seconds):
            place = Place(message.topic(), message.partition())
            if place not in self._assigned:
                continue
            window = self._windows[place]
            error = message.error()
            offset = message.offset()
            columns = found.get(place)
            if columns is None:
                columns = found[place] = Columns(window.next)
            if error is None:
                if offset >= columns.next:
                    _add(columns, message, offset, self._known)
            elif error.code() == KafkaError._PARTITION_EOF:
                columns.next = max(columns.next, offset)
            elif error.code() in (KafkaError._BAD_MSG, KafkaError._BAD_COMPRESSION):
                raise Corrupt(
                    f"Messages cannot be decoded ({error})", where=f"{place.topic} {place.partition}:{offset}"
                )
        for place, columns in found.items():
            window = self._windows[place]
            window.add(columns, KEPT_BYTES)
            self._assigned[place] = window.next
            if window.size > WAITING_BYTES and window.waiting() and place not in self._paused:
                self._paused.add(place)
                self._consumer.pause([TopicPartition(*place)])
        if len(self._known) > 100_000:
            self._known.clear()


def _add(columns: Columns, message: Any, offset: int, known: dict[Headers, Headers]) -> None:
    given = message.headers()
    headers: Headers = tuple((name, value or b"") for name, value in given) if given else ()
    columns.offsets.append(offset)
    columns.timestamps.append(1000 * message.timestamp()[1])
    columns.keys.append(message.key())
    columns.values.append(message.value())
    columns.headers.append(known.setdefault(headers, headers))
    columns.size += len(message)
    columns.next = offset + 1
