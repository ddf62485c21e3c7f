from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.evolution import differences, project, widens
from streams.schema import Schema, SchemaError, parse_type


def schema(*fields: tuple[str, str]) -> Schema:
    """Fields as (name, type text); a type ending in `!` is required."""
    return Schema(
        pa.schema([pa.field(name, parse_type(text.rstrip("!")), not text.endswith("!")) for name, text in fields])
    )


WIDER = [
    ("int8", "int16"),
    ("int32", "int64"),
    ("uint8", "int16"),
    ("uint32", "int64"),
    ("int32", "float64"),
    ("int16", "float32"),
    ("uint32", "float64"),
    ("int64", "decimal128(19, 0)"),
    ("int32", "decimal128(12, 2)"),
    ("float32", "float64"),
    ("string", "large_string"),
    ("binary", "large_binary"),
    ("fixed_size_binary(4)", "binary"),
    ("decimal128(5, 2)", "decimal128(7, 3)"),
    ("decimal128(38, 9)", "decimal256(50, 9)"),
    ("timestamp[s, UTC]", "timestamp[us, UTC]"),
    ("time32[ms]", "time64[us]"),
    ("duration[ms]", "duration[us]"),
    ("list<int32>", "list<int64>"),
    ("list<int32>", "large_list<int32>"),
    ("fixed_size_list<float32, 3>", "list<float32>"),
    ("list<int32 not null>", "list<int32>"),
    ("struct<a: int32 not null>", "struct<b: string, a: int64>"),
]
NOT_WIDER = [
    ("int64", "int32"),
    ("int64", "float64"),
    ("int32", "float32"),
    ("int64", "uint64"),
    ("uint64", "int64"),
    ("int64", "decimal128(18, 0)"),
    ("float64", "float32"),
    ("float64", "int64"),
    ("large_string", "string"),
    ("string", "binary"),
    ("bool", "int8"),
    ("int64", "string"),
    ("date32", "timestamp[us, UTC]"),
    ("timestamp[us, UTC]", "timestamp[ns, UTC]"),
    ("timestamp[us, UTC]", "timestamp[ms, UTC]"),
    ("decimal128(5, 2)", "decimal128(6, 4)"),
    ("list<string>", "list<string not null>"),
    ("list<string>", "string"),
    ("fixed_size_list<float32, 3>", "fixed_size_list<float32, 4>"),
    ("struct<a: int32>", "struct<a: int32, b: string not null>"),
]


@pytest.mark.parametrize(("old", "new"), WIDER)
def test_a_wider_type_is_a_compatible_change(old: str, new: str) -> None:
    assert differences(schema(("x", old)), schema(("x", new))) == []


@pytest.mark.parametrize(("old", "new"), NOT_WIDER)
def test_any_other_change_of_type_is_incompatible(old: str, new: str) -> None:
    (reason,) = differences(schema(("x", old)), schema(("x", new)))
    assert "'x" in reason


def test_fields_may_be_added_if_nullable_dropped_reordered_and_relaxed() -> None:
    old = schema(("a", "int64!"), ("b", "string!"), ("c", "int64"))
    assert differences(old, schema(("new", "date32"), ("c", "int64"), ("a", "int64"))) == []


def test_each_incompatible_field_is_a_reason_with_its_path() -> None:
    old = schema(("a", "int64"), ("s", "struct<x: int64, l: list<struct<y: int32>>>"), ("k", "string"))
    new = schema(
        ("a", "string"), ("s", "struct<x: int64 not null, l: list<struct<y: int16>>>"), ("k", "string"), ("n", "int64!")
    )
    assert differences(old, new) == [
        "field 'a' changes from int64 to string, which is another kind of value; add a new field instead",
        "field 's.x' becomes required: old rows may have nulls there; keep it nullable",
        "field 's.l[].y' changes from int32 to int16, which does not hold all old values; add a new field instead",
        "field 'n' is new and required: old rows do not have it; make it nullable",
    ]


def rows(data: dict[str, list[Any]], **kinds: str) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(data[n], parse_type(t)) for n, t in kinds.items()], list(kinds))


def test_equal_rows_are_returned_as_they_are() -> None:
    batch = rows({"a": [1]}, a="int64")
    assert project(batch, batch.schema) is batch


def test_old_rows_are_read_by_a_new_reader() -> None:
    old = rows({"a": [1, 2], "gone": ["x", "y"], "t": [0, 1]}, a="int32", gone="string", t="timestamp[s, UTC]")
    reader = schema(("t", "timestamp[us, UTC]"), ("new", "list<string>"), ("a", "float64!"))
    read = project(old, reader.arrow)
    assert read.to_pylist() == [
        {"t": datetime(1970, 1, 1, tzinfo=UTC), "new": None, "a": 1.0},
        {"t": datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), "new": None, "a": 2.0},
    ]
    assert read.schema.types == reader.arrow.types


def test_new_rows_are_read_by_an_old_reader() -> None:
    new = rows({"a": [1, None], "added": ["x", "y"]}, a="int64", added="string")
    read = project(new, schema(("a", "int32!"), ("dropped", "string!")).arrow)
    assert read.to_pylist() == [{"a": 1, "dropped": None}, {"a": None, "dropped": None}]
    assert read.schema.types == [pa.int32(), pa.string()]
    assert [field.nullable for field in read.schema] == [True, True]


def test_nested_fields_are_projected_too() -> None:
    new = rows(
        {"s": [{"x": 1, "l": [{"y": 5, "z": "z"}, None]}, None], "v": [[1.0, 2.0], None]},
        s="struct<x: int64, l: large_list<struct<y: int64, z: string>>>",
        v="list<float64>",
    )
    reader = schema(
        ("s", "struct<l: list<struct<y: int16 not null, w: date32>>, gone: string not null>"),
        ("v", "fixed_size_list<float32, 2>"),
    )
    read = project(new, reader.arrow)
    read.validate(full=True)
    assert read.to_pylist() == [
        {"s": {"l": [{"y": 5, "w": None}, None], "gone": None}, "v": [1.0, 2.0]},
        {"s": None, "v": None},
    ]


@pytest.mark.parametrize(
    ("wide", "value", "narrow", "shown"),
    [
        ("int64", 2**40, "int32", "1099511627776"),
        ("float64", 1.5, "int32", "1.5"),
        ("float64", 1e300, "float32", "1e+300"),
        ("decimal128(7, 3)", Decimal("1.239"), "decimal128(5, 2)", "1.239"),
        ("decimal128(20, 0)", Decimal(2**62), "int32", str(2**62)),
        ("timestamp[us, UTC]", 1, "timestamp[s, UTC]", "datetime"),
        ("binary", b"abc", "fixed_size_binary(4)", "abc"),
    ],
)
def test_a_value_that_does_not_fit_the_old_reader_is_named(wide: str, value: Any, narrow: str, shown: str) -> None:
    batch = rows({"x": [None, None, value, None]}, x=wide)
    with pytest.raises(SchemaError, match="field 'x', row 2") as raised:
        project(batch, schema(("x", narrow)).arrow)
    assert shown in str(raised.value)


def test_unrelated_types_are_refused() -> None:
    with pytest.raises(SchemaError, match="field 'x'"):
        project(rows({"x": ["1"]}, x="string"), schema(("x", "int64")).arrow)


def test_floats_round_to_the_readers_width() -> None:
    read = project(rows({"x": [0.1, float("nan")]}, x="float64"), schema(("x", "float32")).arrow)
    assert read.column(0)[0].as_py() == pytest.approx(0.1, rel=1e-7)
    assert str(read.column(0)[1].as_py()) == "nan"


LEAVES = [text for pair in WIDER + NOT_WIDER for text in pair if "<" not in text]
EDGES = {
    "int": lambda kind: [-(2 ** (kind.bit_width - 1)), 2 ** (kind.bit_width - 1) - 1, 0, None],
    "uint": lambda kind: [0, 2**kind.bit_width - 1, None],
}


@given(st.sampled_from(LEAVES), st.sampled_from(LEAVES))
@settings(max_examples=200, deadline=None)
def test_every_edge_value_survives_a_widening_and_the_way_back(old: str, new: str) -> None:
    before, after = parse_type(old), parse_type(new)
    if not widens(before, after) or not pa.types.is_integer(before):
        return
    values = EDGES["int" if pa.types.is_signed_integer(before) else "uint"](before)
    batch = pa.RecordBatch.from_arrays([pa.array(values, before)], ["x"])
    wide = project(batch, pa.schema([("x", after)]))
    assert [None if v is None else int(v) for v in wide.column(0).to_pylist()] == values
    assert project(wide, batch.schema).equals(batch)


NAMES = ["a", "b", "c"]
FIELDS = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from([*LEAVES, "list<int32>", "struct<p: int16, q: string>"])),
    min_size=1,
    unique_by=lambda field: field[0],
)


@given(FIELDS, FIELDS)
@settings(max_examples=200, deadline=None)
def test_rows_of_either_version_of_a_compatible_change_can_be_read_by_the_other(old: Any, new: Any) -> None:
    before, after = schema(*old), schema(*new)
    if differences(before, after):
        return
    for writer, reader in (before, after), (after, before):
        nulls = pa.RecordBatch.from_arrays([pa.nulls(2, kind) for kind in writer.arrow.types], schema=writer.arrow)
        assert project(nulls, reader.arrow).schema.types == reader.arrow.types
