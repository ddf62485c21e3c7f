"""Topics on a broker: made as registered, compared with what is there, never altered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigFilterType, ConfigResource, ConfigResourceType

from streams.log import Log, Topic, TopicMismatch, open_log


@pytest.fixture
def admin(kafka_address: str) -> Iterator[KafkaAdminClient]:
    client = KafkaAdminClient(bootstrap_servers=kafka_address)
    yield client
    client.close()


def prefix(url: str) -> str:
    return url.partition("prefix=")[2]


def settings(admin: KafkaAdminClient, name: str) -> dict[str, Any]:
    told = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)], config_filter=ConfigFilterType.ALL)
    return {key: one["value"] for key, one in told["topic"][name].items()}


@pytest.mark.parametrize(
    ("topic", "policy", "kept"),
    [
        (Topic("t", 1), "delete", "-1"),
        (Topic("t", 1, retention=90_000_000), "delete", "90000"),
        (Topic("t", 1, compact=True), "compact", "-1"),
        (Topic("t", 1, retention=90_000_000, compact=True), "compact,delete", "90000"),
    ],
    ids=str,
)
def test_a_topic_is_made_as_it_was_registered(
    kafka_log: Log, kafka_url: str, admin: KafkaAdminClient, topic: Topic, policy: str, kept: str
) -> None:
    kafka_log.create([topic])
    made = settings(admin, f"{prefix(kafka_url)}t")
    assert made["cleanup.policy"] == policy
    assert made["retention.ms"] == kept
    assert made["message.timestamp.type"] == "LogAppendTime"
    assert int(made["max.message.bytes"]) == 16 << 20
    with open_log(kafka_url) as other:  # type: ignore[attr-defined]
        assert other.topics() == [topic]


def test_retention_is_kept_in_whole_milliseconds(kafka_log: Log) -> None:
    for _ in range(2):
        kafka_log.create([Topic("t", 1, retention=1_500)])
    assert kafka_log.topics() == [Topic("t", 1, retention=2_000)]


@pytest.mark.parametrize(
    ("there", "said"),
    [
        ({"message.timestamp.type": "CreateTime"}, "producers' clocks"),
        ({"message.timestamp.type": "LogAppendTime", "max.message.bytes": "1000"}, "at most 1000 bytes"),
        ({"message.timestamp.type": "LogAppendTime", "retention.ms": "60000"}, "retention=60000000"),
    ],
    ids=["time", "size", "retention"],
)
def test_a_topic_that_another_made_is_compared_and_left_as_it_is(
    kafka_log: Log, kafka_url: str, admin: KafkaAdminClient, there: dict[str, str], said: str
) -> None:
    name = f"{prefix(kafka_url)}t"
    admin.create_topics({name: {"num_partitions": 1, "replication_factor": 1, "configs": there}})
    admin.wait_for_topics([name])
    before = settings(admin, name)
    with pytest.raises(TopicMismatch, match=said):
        kafka_log.create([Topic("t", 1)])
    assert settings(admin, name) == before


def test_logs_of_two_prefixes_do_not_see_each_other(kafka_log: Log, kafka_address: str) -> None:
    kafka_log.create([Topic("t", 1)])
    other = open_log(f"kafka://{kafka_address}?prefix=elsewhere-{id(kafka_log)}.")
    assert other.topics() == []
    other.close()


def test_a_message_of_many_mebibytes_comes_back_whole(kafka_log: Log) -> None:
    kafka_log.create([Topic("t", 1)])
    value = bytes(range(256)) * (12 << 12)
    writer = kafka_log.writer("task/0")
    writer.append("t", 0, [None, None], [value, b"after"], ())
    writer.commit()
    assert list(kafka_log.read("t", 0, 0, max_bytes=100 << 20).values) == [value, b"after"]


def test_the_newest_messages_are_found_behind_many_markers(kafka_log: Log) -> None:
    kafka_log.create([Topic("t", 1)])
    writer = kafka_log.writer("task/0")
    writer.append("t", 0, [None], [b"kept"], ())
    writer.commit()
    for _ in range(12):
        writer.append("t", 0, [None], [b"dropped"], ())
        writer.flush()
        writer.abort()
    assert list(kafka_log.last("t", 0).values) == [b"kept"]
    assert list(kafka_log.last("t", 0, 5).values) == [b"kept"]
