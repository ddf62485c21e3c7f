"""Leases on Kafka: everyone who reads the claims in their order comes to the same answer."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from streams.log import Log, open_log
from streams.log.kafka.leases import Standing
from streams.log.leases import owner_name
from streams.log.protocol import Leases

SECOND = 1_000_000


@pytest.fixture
def one(kafka_log: Log) -> Leases:
    assert kafka_log.leases is not None
    return kafka_log.leases


@pytest.fixture
def other(kafka_url: str) -> Iterator[Leases]:
    """The leases as another process has them."""
    log = open_log(kafka_url)
    assert log.leases is not None
    yield log.leases
    log.close()


def test_a_held_task_cannot_be_claimed_by_another(one: Leases, other: Leases) -> None:
    assert one.claim("task/0", "one", 30)
    assert not other.claim("task/0", "other", 30)
    assert one.claim("task/0", "one", 30)
    assert [(held.task, held.owner) for held in other.held()] == [("task/0", "one")]


def test_a_released_task_can_be_claimed(one: Leases, other: Leases) -> None:
    one.claim("task/0", "one", 30)
    other.release("task/0", "other")
    assert [held.owner for held in other.held()] == ["one"]
    one.release("task/0", "one")
    assert other.held() == []
    assert other.claim("task/0", "other", 30)


def test_an_expired_task_can_be_claimed_by_another(one: Leases, other: Leases) -> None:
    one.claim("task/0", "one", 0.2)
    time.sleep(0.3)
    assert other.claim("task/0", "other", 30)
    assert one.renew("one", 30) == []


def test_renewing_tells_what_is_held(one: Leases, other: Leases) -> None:
    for task, owner in (("b/0", "one"), ("a/0", "one"), ("c/0", "other")):
        one.claim(task, owner, 30)
    assert other.renew("one", 60) == ["a/0", "b/0"]


def test_the_tasks_of_a_process_that_ended_are_free_at_once(one: Leases) -> None:
    code = "from streams.log.leases import owner_name; print(owner_name())"
    gone = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    one.claim("task/0", gone, 300)
    assert one.claim("task/0", owner_name(), 300)


def test_workers_are_there_until_they_leave(one: Leases, other: Leases) -> None:
    one.announce("w1", 30)
    other.announce("w2", 30)
    assert one.workers() == other.workers() == ["w1", "w2"]
    other.announce("w1", 0)
    assert one.workers() == ["w2"]


def test_leases_are_no_topic_of_the_log(kafka_log: Log, one: Leases) -> None:
    one.claim("task/0", "one", 30)
    assert kafka_log.topics() == []


def test_of_two_claims_the_first_in_the_topic_is_granted() -> None:
    standing = Standing()
    claims = [{"do": "claim", "owner": owner, "task": "t/0", "seconds": 10} for owner in ("one", "other")]
    assert standing.apply(claims[0], 100 * SECOND)
    assert not standing.apply(claims[1], 105 * SECOND)
    assert standing.apply(claims[1], 110 * SECOND)
    assert standing.tasks["t/0"].owner == "other"
    assert standing.tasks["t/0"].epoch == 1
