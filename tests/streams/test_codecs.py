"""What every codec promises: rows come back as they went, and damage is named, never a crash."""

from __future__ import annotations

import hashlib
import math
from datetime import UTC, datetime
from decimal import Context, Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.codecs import Undecodable, codec
from streams.log.protocol import Corrupt
from streams.schema import Schema
from streams.types import SchemaError, is_list

CODECS = ("arrow", "json", "avro")
SECONDS_OF_YEARS = (-62_135_596_800, 253_402_300_799)
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}

LEAVES = [
    pa.bool_(),
    pa.int8(),
    pa.int16(),
    pa.int32(),
    pa.int64(),
    pa.uint8(),
    pa.uint16(),
    pa.uint32(),
    pa.float32(),
    pa.float64(),
    pa.string(),
    pa.large_string(),
    pa.binary(),
    pa.large_binary(),
    pa.binary(3),
    pa.date32(),
    pa.time32("s"),
    pa.time32("ms"),
    pa.time64("us"),
    pa.time64("ns"),
    pa.duration("us"),
    pa.timestamp("s", "UTC"),
    pa.timestamp("ms", "UTC"),
    pa.timestamp("us", "UTC"),
    pa.timestamp("ns", "UTC"),
    pa.decimal128(5, 2),
    pa.decimal128(18, 0),
    pa.decimal128(38, 9),
    pa.decimal256(50, 3),
]
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,6}", fullmatch=True)


def kinds(codec_name: str) -> st.SearchStrategy[Any]:
    leaves = st.sampled_from([*LEAVES, pa.uint64()] if codec_name != "avro" else LEAVES)

    def nested(inner: Any) -> Any:
        items = st.builds(lambda kind, nullable: pa.field("item", kind, nullable), inner, st.booleans())
        return st.one_of(
            st.builds(pa.list_, items),
            st.builds(pa.large_list, items),
            st.builds(lambda item: pa.list_(item, 2), items),
            st.builds(pa.struct, fields(inner, 3)),
        )

    return st.one_of(leaves, leaves, st.recursive(leaves, nested, max_leaves=4))


def fields(kind: Any, most: int) -> Any:
    one = st.builds(pa.field, NAMES, kind, st.booleans())
    return st.lists(one, min_size=1, max_size=most, unique_by=lambda field: field.name)


def values(kind: pa.DataType, codec_name: str) -> st.SearchStrategy[Any]:
    if is_list(kind):
        size = kind.list_size if pa.types.is_fixed_size_list(kind) else None
        items = optional(kind.value_field, codec_name)
        return st.lists(items, min_size=size or 0, max_size=3 if size is None else size)
    if pa.types.is_struct(kind):
        return st.fixed_dictionaries({field.name: optional(field, codec_name) for field in kind})
    if pa.types.is_boolean(kind):
        return st.booleans()
    if pa.types.is_integer(kind):
        signed = pa.types.is_signed_integer(kind)
        bits = kind.bit_width - signed
        return st.integers(-(2**bits) if signed else 0, 2**bits - 1)
    if pa.types.is_floating(kind):
        special = codec_name != "json"
        return st.floats(width=kind.bit_width, allow_nan=special, allow_infinity=special)
    if pa.types.is_timestamp(kind):
        low, high = SECONDS_OF_YEARS
        if codec_name == "json" or kind.unit == "s":
            bound = 2**63 - 1
            each = PER_SECOND[kind.unit]
            return st.integers(max(low * each, -bound), min(high * each, bound))
        return st.integers(-(2**63), 2**63 - 1)
    if pa.types.is_duration(kind):
        return st.integers(-(2**63), 2**63 - 1)
    if pa.types.is_date(kind):
        return st.dates()
    if pa.types.is_time(kind):
        return st.integers(0, 86_400 * PER_SECOND[kind.unit] - 1)
    if pa.types.is_decimal(kind):
        limit = 10**kind.precision - 1
        return st.integers(-limit, limit).map(lambda number: Decimal(number).scaleb(-kind.scale, EXACT))
    if pa.types.is_fixed_size_binary(kind):
        return st.binary(min_size=kind.byte_width, max_size=kind.byte_width)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return st.binary(max_size=10)
    return st.text(max_size=10)


EXACT = Context(prec=80)


def optional(field: pa.Field, codec_name: str) -> st.SearchStrategy[Any]:
    known = values(field.type, codec_name)
    return st.none() | known if field.nullable else known


@st.composite
def batches(draw: Any, codec_name: str) -> pa.RecordBatch:
    schema = Schema(pa.schema(draw(fields(kinds(codec_name), 4))))
    count = draw(st.integers(0, 5))
    columns = [
        pa.array(draw(st.lists(optional(field, codec_name), min_size=count, max_size=count)), field.type)
        for field in schema.arrow
    ]
    rows = pa.RecordBatch.from_arrays(columns, schema=schema.arrow)
    start = draw(st.integers(0, count))
    return rows.slice(start) if draw(st.booleans()) else rows


def shown(value: Any) -> Any:
    """The value with floats by their bits, NaN as one, so that equal means equal."""
    if isinstance(value, float):
        return "nan" if math.isnan(value) else value.hex()
    if isinstance(value, list):
        return [shown(item) for item in value]
    if isinstance(value, dict):
        return {name: shown(item) for name, item in value.items()}
    return value


def physical_list(column: pa.Array) -> list[Any]:
    """Python values; times, which Python holds only in part, as their numbers."""
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind) or pa.types.is_time64(kind):
        return column.view(pa.int64()).to_pylist()
    if pa.types.is_struct(kind):
        children = [physical_list(child) for child in column.flatten()]
        names = [field.name for field in kind]
        present = column.is_valid().to_pylist()
        rows = zip(*children, strict=True)
        return [dict(zip(names, row, strict=True)) if here else None for here, row in zip(present, rows, strict=True)]
    if is_list(kind):
        items = iter(physical_list(pa.compute.list_flatten(column)))
        lengths = pa.compute.list_value_length(column).to_pylist()
        return [None if length is None else [next(items) for _ in range(length)] for length in lengths]
    return column.to_pylist()


def digest(rows: pa.RecordBatch) -> str:
    columns = [
        (field.name, str(field.type), shown(physical_list(rows.column(i)))) for i, field in enumerate(rows.schema)
    ]
    return hashlib.sha256(repr(columns).encode()).hexdigest()


SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("name", CODECS)
@given(data=st.data())
@SETTINGS
def test_rows_come_back_with_equal_digest(name: str, data: Any) -> None:
    rows = data.draw(batches(name))
    writer = codec(name, Schema(rows.schema), 5)
    encoded = writer.encode(rows)
    if writer.row_coded:
        assert len(encoded) == rows.num_rows
    back = writer.decode(encoded)
    back.validate(full=True)
    assert back.schema.equals(rows.schema)
    assert digest(back) == digest(rows)


def flight_rows(count: int = 3) -> pa.RecordBatch:
    schema = pa.schema(
        [
            pa.field("carrier", pa.string(), nullable=False),
            pa.field("flight", pa.int32(), nullable=False),
            pa.field("at", pa.timestamp("us", "UTC")),
            pa.field("delay", pa.float64()),
        ]
    )
    at = datetime(2013, 1, 1, 10, 17, tzinfo=UTC)
    rows = [{"carrier": f"U{n}", "flight": 1545 + n, "at": at if n % 2 else None, "delay": n / 4} for n in range(count)]
    return pa.RecordBatch.from_pylist(rows, schema=schema)


@pytest.mark.parametrize("name", CODECS)
@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_changed_bytes_are_corrupt_or_other_rows_never_a_crash(name: str, data: Any) -> None:
    rows = flight_rows()
    reader = codec(name, Schema(rows.schema), 5)
    encoded = reader.encode(rows)
    victim = data.draw(st.integers(0, len(encoded) - 1))
    value = bytearray(encoded[victim])
    for _ in range(data.draw(st.integers(1, 3))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    changed = [*encoded[:victim], bytes(value), *encoded[victim + 1 :]]
    try:
        back = reader.decode(changed)
    except Undecodable as error:
        named = error.index
    else:
        named = victim
        assert back.num_rows == rows.num_rows
        back.validate(full=True)
    assert named == victim


@pytest.mark.parametrize("name", CODECS)
@given(value=st.binary(max_size=60))
@settings(max_examples=50, deadline=None)
def test_random_bytes_are_corrupt(name: str, value: bytes) -> None:
    rows = flight_rows(1)
    reader = codec(name, Schema(rows.schema), 5)
    with pytest.raises(Corrupt):
        reader.decode([value])


@pytest.mark.parametrize("name", CODECS)
def test_every_truncation_is_corrupt_and_named(name: str) -> None:
    reader = codec(name, Schema(flight_rows().schema), 5)
    good = reader.encode(flight_rows(2))
    before = good[:1] if reader.row_coded else []
    for length in range(len(good[-1])):
        with pytest.raises(Undecodable) as raised:
            reader.decode([*before, good[-1][:length]])
        assert raised.value.index == len(before)


@pytest.mark.parametrize("name", ["json", "avro"])
def test_the_first_of_several_bad_values_is_named(name: str) -> None:
    reader = codec(name, Schema(flight_rows().schema), 5)
    encoded = reader.encode(flight_rows(20))
    encoded[7] = b"x"
    encoded[13] = b""
    with pytest.raises(Undecodable, match="value 7 of 20"):
        reader.decode(encoded)


@pytest.mark.parametrize("name", CODECS)
def test_no_rows(name: str) -> None:
    rows = flight_rows(0)
    writer = codec(name, Schema(rows.schema), 5)
    encoded = writer.encode(rows)
    assert len(encoded) == (0 if writer.row_coded else 1)
    assert writer.decode(encoded).equals(rows)


@pytest.mark.parametrize("name", CODECS)
def test_many_rows_cross_the_codecs_own_chunks(name: str) -> None:
    count = 70_000
    rows = pa.RecordBatch.from_arrays(
        [pa.array(range(count), pa.int64()), pa.array(["", None, "é"] * (count // 3 + 1))[:count]], ["n", "text"]
    )
    writer = codec(name, Schema(rows.schema), 5)
    assert writer.decode(writer.encode(rows)).equals(rows)


@pytest.mark.parametrize("name", CODECS)
def test_rows_of_another_schema_are_refused(name: str) -> None:
    writer = codec(name, Schema(flight_rows().schema), 5)
    with pytest.raises(SchemaError, match="carrier, flight, at, delay"):
        writer.encode(flight_rows().select(["carrier", "flight"]))
    wider = flight_rows().set_column(1, "flight", pa.array([1, 2, 3], pa.int64()))
    with pytest.raises(SchemaError, match=r"field 'flight'"):
        writer.encode(wider)


@pytest.mark.parametrize("name", CODECS)
def test_a_null_in_a_required_field_is_refused(name: str) -> None:
    writer = codec(name, Schema(flight_rows().schema), 5)
    rows = flight_rows().set_column(0, flight_rows().schema.field(0), pa.array(["UA", None, "AA"]))
    with pytest.raises(SchemaError, match="field 'carrier', row 1"):
        writer.encode(rows)


def test_an_unknown_codec_is_named_with_those_that_exist() -> None:
    with pytest.raises(SchemaError, match="arrow, json, avro"):
        codec("protobuf", Schema(flight_rows().schema), 5)
