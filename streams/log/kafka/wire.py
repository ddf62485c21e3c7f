"""One connection to a cluster: requests to the leaders of partitions, and patience while a broker is away."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from time import monotonic, sleep
from typing import Any, Final, NamedTuple, TypeVar

from kafka import KafkaAdminClient
from kafka.errors import (
    AuthorizationError,
    BrokerNotAvailableError,
    KafkaError,
    NoError,
    SaslAuthenticationFailedError,
    UnknownBrokerIdError,
    for_code,
)
from kafka.protocol.consumer import ListOffsetsRequest

from streams.log.kafka.address import Address
from streams.log.kafka.diagnosis import check_files, unreachable
from streams.log.kafka.vigil import SILENCE_SECONDS, Vigil
from streams.log.protocol import LogError

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: A dead cluster is given so many seconds before the first connection counts as failed.
CONNECT_SECONDS: Final = 8.0
#: A broker that is waited for is told of again every so many seconds.
REMIND_SECONDS: Final = 30.0

EARLIEST: Final = -2
LATEST: Final = -1
READ_COMMITTED: Final = 1

_Topic = ListOffsetsRequest.ListOffsetsTopic
_Partition = _Topic.ListOffsetsPartition


class Place(NamedTuple):
    """One partition of a topic, under its name on the broker."""

    topic: str
    partition: int


def client_settings(address: Address) -> dict[str, Any]:
    """What every kafka-python client is told."""
    return {
        "bootstrap_servers": address.servers.split(","),
        "client_id": "headwater",
        "retry_backoff_ms": 5,
        "reconnect_backoff_ms": 20,
        "reconnect_backoff_max_ms": 1_000,
        "request_timeout_ms": 15_000,
        **address.security,
    }


class Wire:
    """A connection to the cluster. Any thread may use it; a call waits while no broker answers, and says so."""

    def __init__(self, address: Address, *, connect_seconds: float = CONNECT_SECONDS) -> None:
        self.address = address
        self.vigil = Vigil(address.servers)
        self._leaders: dict[str, list[int]] = {}
        check_files(address)
        quiet = logging.getLogger("kafka")
        if quiet.level == logging.NOTSET:
            # It tells every refused connection as an error; what matters of it is told here in plain words.
            quiet.setLevel(logging.CRITICAL)
        try:
            self.admin = KafkaAdminClient(
                **client_settings(address), bootstrap_timeout_ms=round(connect_seconds * 1_000)
            )
        except (KafkaError, OSError, ValueError, AssertionError) as error:
            if isinstance(error, (SaslAuthenticationFailedError, AuthorizationError)):
                raise refused(address, error, "connecting") from error
            raise unreachable(address, _words(error)) from error
        self._manager = self.admin._manager

    def patiently(self, attempt: Callable[[], T], *, doing: str) -> T:
        """What `attempt` gives, tried again while no broker answers or a leader moves. LogError for anything else."""
        began = monotonic()
        tell_at = began + SILENCE_SECONDS
        told = False
        pause = 0.005
        while True:
            try:
                result = attempt()
            except KafkaError as error:
                if not is_passing(error):
                    raise refused(self.address, error, doing) from error
                self.forget_leaders()
                if monotonic() >= tell_at:
                    logger.warning("waiting for the broker at %s (%s): %s", self.address.servers, doing, error)
                    told = True
                    tell_at = monotonic() + REMIND_SECONDS
                sleep(pause)
                pause = min(2 * pause, 0.25)
                continue
            if told:
                logger.warning("the broker at %s is back after %.1f s", self.address.servers, monotonic() - began)
            return result

    def forget_leaders(self) -> None:
        """Leaders and coordinators may have moved: they are asked for anew. The client itself goes on asking the
        coordinator that it once found, also when that one is away for good."""
        self._leaders.clear()
        self._manager.cluster._coordinators.clear()

    def brokers(self) -> int:
        """How many brokers the cluster was seen to have."""
        return len(self._manager.cluster.brokers())

    def partitions(self, topic: str) -> list[int] | None:
        """The leader of each partition of a topic; None if there is no such topic."""
        known = self._leaders.get(topic)
        return known if known is not None else self.leaders([topic]).get(topic)

    def leaders(self, topics: Iterable[str]) -> dict[str, list[int]]:
        """The leaders of these topics, asked for anew. Those that do not exist are left out."""
        names = list(topics)

        def attempt() -> dict[str, list[int]]:
            found = {}
            for told in self.admin.describe_topics(names) if names else []:
                kind = for_code(told["error_code"])
                if kind is NoError:
                    leaders = {one["partition_index"]: one["leader_id"] for one in told["partitions"]}
                    if min(leaders.values()) < 0:
                        raise BrokerNotAvailableError(f"a partition of {told['name']} has no leader")
                    found[told["name"]] = [leaders[number] for number in sorted(leaders)]
                elif kind.__name__ not in ("UnknownTopicOrPartitionError", "InvalidTopicError"):
                    raise kind(told["name"])
            return found

        found = self.patiently(attempt, doing="looking for leaders")
        self._leaders.update(found)
        return found

    def ask_leaders(self, asks: Sequence[tuple[Iterable[Place], Callable[[list[Place]], Any]]]) -> list[list[Any]]:
        """Send requests, each to every broker that leads some of its partitions: all at once, but one broker takes them
        in this order. For each request the brokers' answers. KafkaError."""
        asked = []
        for places, request in asks:
            by_leader: dict[int, list[Place]] = {}
            for place in places:
                by_leader.setdefault(self.leader(place), []).append(place)
            asked.append([(node, request(led)) for node, led in by_leader.items()])

        async def sending() -> list[list[Any]]:
            waiting = [[self._manager.send(what, node_id=node) for node, what in group] for group in asked]
            return [[await answer for answer in group] for group in waiting]

        return self._manager.run(sending)

    def leader(self, place: Place) -> int:
        """The broker that leads a partition. KafkaError."""
        leaders = self.partitions(place.topic)
        if leaders is None or place.partition >= len(leaders):
            raise BrokerNotAvailableError(f"{place.topic} is not there")
        return leaders[place.partition]

    def bounds(self, places: Iterable[Place]) -> dict[Place, tuple[int, int]]:
        """The first offset of each partition, and the end of what is committed there."""
        first, ends = self._offsets(list(places), EARLIEST, LATEST)
        return {place: (at, max(at, ends[place])) for place, at in first.items()}

    def ends(self, places: Iterable[Place]) -> dict[Place, int]:
        """The end of what is committed in each partition."""
        (found,) = self._offsets(list(places), LATEST)
        return found

    def _offsets(self, places: list[Place], *kinds: int) -> list[dict[Place, int]]:
        def attempt() -> list[dict[Place, int]]:
            asks = [(places, partial(offsets_request, which=kind)) for kind in kinds]
            return [told_offsets(answers) for answers in self.ask_leaders(asks)]

        return self.patiently(attempt, doing="asking for offsets")

    def close(self) -> None:
        self.admin.close()


def offsets_request(led: list[Place], which: int) -> Any:
    """Asks where partitions begin (EARLIEST), or where what is committed ends (LATEST)."""
    topics: dict[str, list[Any]] = {}
    for place in led:
        topics.setdefault(place.topic, []).append(_Partition(place.partition, -1, which))
    return ListOffsetsRequest(replica_id=-1, isolation_level=READ_COMMITTED, topics=list(topics.items()), max_version=5)


def told_offsets(answers: Iterable[Any]) -> dict[Place, int]:
    """What the brokers answered to it. KafkaError."""
    found = {}
    for answer in answers:
        for topic in answer.topics:
            for told in topic.partitions:
                check(told.error_code, topic.name)
                found[Place(topic.name, told.partition_index)] = told.offset
    return found


def check(code: int, about: str) -> None:
    """Raise the broker's error, if it is one."""
    kind = for_code(code)
    if kind is not NoError:
        raise kind(about)


def is_passing(error: BaseException) -> bool:
    """True if trying again may help: a broker is away, a leader moves."""
    return bool(getattr(error, "retriable", False)) or isinstance(
        error, (BrokerNotAvailableError, UnknownBrokerIdError, ConnectionError)
    )


def refused(address: Address, error: BaseException, doing: str) -> LogError:
    """Our error for what a broker will not do."""
    if isinstance(error, AuthorizationError):
        fix = "Give this user the rights that docs/how-to/run-on-kafka.md lists."
    elif isinstance(error, SaslAuthenticationFailedError):
        fix = "Check sasl_mechanism, user and password."
    else:
        fix = "The broker's own log tells more."
    return LogError(f"{_words(error)} while {doing}", where=address.shown, fix=fix)


def _words(error: BaseException) -> str:
    text = str(error).strip()
    return (
        f"{type(error).__name__}: {text}" if text and type(error).__name__ not in text else text or type(error).__name__
    )
