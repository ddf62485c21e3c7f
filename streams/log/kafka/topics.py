"""Topics of a cluster as ours: made from what is registered, and compared with it, never altered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from time import monotonic, sleep
from typing import Any, Final

from kafka.admin import ConfigFilterType, ConfigResource, ConfigResourceType
from kafka.errors import KafkaError, TopicAlreadyExistsError

from streams.log.kafka.wire import Wire, refused
from streams.log.protocol import LogError, Topic, TopicMismatch, UnknownTopic

#: The largest message of a topic of ours: far above what batches of rows come to, so that state and models fit.
LARGEST_MESSAGE: Final = 16 << 20
#: Topics under this name are the platform's own and no streams: who works on what.
LEASES: Final = "headwater.leases"

#: All brokers know of a new topic within so many seconds.
KNOWN_SECONDS: Final = 20.0
#: A topic that one broker does not know is asked for so often, with so many seconds between.
ASKED_OFTEN: Final = 5
ASKED_AFTER: Final = 0.2

_TIME = "message.timestamp.type"
_SIZE = "max.message.bytes"
_RETENTION = "retention.ms"
_POLICY = "cleanup.policy"


class Topics:
    """The topics of one cluster under one prefix. Settings are fixed for life, so each is asked for once."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._prefix = wire.address.prefix
        self._known: dict[str, Topic] = {}

    def name(self, topic: str) -> str:
        """The topic's name on the broker."""
        return self._prefix + topic

    def known(self) -> list[str]:
        """The names on the broker of all topics that were asked for or made through this object."""
        return [self.name(topic) for topic in self._known]

    def get(self, topic: str, partition: int = 0) -> Topic:
        """A topic's settings. UnknownTopic if it or its partition is not there."""
        known = self._known.get(topic)
        if known is None:
            known = self._asked_often(topic)
            if known is None:
                raise UnknownTopic(
                    f"There is no topic {topic!r}", where=self._wire.address.shown, fix="Create it, or check the name."
                )
        if not 0 <= partition < known.partitions:
            raise UnknownTopic(
                f"There is no partition {partition}",
                where=topic,
                fix=f"Its partitions are 0 to {known.partitions - 1}.",
            )
        return known

    def all(self) -> list[Topic]:
        """All topics of ours, by name."""
        admin = self._wire.admin
        names = self._wire.patiently(admin.list_topics, doing="listing topics")
        ours = [
            name
            for name in names
            if name.startswith(self._prefix) and not name.startswith("__") and name != self.name(LEASES)
        ]
        found = self._told(ours)
        return [found[name] for name in sorted(found)]

    def create(self, topics: Iterable[Topic], extra: dict[str, str] | None = None) -> None:
        """Make the topics that do not exist. TopicMismatch, and nothing made, if one exists otherwise."""
        wanted = list(topics)
        missing = self._missing(wanted)
        if not missing:
            return
        asked = {
            self.name(topic.name): {
                "num_partitions": topic.partitions,
                "replication_factor": self._wire.address.replication,
                "configs": {**settings_of(topic), **(extra or {})},
            }
            for topic in missing
        }
        admin = self._wire.admin

        def attempt() -> None:
            try:
                admin.create_topics(asked)
            except TopicAlreadyExistsError:
                # Another process makes them at this moment, or an answer was lost: those that are left, one by one.
                self._create_singly(asked)
            admin.wait_for_topics(list(asked))

        self._wire.patiently(attempt, doing="creating topics")
        self._wait_until_known(wanted)

    def _wait_until_known(self, made: list[Topic]) -> None:
        """A broker that answers next may hear of the topics a moment later than the one that made them."""
        deadline = monotonic() + KNOWN_SECONDS
        while missing := self._missing(made):
            if monotonic() > deadline:
                raise LogError(
                    f"Topics were made, but after {KNOWN_SECONDS:.0f} s brokers do not know of them",
                    where=", ".join(topic.name for topic in missing),
                    fix="See whether all brokers follow the controller; then try again.",
                )
            sleep(0.02)

    def _asked_often(self, topic: str) -> Topic | None:
        """A topic as the broker has it. Of several brokers one may not have heard of it yet."""
        for attempt in range(ASKED_OFTEN if self._wire.brokers() > 1 else 1):
            if attempt:
                sleep(ASKED_AFTER)
            found = self._told([self.name(topic)]).get(topic)
            if found is not None:
                return found
        return None

    def _create_singly(self, asked: dict[str, dict[str, Any]]) -> None:
        for name, settings in asked.items():
            try:
                self._wire.admin.create_topics({name: settings})
            except TopicAlreadyExistsError:
                continue

    def _missing(self, wanted: list[Topic]) -> list[Topic]:
        known = {topic.name: topic for topic in wanted if topic.name in self._known}
        unknown = [self.name(topic.name) for topic in wanted if topic.name not in known]
        there = {name: self._known[name] for name in known} | self._told(unknown, check=True)
        missing = []
        for topic in wanted:
            if topic.partitions < 1:
                raise LogError("A topic needs at least one partition", where=topic.name, fix="Set `partitions`.")
            found = there.setdefault(topic.name, topic)
            if found is topic:
                missing.append(topic)
            elif found not in (topic, _in_milliseconds(topic)):
                raise TopicMismatch(
                    f"The topic exists as {found}, not as {topic}",
                    where=topic.name,
                    fix="Settings are fixed for life: ask for the ones it has, or take another name.",
                )
        return missing

    def _told(self, names: list[str], *, check: bool = False) -> dict[str, Topic]:
        """These topics as the broker has them; those that do not exist are left out."""
        leaders = self._wire.leaders(names)
        if not leaders:
            return {}
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in leaders]
        try:
            told = self._wire.patiently(
                lambda: self._wire.admin.describe_configs(resources, config_filter=ConfigFilterType.ALL),
                doing="asking for topics' settings",
            )["topic"]
        except KafkaError as error:
            raise refused(self._wire.address, error, "asking for topics' settings") from error
        found = {}
        for name, led in leaders.items():
            settings = {key: one["value"] for key, one in told.get(name, {}).items()}
            if not settings:
                # The broker that was asked has not heard of the topic yet, though the one before had.
                continue
            topic = _topic(name[len(self._prefix) :], len(led), settings)
            if check:
                _refuse_unfit(topic.name, settings)
            found[topic.name] = topic
        self._known.update(found)
        return found


def settings_of(topic: Topic) -> dict[str, str]:
    """The broker's settings for a topic of ours."""
    forever = topic.retention is None
    compacted = "compact" if forever else "compact,delete"
    return {
        _POLICY: compacted if topic.compact else "delete",
        _RETENTION: "-1" if topic.retention is None else str(-(-topic.retention // 1000)),
        _TIME: "LogAppendTime",
        _SIZE: str(LARGEST_MESSAGE),
    }


def _topic(name: str, partitions: int, settings: dict[str, Any]) -> Topic:
    policy = set((settings.get(_POLICY) or "delete").split(","))
    kept = int(settings.get(_RETENTION) or -1)
    forever = kept < 0 or "delete" not in policy
    return Topic(name, partitions, None if forever else 1000 * kept, "compact" in policy)


def _in_milliseconds(topic: Topic) -> Topic:
    """The topic with the retention that Kafka can keep: whole milliseconds, rounded up."""
    if topic.retention is None:
        return topic
    return replace(topic, retention=-1000 * (-topic.retention // 1000))


def _refuse_unfit(name: str, settings: dict[str, Any]) -> None:
    """TopicMismatch for settings of an existing topic with which ours cannot be kept."""
    if settings.get(_TIME) != "LogAppendTime":
        raise TopicMismatch(
            f"The topic has {_TIME}={settings.get(_TIME)}: retention would go by the producers' clocks",
            where=name,
            fix=f"Set {_TIME}=LogAppendTime on the topic, or take another name.",
        )
    if int(settings.get(_SIZE) or 0) < 1 << 20:
        raise TopicMismatch(
            f"The topic takes messages of at most {settings.get(_SIZE)} bytes",
            where=name,
            fix=f"Set {_SIZE} to {1 << 20} or more, better {LARGEST_MESSAGE}, or take another name.",
        )
