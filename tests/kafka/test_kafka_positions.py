"""Group offsets on Kafka: what tools that know nothing of us show as an operator's lag."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, TopicPartition

import headwater as hw
from streams.log import Log, Topic
from streams.log.kafka.address import Address
from streams.log.protocol import ShowsPositions
from tests.faults.conftest import Plant, readings


def committed(url: str, group: str) -> dict[TopicPartition, int]:
    """What any client of the cluster is told of a group."""
    admin = KafkaAdminClient(bootstrap_servers=Address.parse(url).servers)
    try:
        told = admin.list_group_offsets({group: None})[group]
        return {place: one.offset for place, one in told.items() if place.topic.endswith(".readings")}
    finally:
        admin.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_caught_up_operator_has_no_lag_and_one_that_did_not_run_has_all(
    kafka_url: str, tmp_path: Path, workers: int
) -> None:
    plant = Plant(tmp_path / "embedded")
    pipeline = plant.pipeline()
    plant.hub.close()
    prefix = Address.parse(kafka_url).prefix
    with hw.connect(tmp_path / "plant", log=kafka_url) as hub:
        hub.register(pipeline)
        hub.publish("plant.readings", readings())
        hub.run(pipeline, until="caught-up", workers=workers)
        ends = {
            TopicPartition(f"{prefix}plant.readings", number): end
            for number, (_, end) in enumerate(hub.log.bounds("plant.readings"))
        }
        assert committed(kafka_url, f"{prefix}plant.valid") == ends
        hub.publish("plant.readings", readings(100, 50))
        after = hub.log.bounds("plant.readings")
    assert committed(kafka_url, f"{prefix}plant.valid") == ends
    assert sum(end for _, end in after) > sum(ends.values())


def test_positions_that_cannot_be_committed_do_no_harm(kafka_log: Log, caplog: pytest.LogCaptureFixture) -> None:
    kafka_log.create([Topic("t", 1)])
    assert isinstance(kafka_log, ShowsPositions)
    with caplog.at_level(logging.INFO):
        assert not kafka_log.show_positions("reader", {("not-there", 0): 7})
    assert "could not be committed" in caplog.text
