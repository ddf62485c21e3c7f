"""Reading committed messages with kafka-python: one request for all partitions that are being followed."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from functools import partial
from itertools import chain
from threading import RLock
from time import monotonic
from typing import Any, Final

from kafka.errors import OffsetOutOfRangeError, for_code
from kafka.protocol.consumer import FetchRequest

from streams.log.kafka.decode import Columns, decode
from streams.log.kafka.unseen import Unseen
from streams.log.kafka.wire import (
    LATEST,
    READ_COMMITTED,
    Place,
    Wire,
    check,
    offsets_request,
    told_offsets,
)
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
#: Where several brokers are asked to wait, all wait for the slowest.
SHORT_WAIT: Final = 0.005
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

    def __init__(self, wire: Wire, unseen: Unseen | None = None) -> None:
        self._wire = wire
        self._unseen = unseen or Unseen(wire)
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

    def ends(self, places: Iterable[Place]) -> dict[Place, int]:
        """Where what is committed ends in each partition. Of those that were read to their end, what is new comes with
        the same answer, and is there for the next read."""
        with self._lock:
            at = {place: self._caught_up(place) for place in places}
            asked = {place: offset for place, offset in at.items() if offset is not None}
            came = self._fetched(asked) if asked else {}
            others = [place for place, offset in at.items() if offset is None]
            found = {place: stable for place, (_, stable) in came.items()}
            if others:
                self._unseen.wait(others)
                found |= self._wire.ends(others)
                self.learn(found)
            return found

    def wait(self, wire: Wire, known: Mapping[Place, int], timeout: float) -> dict[Place, int]:
        """Where what is committed ends in each of these partitions, as soon as it is further than `known`, or than what
        was read, or after `timeout` seconds; what is new is there for the next read. `wire` is for this alone: a broker
        answers the requests of one connection one after the other. KafkaError."""
        self._unseen.wait(known)
        with self._lock:
            windows = {place: self._windows.get(place) for place in known}
            asked = {
                place: known[place] if window is None else max(window.next, window.stable, known[place])
                for place, window in windows.items()
            }
        began = monotonic()
        if len({wire.leader(place) for place in asked}) > 1:
            # All brokers' answers are waited for.
            timeout = min(timeout, SHORT_WAIT)
        came = self._attempt(wire, asked, round(timeout * 1_000))
        with self._lock:
            self._take(came, asked, began)
        return {place: stable for place, (_, stable) in came.items()}

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
        self._fetched({place: window.next} | {one: self._windows[one].next for one in self._others(place, monotonic())})

    def _fetched(self, asked: dict[Place, int]) -> dict[Place, tuple[Columns, int]]:
        began = monotonic()
        came = self._ask(asked)
        self._take(came, asked, began)
        return came

    def _take(self, came: Mapping[Place, tuple[Columns, int]], asked: Mapping[Place, int], began: float) -> None:
        """Keep what came for what was asked at `began`."""
        arrived = monotonic()
        for place, (columns, stable) in came.items():
            window = self._windows.get(place)
            if window is None:
                continue
            if asked[place] != window.next:
                window.stable = max(window.stable, stable)
                continue
            if columns.start != window.next:
                window.restart(columns.start)
            window.checked = began
            window.fresh = arrived + fresh_for(arrived - began)
            window.stable = stable
            window.add(columns, KEPT_BYTES)
        self._evict()

    def _caught_up(self, place: Place) -> int | None:
        """Where to fetch on in a partition all of whose known messages were read; None for others."""
        window = self._windows.get(place)
        return window.next if window is not None and window.served >= max(window.next, window.stable) else None

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

    def _ask(self, asked: Mapping[Place, int]) -> dict[Place, tuple[Columns, int]]:
        """What lies at these offsets, and where what is committed ends; all that this process committed there before
        is seen. For an offset that is gone, where the first one that is there lies."""

        def attempt() -> tuple[dict[Place, tuple[Columns, int]], bool]:
            hidden = self._unseen.places(asked)
            if not hidden:
                return self._attempt(self._wire, asked, 0), True
            # The broker looks there before it looks for what is to be read.
            ends, answers = self._wire.ask_leaders(
                [(hidden, partial(offsets_request, which=LATEST)), (asked, partial(_request, asked=asked, wait=0))]
            )
            return self._told(answers, asked), self._unseen.told(told_offsets(ends), asked)

        while True:
            came, seen = self._wire.patiently(attempt, doing="reading")
            if seen:
                return came
            self._unseen.wait(asked)

    def _attempt(self, wire: Wire, asked: Mapping[Place, int], wait: int) -> dict[Place, tuple[Columns, int]]:
        (answers,) = wire.ask_leaders([(asked, partial(_request, asked=asked, wait=wait))])
        return self._told(answers, asked)

    def _told(self, answers: Iterable[Any], asked: Mapping[Place, int]) -> dict[Place, tuple[Columns, int]]:
        found: dict[Place, tuple[Columns, int]] = {}
        outside: list[Place] = []
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

    def _evict(self) -> None:
        total = sum(window.size for window in self._windows.values())
        if total <= ALL_KEPT_BYTES:
            return
        for window in sorted(self._windows.values(), key=lambda one: one.used):
            total -= window.size
            window.restart(window.served)
            if total <= ALL_KEPT_BYTES // 2:
                return


def _request(led: list[Place], asked: Mapping[Place, int], wait: int) -> Any:
    """Asks for what is committed behind these offsets; if there is nothing, the broker waits so many milliseconds."""
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
        max_wait_ms=wait,
        min_bytes=1 if wait else 0,
        max_bytes=ANSWER_BYTES,
        isolation_level=READ_COMMITTED,
        session_id=0,
        session_epoch=-1,
        topics=list(topics.items()),
        forgotten_topics_data=[],
        rack_id="",
        max_version=12,
    )


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
