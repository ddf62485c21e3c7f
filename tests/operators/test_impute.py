from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.clean import impute
from operators.execution.state import decode_value, encode_value
from streams.rule import Memory

numbers = st.lists(st.one_of(st.none(), st.sampled_from([0.1, 0.2, 3.0, -7.5, math.nan, math.inf])), max_size=40)
cuts = st.lists(st.integers(0, 40), max_size=3)


def filled(imputer: impute.Imputer, rows: pa.RecordBatch, cut: Sequence[int] = ()) -> list[Any]:
    memory: Memory = {}
    found: list[Any] = []
    edges = [0, *sorted(min(at, rows.num_rows) for at in cut), rows.num_rows]
    for start, end in itertools.pairwise(edges):
        found += imputer.fill("x", rows.slice(start, end - start), memory).to_pylist()
        memory = {name: decode_value(encode_value(memory[name])) for name in memory}  # type: ignore[misc]
    return found


def by_hand(values: Sequence[Any], statistic: Callable[[list[Any]], Any], usable: Callable[[Any], bool]) -> list[Any]:
    """Each null replaced by the statistic of what came before it."""
    seen: list[Any] = []
    found = []
    for value in values:
        if value is None:
            found.append(statistic(seen) if seen else None)
        else:
            found.append(value)
            if usable(value):
                seen.append(value)
    return found


def column(values: Sequence[Any], kind: pa.DataType) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(values, kind)], ["x"])


@given(numbers, cuts)
@settings(deadline=None)
def test_mean_is_that_of_all_earlier_finite_values(values: list[float | None], cut: list[int]) -> None:
    def added_in_order(seen: list[float]) -> float:
        total = 0.0
        for value in seen:
            total += value
        return total / len(seen)

    expected = by_hand(values, added_in_order, math.isfinite)
    assert repr(filled(impute.mean(), column(values, pa.float64()), cut)) == repr(expected)


@given(numbers, cuts)
@settings(deadline=None)
def test_median_is_that_of_the_latest_values_when_it_was_last_taken(values: list[float | None], cut: list[int]) -> None:
    def median(seen: list[float]) -> float:
        count = len(seen)
        taken = count // 5 * 5 if count >= 5 else max(power for power in (1, 2, 4) if power <= count)
        return statistics.median(seen[max(taken - 8, 0) : taken])

    expected = by_hand(values, median, math.isfinite)
    assert repr(filled(impute.median(over=8, every=5), column(values, pa.float64()), cut)) == repr(expected)


@given(st.lists(st.one_of(st.none(), st.sampled_from("abcd")), max_size=40), cuts)
@settings(deadline=None)
def test_mode_is_the_value_that_came_to_the_highest_count_first(values: list[str | None], cut: list[int]) -> None:
    def mode(seen: list[str]) -> str:
        counts: dict[str, int] = {}
        leader = seen[0]
        for value in seen:
            counts[value] = counts.get(value, 0) + 1
            if counts[value] > counts[leader] or value == leader:
                leader = value
        return leader

    expected = by_hand(values, mode, lambda value: True)
    assert filled(impute.mode(), column(values, pa.string()), cut) == expected


@given(
    st.lists(st.tuples(st.sampled_from(["k", "l", None]), st.integers(0, 1), st.one_of(st.none(), st.integers(0, 9)))),
    cuts,
)
@settings(deadline=None)
def test_last_value_is_the_latest_of_the_same_key(entries: list[tuple[Any, int, int | None]], cut: list[int]) -> None:
    latest: dict[tuple[Any, int], int] = {}
    expected = []
    for key, number, value in entries:
        if value is not None:
            latest[key, number] = value
        expected.append(latest.get((key, number)))
    keys, others, values = ([entry[at] for entry in entries] for at in range(3))
    rows = pa.RecordBatch.from_arrays(
        [pa.array(keys, pa.string()), pa.array(others, pa.int8()), pa.array(values, pa.int64())], ["key", "number", "x"]
    )
    assert filled(impute.last_value(by=["key", "number"]), rows, cut) == expected


def test_last_value_without_a_key_is_the_latest_of_all() -> None:
    assert filled(impute.last_value(), column([None, 1, None, 2, None], pa.int64()), [1, 3]) == [None, 1, 1, 2, 2]


def test_a_constant_fills_everything() -> None:
    assert filled(impute.constant("C"), column([None, "F"], pa.string())) == ["C", "F"]


@pytest.mark.parametrize(
    "imputer", [impute.mean(5), impute.median(default=5), impute.mode(5), impute.last_value(default=5)]
)
def test_the_default_stands_in_before_the_first_value(imputer: impute.Imputer) -> None:
    assert filled(imputer, column([None, 7, None], pa.int64())) == [5, 7, 7]
    assert filled(imputer, column([], pa.int64())) == []


def test_integers_stay_integers() -> None:
    assert filled(impute.mean(), column([1, 2, 2, None], pa.int32())) == [1, 2, 2, 2]


def test_imputing_flags_the_rows_that_it_filled() -> None:
    from operators.clean import clean
    from operators.execution.state import State
    from operators.operator import Batch
    from streams.message import BEGINNING
    from streams.parents import Addresses
    from streams.schema import Schema
    from streams.stream import Stream

    schema = pa.schema([pa.field("x", pa.float64(), nullable=False)])
    operator = clean(Stream("s", Schema(schema)), to="v", impute={"x": impute.mean()}, flag_imputed=True)
    rows = pa.RecordBatch.from_arrays([pa.array([None, 4.0, None])], ["x"])
    batch = Batch("s", rows, Addresses.of_message("s", 0, 0, 3), pa.array([0, 0, 0]).to_numpy(), BEGINNING)
    (output,) = operator.step(batch, State())
    assert output.rows.to_pydict() == {"x": [None, 4.0, 4.0], "x_imputed": [False, False, True]}
    assert operator.outputs[0].schema.arrow.field("x").nullable
    always = clean(Stream("s", Schema(schema)), to="v", impute={"x": impute.mean(default=0.0)})
    assert not always.outputs[0].schema.arrow.field("x").nullable
