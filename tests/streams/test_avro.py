from __future__ import annotations

import contextlib
import io
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from typing import Any

import fastavro
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.codecs import Undecodable, codec
from streams.codecs.avro import avro_schema, schema_from_avro
from streams.schema import Schema, SchemaError, parse_type

HEADER = b"\x00\x00\x00\x01\x02"
ID = 258

#: Values that fastavro takes as Python objects, by type.
PYTHON: dict[str, Any] = {
    "bool": st.booleans(),
    "int8": st.integers(-128, 127),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "uint32": st.integers(0, 2**32 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "float32": st.floats(width=32, allow_nan=False),
    "float64": st.floats(allow_nan=False),
    "string": st.text(max_size=80),
    "binary": st.binary(max_size=80),
    "fixed_size_binary(3)": st.binary(min_size=3, max_size=3),
    "date32": st.dates(),
    "time32[ms]": st.integers(0, 86_399_999).map(lambda n: (datetime(2000, 1, 1) + timedelta(milliseconds=n)).time()),
    "time64[us]": st.times(),
    "timestamp[us, UTC]": st.datetimes(timezones=st.just(UTC)),
    "decimal128(9, 2)": st.decimals(places=2, min_value=-9_999_999, max_value=9_999_999),
    "decimal128(18, 0)": st.integers(-(10**18) + 1, 10**18 - 1).map(Decimal),
    "decimal128(38, 4)": st.integers(-(10**38) + 1, 10**38 - 1).map(lambda n: Decimal(n).scaleb(-4, Context(prec=40))),
}


@st.composite
def flat_rows(draw: Any) -> pa.RecordBatch:
    texts = draw(st.lists(st.sampled_from(sorted(PYTHON)), min_size=1, max_size=6))
    count = draw(st.integers(1, 6))
    fields, columns = [], []
    for at, text in enumerate(texts):
        nullable = draw(st.booleans())
        one = st.none() | PYTHON[text] if nullable else PYTHON[text]
        fields.append(pa.field(f"f{at}", parse_type(text), nullable))
        columns.append(pa.array(draw(st.lists(one, min_size=count, max_size=count)), fields[-1].type))
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))


def written_by_fastavro(rows: pa.RecordBatch) -> list[bytes]:
    parsed = fastavro.parse_schema(avro_schema(Schema(rows.schema), "row"))
    values = []
    for row in rows.to_pylist():
        sink = io.BytesIO()
        fastavro.schemaless_writer(sink, parsed, row)
        values.append(HEADER + sink.getvalue())
    return values


@given(flat_rows())
@settings(max_examples=150, deadline=None)
def test_the_bytes_are_those_of_fastavro(rows: pa.RecordBatch) -> None:
    assert codec("avro", Schema(rows.schema), ID).encode(rows) == written_by_fastavro(rows)


@given(flat_rows())
@settings(max_examples=100, deadline=None)
def test_what_fastavro_wrote_is_read(rows: pa.RecordBatch) -> None:
    assert codec("avro", Schema(rows.schema), ID).decode(written_by_fastavro(rows)).equals(rows)


def test_fastavro_reads_what_was_written() -> None:
    at = datetime(2013, 1, 1, 10, 17, 0, 5, tzinfo=UTC)
    row = {"id": "UA", "at": at, "price": Decimal("12.50"), "tags": ["a", None], "place": {"lat": 1.5}, "none": None}
    kinds = {
        "id": "string",
        "at": "timestamp[us, UTC]",
        "price": "decimal128(9, 2)",
        "tags": "list<string>",
        "place": "struct<lat: float64 not null>",
        "none": "int64",
    }
    schema = Schema(pa.schema([(name, parse_type(kind)) for name, kind in kinds.items()]))
    (value,) = codec("avro", schema, ID).encode(pa.RecordBatch.from_pylist([row], schema=schema.arrow))
    assert value[:5] == HEADER
    parsed = fastavro.parse_schema(avro_schema(schema, "row"))
    assert fastavro.schemaless_reader(io.BytesIO(value[5:]), parsed, None) == row


def test_the_avro_schema_carries_logical_types_defaults_and_descriptions() -> None:
    schema = Schema(
        pa.schema(
            [
                pa.field("at", pa.timestamp("us", "UTC"), False, {"description": "when"}),
                pa.field("day", pa.date32()),
                pa.field("price", pa.decimal128(9, 2), False),
                pa.field("stops", pa.list_(pa.field("item", pa.struct([pa.field("x", pa.int16(), False)]))), False),
            ]
        )
    )
    assert avro_schema(schema, "flight") == {
        "type": "record",
        "name": "flight",
        "fields": [
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}, "doc": "when"},
            {"name": "day", "type": ["null", {"type": "int", "logicalType": "date"}], "default": None},
            {
                "name": "price",
                "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
            },
            {
                "name": "stops",
                "type": {
                    "type": "array",
                    "items": [
                        "null",
                        {"type": "record", "name": "flight_stops_item", "fields": [{"name": "x", "type": "int"}]},
                    ],
                },
            },
        ],
    }


def test_an_avro_schema_becomes_a_schema_and_the_same_again() -> None:
    kinds = ["bool", "int32", "int64", "float32", "float64", "string", "binary", "fixed_size_binary(3)", "date32"]
    kinds += ["time32[ms]", "time64[us]", "timestamp[ms, UTC]", "timestamp[us, UTC]", "timestamp[ns, UTC]"]
    kinds += ["decimal128(9, 2)", "decimal256(50, 0)", "list<int64 not null>", "struct<a: string, b: list<date32>>"]
    fields = [pa.field(f"f{n}", parse_type(kind), n % 2 == 0, {"description": kind}) for n, kind in enumerate(kinds)]
    schema = Schema(pa.schema(fields))
    assert schema_from_avro(avro_schema(schema, "row")).text == schema.text


@pytest.mark.parametrize("foreign", [{"type": "map", "values": "long"}, ["null", "long", "string"], "null", ["long"]])
def test_avro_without_counterpart_is_refused(foreign: Any) -> None:
    with pytest.raises(SchemaError, match="field 'x'"):
        schema_from_avro({"type": "record", "name": "r", "fields": [{"name": "x", "type": foreign}]})
    with pytest.raises(SchemaError, match="record"):
        schema_from_avro({"type": "string"})


@pytest.mark.parametrize(("name", "kind"), [("n", pa.uint64()), ("two words", pa.int64()), ("d", pa.decimal128(5, 7))])
def test_what_avro_cannot_express_is_refused_before_anything_is_written(name: str, kind: pa.DataType) -> None:
    with pytest.raises(SchemaError, match=f"field '{name}'"):
        codec("avro", Schema(pa.schema([(name, kind)])), ID)


NUMBERS = Schema(pa.schema([pa.field("n", pa.int32(), False), ("s", pa.string()), ("b", pa.bool_())]))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"\x02\x02\x02a\x00\x00", "longer"),
        (b"\x02\x02\x02a", "shorter"),
        (b"\x02\x02\x7fa\x00", "ends beyond"),
        (b"\x02\x02\x01a\x00", "ends beyond"),
        (b"\x02\x02\x04a", "ends beyond"),
        (b"\x02\x02\x02\xff\x00", "UTF8"),
        (b"\x02\x04\x02a\x00", "branch"),
        (b"\x02\x00\x02\x02", "boolean"),
        (b"\xff\xff\xff\xff\x7f\x00\x00", "wider than 32 bits"),
        (b"\xff" * 9 + b"\x02\x00\x00", "wider than 64 bits"),
        (b"\xff" * 12 + b"\x00\x00", "wider than 64 bits"),
        (b"\x02\x02" + b"\xfe" + b"\xff" * 8 + b"\x01" + b"a\x00", "ends beyond"),
        (b"", "shorter"),
    ],
)
def test_each_kind_of_damage_is_named_with_its_message(body: bytes, why: str) -> None:
    good = HEADER + b"\x02\x02\x02a\x02\x01"
    reader = codec("avro", NUMBERS, ID)
    assert reader.decode([good, good]).to_pylist() == [{"n": 1, "s": "a", "b": True}] * 2
    with pytest.raises(Undecodable, match=why) as raised:
        reader.decode([good, HEADER + body, good, HEADER + body])
    assert raised.value.index == 1


def test_a_decimal_without_bytes_is_zero_as_for_fastavro() -> None:
    schema = Schema(pa.schema([pa.field("d", pa.decimal128(9, 2), False)]))
    rows = codec("avro", schema, ID).decode([HEADER + b"\x00", HEADER + b"\x02\xff"])
    assert rows.column(0).to_pylist() == [Decimal("0.00"), Decimal("-0.01")]


def test_a_decimal_with_too_many_digits_is_refused() -> None:
    for kind in pa.decimal128(3, 0), pa.decimal128(20, 0):
        schema = Schema(pa.schema([pa.field("d", kind, False)]))
        with pytest.raises(Undecodable, match="value 0 of 1"):
            codec("avro", schema, ID).decode([HEADER + b"\x14" + b"\x7f" * 10])
        if kind.precision == 3:
            with pytest.raises(Undecodable, match="more than 3 digits"):
                codec("avro", schema, ID).decode([HEADER + b"\x10\x80" + b"\x00" * 7])


def test_messages_of_another_schema_or_system_are_named() -> None:
    reader = codec("avro", NUMBERS, ID)
    for value in b"\x00\x00\x00\x01\x03\x02\x00\x00", b'{"n": 1}', b"\x00", b"":
        with pytest.raises(Undecodable, match="value 0 of 1"):
            reader.decode([value])


@given(st.lists(st.binary(max_size=12).map(HEADER.__add__), min_size=1, max_size=4))
@settings(max_examples=200, deadline=None)
def test_random_bodies_are_read_exactly_as_fastavro_does_or_refused(values: list[bytes]) -> None:
    schema = Schema(pa.schema([("n", pa.int64()), pa.field("s", pa.string(), False), ("f", pa.float32())]))
    parsed = fastavro.parse_schema(avro_schema(schema, "row"))
    try:
        rows = codec("avro", schema, ID).decode(values).to_pylist()
    except Undecodable:
        return
    for value, row in zip(values, rows, strict=True):
        source = io.BytesIO(value[5:])
        assert repr(fastavro.schemaless_reader(source, parsed, None)) == repr(row)
        assert source.tell() == len(value) - 5


@given(st.binary(max_size=30))
@settings(max_examples=150, deadline=None)
def test_random_nested_bodies_never_crash(body: bytes) -> None:
    kind = parse_type("list<struct<a: string, b: list<decimal128(5, 2)>, c: timestamp[us, UTC] not null>>")
    reader = codec("avro", Schema(pa.schema([("x", kind)])), ID)
    with contextlib.suppress(Undecodable):
        reader.decode([HEADER + body]).validate(full=True)


def test_seconds_beyond_what_milliseconds_hold_are_refused() -> None:
    schema = Schema(pa.schema([("at", pa.timestamp("s", "UTC"))]))
    rows = pa.RecordBatch.from_arrays([pa.array([2**62], pa.timestamp("s", "UTC"))], schema=schema.arrow)
    with pytest.raises(SchemaError, match="field 'at'"):
        codec("avro", schema, ID).encode(rows)


def test_a_schema_id_must_fit_its_four_bytes() -> None:
    with pytest.raises(SchemaError, match="schema id -1"):
        codec("avro", NUMBERS, -1)
