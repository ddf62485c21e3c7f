"""What the tests on Kafka share: a log of their own on the session's broker, and a broker that may be killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from uuid import uuid4

import pytest

import headwater as hw
from streams.log import Log, open_log
from tests.faults import loop_job
from tests.faults.facts import Rows
from tests.kafka.worker import PARTITIONS
from tests.kafka_broker import Broker
from tests.services.kafka import started


@pytest.fixture
def kafka_url(kafka_address: str) -> str:
    """A log of its own on a broker that others use too."""
    return f"kafka://{kafka_address}?prefix=test-{uuid4().hex[:10]}."


@pytest.fixture
def kafka_log(kafka_url: str) -> Iterator[Log]:
    log = open_log(kafka_url)
    yield log
    log.close()


@pytest.fixture(scope="session")
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker that tests may stop, kill and start again; they leave it running."""
    folder = tmp_path_factory.mktemp("own-broker")
    with started(lambda: Broker(folder), otherwise="No Kafka to stop and start") as broker:
        yield broker


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Rows]:
    """What the loop job over so many rows leaves when nothing disturbs it."""

    @cache
    def run(rows: int) -> Rows:
        with hw.connect(tmp_path_factory.mktemp("undisturbed")) as hub:
            hub.run(loop_job.build(rows, PARTITIONS), until="caught-up")
            return Rows.of(hub, loop_job.build(rows, PARTITIONS))

    return run
