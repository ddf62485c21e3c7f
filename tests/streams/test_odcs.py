from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.contract import (
    ContractError,
    Rule,
    between,
    compare,
    condition,
    covered,
    finite,
    jump,
    length,
    matches,
    none_of,
    not_future,
    not_null,
    null_rate,
    one_of,
    references,
    sums,
    unique,
)
from streams.odcs import load_document, read_contract, write_contract
from streams.schema import Schema
from streams.stream import Stream

FULL = """
apiVersion: v3.1.0
kind: DataContract
id: 53581432-6c55-4ba2-a65f-72344a91553a
name: flight departures
version: 1.1.0
status: active
domain: aviation
dataProduct: punctuality
contractCreatedTs: "2024-01-15T09:00:00Z"
description:
  purpose: Every departure from New York
  limitations: None are known
tags: [flights, nyc]
servers:
  - server: production
    type: kafka
    host: broker:9092
    format: avro
team:
  name: aviation-team
  members:
    - username: ada
      role: owner
      dateIn: "2023-01-01"
schema:
  - name: flights.departures
    physicalName: flights-departures-v1
    physicalType: topic
    logicalType: object
    customProperties:
      - property: headwater.time
        value: departed
      - property: headwater.lateness
        value: 15m
      - property: headwater.partitions
        value: 8
      - property: retentionClass
        value: bronze
    properties:
      - name: tailnum
        businessName: tail number
        logicalType: string
        physicalType: VARCHAR(10)
        primaryKey: true
        primaryKeyPosition: 1
        required: true
        classification: public
        description: The aircraft
        logicalTypeOptions:
          pattern: ^N[0-9A-Z]+$
          maxLength: 6
        customProperties:
          - property: headwater.entity
            value: aircraft
        relationships:
          - to: planes.tailnum
            type: foreignKey
          - to: https://example.org/other.yaml#schema/planes/properties/tailnum
      - name: departed
        logicalType: timestamp
        required: true
        logicalTypeOptions:
          timezone: true
          minimum: "2013-01-01T00:00:00Z"
      - name: carrier
        logicalType: string
        quality:
          - metric: invalidValues
            arguments:
              validValues: [AA, UA]
            mustBe: 0
            severity: error
          - metric: missingValues
            arguments:
              missingValues: [null, '', 'N/A']
            mustBe: 0
          - metric: nullValues
            mustBeLessThan: 1
            unit: percent
          - type: sql
            query: SELECT COUNT(*) FROM {object}
            mustBeGreaterThan: 5
          - type: text
            description: Carriers are IATA codes
      - name: delay
        logicalType: number
        logicalTypeOptions:
          format: f32
          minimum: -120
          exclusiveMaximum: 2000
          multipleOf: 1
      - name: seats
        logicalType: integer
        logicalTypeOptions:
          format: i16
      - name: legs
        logicalType: array
        items:
          logicalType: object
          properties:
            - name: airport
              logicalType: string
              required: true
            - name: day
              logicalType: date
    quality:
      - metric: duplicateValues
        mustBe: 0
        arguments:
          properties: [tailnum, departed]
        customProperties:
          - property: headwater.within
            value: 2d
      - metric: rowCount
        mustBeBetween: [100, 120]
      - type: custom
        engine: soda
        implementation: "checks for flights: []"
      - type: custom
        engine: headwater
        implementation: {rule: finite, field: delay}
slaProperties:
  - property: retention
    value: 3
    unit: y
"""


@functools.cache
def schema_of_the_standard() -> Any:
    package = pytest.importorskip("open_data_contract_standard", reason="the standard's JSON Schema is not installed")
    return json.loads((Path(package.__file__).parent / "schema.json").read_text())


def assert_valid(text: str) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed, exports are not validated")
    validator = jsonschema.Draft201909Validator(schema_of_the_standard())
    assert [error.message for error in validator.iter_errors(yaml.safe_load(text))] == []


def test_the_example_is_itself_valid() -> None:
    assert_valid(FULL)


def test_a_contract_declares_a_stream() -> None:
    stream = read_contract(FULL)
    assert stream.schema == Schema(
        pa.schema(
            [
                pa.field("tailnum", pa.string(), False),
                pa.field("departed", pa.timestamp("us", "UTC"), False),
                pa.field("carrier", pa.string()),
                pa.field("delay", pa.float32()),
                pa.field("seats", pa.int16()),
                pa.field(
                    "legs",
                    pa.list_(pa.struct([pa.field("airport", pa.string(), False), pa.field("day", pa.date32())])),
                ),
            ]
        )
    )
    assert dataclasses.replace(stream, schema=Schema(pa.schema([("x", pa.int8())])), expect=()) == Stream(
        "flights.departures",
        Schema(pa.schema([("x", pa.int8())])),
        key=("tailnum",),
        time="departed",
        codec="avro",
        partitions=8,
        entities={"tailnum": "aircraft"},
        owner="aviation-team",
        description="Every departure from New York",
        lateness=900_000_000,
        tags=("flights", "nyc"),
    )
    assert stream.expect == (
        length("tailnum", high=6),
        matches("tailnum", "^N[0-9A-Z]+$", whole=False),
        references("tailnum", "planes", "tailnum"),
        between("departed", "2013-01-01T00:00:00Z"),
        one_of("carrier", ["AA", "UA"]),
        not_null("carrier"),
        none_of("carrier", ["", "N/A"]),
        null_rate("carrier", 0.009),
        between("delay", -120, 2000, exclusive="high"),
        unique(["tailnum", "departed"], within="2d"),
        finite("delay"),
    )
    assert stream.schema.arrow.field("tailnum").metadata == {b"description": b"The aircraft"}


def test_import_then_export_loses_nothing() -> None:
    document, _ = load_document(FULL)
    text = write_contract(read_contract(FULL), document)
    assert yaml.safe_load(text) == yaml.safe_load(FULL)
    assert_valid(text)
    assert read_contract(text) == read_contract(FULL)


def test_export_does_not_change_the_document_that_it_was_given() -> None:
    document, _ = load_document(FULL)
    write_contract(dataclasses.replace(read_contract(FULL), expect=(), key=()), document)
    assert document == load_document(FULL)[0]


def test_a_changed_stream_changes_only_its_part_of_the_document() -> None:
    document, _ = load_document(FULL)
    before = read_contract(FULL)
    fields = [field for field in before.schema.arrow if field.name != "seats"]
    fields[3] = fields[3].with_type(pa.float64())
    fields.append(pa.field("gate", pa.string(), metadata={b"description": b"Where it left"}))
    kept = [rule for rule in before.expect if rule not in (one_of("carrier", ["AA", "UA"]), not_null("carrier"))]
    after = dataclasses.replace(
        before,
        schema=Schema(pa.schema(fields)),
        expect=(*kept, one_of("carrier", ["AA"]), compare("gate", "!=", "carrier")),
        partitions=4,
        owner="tower",
        retention=86_400_000_000,
        entities={"gate": "gate"},
    )
    text = write_contract(after, document)
    assert_valid(text)
    assert read_contract(text) == after
    written = yaml.safe_load(text)
    properties = {entry["name"]: entry for entry in written["schema"][0]["properties"]}
    assert properties["tailnum"]["physicalType"] == "VARCHAR(10)"
    assert properties["tailnum"]["classification"] == "public"
    assert properties["delay"]["logicalTypeOptions"]["multipleOf"] == 1
    assert [entry.get("type") for entry in properties["carrier"]["quality"]][1:3] == ["sql", "text"]
    assert "seats" not in properties
    assert written["team"]["members"][0]["username"] == "ada"
    assert written["slaProperties"] == document["slaProperties"]


def everything() -> Stream:
    schema = pa.schema(
        [
            pa.field("id", pa.int64(), nullable=False),
            ("at", pa.timestamp("us", "UTC")),
            ("name", pa.string()),
            ("celsius", pa.float64()),
            ("total", pa.decimal128(10, 2)),
            ("tags", pa.list_(pa.string())),
        ]
    )
    rules: list[Rule] = [
        jump("at", "2h"),
        not_null("name"),
        between("celsius", -80, 150),
        between("celsius", 0, 10, exclusive="both"),
        between("at", dt.datetime(2013, 1, 1, tzinfo=dt.UTC)),
        between("total", 0, 5),
        between("name", "a", "b"),
        one_of("name", ["a", "b"]),
        none_of("name", ["", "NA"]),
        matches("name", "a|b"),
        matches("name", "^a", whole=False),
        matches("name", "^(?:a)|(?:b)$", whole=False),
        length("name", 1, 3),
        length("tags", high=3),
        finite("celsius"),
        compare("id", "<", "celsius"),
        sums("celsius", ["id"], 0.5),
        not_future("at", "1h"),
        unique(["id", "name"], within="2d"),
        unique("id"),
        null_rate("name", 0.07, over=500),
        null_rate("celsius", 0.0),
        covered("1h", by="name"),
        covered("1h"),
        references("id", "plant.sites", "id"),
        condition("cold", lambda rows: pc.less(rows.column("celsius"), 0), ["celsius"]),
    ]
    return Stream("plant.readings", Schema(schema), key=("id",), time="at", expect=tuple(rules), lateness=5_400_000_000)


def test_every_rule_survives_export_and_import_in_its_order() -> None:
    text = write_contract(everything())
    assert_valid(text)
    assert read_contract(text) == everything()


def test_every_rule_survives_on_its_own() -> None:
    for rule in everything().expect:
        stream = dataclasses.replace(everything(), expect=(rule,))
        assert read_contract(write_contract(stream)).expect == (rule,)


def test_a_table_is_exported_with_its_key() -> None:
    schema = Schema(pa.schema([("site", pa.string()), ("id", pa.int64())]))
    table = Stream("sites", schema, key=("id", "site"), kind="table", codec="json")
    text = write_contract(table)
    assert_valid(text)
    assert read_contract(text) == table
    assert yaml.safe_load(text)["schema"][0]["physicalType"] == "table"


types = st.recursive(
    st.sampled_from(
        [
            pa.string(),
            pa.large_string(),
            pa.binary(),
            pa.int8(),
            pa.uint64(),
            pa.int64(),
            pa.float32(),
            pa.float64(),
            pa.bool_(),
            pa.date32(),
            pa.time32("ms"),
            pa.time64("us"),
            pa.timestamp("us", "UTC"),
            pa.timestamp("ns", "UTC"),
            pa.duration("ms"),
            pa.decimal128(12, 3),
            pa.binary(4),
        ]
    ),
    lambda inner: st.one_of(
        st.tuples(inner, st.booleans()).map(lambda made: pa.list_(pa.field("item", made[0], made[1]))),
        inner.map(lambda kind: pa.list_(kind, 3)),
        st.lists(inner, min_size=1, max_size=3).map(
            lambda kinds: pa.struct([pa.field(f"f{at}", kind, at % 2 == 0) for at, kind in enumerate(kinds)])
        ),
    ),
    max_leaves=4,
)


@given(st.lists(st.tuples(types, st.booleans()), min_size=1, max_size=4), st.lists(types, max_size=4))
@settings(deadline=None, max_examples=60)
def test_any_schema_survives_export_and_import(
    declared: list[tuple[pa.DataType, bool]], before: list[pa.DataType]
) -> None:
    def stream(kinds: list[tuple[pa.DataType, bool]]) -> Stream:
        return Stream("s", Schema(pa.schema([pa.field(f"x{at}", *kind) for at, kind in enumerate(kinds)])))

    text = write_contract(stream(declared))
    assert_valid(text)
    assert read_contract(text) == stream(declared)
    if before:
        old, _ = load_document(write_contract(stream([(kind, True) for kind in before])))
        assert read_contract(write_contract(stream(declared), old)) == stream(declared)


def changed(old: str, new: str) -> str:
    assert old in FULL
    return FULL.replace(old, new, 1)


@pytest.mark.parametrize(
    ("text", "what", "where"),
    [
        ("a: [1\nb: 2", "not valid YAML", "line 2, column 2"),
        ("a: 1\na: 2", "'a' is given twice", "line 2, column 1"),
        ("a: !!python/object:os.system {}", "not valid YAML", "line 1"),
        ("just words", "not a mapping", "the contract"),
        (changed("status: active\n", ""), "required key 'status' is missing", ""),
        (changed("version: 1.1.0", "version: 1.1"), "1.1 is not text", "version"),
        (changed("kind: DataContract", "kind: Contract"), "kind is 'Contract'", "kind"),
        (changed("v3.1.0", "v2.2.2"), "not known here", "apiVersion"),
        (changed("logicalType: number", "logicalType: float"), "logical type 'float'", "properties[3].logicalType"),
        (changed("format: f32", "format: f16"), "format 'f16'", "properties[3].logicalTypeOptions.format"),
        (changed("required: true", "required: maybe"), "neither true nor false", "properties[0].required"),
        (
            changed("  - name: flights.departures\n    physicalName", "  - physicalName"),
            "'name' is missing",
            "schema[0]",
        ),
        (changed("value: departed", "value: left"), "no property 'left'", "headwater.time"),
        (changed("value: departed", "value: delay"), "not a timestamp", "headwater.time"),
        (changed("value: 15m", "value: soon"), "not a length of time", "headwater.lateness"),
        (changed("value: 8", "value: many"), "not a number of partitions", "headwater.partitions"),
        (changed("value: 2d", "value: often"), "not a length of time", "schema[0].quality[0]"),
        (
            changed("properties: [tailnum, departed]", "properties: [tailnum, gate]"),
            "speaks of the field 'gate'",
            "schema[0].quality[0]",
        ),
        (changed("field: delay", "field: dely"), "speaks of the field 'dely'", "schema[0].quality[3]"),
        (changed("rule: finite", "rule: infinite"), "'infinite' is not a rule", "schema[0].quality[3]"),
        (changed("^N[0-9A-Z]+$", "^N[0-9"), "not a regular expression", "properties[0].logicalTypeOptions"),
        (changed("minimum: -120", "minimum: low"), "cannot be judged", "properties[3].logicalTypeOptions"),
        (changed("[AA, UA]", "AA"), "validValues is 'AA'", "properties[2].quality[0].arguments"),
        (changed("- property: headwater.time\n        value: departed\n      ", ""), None, ""),
        (changed("rule: finite, field: delay", "rule: covered, every: 1h"), None, ""),
        (FULL[: FULL.index("schema:")], "describes no data", ""),
        (changed("physicalType: topic\n", "physicalType: table\n").replace("primaryKey: true", ""), "needs a key", ""),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, what: str | None, where: str) -> None:
    if what is None:
        read_contract(text)
        return
    with pytest.raises(ContractError) as caught:
        read_contract(text)
    assert what in caught.value.what
    assert where in str(caught.value.where)
    assert caught.value.fix
    assert caught.value.exit_code == 2


def test_a_rule_that_needs_an_event_time_says_so() -> None:
    without = changed("- property: headwater.time\n        value: departed\n      ", "")
    with pytest.raises(ContractError, match="needs an event time"):
        read_contract(without.replace("{rule: finite, field: delay}", "{rule: covered, every: 1h}"))


def test_errors_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "flights.odcs.yaml"
    path.write_text(FULL, encoding="utf-8")
    assert read_contract(path) == read_contract(str(path)) == read_contract(FULL)
    path.write_text(changed("logicalType: number", "logicalType: float"), encoding="utf-8")
    with pytest.raises(ContractError, match=r"flights\.odcs\.yaml: schema\[0\]\.properties\[3\]"):
        read_contract(path)
    with pytest.raises(ContractError, match="cannot be read"):
        read_contract(tmp_path / "missing.yaml")


def test_dates_stay_the_text_that_they_are() -> None:
    document, _ = load_document(FULL.replace('"2024-01-15T09:00:00Z"', "2024-01-15T09:00:00Z"))
    assert document["contractCreatedTs"] == "2024-01-15T09:00:00Z"
    assert_valid(write_contract(read_contract(FULL), document))


def test_a_percent_limit_becomes_a_share_of_a_round() -> None:
    for limit, share in [
        ("mustBeLessThan: 1", 0.009),
        ("mustBeLessOrEqualTo: 2.5", 0.025),
        ("mustBeLessThan: 0.01", 0.0),
    ]:
        rules = read_contract(changed("mustBeLessThan: 1\n", f"{limit}\n")).expect
        assert null_rate("carrier", share) in rules


def test_the_kind_can_be_decided_by_the_caller() -> None:
    table = read_contract(FULL, kind="table")
    assert (table.kind, table.key) == ("table", ("tailnum",))
    assert unique(["tailnum", "departed"], within="2d") not in table.expect
