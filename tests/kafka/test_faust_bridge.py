"""Registered streams as topics of a Faust app that is not ours: what it reads, what it writes, what it may not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import faust
import pyarrow as pa
import pytest

import headwater as hw
from operators.engines.faust.bridge import StreamSchema
from streams.keys import partitions_of
from streams.log.kafka.address import Address
from streams.publish import Publisher

ROOT = Path(__file__).parents[2]
START = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass
class Reading:
    sensor: str
    at: datetime
    celsius: float


@dataclass
class Warned:
    sensor: str
    at: datetime
    over: float


def pipeline(codec: str = "json") -> hw.Pipeline:
    p = hw.Pipeline("plant", owner="plant-team", partitions=3)
    readings = p.stream("readings", Reading, key="sensor", time="at", codec=codec)
    p.stream("warnings", Warned, key="sensor", time="at", codec=codec)
    p.clean(readings, to="valid")
    return p


def reading(number: int) -> Reading:
    return Reading(f"s{number % 7}", START + timedelta(minutes=number), float(number))


@pytest.fixture
def hub(kafka_url: str, tmp_path: Path) -> Iterator[hw.Hub]:
    with hw.connect(tmp_path / "plant", log=kafka_url) as hub:
        yield hub


@pytest.fixture
def app(kafka_address: str) -> faust.App:
    return faust.App("alarm-desk", broker=f"kafka://{kafka_address}", store="memory://")


def schema_of(topic: Any) -> StreamSchema:
    assert isinstance(topic.schema, StreamSchema)
    return topic.schema


@pytest.mark.parametrize("codec", ["json", "avro"])
def test_an_app_reads_one_stream_and_writes_another(
    hub: hw.Hub, kafka_url: str, kafka_address: str, tmp_path: Path, codec: str
) -> None:
    hub.register(pipeline(codec))
    hub.publish("plant.readings", [reading(number) for number in range(40)])
    # A transaction that is dropped: with Faust's own consumer its rows would be read too.
    publisher = Publisher(hub.log, *hub.registered("plant.readings"), service="test", now=hub.clock)
    writer = publisher._writer
    assert writer is not None
    publisher._append(pa.RecordBatch.from_pylist([vars(reading(99))], publisher.stream.schema.arrow), 0)
    writer.flush()
    writer.abort()
    log = (tmp_path / "bridge.log").open("wb")
    bridge = subprocess.Popen(
        [sys.executable, "-m", "faust", "-A", "tests.kafka.bridge_app", "worker", "-l", "info"],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "HEADWATER_WORKSPACE": str(tmp_path / "plant"),
            "HEADWATER_LOG": kafka_url,
            "BRIDGE_ID": f"{Address.parse(kafka_url).prefix}alarm-desk",
            "BRIDGE_BROKER": kafka_address,
        },
        cwd=ROOT,
        stdout=log,
        stderr=log,
    )
    try:
        until = time.monotonic() + 90
        while len(hub.read("plant.warnings")) < 9:
            assert time.monotonic() < until, (tmp_path / "bridge.log").read_text()[-3000:]
            time.sleep(0.3)
        # Every row of a sensor lies where the sensor's partition is, and is read as any other stream's.
        hub.publish("plant.readings", [reading(50)])
        while len(hub.read("plant.warnings")) < 10:
            assert time.monotonic() < until, (tmp_path / "bridge.log").read_text()[-3000:]
            time.sleep(0.3)
    finally:
        bridge.terminate()
        bridge.wait(timeout=60)
    found = sorted(hub.read("plant.warnings").to_arrow().to_pylist(), key=lambda row: row["at"])
    assert [row["over"] for row in found] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 20.0]
    said = (tmp_path / "bridge.log").read_text()
    assert "Traceback" not in said


def test_a_row_becomes_a_message_as_a_service_would_write_it(hub: hw.Hub, app: faust.App) -> None:
    hub.register(pipeline())
    topic = hw.faust_topic(app, hub, "plant.warnings")
    row = {"sensor": "s1", "at": START, "over": 2.5}
    made = schema_of(topic).encoded(row)
    hub.publish("plant.warnings", [row])
    fetched = next(
        found
        for number in range(3)
        if len(found := hub.log.read("plant.warnings", number, 0)) and number == made.partition
    )
    assert (made.key, made.value) == (fetched.keys[0], fetched.values[0])
    wanted = {**dict(fetched.headers[0]), "hw-producer": b"service:alarm-desk"}
    assert made.headers == wanted
    stream = hub.stream("plant.warnings")
    rows = pa.RecordBatch.from_pylist([row], stream.schema.arrow)
    assert made.partition == partitions_of(rows, stream.key, 3)[0]
    assert "alarm-desk" in hub.catalog.stream("plant.warnings").producers


def test_rows_that_do_not_fit_are_refused(hub: hw.Hub, app: faust.App) -> None:
    hub.register(pipeline())
    topic = schema_of(hw.faust_topic(app, hub, "plant.warnings"))
    with pytest.raises(hw.SchemaError, match="over"):
        topic.encoded({"sensor": "s1", "at": START, "over": "much"})
    with pytest.raises(hw.PublishError, match="in the future"):
        topic.encoded({"sensor": "s1", "at": datetime(2999, 1, 1, tzinfo=UTC), "over": 1.0})
    with pytest.raises(hw.SchemaError, match="required field is null"):
        topic.encoded({"sensor": None, "at": START, "over": 1.0})
    with pytest.raises(hw.PublishError, match="not one message"):
        topic.encoded([{"sensor": "s1", "at": START, "over": 1.0}] * 2)


def test_what_operators_write_nobody_else_writes(hub: hw.Hub, app: faust.App) -> None:
    hub.register(pipeline())
    topic = schema_of(hw.faust_topic(app, hub, "plant.valid"))
    with pytest.raises(hw.PublishError, match="written by the operator"):
        topic.encoded({"sensor": "s1", "at": START, "celsius": 1.0})


def test_key_and_partition_are_those_of_the_row(hub: hw.Hub, app: faust.App) -> None:
    hub.register(pipeline())
    topic = hw.faust_topic(app, hub, "plant.warnings")
    with pytest.raises(hw.PublishError, match="those of its row"):
        topic.as_future_message(key=b"s2", value={"sensor": "s1", "at": START, "over": 1.0})


def test_rows_of_several_partitions_are_not_one_message(hub: hw.Hub, app: faust.App) -> None:
    hub.register(pipeline("arrow"))
    topic = schema_of(hw.faust_topic(app, hub, "plant.warnings"))
    rows = [{"sensor": f"s{n}", "at": START, "over": 1.0} for n in range(9)]
    with pytest.raises(hw.PublishError, match="a message goes to one"):
        topic.encoded(rows)
    assert topic.encoded(rows[:1]).partition is not None


def test_an_unknown_stream_is_told(hub: hw.Hub, app: faust.App) -> None:
    with pytest.raises(hw.NotRegistered, match=r"plant\.nothing"):
        hw.faust_topic(app, hub, "plant.nothing")
