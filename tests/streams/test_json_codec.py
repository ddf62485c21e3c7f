from __future__ import annotations

import base64
import json
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.codecs import Undecodable, codec
from streams.codecs.base64 import from_base64, to_base64
from streams.schema import Schema, SchemaError, parse_type


def schema(**kinds: str) -> Schema:
    return Schema(pa.schema([pa.field(n, parse_type(k.rstrip("!")), not k.endswith("!")) for n, k in kinds.items()]))


def encode(row: dict[str, Any], **kinds: str) -> Any:
    rows = pa.RecordBatch.from_pylist([row], schema=schema(**kinds).arrow)
    (value,) = codec("json", schema(**kinds), 1).encode(rows)
    return orjson.loads(value)


def decode(*values: bytes, **kinds: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = codec("json", schema(**kinds), 1).decode(values).to_pylist()
    return rows


def test_values_are_written_as_any_program_expects_them() -> None:
    row = {
        "text": 'é"\n\\',
        "at": datetime(2013, 1, 1, 10, 17, 0, 250_000, tzinfo=UTC),
        "day": date(2013, 1, 1),
        "raw": b"\x00\xff",
        "price": Decimal("12.50"),
        "big": 2**63 - 1,
        "ratio": 0.1,
        "ok": True,
        "tags": ["a", None],
        "place": {"lat": 1.5, "name": None},
        "none": None,
    }
    assert encode(
        row,
        text="string",
        at="timestamp[us, UTC]",
        day="date32",
        raw="binary",
        price="decimal128(9, 2)",
        big="int64",
        ratio="float64",
        ok="bool",
        tags="list<string>",
        place="struct<lat: float64, name: string>",
        none="int64",
    ) == {
        "text": 'é"\n\\',
        "at": "2013-01-01T10:17:00.250000Z",
        "day": "2013-01-01",
        "raw": "AP8=",
        "price": "12.50",
        "big": 9223372036854775807,
        "ratio": 0.1,
        "ok": True,
        "tags": ["a", None],
        "place": {"lat": 1.5, "name": None},
        "none": None,
    }


def test_a_value_has_no_line_break() -> None:
    rows = pa.RecordBatch.from_pydict({"a\nb": ["x\ny", "\r\n"]})
    for value in codec("json", Schema(rows.schema), 1).encode(rows):
        assert b"\n" not in value


def test_pretty_printed_foreign_messages_are_read() -> None:
    pretty = json.dumps({"a": "x\ny", "n": 1}, indent=2).encode()
    assert decode(pretty, pretty.replace(b"\n", b"\r\n"), a="string", n="int64") == [{"a": "x\ny", "n": 1}] * 2


def test_unknown_fields_are_ignored_and_missing_ones_null() -> None:
    assert decode(b'{"z": {"a": [1, {}]}, "n": 1}', b"{}", n="int64", s="struct<x: int64>") == [
        {"n": 1, "s": None},
        {"n": None, "s": None},
    ]


@pytest.mark.parametrize(
    "text",
    ["2013-01-01T10:17:00Z", "2013-01-01T12:17:00+02:00", "2013-01-01 10:17:00.000000+00:00", "2013-01-01T10:17Z"],
)
def test_times_with_any_offset_are_read_as_utc(text: str) -> None:
    at = datetime(2013, 1, 1, 10, 17, tzinfo=UTC)
    value = orjson.dumps({"at": text})
    assert decode(value, at="timestamp[us, UTC]") == [{"at": at}]
    assert decode(value, b'{"at":"2013-01-01T10:17:00Z"}', b"{}", at="timestamp[us, UTC]") == [
        {"at": at},
        {"at": at},
        {"at": None},
    ]


BAD = [
    (b'{"at":"2013-01-01T10:17:00"}', "zone offset"),
    (b'{"at":"2013-01-01T10:17:00.1234567Z"}', "Failed to parse"),
    (b'{"at":5}', "number"),
    (b'{"n":1.5}', "couldn't parse"),
    (b'{"n":9223372036854775808}', "couldn't parse"),
    (b'{"n":"1"}', "string"),
    (b'{"s":1}', "number"),
    (b'{"raw":"A"}', "base64"),
    (b'{"raw":"A*=="}', "base64"),
    (b'{"price":"1.555"}', "data loss"),
    (b'{"s":"\xff"}', "utf-8"),
    (b'{"s":"\\ud800"}', "surrogate"),
    (b'{"s":"a","s":"b"}', "twice"),
    (b'{"s":"a"}{"s":"b"}', "parse"),
    (b'{"s":"a"},"v":{"s":"b"}', "twice"),
    (b'{"s":"a"}}\n{"v":{"s":"b"}', "not one JSON object"),
    (b'{"s":"a"', "parse"),
    (b"null", "null"),
    (b"[]", "array"),
    (b"", "parse"),
    (b'{"s":"a","must":null}', "required"),
]


@pytest.mark.parametrize(("value", "why"), BAD)
def test_what_is_not_a_row_is_named_with_the_reason(value: bytes, why: str) -> None:
    kinds = {"at": "timestamp[us, UTC]", "n": "int64", "s": "string", "raw": "binary", "price": "decimal128(5, 2)"}
    reader = codec("json", schema(**kinds, must="bool!"), 1)
    good = b'{"must":true}'
    broken = value if b'"must"' in value else value.replace(b"{", b'{"must":true,', 1)
    with pytest.raises(Undecodable, match=why) as raised:
        reader.decode([good, good, broken, good, broken])
    assert raised.value.index == 2


def test_two_halves_of_an_object_are_not_one_row() -> None:
    with pytest.raises(Undecodable, match="value 0 of 3"):
        decode(b'{"s":', b'"a"}', b'{"s":"b"}{"s":"c"}', s="string")


def test_deeply_nested_foreign_fields_do_no_harm() -> None:
    deep = b'{"z":' + b"[" * 200_000 + b"]" * 200_000 + b',"n":1}'
    assert decode(deep, n="int64") == [{"n": 1}]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_floats_without_json_are_refused_with_field_and_row(value: float) -> None:
    rows = pa.RecordBatch.from_pydict({"x": [1.0, None, value]})
    with pytest.raises(SchemaError, match="field 'x', row 2"):
        codec("json", Schema(rows.schema), 1).encode(rows)
    inside = pa.RecordBatch.from_pydict({"x": [[1.0], [value]]})
    with pytest.raises(SchemaError, match=r"field 'x\[\]'"):
        codec("json", Schema(inside.schema), 1).encode(inside)


def test_years_that_iso_cannot_write_are_refused() -> None:
    for micros in (-62_135_596_800_000_001, 253_402_300_800_000_000):
        rows = pa.RecordBatch.from_arrays([pa.array([0, micros], pa.timestamp("us", "UTC"))], ["at"])
        with pytest.raises(SchemaError, match="field 'at', row 1"):
            codec("json", Schema(rows.schema), 1).encode(rows)


@given(st.lists(st.none() | st.binary(max_size=7), max_size=8), st.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_base64_of_a_column_comes_back(values: list[bytes | None], start: int) -> None:
    column = pa.array(values, pa.binary()).slice(start)
    assert from_base64(to_base64(column)).to_pylist() == values[start:]


@given(st.text(alphabet="AB=+/ -", max_size=9) | st.from_regex(r"[A=]{4}([A=]{4})?", fullmatch=True))
@settings(max_examples=200, deadline=None)
def test_base64_is_read_with_whole_padding_and_nothing_else(text: str) -> None:
    if re.fullmatch(r"([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", text):
        assert from_base64(pa.array([text, "QQ=="])).to_pylist() == [base64.b64decode(text), b"A"]
    else:
        with pytest.raises(pa.ArrowInvalid):
            from_base64(pa.array([text, "QQ=="]))
