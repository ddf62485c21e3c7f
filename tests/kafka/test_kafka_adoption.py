"""Topics on a cluster that others made, with settings that ours never have: read as they are, and never altered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import ConfigFilterType, ConfigResource, ConfigResourceType

import headwater as hw
from headwater.from_topic import from_topic
from streams.log.kafka.address import Address


@pytest.fixture
def admin(kafka_address: str) -> Iterator[KafkaAdminClient]:
    client = KafkaAdminClient(bootstrap_servers=kafka_address)
    yield client
    client.close()


def settings_of(admin: KafkaAdminClient, topic: str) -> dict[str, Any]:
    told = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)], config_filter=ConfigFilterType.ALL)
    return {name: one["value"] for name, one in told["topic"][topic].items()}


def test_a_topic_of_others_is_adopted_as_it_is(admin: KafkaAdminClient, kafka_url: str, tmp_path: Path) -> None:
    address = Address.parse(kafka_url)
    topic = f"{address.prefix}orders"
    configs = {"message.timestamp.type": "CreateTime", "max.message.bytes": "200000", "retention.ms": "86400000"}
    admin.create_topics({topic: {"num_partitions": 3, "replication_factor": 1, "configs": configs}})
    admin.wait_for_topics([topic])
    before = settings_of(admin, topic)
    producer = KafkaProducer(bootstrap_servers=address.servers)
    for number in range(300):
        row = {"id": f"o{number}", "at": f"2024-03-01T{number // 60:02}:{number % 60:02}:00Z", "sum": number / 4}
        producer.send(topic, key=row["id"].encode(), value=orjson.dumps(row))
    producer.close()
    with hw.connect(tmp_path / "plant", log=kafka_url) as hub:
        adoption = from_topic(hub, "orders")
        assert (adoption.stream.key, adoption.stream.time, adoption.stream.partitions) == (("id",), "at", 3)
        hub.register_stream(adoption.stream, document=adoption.contract)
        p = hw.Pipeline("mine", partitions=3)
        p.clean(hub.stream("orders"), to="valid")
        hub.run(p, until="caught-up")
        assert len(hub.read("mine.valid")) == 300
    assert settings_of(admin, topic) == before
