"""Topics of Avro messages whose schemas are in a registry: found out, registered, read as they were written."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pytest

import headwater as hw
from headwater.from_topic import CannotAdopt, from_topic
from streams import registry as registries
from streams.keys import murmur2
from streams.log import Log, LogError, Topic
from streams.odcs import read_contract
from streams.publish import PublishError
from streams.registry import RegistryBusy, written
from tests.headwater.plant import Plant
from tests.services.registry import Registry, serving

START = datetime(2024, 3, 1, tzinfo=UTC)
PLACE = {
    "type": "record",
    "name": "Place",
    "namespace": "geo",
    "fields": [{"name": "city", "type": "string"}, {"name": "zip", "type": ["string", "null"]}],
}
FIELDS: list[dict[str, Any]] = [
    {"name": "id", "type": "string"},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}, "doc": "When it was ordered."},
    {"name": "sum", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
    {"name": "state", "type": {"type": "enum", "name": "State", "symbols": ["OPEN", "PAID"]}},
    {"name": "note", "type": ["string", "null"]},
    {"name": "due", "type": ["null", {"type": "int", "logicalType": "date"}], "default": None},
    {"name": "place", "type": PLACE},
    {"name": "other", "type": ["null", "geo.Place"], "default": None},
    {"name": "lines", "type": {"type": "array", "items": {"type": "record", "name": "Line", "fields": [
        {"name": "sku", "type": {"type": "string", "logicalType": "uuid"}}, {"name": "count", "type": "int"}]}}},
    {"name": "hash", "type": {"type": "fixed", "name": "Hash", "size": 4}},
]  # fmt: skip
ORDER = {"type": "record", "name": "Order", "namespace": "shop", "fields": FIELDS}
LATER = {**ORDER, "fields": [*FIELDS, {"name": "paid", "type": ["null", "double"], "default": None}]}
FLAT = {"type": "record", "name": "Flat", "fields": [{"name": "id", "type": "string"}, {"name": "n", "type": "long"}]}


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    monkeypatch.setattr(registries, "PATIENCE", 0.3)
    for name in (registries.ADDRESS, registries.USER):
        monkeypatch.delenv(name, raising=False)
    written.cache_clear()
    with serving() as made:
        yield made


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[hw.Hub]:
    with hw.connect(tmp_path / "hub") as opened:
        yield opened


def order(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": f"o{number}",
        "at": START + timedelta(minutes=number),
        "sum": Decimal(number) + Decimal("0.25"),
        "state": ("OPEN", "PAID")[number % 2],
        "note": None if number % 3 else f"note {number}",
        "due": date(2024, 4, 1) if number % 5 else None,
        "place": {"city": "Ulm", "zip": "89073"},
        "other": {"city": "Bonn", "zip": None} if number % 4 == 0 else None,
        "lines": [{"sku": f"s{line}", "count": line} for line in range(number % 3)],
        "hash": struct.pack(">I", number),
        **more,
    }


def message(number: int, avro: Any, row: dict[str, Any]) -> bytes:
    sink = io.BytesIO()
    fastavro.schemaless_writer(sink, fastavro.parse_schema(avro), row)
    return struct.pack(">bI", 0, number) + sink.getvalue()


def put(log: Log, name: str, messages: Sequence[tuple[str, bytes]], partitions: int = 1) -> None:
    """Write messages as others do: each where Kafka's partitioner puts its key, without headers of ours."""
    log.create([Topic(name, partitions)])
    writer = log.writer("others")
    for key, value in messages:
        writer.append(name, (murmur2(key.encode()) & 0x7FFFFFFF) % partitions, [key.encode()], [value], ())
    writer.commit()
    writer.close()


def orders(count: int, number: int = 7, avro: Any = ORDER, first: int = 0) -> list[tuple[str, bytes]]:
    return [(f"o{at}", message(number, avro, order(at))) for at in range(first, first + count)]


def shown(rows: Any) -> list[dict[str, Any]]:
    return sorted(rows.to_arrow().to_pylist(), key=lambda row: int(row["id"][1:]))


def test_a_topic_is_found_out_from_the_registry_and_read_as_it_was_written(
    hub: hw.Hub, registry: Registry, tmp_path: Path
) -> None:
    registry.add(7, ORDER)
    registry.add(9, LATER)
    later = [("o90", message(9, LATER, order(90, paid=1.5)))]
    put(hub.log, "shop.orders", [*orders(90), *later], partitions=3)
    adoption = from_topic(hub, "shop.orders", registry=registry.address + "/")
    stream = adoption.stream
    assert (stream.key, stream.time, stream.partitions, stream.codec) == (("id",), "at", 3, "avro")
    assert stream.registry == registry.address
    assert adoption.undecodable == 0
    assert any("schemas in the registry are 7, 9" in note for note in adoption.notes)
    fields = {one.path: one for one in adoption.found.fields}
    assert fields["place.city"].required
    assert (fields["note"].nulls, fields["paid"].nulls) == (60, 90)
    contract = tmp_path / "orders.odcs.yaml"
    contract.write_text(adoption.contract)
    assert read_contract(contract) == stream
    hub.register_stream(read_contract(contract), document=adoption.contract)
    expected = [{**order(number), "paid": None} for number in range(90)] + [order(90, paid=1.5)]
    assert shown(hub.read("shop.orders")) == expected
    p = hw.Pipeline("mine", partitions=3)
    p.clean(hub.stream("shop.orders"), to="valid")
    hub.run(p, until="caught-up")
    assert shown(hub.read("mine.valid")) == expected
    traced = hub.trace(hub.read("mine.valid", last=1).row(0))
    assert "shop.orders" in str(traced)


def test_each_schema_is_asked_for_once(hub: hw.Hub, registry: Registry) -> None:
    registry.add(7, ORDER)
    put(hub.log, "t", orders(50))
    hub.register_stream(from_topic(hub, "t", registry=registry.address).stream)
    for _ in range(3):
        assert len(hub.read("t")) == 50
    assert registry.asked == ["/schemas/ids/7"]


def test_schemas_that_use_others_are_put_together(hub: hw.Hub, registry: Registry) -> None:
    country = {"type": "record", "name": "Country", "namespace": "geo", "fields": [{"name": "code", "type": "string"}]}
    town = {"type": "record", "name": "Town", "namespace": "geo", "fields": [{"name": "in", "type": "geo.Country"}]}
    visit = {"type": "record", "name": "Visit", "fields": [
        {"name": "id", "type": "string"}, {"name": "here", "type": "geo.Town"},
        {"name": "there", "type": ["null", "geo.Country"]}]}  # fmt: skip
    registry.add(1, country)
    registry.add(2, town, [("geo.Country", "geo.country", 1)])
    registry.add(3, visit, [("geo.Country", "geo.country", 1), ("geo.Town", "geo.town", 4)])
    registry.subjects = {("geo.country", 1): registry.schemas[1], ("geo.town", 4): registry.schemas[2]}
    whole = {"type": "record", "name": "Visit", "fields": [
        {"name": "id", "type": "string"},
        {"name": "here", "type": {**town, "fields": [{"name": "in", "type": country}]}},
        {"name": "there", "type": ["null", "geo.Country"]}]}  # fmt: skip
    rows = [
        {"id": f"v{at}", "here": {"in": {"code": "NO"}}, "there": {"code": "SE"} if at % 2 else None} for at in range(8)
    ]
    put(hub.log, "t", [(row["id"], message(3, whole, row)) for row in rows])
    hub.register_stream(from_topic(hub, "t", registry=registry.address).stream)
    assert shown(hub.read("t")) == rows


def test_messages_of_no_known_schema_are_put_aside_and_the_others_go_on(hub: hw.Hub, registry: Registry) -> None:
    registry.add(7, ORDER)
    put(hub.log, "t", orders(20))
    hub.register_stream(from_topic(hub, "t", registry=registry.address).stream)
    bad = [("o5", message(8, FLAT, {"id": "o5", "n": 1})), ("o6", b"\0\0\0\0\7\1"), ("o7", b"no avro")]
    put(hub.log, "t", [*bad, *orders(20, first=20)])
    p = hw.Pipeline("mine", partitions=1)
    p.clean(hub.stream("t"), to="valid", on_error="quarantine")
    hub.run(p, until="caught-up")
    assert shown(hub.read("mine.valid")) == [order(number) for number in range(40)]
    failed = hub.read("mine.valid.failed").to_arrow().to_pylist()
    assert len(failed) == 3
    assert "schema 8, which the registry does not hold" in str(failed[0])
    assert sorted(one["first"] for one in failed) == [20, 21, 22]


def test_a_registry_that_is_away_is_waited_for_and_nothing_is_lost(hub: hw.Hub, registry: Registry) -> None:
    registry.add(7, ORDER)
    put(hub.log, "t", orders(20))
    hub.register_stream(from_topic(hub, "t", registry=registry.address).stream)
    written.cache_clear()
    registry.broken = [503, 500]
    assert len(hub.read("t")) == 20
    written.cache_clear()
    registry.broken = [503] * 1_000
    with pytest.raises(RegistryBusy, match="did not answer"):
        hub.read("t")
    p = hw.Pipeline("mine", partitions=1)
    p.clean(hub.stream("t"), to="valid", on_error="quarantine")
    with pytest.raises(hw.RunFailed, match="did not answer"):
        hub.run(p, until="caught-up")
    registry.broken = []
    hub.run(p, until="caught-up")
    assert len(hub.read("mine.valid")) == 20
    assert len(hub.read("mine.valid.failed")) == 0


def test_it_is_reached_at_another_address_and_with_a_user(
    hub: hw.Hub, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.add(7, ORDER)
    put(hub.log, "t", orders(5))
    registry.user = "reader:s:cret"
    monkeypatch.setenv(registries.ADDRESS, registry.address)
    with pytest.raises(LogError, match=f"refused.*{registries.USER}"):
        from_topic(hub, "t", registry="http://registry.nowhere:8081")
    monkeypatch.setenv(registries.USER, "reader:s:cret")
    adoption = from_topic(hub, "t", registry="http://registry.nowhere:8081")
    assert adoption.stream.registry == "http://registry.nowhere:8081"
    hub.register_stream(adoption.stream)
    assert len(hub.read("t")) == 5


@pytest.mark.parametrize(
    ("address", "said"), [("registry:8081", "not the address"), ("http://me:hidden@registry", registries.USER)]
)
def test_what_is_no_address_is_refused_and_no_password_shown(hub: hw.Hub, address: str, said: str) -> None:
    put(hub.log, "t", orders(5))
    with pytest.raises(LogError, match=said) as refused:
        from_topic(hub, "t", registry=address)
    assert "hidden" not in str(refused.value)


def test_without_a_registry_the_error_says_how_to_name_it(hub: hw.Hub, registry: Registry) -> None:
    put(hub.log, "t", orders(5))
    with pytest.raises(CannotAdopt, match=r"schema \(7\).*--registry"):
        from_topic(hub, "t")


def test_what_the_registry_has_and_no_stream_can_carry_is_refused(hub: hw.Hub, registry: Registry) -> None:
    put(hub.log, "t", orders(5))
    with pytest.raises(CannotAdopt, match="does not know schemas/ids/7"):
        from_topic(hub, "t", registry=registry.address)
    registry.add(7, 'syntax = "proto3";', kind="PROTOBUF")
    with pytest.raises(CannotAdopt, match="is PROTOBUF"):
        from_topic(hub, "t", registry=registry.address)
    registry.add(
        7, {"type": "record", "name": "M", "fields": [{"name": "m", "type": {"type": "map", "values": "int"}}]}
    )
    with pytest.raises(CannotAdopt, match="no counterpart"):
        from_topic(hub, "t", registry=registry.address)
    registry.add(7, {"type": "record", "name": "List", "fields": [{"name": "next", "type": ["null", "List"]}]})
    written.cache_clear()
    with pytest.raises(CannotAdopt, match="no counterpart"):
        from_topic(hub, "t", registry=registry.address)


def test_of_several_types_of_records_the_stream_is_of_the_most_frequent(hub: hw.Hub, registry: Registry) -> None:
    registry.add(7, ORDER)
    registry.add(8, FLAT)
    put(hub.log, "t", [*orders(20), *((f"o{at}", message(8, FLAT, {"id": f"o{at}", "n": at})) for at in range(20, 24))])
    adoption = from_topic(hub, "t", registry=registry.address)
    assert any("shop.Order (20), Flat (4)" in note for note in adoption.notes)
    assert adoption.stream.schema.names == [one["name"] for one in FIELDS]
    assert adoption.undecodable == 4


def test_a_message_without_an_id_does_not_make_json_of_the_others(hub: hw.Hub, registry: Registry) -> None:
    registry.add(7, ORDER)
    put(hub.log, "t", [*orders(20), ("o20", b"no avro"), ("o21", b"\0\0\0\0\7\1")])
    adoption = from_topic(hub, "t", registry=registry.address)
    assert (adoption.stream.codec, adoption.undecodable) == ("avro", 2)
    assert "decoded as avro" in str(adoption.why)


def test_nobody_publishes_to_it_through_us(hub: hw.Hub, registry: Registry) -> None:
    registry.add(8, FLAT)
    put(hub.log, "t", [("a1", message(8, FLAT, {"id": "a1", "n": 1}))])
    hub.register_stream(from_topic(hub, "t", registry=registry.address).stream)
    with pytest.raises(PublishError, match="another registry"):
        hub.publish("t", [{"id": "a2", "n": 2}])
    assert len(hub.read("t")) == 1


def test_the_command_takes_the_registry(started: Plant, registry: Registry) -> None:
    registry.add(7, ORDER)
    with hw.connect(started.folder / ".headwater") as hub:
        put(hub.log, "shop.orders", orders(30), partitions=2)
    words = ["register", "--from-topic", "shop.orders"]
    assert "--registry" in started(*words, code=2).err
    told = started(*words, "--registry", registry.address, "--yes", "--json").json
    assert (told["registered"], told["key"], told["time"], told["undecodable"]) == (True, ["id"], "at", 0)
    assert "PAID" in started("tail", "shop.orders", "--json").out
