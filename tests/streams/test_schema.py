from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Optional

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.schema import Schema, SchemaError, parse_type, type_text


@dataclass
class Place:
    lat: float
    lon: float


@dataclass
class Reading:
    sensor: str
    at: datetime
    celsius: Annotated[float | None, "outside, in the shade"]
    count: Annotated[int, pa.int16()]
    day: date
    clock: time
    took: timedelta
    ok: bool
    raw: bytes
    price: Decimal
    tags: list[str]
    place: Place | None
    old: Optional[int]  # noqa: UP045
    stops: list[Place | None]


def test_a_dataclass_declares_a_schema() -> None:
    assert {field.name: (type_text(field.type), field.nullable) for field in Schema.of(Reading).arrow} == {
        "sensor": ("string", False),
        "at": ("timestamp[us, UTC]", False),
        "celsius": ("float64", True),
        "count": ("int16", False),
        "day": ("date32", False),
        "clock": ("time64[us]", False),
        "took": ("duration[us]", False),
        "ok": ("bool", False),
        "raw": ("binary", False),
        "price": ("decimal128(38, 9)", False),
        "tags": ("list<string not null>", False),
        "place": ("struct<lat: float64 not null, lon: float64 not null>", True),
        "old": ("int64", True),
        "stops": ("list<struct<lat: float64 not null, lon: float64 not null>>", False),
    }
    assert Schema.of(Reading).arrow.field("celsius").metadata == {b"description": b"outside, in the shade"}


def test_a_schema_passes_through_of() -> None:
    schema = Schema.of(Reading)
    assert Schema.of(schema) is schema
    assert Schema.of(schema.arrow) == schema


@dataclass
class Mapped:
    counts: dict[str, int]


@dataclass
class Choice:
    value: int | str


@dataclass
class Tree:
    children: list[Tree]


@pytest.mark.parametrize(
    ("declared", "words"),
    [(Mapped, "field 'counts'"), (Choice, "field 'value'"), (Tree, "Tree contains itself"), (int, "dataclass")],
)
def test_a_class_that_declares_no_schema_is_refused_with_the_field(declared: type, words: str) -> None:
    with pytest.raises(SchemaError, match=words):
        Schema.of(declared)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (pa.timestamp("us"), "no time zone"),
        (pa.struct([("inner", pa.timestamp("s"))]), r"field 'x\.inner'"),
        (pa.list_(pa.timestamp("s")), r"field 'x\[\]'"),
        (pa.dictionary(pa.int8(), pa.string()), "Declare string"),
        (pa.map_(pa.string(), pa.int64()), "list of structs"),
        (pa.dense_union([pa.field("a", pa.int64())]), "one field for each kind"),
        (pa.uuid(), "fixed_size_binary"),
        (pa.string_view(), "Declare string"),
        (pa.date64(), "Declare date32"),
        (pa.null(), "Declare one of"),
        (pa.struct([]), "at least one field"),
    ],
)
def test_a_type_that_streams_do_not_carry_is_refused_with_the_remedy(kind: pa.DataType, words: str) -> None:
    with pytest.raises(SchemaError, match=words):
        Schema(pa.schema([("x", kind)]))


def test_names_must_be_there_and_differ() -> None:
    for fields, words in ([], "no fields"), ([("", pa.int64())], "no name"), ([("a", pa.int64())] * 2, "same name"):
        with pytest.raises(SchemaError, match=words):
            Schema(pa.schema(fields))


def test_other_zones_become_utc_and_foreign_metadata_go() -> None:
    field = pa.field("at", pa.timestamp("ms", "Europe/Paris"), metadata={"description": "when", "other": "x"})
    arrow = Schema(pa.schema([field], metadata={"pandas": "{}"})).arrow
    assert arrow.field("at").type == pa.timestamp("ms", "UTC")
    assert arrow.field("at").metadata == {b"description": b"when"}
    assert arrow.metadata is None


def test_list_items_have_one_name() -> None:
    element = pa.list_(pa.field("element", pa.int64()))
    assert (
        Schema(pa.schema([("x", element)])).fingerprint == Schema(pa.schema([("x", pa.list_(pa.int64()))])).fingerprint
    )


def test_the_text_is_stable() -> None:
    schema = Schema(
        pa.schema([pa.field("id", pa.int64(), False, {"description": "who"}), ("s", pa.list_(pa.string()))])
    )
    assert schema.text == (
        '{"fields":[{"name":"id","nullable":false,"type":"int64","description":"who"},'
        '{"name":"s","nullable":true,"type":"list","item":{"nullable":true,"type":"string"}}]}'
    )


def test_the_fingerprint_ignores_descriptions_and_nothing_else() -> None:
    plain = Schema(pa.schema([pa.field("a", pa.int64())]))
    told = Schema(pa.schema([pa.field("a", pa.int64(), metadata={"description": "x"})]))
    required = Schema(pa.schema([pa.field("a", pa.int64(), False)]))
    renamed = Schema(pa.schema([pa.field("b", pa.int64())]))
    assert plain.fingerprint == told.fingerprint
    assert len({plain.fingerprint, required.fingerprint, renamed.fingerprint}) == 3


def test_select_keeps_the_order_asked_for() -> None:
    assert Schema.of(Reading).select(["ok", "at"]).names == ["ok", "at"]
    with pytest.raises(SchemaError, match="field 'speed'"):
        Schema.of(Reading).select(["speed"])


LEAVES = [
    *(parse_type(text) for text in ("bool", "int8", "uint64", "float32", "string", "large_binary", "date32")),
    pa.timestamp("ns", "UTC"),
    pa.time32("ms"),
    pa.duration("s"),
    pa.decimal256(50, -3),
    pa.binary(7),
]


def nested(inner: Any) -> Any:
    field = st.builds(pa.field, st.text(min_size=1, max_size=5), inner, st.booleans())
    item = st.builds(lambda kind, nullable: pa.field("item", kind, nullable), inner, st.booleans())
    structs = st.lists(field, min_size=1, max_size=3, unique_by=lambda one: one.name).map(pa.struct)
    return st.one_of(item.map(pa.list_), item.map(pa.large_list), item.map(lambda one: pa.list_(one, 4)), structs)


KINDS = st.recursive(st.sampled_from(LEAVES), nested, max_leaves=5)


@given(KINDS)
@settings(max_examples=100, deadline=None)
def test_types_and_schemas_come_back_from_their_text(kind: pa.DataType) -> None:
    assert parse_type(type_text(kind)) == kind
    schema = Schema(pa.schema([pa.field("x", kind, False, {"description": "é\n"})]))
    again = Schema.parse(schema.text)
    assert again == schema
    assert again.text == schema.text
    assert again.fingerprint == schema.fingerprint


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("int", "no 'int'"),
        ("list<", "character 6"),
        ("struct<a int64>", "':' was expected"),
        ("timestamp[us, CET]", "'UTC' was expected"),
        ("decimal128(99, 2)", "precision"),
        ("int64 or so", "nothing more"),
        ("union<a>", "no 'union'"),
    ],
)
def test_text_that_names_no_type_is_refused_with_the_place(text: str, words: str) -> None:
    with pytest.raises(SchemaError, match=words):
        parse_type(text)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"fields":[1]}', '{"fields":[{"name":"a","type":"int64"}]}'])
def test_text_that_is_no_schema_is_refused(text: str) -> None:
    with pytest.raises(SchemaError):
        Schema.parse(text)
