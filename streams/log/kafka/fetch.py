"""Reading committed messages with kafka-python: one request for all partitions that are being followed."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from itertools import accumulate, chain, islice, takewhile
from threading import RLock
from time import monotonic
from typing import Any, Final

from kafka.errors import OffsetOutOfRangeError, for_code
from kafka.protocol.consumer import FetchRequest

from streams.log.kafka.decode import Columns, decode
from streams.log.kafka.wire import READ_COMMITTED, Place, Wire, check
from streams.message import Fetched

#: An answer of "nothing new" is good for so many seconds, or for as long as it took: for one pass over a worker's
#: partitions, so that asking takes half of the time at most.
FRESH: Final = 0.002
#: Partitions that were read within so many seconds are asked for together.
FOLLOWED: Final = 2.0
#: What was fetched of a partition is kept up to so many bytes, for others in this process that read it too.
KEPT_BYTES: Final = 4 << 20
#: All that is kept. What was not read for longest goes first.
ALL_KEPT_BYTES: Final = 128 << 20
PARTITION_BYTES: Final = 2 << 20
ANSWER_BYTES: Final = 16 << 20

_Topic = FetchRequest.FetchTopic
_Partition = _Topic.FetchPartition


class Window:
    """What is held of one partition: consecutive chunks, up to the offset `next` at which to fetch on."""

    __slots__ = ("checked", "chunks", "fresh", "next", "served", "stable", "used")

    def __init__(self, start: int) -> None:
        self.chunks: list[Columns] = []
        self.next = start
        self.served = start
        #: When it was last asked for, until when that is good, and where what is committed is known to end.
        self.checked = 0.0
        self.fresh = 0.0
        self.stable = 0
        self.used = 0.0

    def restart(self, at: int) -> None:
        self.chunks.clear()
        self.next = self.served = at
        self.checked = 0.0

    @property
    def start(self) -> int:
        return self.chunks[0].start if self.chunks else self.next

    @property
    def size(self) -> int:
        return sum(chunk.size for chunk in self.chunks)

    def add(self, columns: Columns, keep: int) -> None:
        if columns.next <= self.next:
            return
        if columns.offsets or not self.chunks:
            self.chunks.append(columns)
        else:
            self.chunks[-1].next = columns.next
        self.next = columns.next
        while len(self.chunks) > 1 and self.size > keep and self.chunks[0].next <= self.served:
            self.chunks.pop(0)

    def waiting(self) -> bool:
        """True if messages are held that nobody has read."""
        return any(chunk.next > self.served and chunk.offsets for chunk in self.chunks[-8:])

    def take(self, offset: int, max_bytes: int) -> Fetched | None:
        """Messages from `offset` on, of one chunk; None if none are held from there on."""
        for chunk in self.chunks:
            if offset >= chunk.next:
                continue
            first = bisect_left(chunk.offsets, offset)
            if first == len(chunk.offsets):
                offset = chunk.next
                continue
            count = _fitting(chunk, first, max_bytes)
            after = chunk.next if first + count == len(chunk.offsets) else chunk.offsets[first + count - 1] + 1
            self.served = max(self.served, after)
            return _slice(chunk, first, first + count, after)
        return None


class Fetcher:
    """Reads partitions from wherever a caller is; the caller need not say that it begins, goes on or ends.

    A partition that is read to its end is *followed*: the next request for any partition asks for it too, so that a
    pass over many partitions with nothing new costs one request. Any thread may call any method.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._lock = RLock()
        self._windows: dict[Place, Window] = {}
        self._renewed = 0.0

    def read(self, place: Place, offset: int, max_bytes: int) -> Fetched:
        """Committed messages from `offset` on, about `max_bytes`; empty at the end."""
        with self._lock:
            window = self._windows.get(place)
            now = monotonic()
            if window is None:
                window = self._windows[place] = Window(max(offset, 0))
            window.used = now
            if not window.start <= offset <= window.next:
                if offset > window.next:
                    window.restart(max(offset, 0))
                else:
                    return self._read_apart(place, max(offset, 0), max_bytes)
            parts: list[Fetched] = []
            asked = False
            while max_bytes > 0 or not parts:
                found = window.take(offset, max_bytes)
                if found is not None:
                    parts.append(found)
                    offset = found.next
                    max_bytes -= _size(found)
                    continue
                offset = max(offset, window.next)
                window.served = max(window.served, offset)
                known = asked or (monotonic() < window.fresh and window.checked > self._renewed)
                if known and window.next >= window.stable:
                    break
                self._fetch(place, window)
                asked = True
            return _joined(parts, offset)

    def renew(self) -> None:
        """Something was committed by this process: no answer from before is good any more."""
        self._renewed = monotonic()

    def learn(self, ends: Mapping[Place, int]) -> None:
        """What is committed was seen to reach these ends: the next reads must too."""
        with self._lock:
            for place, end in ends.items():
                window = self._windows.get(place)
                if window is not None:
                    window.stable = max(window.stable, end)

    def close(self) -> None:
        """Let go of what it holds."""
        self._windows.clear()

    def followed(self) -> list[Place]:
        with self._lock:
            return list(self._windows)

    def _fetch(self, place: Place, window: Window) -> None:
        """Ask for this partition, and for the others that are followed."""
        now = monotonic()
        asked = {place: window.next} | {other: self._windows[other].next for other in self._others(place, now)}
        came = self._ask(asked)
        arrived = monotonic()
        for other, (columns, stable) in came.items():
            known = self._windows[other]
            if columns.start != known.next:
                known.restart(columns.start)
            known.checked = now
            known.fresh = arrived + max(FRESH, arrived - now)
            known.stable = stable
            known.add(columns, KEPT_BYTES)
        self._evict()

    def _others(self, place: Place, now: float) -> list[Place]:
        """The other partitions that were read to their end, and of which nobody knows whether there is more by now."""
        return [
            other
            for other, known in self._windows.items()
            if other != place
            and known.served >= known.next
            and now - known.used < FOLLOWED
            and (now >= known.fresh or known.checked <= self._renewed)
        ]

    def _read_apart(self, place: Place, offset: int, max_bytes: int) -> Fetched:
        """A read of what lies before what is held, which stays as it is."""
        parts: list[Fetched] = []
        while max_bytes > 0 or not parts:
            columns, stable = self._ask({place: offset})[place]
            if columns.offsets:
                count = _fitting(columns, 0, max_bytes)
                after = columns.next if count == len(columns.offsets) else columns.offsets[count - 1] + 1
                parts.append(_slice(columns, 0, count, after))
                max_bytes -= _size(parts[-1])
                offset = after
            else:
                offset = columns.next
            if offset >= stable:
                break
        return _joined(parts, offset)

    def _ask(self, asked: dict[Place, int]) -> dict[Place, tuple[Columns, int]]:
        """What lies at these offsets, and where what is committed ends. For an offset that is gone, where the first one
        that is there lies."""

        def request(led: list[Place]) -> Any:
            topics: dict[str, list[Any]] = {}
            for place in led:
                topics.setdefault(place.topic, []).append(
                    _Partition(
                        partition=place.partition,
                        current_leader_epoch=-1,
                        fetch_offset=asked[place],
                        last_fetched_epoch=-1,
                        partition_max_bytes=PARTITION_BYTES,
                    )
                )
            return FetchRequest(
                max_wait_ms=0,
                min_bytes=0,
                max_bytes=ANSWER_BYTES,
                isolation_level=READ_COMMITTED,
                session_id=0,
                session_epoch=-1,
                topics=list(topics.items()),
                forgotten_topics_data=[],
                rack_id="",
                max_version=12,
            )

        def attempt() -> dict[Place, tuple[Columns, int]]:
            found: dict[Place, tuple[Columns, int]] = {}
            outside: list[Place] = []
            (answers,) = self._wire.ask_leaders(asked, [request])
            for answer in answers:
                check(answer.error_code, "fetch")
                for topic in answer.responses:
                    for told in topic.partitions:
                        place = Place(topic.topic, told.partition_index)
                        if for_code(told.error_code) is OffsetOutOfRangeError:
                            outside.append(place)
                            continue
                        check(told.error_code, f"{topic.topic} {told.partition_index}")
                        found[place] = (_decoded(place, told, asked[place]), told.last_stable_offset)
            for place, (first, end) in self._wire.bounds(outside).items():
                found[place] = (Columns(max(first, asked[place])), end)
            return found

        return self._wire.patiently(attempt, doing="reading")

    def _evict(self) -> None:
        total = sum(window.size for window in self._windows.values())
        if total <= ALL_KEPT_BYTES:
            return
        for window in sorted(self._windows.values(), key=lambda one: one.used):
            total -= window.size
            window.restart(window.served)
            if total <= ALL_KEPT_BYTES // 2:
                return


def _decoded(place: Place, told: Any, offset: int) -> Columns:
    if not told.records:
        return Columns(offset)
    aborted = [(one.first_offset, one.producer_id) for one in told.aborted_transactions or ()]
    return decode(told.records, offset, aborted, f"{place.topic} {place.partition}")


def _fitting(columns: Columns, first: int, max_bytes: int) -> int:
    """How many messages from `first` on fit; at least one."""
    if columns.size <= max_bytes:
        return len(columns.offsets) - first
    sizes = (
        len(key or b"") + len(value or b"") + sum(len(name) + len(data) for name, data in headers)
        for key, value, headers in islice(zip(columns.keys, columns.values, columns.headers, strict=True), first, None)
    )
    return max(sum(1 for _ in takewhile(max_bytes.__ge__, accumulate(sizes))), 1)


def _slice(columns: Columns, start: int, stop: int, after: int) -> Fetched:
    return Fetched(
        tuple(columns.offsets[start:stop]),
        tuple(columns.timestamps[start:stop]),
        tuple(columns.keys[start:stop]),
        tuple(columns.values[start:stop]),
        tuple(columns.headers[start:stop]),
        after,
    )


def _size(fetched: Fetched) -> int:
    return sum(len(key or b"") + len(value or b"") for key, value in zip(fetched.keys, fetched.values, strict=True))


def _joined(parts: list[Fetched], after: int) -> Fetched:
    """The parts as one, to be read on from `after`."""
    if len(parts) == 1 and parts[0].next == after:
        return parts[0]
    return Fetched(
        tuple(chain.from_iterable(part.offsets for part in parts)),
        tuple(chain.from_iterable(part.timestamps for part in parts)),
        tuple(chain.from_iterable(part.keys for part in parts)),
        tuple(chain.from_iterable(part.values for part in parts)),
        tuple(chain.from_iterable(part.headers for part in parts)),
        after,
    )
