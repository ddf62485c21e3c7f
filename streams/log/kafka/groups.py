"""Consumer groups of a cluster: who reads which topics, and offsets that are committed for others' tools to show."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from time import sleep
from typing import Any, Final

from kafka import TopicPartition
from kafka.errors import KafkaError, NoError
from kafka.structs import OffsetAndMetadata

from streams.log.kafka.wire import Wire, is_passing, refused
from streams.log.protocol import Reader

logger = logging.getLogger(__name__)

#: A broker that was just started, or meets its first group, needs a moment.
ATTEMPTS: Final = 5
PAUSE_SECONDS: Final = 0.1


def commit_offsets(wire: Wire, group: str, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> bool:
    """Commit the offsets of a group without members. False, and a line in the program's log, if that cannot be."""
    for attempt in range(ATTEMPTS):
        if attempt:
            wire.forget_leaders()
            sleep(PAUSE_SECONDS)
        try:
            told = wire.admin.alter_group_offsets(group, dict(offsets))
        except KafkaError as error:
            wrong: list[BaseException] = [error]
        else:
            wrong = [kind(str(place)) for place, kind in told.items() if kind is not NoError]
        if not wrong:
            return True
        if not all(map(is_passing, wrong)):
            break
    logger.info("the offsets of the group %s could not be committed: %s", group, wrong[0])
    return False


def readers_of(wire: Wire, prefix: str) -> list[Reader]:
    """The groups that read topics whose names begin with `prefix`; group and topics without it. LogError if the broker
    does not let us look."""

    def attempt() -> list[Reader]:
        names = sorted(one["group_id"] for one in wire.admin.list_groups())
        if not names:
            return []
        described = wire.admin.describe_groups(names)
        committed = wire.admin.list_group_offsets(dict.fromkeys(names))
        found = [_reader(name, described[name], committed.get(name, {}), prefix) for name in names]
        return [one for one in found if one.topics]

    try:
        return wire.patiently(attempt, doing="asking for consumer groups")
    except KafkaError as error:
        raise refused(wire.address, error, "asking for consumer groups") from error


def _reader(name: str, told: Mapping[str, Any], committed: Mapping[Any, Any], prefix: str) -> Reader:
    positions = {
        (place.topic.removeprefix(prefix), place.partition): int(one.offset)
        for place, one in committed.items()
        if place.topic.startswith(prefix) and one.offset >= 0
    }
    topics = {topic for topic, _ in positions}
    assigned: dict[tuple[str, int], str] = {}
    for member in told["members"]:
        given = member.get("member_assignment") or {}
        for one in given.get("assigned_partitions", ()) if isinstance(given, Mapping) else ():
            for partition in one["partitions"] if one["topic"].startswith(prefix) else ():
                assigned[one["topic"].removeprefix(prefix), partition] = str(member["client_id"])
        subscribed = member.get("member_metadata") or {}
        if isinstance(subscribed, Mapping):
            topics |= {one.removeprefix(prefix) for one in subscribed.get("topics", ()) if one.startswith(prefix)}
    clients = sorted({str(member["client_id"]) for member in told["members"]})
    return Reader(
        name.removeprefix(prefix),
        str(told["group_state"]),
        tuple(clients),
        tuple(sorted(topics)),
        positions,
        assigned,
    )
