"""Reading committed messages with kafka-python: one request for all partitions that are being followed."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from itertools import chain
from threading import RLock
from time import monotonic
from typing import Any, Final

from kafka.errors import OffsetOutOfRangeError, for_code
from kafka.protocol.consumer import FetchRequest

from streams.log.kafka.decode import Columns, decode
from streams.log.kafka.wire import READ_COMMITTED, Place, Wire, check
from streams.message import Fetched

#: An answer of "nothing new" is good for so many seconds, or for as long as it took, up to the longest: for one pass
#: over a worker's partitions, so that asking takes half of the time at most.
FRESH: Final = 0.002
LONGEST_FRESH: Final = 0.02
#: Partitions that were read within so many seconds are asked for together.
FOLLOWED: Final = 2.0
#: What was fetched of a partition is kept up to so many bytes, for others in this process that read it too.
KEPT_BYTES: Final = 4 << 20
#: All that is kept. What was not read for longest goes first.
ALL_KEPT_BYTES: Final = 128 << 20
PARTITION_BYTES: Final = 4 << 20
ANSWER_BYTES: Final = 16 << 20

_Topic = FetchRequest.FetchTopic
_Partition = _Topic.FetchPartition


class _Window:
    """What is held of one partition: consecutive chunks, up to the offset `next` at which to fetch on."""

    __slots__ = ("asked", "checked", "chunks", "fresh", "next", "served", "stable", "used")

    def __init__(self, start: int) -> None:
        self.chunks: list[Columns] = []
        self.next = start
        self.served = start
        #: Where the latest read began: a reader of batches comes back to the start of one that it has half of.
        self.asked = start
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
        while len(self.chunks) > 1 and self.size > keep and self.chunks[0].next <= self.asked:
            self.chunks.pop(0)

    def take(self, offset: int, max_bytes: int) -> tuple[Fetched, int] | None:
        """Messages from `offset` on, of one chunk, and their bytes; None if none are held from there on."""
        for chunk in self.chunks:
            if offset >= chunk.next:
                continue
            first = bisect_left(chunk.offsets, offset)
            if first == len(chunk.offsets):
                offset = chunk.next
                continue
            taken = _cut(chunk, first, max_bytes)
            self.served = max(self.served, taken[0].next)
            return taken
        return None


class Fetcher:
    """Reads partitions from wherever a caller is; the caller need not say that it begins, goes on or ends.

    A partition that is read to its end is *followed*: the next request for any partition asks for it too, so that a
    pass over many partitions with nothing new costs one request. Any thread may call any method.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._lock = RLock()
        self._windows: dict[Place, _Window] = {}
        self._renewed = 0.0

    def read(self, place: Place, offset: int, max_bytes: int) -> Fetched:
        """Committed messages from `offset` on, about `max_bytes`; empty at the end."""
        with self._lock:
            window = self._windows.get(place)
            now = monotonic()
            if window is None:
                window = self._windows[place] = _Window(max(offset, 0))
            window.used = now
            window.asked = max(offset, 0)
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
                    parts.append(found[0])
                    offset = found[0].next
                    max_bytes -= found[1]
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

    def _fetch(self, place: Place, window: _Window) -> None:
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
            known.fresh = arrived + fresh_for(arrived - now)
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
                fetched, size = _cut(columns, 0, max_bytes)
                parts.append(fetched)
                max_bytes -= size
                offset = fetched.next
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


def fresh_for(taken: float) -> float:
    """For how many seconds an answer is good that took so many."""
    return min(max(FRESH, taken), LONGEST_FRESH)


def _decoded(place: Place, told: Any, offset: int) -> Columns:
    if not told.records:
        return Columns(offset)
    aborted = [(one.first_offset, one.producer_id) for one in told.aborted_transactions or ()]
    return decode(told.records, offset, aborted, f"{place.topic} {place.partition}")


def _cut(columns: Columns, first: int, max_bytes: int) -> tuple[Fetched, int]:
    """The messages from index `first` on that fit, at least one, and their bytes."""
    before = columns.ends[first - 1] if first else 0
    count = len(columns.offsets)
    stop = min(max(bisect_right(columns.ends, before + max_bytes, first), first + 1), count)
    after = columns.next if stop == count else columns.offsets[stop - 1] + 1
    return (
        Fetched(
            tuple(columns.offsets[first:stop]),
            tuple(columns.timestamps[first:stop]),
            tuple(columns.keys[first:stop]),
            tuple(columns.values[first:stop]),
            tuple(columns.headers[first:stop]),
            after,
        ),
        columns.ends[stop - 1] - before,
    )


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
