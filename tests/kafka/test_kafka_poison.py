"""Messages of other people's making that are not what the stream promises: each is put aside with its address."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from kafka import KafkaProducer

import headwater as hw
from streams.log.kafka.address import Address

START = datetime(2024, 3, 1, tzinfo=UTC)


@dataclass
class Reading:
    sensor: str
    at: datetime
    celsius: float
    note: str | None = None


def pipeline(codec: str) -> hw.Pipeline:
    p = hw.Pipeline("boiler", owner="plant-team", partitions=1)
    raw = p.stream("readings", Reading, key="sensor", time="at", codec=codec)
    p.clean(raw, to="valid", on_error="quarantine")
    return p


def send(url: str, topic: str, values: list[bytes | None]) -> None:
    """As a program does that knows nothing of us: no transaction, no headers, its own time stamps."""
    address = Address.parse(url)
    producer = KafkaProducer(bootstrap_servers=address.servers, max_request_size=8 << 20)
    for value in values:
        producer.send(address.prefix + topic, key=b"s", value=value)
    producer.close()


def good(number: int) -> bytes:
    return orjson.dumps({"sensor": "s", "at": START + timedelta(minutes=number), "celsius": 20.0 + number})


def put_aside(hub: hw.Hub) -> list[tuple[int, int]]:
    """The offsets, end excluded, of what `clean` passed over."""
    return sorted((row["first"], row["end"]) for row in hub.read("boiler.valid.failed"))


#: Where in the topic lies what: of JSON that is cut off to values of another type.
POISON = {
    7: b"{",
    17: b"\xff\xfe",
    18: b"[1, 2]",
    25: b'{"sensor": "s", "at": "yesterday", "celsius": 1}',
    26: b'{"sensor": 1}',
    31: b"null",
    39: b"",
}


def test_each_message_that_cannot_be_decoded_is_put_aside_alone(kafka_url: str, tmp_path: Path) -> None:
    with hw.connect(tmp_path / "plant", log=kafka_url) as hub:
        hub.register(pipeline("json"))
        send(kafka_url, "boiler.readings", [POISON.get(number, good(number)) for number in range(40)])
        report = hub.run(pipeline("json"), until="caught-up")
        assert not report.failed
        assert put_aside(hub) == [(offset, offset + 1) for offset in POISON]
        assert len(hub.read("boiler.valid")) == 40 - len(POISON)
        hub.publish("boiler.readings", [Reading("s", START + timedelta(hours=1), 3.0)])
        hub.run(pipeline("json"), until="caught-up")
        assert len(hub.read("boiler.valid")) == 41 - len(POISON)


def test_a_schema_that_nobody_registered_is_named(kafka_url: str, tmp_path: Path) -> None:
    with hw.connect(tmp_path / "plant", log=kafka_url) as hub:
        hub.register(pipeline("avro"))
        hub.publish("boiler.readings", [Reading("s", START, 20.0)])
        send(kafka_url, "boiler.readings", [b"\x00" + (4711).to_bytes(4, "big") + b"\x02s\x00\x00"])
        hub.publish("boiler.readings", [Reading("s", START + timedelta(minutes=1), 21.0)])
        hub.run(pipeline("avro"), until="caught-up")
        (row,) = hub.read("boiler.valid.failed")
        assert "schema 4711" in row["error"]
        assert row["input"] == "boiler.readings"
        assert len(hub.read("boiler.valid")) == 2


def test_a_large_message_is_an_ordinary_row(kafka_url: str, tmp_path: Path) -> None:
    with hw.connect(tmp_path / "plant", log=kafka_url) as hub:
        hub.register(pipeline("json"))
        large = orjson.dumps({"sensor": "s", "at": START, "celsius": 20.0, "note": "x" * (5 << 20)})
        send(kafka_url, "boiler.readings", [large, good(1)])
        hub.run(pipeline("json"), until="caught-up")
        assert sorted(len(row["note"] or "") for row in hub.read("boiler.valid")) == [0, 5 << 20]


def test_by_default_the_task_stops_there_and_says_where(kafka_url: str, tmp_path: Path) -> None:
    p = hw.Pipeline("boiler", partitions=1)
    p.clean(p.stream("readings", Reading, key="sensor", time="at", codec="json"), to="valid")
    with hw.connect(tmp_path / "plant", log=kafka_url) as hub:
        hub.register(p)
        send(kafka_url, "boiler.readings", [good(0), good(1), b"{", good(3)])
        with pytest.raises(hw.RunFailed, match=r"boiler\.readings 0:2"):
            hub.run(p, until="caught-up")
        assert len(hub.read("boiler.valid")) == 2
