from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.conform import conform
from streams.fit import cast_exactly, is_castable
from streams.schema import Schema, SchemaError, parse_type

READINGS = Schema(
    pa.schema(
        [
            pa.field("sensor", pa.string(), nullable=False),
            pa.field("at", pa.timestamp("us", "UTC")),
            pa.field("celsius", pa.float64()),
            pa.field("count", pa.int16()),
        ]
    )
)
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def fit(data: Any, schema: Schema = READINGS) -> pa.Table:
    table = conform(data, schema, where="plant.readings")
    table.validate(full=True)
    assert table.schema.equals(schema.arrow)
    return table


def one(kind: str, *, nullable: bool = True) -> Schema:
    return Schema(pa.schema([pa.field("x", parse_type(kind), nullable)]))


@dataclass
class Reading:
    sensor: str
    at: datetime
    celsius: float


class ArrowStream:
    """Anything that speaks Arrow's C interface, as polars and others do."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.table.__arrow_c_stream__(requested_schema)


TABLE = pa.table({"celsius": [20.5], "sensor": ["a"], "at": pa.array([NOON], pa.timestamp("us", "UTC"))})


@pytest.mark.parametrize(
    "data",
    [
        TABLE,
        TABLE.to_batches()[0],
        ArrowStream(TABLE),
        pd.DataFrame({"sensor": ["a"], "at": [pd.Timestamp(NOON)], "celsius": [20.5]}, index=["ignored"]),
        [{"sensor": "a", "celsius": 20.5, "at": NOON}],
        [Reading("a", NOON, 20.5)],
        {"sensor": ["a"], "celsius": np.array([20.5]), "at": pa.array([NOON])},
        TABLE.set_column(1, "sensor", TABLE.column("sensor").dictionary_encode()),
        TABLE.set_column(1, "sensor", TABLE.column("sensor").cast(pa.string_view())),
    ],
    ids=["table", "batch", "c stream", "pandas", "dicts", "dataclasses", "columns", "dictionary", "view"],
)
def test_data_of_every_kind_fit(data: Any) -> None:
    assert fit(data).to_pylist() == [{"sensor": "a", "at": NOON, "celsius": 20.5, "count": None}]


def test_equal_columns_are_not_copied() -> None:
    table = fit(TABLE)
    given_buffer = TABLE.column("celsius").chunk(0).buffers()[1]
    assert table.column("celsius").chunk(0).buffers()[1].address == given_buffer.address


def test_no_rows_fit() -> None:
    assert fit([]).num_rows == 0
    assert fit(TABLE.slice(0, 0)).num_rows == 0


def test_other_zones_become_utc() -> None:
    paris = timezone(timedelta(hours=2))
    assert fit([{"sensor": "a", "at": NOON.astimezone(paris)}]).column("at")[0].as_py() == NOON
    column = pa.array([NOON], pa.timestamp("us", "Europe/Paris"))
    assert fit({"sensor": ["a"], "at": column}).column("at")[0].as_py() == NOON


def test_nan_stays_nan_and_a_pandas_missing_value_is_null() -> None:
    assert str(fit({"sensor": ["a"], "celsius": np.array([np.nan])}).column("celsius")[0].as_py()) == "nan"
    assert fit(pd.DataFrame({"sensor": ["a"], "celsius": [np.nan]})).column("celsius")[0].as_py() is None


REFUSED = [
    ([{"sensor": "a"}, {"at": NOON}], "required field is null", "field 'sensor', row 1"),
    ([{"at": NOON}], "required field is missing", "field 'sensor'"),
    ([{"sensor": "a", "celcius": 1.0}], "no such field", "Did you mean 'celsius'"),
    ([{"sensor": "a", "count": 1.5}], "1.5 does not fit int16", "field 'count', row 0"),
    ([{"sensor": "a"}, {"sensor": "b", "count": 40_000}], "40000 does not fit", "field 'count', row 1"),
    ([{"sensor": "a", "count": "7"}], "the schema says int16", "field 'count'"),
    ([{"sensor": "a", "count": True}], "the schema says int16", "field 'count'"),
    ([{"sensor": "a", "count": 1}, {"sensor": "a", "count": "x"}], "'x' does not fit", "field 'count', row 1"),
    ([{"sensor": 5}], "the schema says string", "field 'sensor'"),
    ([{"sensor": "a", "at": NOON}, {"sensor": "a", "at": datetime(2024, 5, 1)}], "no time zone", "field 'at', row 1"),
    ([{"sensor": "a", "at": "2024-05-01T12:00:00Z"}], "the schema says timestamp", "field 'at'"),
    ({"sensor": ["a"], "at": np.array(["2024-05-01"], "datetime64[us]")}, "no time zone", "assume_timezone"),
    ({"sensor": ["a", "b"], "count": [1]}, "different lengths", "sensor"),
    (pa.table([["a"], ["b"]], names=["sensor", "sensor"]), "same name", "field 'sensor'"),
    (pd.DataFrame({"sensor": ["a"], "at": [pd.Timestamp("2024-05-01")]}), "no time zone", "field 'at'"),
    (["a"], "Row 0 is str", "list of dicts"),
    (17, "cannot be taken from int", "list of dicts"),
]


@pytest.mark.parametrize(("data", "what", "more"), REFUSED)
def test_what_does_not_fit_is_refused_with_field_row_and_remedy(data: Any, what: str, more: str) -> None:
    with pytest.raises(SchemaError) as raised:
        conform(data, READINGS, where="plant.readings")
    message = str(raised.value)
    assert what in message
    assert more in message
    assert "plant.readings" in message


def test_rows_are_counted_through_chunks() -> None:
    column = pa.chunked_array([[1, 2, 3], [4, 70_000]])
    with pytest.raises(SchemaError, match="field 'x', row 4"):
        conform(pa.table({"x": column}), one("int16"), where="s")
    with pytest.raises(SchemaError, match="field 'x', row 3"):
        conform(pa.table({"x": pa.chunked_array([[1, 2, 3], [None]])}), one("int64", nullable=False), where="s")


def test_rows_are_counted_through_nested_values() -> None:
    schema = one("list<struct<y: int8 not null>>")
    with pytest.raises(SchemaError, match=r"300 does not fit int8 .*field 'x\[\]\.y', row 2"):
        conform([{"x": None}, {"x": []}, {"x": [{"y": 1}, {"y": 300}]}], schema, where="s")
    with pytest.raises(SchemaError, match=r"null .*field 'x\[\]\.y', row 1"):
        conform([{"x": [{"y": 1}, {"y": 1}]}, {"x": [None, {"y": None}]}], schema, where="s")
    with pytest.raises(SchemaError, match=r"no such field .*field 'x\[\]\.z'"):
        conform([{"x": [{"y": 1, "z": 2}]}], schema, where="s")
    with pytest.raises(SchemaError, match=r"no time zone .*field 'x\[\]', row 1"):
        conform([{"x": [NOON]}, {"x": [NOON, datetime(2024, 1, 1)]}], one("list<timestamp[us, UTC]>"), where="s")


def test_required_fields_of_a_missing_struct_are_not_asked_for() -> None:
    assert fit([{"x": None}, {"x": {"y": 1}}], one("struct<y: int64 not null>")).to_pylist() == [
        {"x": None},
        {"x": {"y": 1}},
    ]


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("float64", 7, 7.0),
        ("int64", 7.0, 7),
        ("uint64", 2**64 - 1, 2**64 - 1),
        ("decimal128(10, 2)", Decimal("1.5"), Decimal("1.50")),
        ("decimal128(10, 2)", 3, Decimal("3.00")),
        ("fixed_size_binary(2)", b"ab", b"ab"),
        ("date32", date(2024, 5, 1), date(2024, 5, 1)),
        ("list<float32>", [1, 2], [1.0, 2.0]),
    ],
)
def test_conversions_that_keep_the_value_are_made(kind: str, value: Any, expected: Any) -> None:
    assert fit([{"x": value}], one(kind)).to_pylist() == [{"x": expected}]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("float64", 2**53 + 1),
        ("int64", float("nan")),
        ("int64", float("inf")),
        ("int64", 2**63),
        ("float32", 1e300),
        ("decimal128(10, 2)", Decimal("1.555")),
        ("decimal128(4, 2)", 100),
        ("decimal128(10, 2)", 1.5),
        ("fixed_size_binary(2)", b"abc"),
        ("date32", NOON),
        ("string", b"bytes"),
        ("binary", "text"),
        ("fixed_size_list<int64, 2>", [1]),
        ("timestamp[s, UTC]", NOON.replace(microsecond=1)),
    ],
)
def test_conversions_that_would_change_the_value_are_refused(kind: str, value: Any) -> None:
    with pytest.raises(SchemaError, match="field 'x'"):
        conform([{"x": value}], one(kind), where="s")


CARRIED = [
    *map(parse_type, ("bool", "int8", "int64", "uint8", "uint64", "float32", "float64", "string", "large_string")),
    *map(parse_type, ("binary", "large_binary", "fixed_size_binary(2)", "date32", "time32[s]", "time64[ns]")),
    *map(parse_type, ("duration[s]", "duration[ns]", "timestamp[s, UTC]", "timestamp[ns, UTC]")),
    *map(parse_type, ("decimal128(5, 2)", "decimal256(60, 4)")),
]


@given(st.sampled_from([*CARRIED, pa.float16(), pa.date64(), pa.string_view()]), st.sampled_from(CARRIED))
@settings(max_examples=400, deadline=None)
def test_every_cast_that_is_said_to_exist_does(given_kind: pa.DataType, wanted: pa.DataType) -> None:
    if is_castable(given_kind, wanted):
        assert cast_exactly(pa.nulls(2, given_kind), wanted).type == wanted
