"""What the tests on Kafka share: a log of their own on the session's broker, and a broker that may be killed."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from uuid import uuid4

import pytest

from streams.log import Log, open_log
from tests.kafka_broker import Broker, CannotStart

JOB = Path(__file__).parents[1] / "faults" / "loop_job.py"


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
    try:
        broker = Broker(tmp_path_factory.mktemp("own-broker"))
        broker.start()
    except CannotStart as reason:
        pytest.skip(f"No Kafka to stop and start: {reason}.")
    try:
        yield broker
    finally:
        broker.stop()


@pytest.fixture(scope="session")
def loop_job() -> ModuleType:
    """The job with a loop, joins and quarantine: see tests/faults/loop_job.py."""
    spec = importlib.util.spec_from_file_location("loop_job", JOB)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["loop_job"] = module
    spec.loader.exec_module(module)
    return module
