"""Parents as a header: what is written is read back, each kind as small as it can be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.log.protocol import Corrupt
from streams.parents import (
    LARGEST_HEADER,
    Addresses,
    OffsetRange,
    Ranges,
    decode_parents,
    encode_parents,
    mode_of,
    ranges_of,
)

columns = st.one_of(
    st.lists(st.integers(0, 2**40), max_size=50),
    st.lists(st.integers(-1, 3), max_size=50),
    st.sets(st.integers(0, 200), max_size=50).map(sorted),
    st.tuples(st.integers(0, 50), st.integers(0, 50)).map(lambda one: list(range(one[0], one[0] + one[1]))),
    st.tuples(st.integers(0, 50), st.integers(0, 50)).map(lambda one: [one[0]] * one[1]),
)


@given(columns, columns, columns)
def test_addresses_come_back_as_they_were(partitions: list[int], offsets: list[int], rows: list[int]) -> None:
    count = min(len(partitions), len(offsets), len(rows))
    given_columns = [np.array(column[:count], dtype=np.int64) for column in (partitions, offsets, rows)]
    (found,) = decode_parents(encode_parents((Addresses("s", *given_columns),)))
    assert isinstance(found, Addresses)
    for column, expected in zip((found.partition, found.offset, found.row), given_columns, strict=True):
        assert column.tolist() == expected.tolist()


@pytest.mark.parametrize("rows", [0, 1, 2, 1_000, (1 << 17) - 1, 1 << 17, (1 << 17) + 1])
def test_rows_of_a_message_come_back_however_they_are_cut(rows: int) -> None:
    whole = Addresses.of_message("s", 3, 8, rows)
    backwards = Addresses("s", whole.partition, whole.offset, whole.row[::-1])
    every_second = Addresses("s", whole.partition[::2], whole.offset[::2], whole.row[::2])
    for part in (whole, whole.slice(rows // 3, rows), whole.slice(0, rows // 2), backwards, every_second):
        # The rows of so many that are not in order take more than a header may.
        if len(part) <= 1_000 or part.row.strides[0] == 4:
            (found,) = decode_parents(encode_parents((part,)))
            assert isinstance(found, Addresses)
            assert (found.row == part.row).all()
            assert (found.partition == part.partition).all()
            assert (found.offset == part.offset).all()


def test_several_ways_of_descent_come_back_in_their_order() -> None:
    left = Addresses.of_message("left", 1, 7, 3)
    right = Ranges((OffsetRange("right", 0, 2, 9), OffsetRange("right", 3, 0, 1)))
    found = decode_parents(encode_parents((left, right, ranges_of(left, "batch"))))
    assert [mode_of(part) for part in found] == ["identity", "range", "batch"]
    assert list(found[0]) == list(left)  # type: ignore[arg-type]
    assert found[1:] == (right, Ranges((OffsetRange("left", 1, 7, 8),), "batch"))


WHOLE = Addresses.of_message("s", 0, 5, 1000)


@pytest.mark.parametrize(
    ("part", "mode", "most_bytes"),
    [
        (WHOLE, "identity", 80),
        (WHOLE.take(np.arange(0, 1000, 2)), "bitmap", 80 + 125),
        (WHOLE.take(np.arange(1000)[::-1].copy()), "index", 80 + 2000),
        (ranges_of(WHOLE), "range", 80),
    ],
)
def test_each_kind_takes_few_bytes(part: Addresses | Ranges, mode: str, most_bytes: int) -> None:
    packed = encode_parents((part,))
    assert len(packed) <= most_bytes
    assert mode_of(decode_parents(packed)[0]) == mode


def test_what_does_not_fit_in_a_header_falls_back_to_ranges() -> None:
    chance = np.random.default_rng(1)
    count = LARGEST_HEADER
    wild = Addresses(
        "s", chance.integers(0, 3, count), chance.integers(10, 2**30, count), chance.integers(0, 2**30, count)
    )
    (found,) = decode_parents(encode_parents((wild,)))
    assert isinstance(found, Ranges)
    assert mode_of(found) == "range"
    assert found == ranges_of(wild)
    assert {(one.partition, one.first <= 10**6, one.end > 2**29) for one in found.ranges} == {
        (partition, True, True) for partition in range(3)
    }


@pytest.mark.parametrize(
    "data", [b"", b"\0\0\0\5hello", b"\0\0\0\3[1]", encode_parents((WHOLE.take(np.arange(999, -1, -1)),))[:-9]]
)
def test_a_damaged_header_is_corrupt(data: bytes) -> None:
    with pytest.raises(Corrupt, match="parents header"):
        decode_parents(data)
