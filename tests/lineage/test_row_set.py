"""Sets of rows as arrays, against Python's own sets."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.row_set import RowSet, together

pairs = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 4)), max_size=40)
spans = st.tuples(st.integers(0, 12), st.integers(1, 6)).map(lambda one: (one[0], one[0] + one[1]))


def row_set(found: list[tuple[int, int]]) -> RowSet:
    columns = np.array(found, dtype=np.int64).reshape(-1, 2).T
    return RowSet.of(*columns)


def as_set(rows: RowSet) -> set[tuple[int, int]]:
    return set(zip(rows.offsets.tolist(), rows.rows.tolist(), strict=True))


@given(pairs, pairs)
def test_sets_are_what_python_says(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    a, b = row_set(one), row_set(other)
    assert as_set(a) == set(one)
    assert list(zip(a.offsets.tolist(), a.rows.tolist(), strict=True)) == sorted(set(one))
    assert as_set(together([a, b])) == set(one) | set(other)
    assert as_set(a.without(b)) == set(one) - set(other)
    if one:
        offsets, rows = np.array(one, dtype=np.int64).T
        assert b.has(offsets, rows).tolist() == [pair in set(other) for pair in one]


@given(pairs, spans)
def test_ranges_of_offsets_are_met_and_counted(found: list[tuple[int, int]], span: tuple[int, int]) -> None:
    inside = [pair for pair in set(found) if span[0] <= pair[0] < span[1]]
    assert row_set(found).meets(*span) == bool(inside)
    assert row_set(found).count_in(*span) == len(inside)


@given(pairs, st.integers(1, 5), st.integers(1, 3))
def test_runs_hold_every_row_and_are_few(found: list[tuple[int, int]], most: int, gap: int) -> None:
    runs = list(row_set(found).runs(most=most, gap=gap))
    assert len(runs) <= most
    assert all(any(first <= offset < end for first, end in runs) for offset, _ in found)
    assert all(end <= first for (_, end), (first, _) in pairwise(runs))


def test_runs_are_apart_where_offsets_are() -> None:
    assert list(row_set([(1, 0), (2, 0), (2, 1), (5, 0)]).runs()) == [(1, 3), (5, 6)]


def test_of_a_whole_range_every_row_is_in_the_set() -> None:
    rows = RowSet(whole=((3, 5),))
    assert rows
    assert len(rows) == 0
    assert rows.has(np.array([2, 3, 4, 5]), np.array([0, 99, 0, 0])).tolist() == [False, True, True, False]
    assert rows.meets(4, 9)
    assert not rows.meets(5, 9)
    assert not rows.without(rows)
    assert list(rows.runs()) == [(3, 5)]
