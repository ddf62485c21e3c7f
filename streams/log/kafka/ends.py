"""Where what is committed ends, for many partitions with one request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock
from time import monotonic

from streams.log.kafka.fetch import FOLLOWED, fresh_for
from streams.log.kafka.wire import Place, Wire


class Ends:
    """The ends of partitions, remembered for one pass over them, until `renew`, or until another end was seen.

    Who asks for one partition asks for all that were lately asked for. Any thread may call any method.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
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

    def renew(self) -> None:
        """Something was committed by this process: no answer from before is good any more."""
        self._renewed = monotonic()

    def _ask(self, places: list[Place]) -> None:
        asked = monotonic()
        self._known = self._wire.ends(places)
        arrived = monotonic()
        self._asked = asked
        self._good_until = arrived + fresh_for(arrived - asked)
