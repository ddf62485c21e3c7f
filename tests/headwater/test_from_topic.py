"""`headwater register --from-topic`: what is found out about a topic of others, and that it is left alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

import headwater as hw
from headwater.from_topic import CannotAdopt, from_topic
from streams.keys import murmur2
from streams.log import Log, Topic, TopicMismatch, UnknownTopic
from streams.odcs import read_contract
from tests.headwater.plant import Plant

START = datetime(2024, 3, 1, tzinfo=UTC)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[hw.Hub]:
    with hw.connect(tmp_path / "hub") as opened:
        yield opened


def order(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"o{number}",
        "at": START + timedelta(minutes=number),
        "customer": {"name": "Ada", "address": {"city": "Ulm", "zip": "89073"}},
        "lines": [{"sku": "a", "count": number}],
        **changes,
    }


def put(log: Log, name: str, rows: Sequence[Any], partitions: int = 1, key: str | None = None, **how: Any) -> None:
    """Write messages as others do: without headers of ours, each where Kafka's partitioner puts its key."""
    log.create([Topic(name, partitions, **how)])
    writer = log.writer("others")
    for number, row in enumerate(rows):
        value = row if isinstance(row, bytes) else orjson.dumps(row)
        named = None if key is None else str(row[key]).encode()
        place = number % partitions if named is None else (murmur2(named) & 0x7FFFFFFF) % partitions
        writer.append(name, place, [named], [value], ())
    writer.commit()
    writer.close()


def test_a_topic_is_found_out_and_its_contract_says_so(hub: hw.Hub, tmp_path: Path) -> None:
    put(hub.log, "shop.orders", [order(number) for number in range(200)], 4, "id", retention=86_400_000_000)
    adoption = from_topic(hub, "shop.orders")
    stream = adoption.stream
    assert (stream.key, stream.time, stream.partitions, stream.codec) == (("id",), "at", 4, "json")
    assert (stream.retention, stream.lateness, stream.kind) == (86_400_000_000, 0, "stream")
    assert adoption.undecodable == 0
    file = tmp_path / "orders.odcs.yaml"
    file.write_text(adoption.contract)
    assert read_contract(file) == stream
    assert str(stream.schema.arrow.field("customer").type).startswith("struct<name: string not null, address: struct<")


def test_looking_changes_nothing(hub: hw.Hub) -> None:
    put(hub.log, "shop.orders", [order(1)])
    before = (hub.log.topics(), hub.log.bounds("shop.orders"), hub.catalog.dump())
    from_topic(hub, "shop.orders")
    assert (hub.log.topics(), hub.log.bounds("shop.orders"), hub.catalog.dump()) == before


def test_messages_that_contradict_are_counted_and_told(hub: hw.Hub) -> None:
    rows = [order(number) for number in range(150)]
    rows[20]["customer"]["address"]["zip"] = 89073
    rows[30]["id"] = 30
    put(hub.log, "shop.orders", [*rows, b"no json"])
    adoption = from_topic(hub, "shop.orders")
    assert adoption.undecodable == 3
    assert adoption.why
    fields = {one.path: one for one in adoption.found.fields}
    assert [(one.kind, one.count) for one in fields["customer.address.zip"].conflicts] == [("integer", 1)]
    assert fields["lines[].sku"].required
    assert not fields["id"].required
    assert any("no JSON objects" in note for note in adoption.notes)
    assert "another type" in adoption.contract


def test_keys_in_other_partitions_are_told_and_not_declared(hub: hw.Hub) -> None:
    hub.log.create([Topic("t", 2)])
    writer = hub.log.writer("others")
    for number in range(40):
        writer.append("t", number % 2, [b"k%d" % number], [orjson.dumps({"k": f"k{number}"})], ())
    writer.commit()
    adoption = from_topic(hub, "t")
    assert adoption.stream.key == ()
    assert any("other partitions" in note for note in adoption.notes)


def test_rows_out_of_order_become_the_declared_lateness(hub: hw.Hub) -> None:
    put(hub.log, "t", [order(number) for number in (1, 5, 3, 6)])
    assert from_topic(hub, "t").stream.lateness == 120_000_000


def test_a_compacted_topic_with_a_key_is_a_table(hub: hw.Hub) -> None:
    put(hub.log, "t", [order(number % 3) for number in range(9)], 2, "id", compact=True)
    assert from_topic(hub, "t").stream.kind == "table"


@pytest.mark.parametrize(
    ("values", "said"),
    [([], "is empty"), ([b"1", b"x"], "JSON object"), ([b"\x00\x00\x00\x00\x07abc"], r"schema \(7\)")],
)
def test_what_is_no_json_is_refused(hub: hw.Hub, values: list[bytes], said: str) -> None:
    put(hub.log, "t", values)
    with pytest.raises(CannotAdopt, match=said):
        from_topic(hub, "t")


def test_a_topic_that_is_not_there_or_registered_is_refused(hub: hw.Hub) -> None:
    with pytest.raises(UnknownTopic, match="observe"):
        from_topic(hub, "missing")
    put(hub.log, "t", [order(1)])
    hub.register_stream(from_topic(hub, "t").stream)
    with pytest.raises(CannotAdopt, match="registered already"):
        from_topic(hub, "t")


def test_other_partitions_than_the_topic_has_are_refused(hub: hw.Hub) -> None:
    put(hub.log, "t", [order(1)], 2)
    with pytest.raises(TopicMismatch, match="2 partitions"):
        hub.register_stream(replace(from_topic(hub, "t").stream, partitions=3))


def test_an_adopted_stream_is_cleaned_as_any_other_whatever_its_topic_is(hub: hw.Hub, tmp_path: Path) -> None:
    rows = [order(number) for number in range(120)]
    put(hub.log, "shop.orders", rows, 2, "id", retention=5_000_000_000)
    adoption = from_topic(hub, "shop.orders")
    contract = tmp_path / "orders.odcs.yaml"
    contract.write_text(adoption.contract.replace("headwater.retention", "retention"))
    hub.register_stream(read_contract(contract))
    p = hw.Pipeline("shop")
    p.clean(p.stream("orders", contract=contract), to="valid", on_error="quarantine")
    hub.run(p, until="caught-up")
    assert len(hub.read("shop.valid")) == 120
    assert hub.log.topics()[[one.name for one in hub.log.topics()].index("shop.orders")].retention == 5_000_000_000


@pytest.fixture
def shop(started: Plant) -> Plant:
    with hw.connect(started.folder / ".headwater") as hub:
        put(hub.log, "shop.orders", [order(number) for number in range(150)], 2, "id")
    return started


def test_the_command_writes_shows_and_asks(shop: Plant) -> None:
    called = shop("register", "--from-topic", "shop.orders")
    assert "Nothing is registered. Edit shop.orders.odcs.yaml" in called.out
    shown = {row["field"]: row for row in called.table()}
    assert shown["customer.address.city"]["type"] == "string"
    assert shown["lines[].count"]["there"] == "100.0%"
    assert "apiVersion" in called.out
    shop("register", "shop.orders.odcs.yaml")
    assert "shop.orders" in shop("streams").out


def test_the_command_registers_if_told_so(shop: Plant) -> None:
    told = shop("register", "--from-topic", "shop.orders", "--yes", "--json", "--out", "mine.yaml").json
    assert (told["registered"], told["key"], told["time"], told["messages"]) == (True, ["id"], "at", 150)
    assert (shop.folder / "mine.yaml").exists()
    assert "Ada" in shop("tail", "shop.orders", "--json").out


def test_a_contract_file_is_not_overwritten(shop: Plant) -> None:
    shop("register", "--from-topic", "shop.orders")
    assert "already" in shop("register", "--from-topic", "shop.orders", code=2).err


@pytest.mark.parametrize("words", [[], ["pipeline.py", "--from-topic", "t"]])
def test_a_file_or_a_topic_is_named_and_not_both(shop: Plant, words: list[str]) -> None:
    shop("register", *words, code=2)
