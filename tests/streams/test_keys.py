from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.keys import BadKey, key_bytes, murmur2, partitions_of, split
from streams.quoting import quoted

JAVA = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


def batch(**columns: Any) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(columns)


def keys(*columns: Any) -> list[bytes]:
    named = {f"k{at}": column for at, column in enumerate(columns)}
    found: list[bytes] = key_bytes(batch(**named), list(named)).to_pylist()
    return found


@pytest.mark.parametrize(("key", "expected"), JAVA.items())
def test_murmur2_of_kafkas_own_vectors(key: bytes, expected: int) -> None:
    assert murmur2(key) == expected


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=20), st.integers(1, 64))
@settings(max_examples=100, deadline=None)
def test_partitions_are_those_of_kafka_python(values: list[bytes], partitions: int) -> None:
    peer = pytest.importorskip("kafka.partitioner.default", reason="kafka-python is not installed")
    places = partitions_of(batch(k=pa.array(values, pa.binary())), ["k"], partitions)
    assert places.dtype == np.int32
    assert places.tolist() == [(peer.murmur2(value) & 0x7FFFFFFF) % partitions for value in values]


@pytest.mark.parametrize(
    ("column", "texts"),
    [
        (["UA", "é", ""], ["UA", "é", ""]),
        (pa.array(["UA"], pa.large_string()), ["UA"]),
        ([0, -5, 2**63 - 1], ["0", "-5", "9223372036854775807"]),
        (pa.array([7], pa.uint8()), ["7"]),
        ([True, False], ["true", "false"]),
        ([date(2013, 1, 31)], ["2013-01-31"]),
        (pa.array([Decimal("-12")], pa.decimal128(20, 0)), ["-12"]),
        (
            pa.array([datetime(2013, 1, 31, 23, 59, 59, 5, tzinfo=UTC)], pa.timestamp("us", "UTC")),
            ["2013-01-31T23:59:59.000005Z"],
        ),
        (pa.array([1], pa.timestamp("s", "UTC")), ["1970-01-01T00:00:01.000000Z"]),
        (pa.array([1], pa.timestamp("ns", "UTC")), ["1970-01-01T00:00:00.000000001Z"]),
    ],
)
def test_a_single_key_is_its_text(column: Any, texts: list[str]) -> None:
    assert keys(column) == [text.encode() for text in texts]


def test_a_binary_key_is_itself() -> None:
    assert keys([b"\x00\xff", b""]) == [b"\x00\xff", b""]
    assert keys(pa.array([b"ab"], pa.binary(2))) == [b"ab"]


def test_several_fields_are_a_json_array_of_texts() -> None:
    assert keys(["UA", 'a"b\\\n'], [1545, 1], [b"\x01\xab", b""]) == [
        b'["UA","1545","01ab"]',
        b'["a\\"b\\\\\\n","1",""]',
    ]


@given(st.lists(st.tuples(st.text(max_size=6), st.text(max_size=6)), min_size=1, max_size=10))
@settings(max_examples=80, deadline=None)
def test_composite_keys_are_exact_json_and_never_meet(pairs: list[tuple[str, str]]) -> None:
    found = keys(*(pa.array(list(column), pa.string()) for column in zip(*pairs, strict=True)))
    assert [tuple(orjson.loads(key)) for key in found] == pairs
    assert found == [orjson.dumps(pair) for pair in pairs]


@given(st.lists(st.none() | st.text(max_size=8), max_size=12), st.integers(0, 5))
@settings(max_examples=80, deadline=None)
def test_quoting_is_that_of_json_also_in_slices(texts: list[str | None], start: int) -> None:
    column = pa.array(texts, pa.string()).slice(start)
    assert quoted(column).to_pylist() == [None if t is None else orjson.dumps(t).decode() for t in texts[start:]]


def test_widening_a_key_moves_no_row() -> None:
    for narrow, wide in (pa.int32(), pa.int64()), (pa.timestamp("s", "UTC"), pa.timestamp("us", "UTC")):
        column = pa.array(range(100), narrow)
        before = partitions_of(batch(k=column), ["k"], 8)
        assert np.array_equal(before, partitions_of(batch(k=column.cast(wide)), ["k"], 8))


def test_slices_are_keyed_by_their_own_rows() -> None:
    rows = batch(k=["a", "b", "c", "d"], n=[1, 2, 3, 4]).slice(2)
    assert key_bytes(rows, ["k"]).to_pylist() == [b"c", b"d"]
    assert key_bytes(rows, ["k", "n"]).to_pylist() == [b'["c","3"]', b'["d","4"]']
    assert partitions_of(rows, ["k"], 100).tolist() == [(murmur2(k) & 0x7FFFFFFF) % 100 for k in (b"c", b"d")]


def test_split_gives_every_row_once_and_in_order() -> None:
    rows = batch(k=[f"user-{n % 37}" for n in range(1000)])
    parts = split(rows, ["k"], 4)
    assert [partition for partition, _ in parts] == [0, 1, 2, 3]
    places = partitions_of(rows, ["k"], 4)
    for partition, indices in parts:
        assert (np.diff(indices) > 0).all()
        assert (places[indices] == partition).all()
    assert sorted(np.concatenate([indices for _, indices in parts]).tolist()) == list(range(1000))


def test_no_rows_have_no_partition() -> None:
    empty = batch(k=pa.array([], pa.string()))
    assert split(empty, ["k"], 4) == []
    assert partitions_of(empty, ["k"], 4).tolist() == []


def test_a_null_key_is_refused_with_stream_field_and_row() -> None:
    with pytest.raises(BadKey, match=r"plant.readings, field 'k', row 1"):
        key_bytes(batch(k=["a", None]), ["k"], where="plant.readings")
    with pytest.raises(BadKey, match="row 0"):
        split(batch(a=["x"], k=pa.array([None], pa.int64())), ["a", "k"], 4)


@pytest.mark.parametrize(
    "column",
    [[1.5], [[1]], [{"a": 1}], [Decimal("1.5")], pa.array([1], pa.timestamp("us")), pa.array([1], pa.time32("s"))],
)
def test_types_without_a_canonical_text_cannot_be_keys(column: Any) -> None:
    with pytest.raises(BadKey, match="cannot be a key"):
        keys(column)


def test_a_key_must_name_fields_of_the_rows() -> None:
    with pytest.raises(BadKey, match="rows lack"):
        key_bytes(batch(a=[1]), ["b"])
    with pytest.raises(BadKey, match="at least one field"):
        key_bytes(batch(a=[1]), [])
