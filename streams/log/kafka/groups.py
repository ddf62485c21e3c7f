"""Consumer groups of a cluster: offsets that are committed for other people's tools to show."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from time import sleep
from typing import Final

from kafka import TopicPartition
from kafka.errors import KafkaError, NoError
from kafka.structs import OffsetAndMetadata

from streams.log.kafka.wire import Wire, is_passing

logger = logging.getLogger(__name__)

#: A broker that was just started, or meets its first group, needs a moment.
ATTEMPTS: Final = 5
PAUSE_SECONDS: Final = 0.1


def commit_offsets(wire: Wire, group: str, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> bool:
    """Commit the offsets of a group without members. False, and a line in the program's log, if that cannot be."""
    for attempt in range(ATTEMPTS):
        if attempt:
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
