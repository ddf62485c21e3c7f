"""Where what is committed ends, for many partitions with one request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock
from time import monotonic, sleep

from streams.log.kafka.fetch import FOLLOWED, Fetcher, fresh_for
from streams.log.kafka.wire import Place, Wire


class Ends:
    """The ends of partitions, remembered for one pass over them, until `renew`, or until another end was seen.

    Who asks for one partition asks for all that were lately asked for. Any thread may call any method.
    """

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._lock = Lock()
        self._used: dict[Place, float] = {}
        self._known: dict[Place, int] = {}
        self._asked = 0.0
        self._good_until = 0.0
        self._renewed = 0.0

    def of(self, places: Sequence[Place]) -> dict[Place, int]:
        """The end of each of these, and perhaps of others."""
        with self._lock:
            now = monotonic()
            self._used.update(dict.fromkeys(places, now))
            fresh = now < self._good_until and self._asked > self._renewed
            if not fresh or not self._known.keys() >= set(places):
                self._ask([place for place, used in self._used.items() if now - used < FOLLOWED])
            return self._known

    def anew(self, others: Sequence[Place]) -> dict[Place, int]:
        """The end, as it is now, of each of these and of all that were ever asked for."""
        with self._lock:
            self._ask(list(dict.fromkeys([*others, *self._used])))
            return self._known

    def learn(self, ends: Mapping[Place, int]) -> None:
        """What is committed was seen to reach these ends."""
        with self._lock:
            for place, end in ends.items():
                if self._known.get(place, end) < end:
                    self._known = {**self._known, place: end}

    def wait(self, wire: Wire, timeout: float) -> None:
        """Return as soon as one of those lately asked for has moved on, or after `timeout` seconds. KafkaError."""
        with self._lock:
            now = monotonic()
            lately = [place for place, used in self._used.items() if now - used < FOLLOWED + timeout]
            known = {place: self._known[place] for place in lately if place in self._known}
        if not known:
            sleep(timeout)
            return
        found = self._fetcher.wait(wire, known, timeout)
        with self._lock:
            if found.keys() >= self._known.keys() and self._known.keys() == known.keys():
                self._told({place: max(end, self._known[place]) for place, end in found.items()}, now)

    def renew(self) -> None:
        """Something was committed by this process: no answer from before is good any more."""
        self._renewed = monotonic()

    def _ask(self, places: list[Place]) -> None:
        asked = monotonic()
        self._told(self._fetcher.ends(places), asked)

    def _told(self, known: dict[Place, int], asked: float) -> None:
        arrived = monotonic()
        self._known = known
        self._asked = asked
        self._good_until = arrived + fresh_for(arrived - asked)
