"""`observe` on a cluster: consumer groups that nobody declared, and producers that name themselves nowhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka import KafkaConsumer, KafkaProducer

import headwater as hw
from headwater.observe import observe
from streams.log.kafka.address import Address
from tests.faults.conftest import Plant, readings


@pytest.fixture
def hub(kafka_url: str, tmp_path: Path) -> Iterator[hw.Hub]:
    plant = Plant(tmp_path / "embedded")
    plant.hub.close()
    with hw.connect(tmp_path / "plant", log=kafka_url) as opened:
        pipeline = plant.pipeline(codec="json")
        opened.register(pipeline)
        opened.publish("plant.readings", readings())
        opened.run(pipeline, until="caught-up")
        yield opened


def test_our_operators_are_no_strangers_and_have_no_lag(hub: hw.Hub) -> None:
    found = observe(hub)
    assert found.clean
    assert {one.operator: one.lag for one in found.lags} == {"plant.valid": 0, "plant.warm": 0}


def test_a_consumer_group_of_others_is_told_with_its_clients_and_lag(hub: hw.Hub, kafka_url: str) -> None:
    address = Address.parse(kafka_url)
    consumer = KafkaConsumer(
        f"{address.prefix}plant.readings",
        bootstrap_servers=address.servers,
        group_id=f"{address.prefix}reporting",
        client_id="monthly-report",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_poll_records=10,
    )
    until = time.monotonic() + 60
    while not consumer.poll(timeout_ms=500):
        assert time.monotonic() < until
    consumer.commit()
    (found,) = observe(hub).readers
    assert (found.group, found.clients, found.topics) == ("reporting", ("monthly-report",), ("plant.readings",))
    assert found.lag
    consumer.close()
    (found,) = observe(hub).readers
    assert (found.state, found.clients) == ("Empty", ())
    assert found.lag


def test_what_others_write_to_a_stream_is_counted(hub: hw.Hub, kafka_url: str) -> None:
    address = Address.parse(kafka_url)
    producer = KafkaProducer(bootstrap_servers=address.servers)
    producer.send(f"{address.prefix}plant.readings", value=b"{}", headers=[("service", b"legacy")])
    producer.close()
    found = observe(hub)
    assert [(one.stream, one.client, one.messages) for one in found.unattributed] == [("plant.readings", "legacy", 1)]
    assert [(one.stream, one.messages) for one in found.mismatches] == [("plant.readings", 1)]
