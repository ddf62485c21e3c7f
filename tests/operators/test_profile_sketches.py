from __future__ import annotations

import math
from contextlib import suppress
from fractions import Fraction
from itertools import pairwise
from typing import Any

import datasketches
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.profile.bins import MOST_BINS, Bins, ordered, unordered
from operators.profile.column import ColumnProfile
from operators.profile.errors import SketchError
from operators.profile.hashing import hashed
from operators.profile.numbers import Numbers
from operators.profile.sketch import decode, encode
from operators.profile.sums import SQUARE_UNIT, UNIT, exact_sum, exact_sum_of_squares
from operators.profile.theta import Theta
from operators.profile.top import MOST_VALUES

finite = st.floats(allow_nan=False, allow_infinity=False)
TIMED = pa.timestamp("us", "UTC")
COLUMNS: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.float64(), st.floats()),
    (pa.float32(), st.floats(width=32)),
    (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pa.uint64(), st.integers(0, 2**64 - 1)),
    (pa.int8(), st.integers(-3, 3)),
    (pa.bool_(), st.booleans()),
    (pa.string(), st.text(max_size=40)),
    (pa.large_string(), st.sampled_from(["a", "b", ""])),
    (pa.binary(), st.binary(max_size=20)),
    (TIMED, st.integers(-(2**53), 2**53)),
    (pa.timestamp("ns", "UTC"), st.integers(0, 3000)),
    (pa.time64("ns"), st.integers(0, 3000)),
    (pa.time32("s"), st.integers(0, 86_399)),
    (pa.binary(3), st.binary(min_size=3, max_size=3)),
    (pa.large_list(pa.int8()), st.lists(st.integers(0, 9), max_size=4)),
    (pa.date32(), st.integers(-100_000, 100_000)),
    (pa.duration("ms"), st.integers(-(2**40), 2**40)),
    (pa.decimal128(12, 2), st.decimals(-1000, 1000, places=2, allow_nan=False)),
    (pa.list_(pa.int64()), st.lists(st.integers(0, 9), max_size=4)),
    (pa.struct([("x", pa.int64())]), st.fixed_dictionaries({"x": st.integers(0, 9)})),
]


@st.composite
def columns(draw: st.DrawFn) -> tuple[pa.Array, np.ndarray]:
    kind, values = draw(st.sampled_from(COLUMNS))
    column = pa.array(draw(st.lists(st.one_of(st.none(), values), max_size=60)), kind)
    times = draw(st.lists(st.integers(0, 5), min_size=len(column), max_size=len(column)))
    return column, np.array(times, dtype=np.int64)


def profiled(column: pa.Array, times: np.ndarray) -> ColumnProfile:
    return ColumnProfile.nothing(column.type).add(column, times)


@given(columns(), st.data())
@settings(deadline=None, max_examples=300)
def test_profiles_of_parts_merge_to_that_of_the_whole(
    given_column: tuple[pa.Array, np.ndarray], data: st.DataObject
) -> None:
    column, times = given_column
    order = np.array(data.draw(st.permutations(range(len(column)))), dtype=np.int64)
    cut = data.draw(st.integers(0, len(column)))
    shuffled, shuffled_times = column.take(pa.array(order)), times[order]
    first = profiled(shuffled.slice(0, cut), shuffled_times[:cut])
    rest = profiled(shuffled.slice(cut), shuffled_times[cut:])
    whole = encode(profiled(column, times))
    assert encode(first.merge(rest)) == encode(rest.merge(first)) == whole
    assert encode(first.add(shuffled.slice(cut), shuffled_times[cut:])) == whole


@given(columns())
@settings(deadline=None)
def test_a_sketch_is_read_as_it_was_written(given_column: tuple[pa.Array, np.ndarray]) -> None:
    data = encode(profiled(*given_column))
    assert encode(decode(data)) == data


@pytest.mark.parametrize("seed", range(6))
def test_large_columns_merge_to_the_same_however_they_are_cut(seed: int) -> None:
    random = np.random.default_rng(seed)
    size = 20_000
    wide = random.normal(size=size) * 10.0 ** random.integers(-80, 80, size)
    for column in (
        pa.array(wide),
        pa.array(random.integers(0, 3 * MOST_VALUES, size)),
        pa.array(np.char.add("v", (random.pareto(1.0, size) * 3).astype(int).astype(str))),
        pa.array(random.integers(0, 2**50, size)).cast(TIMED),
    ):
        times = random.integers(0, 4000, size)
        edges = [0, *sorted(random.integers(0, size, 7).tolist()), size]
        parts = [profiled(column.slice(start, stop - start), times[start:stop]) for start, stop in pairwise(edges)]
        for at in random.permutation(len(parts))[1:]:
            parts.append(parts.pop(0).merge(parts.pop(int(at) % len(parts))))
        while len(parts) > 1:
            parts.append(parts.pop(0).merge(parts.pop(0)))
        assert encode(parts[0]) == encode(profiled(column, times))


@given(st.lists(finite, max_size=50))
def test_sums_are_exact(values: list[float]) -> None:
    array = np.array(values, dtype=np.float64)
    assert exact_sum(array) == sum(map(Fraction, values)) * 2**UNIT
    assert exact_sum_of_squares(array) == sum(Fraction(value) ** 2 for value in values) * 2**SQUARE_UNIT


def test_moments_survive_a_large_mean() -> None:
    numbers = Numbers.nothing().add(np.array([4.0, 7.0, 13.0, 16.0]) + 1e9 + 0.125)
    assert numbers.mean == 1e9 + 10.125
    assert numbers.deviation == math.sqrt(30)


@given(st.lists(finite, min_size=2, max_size=40))
def test_ordered_integers_are_in_the_order_of_doubles(values: list[float]) -> None:
    array = np.array(values)
    assert (np.argsort(ordered(array), kind="stable") == np.argsort(array, kind="stable")).all()
    assert (unordered(ordered(array)) == array).all()


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e9])
def test_quantiles_are_as_exact_as_stated(scale: float) -> None:
    random = np.random.default_rng(3)
    values = np.concatenate([random.lognormal(1, 1.5, 50_000), -random.lognormal(0, 0.5, 20_000)]) * scale
    numbers = Numbers.nothing().add(values)
    shares = np.linspace(0.01, 0.99, 99)
    exact = np.quantile(values, shares, method="inverted_cdf")
    assert (np.abs(numbers.quantiles(*shares) / exact - 1) <= numbers.bins.relative_error).all()
    assert numbers.bins.relative_error <= 2**-6


def test_quantiles_of_whole_numbers_are_whole() -> None:
    assert Numbers.nothing().add(np.array([-5.0, -5.0, 1.0, 3.0, 200.0])).quantiles(0, 0.5, 1).tolist() == [-5, 1, 200]


def test_the_number_of_bins_is_bounded() -> None:
    values = np.random.default_rng(4).integers(-(2**63), 2**63 - 1, 200_000).view(np.float64)
    bins = Bins.nothing(doubles=True).add(values[np.isfinite(values)])
    assert len(bins.keys) <= MOST_BINS
    assert bins.total == np.isfinite(values).sum()


def test_an_even_histogram_holds_all_values() -> None:
    bins = Bins.nothing(doubles=True).add(np.arange(1000.0))
    even = bins.even(0.0, 999.0, 10)
    assert even.sum() == 1000
    assert np.abs(even - 100).max() < 4


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([0, 1, -5, 2**62], pa.int64()),
        ([0.5, -2.0, 1e300], pa.float64()),
        (
            ["a", "1234567", "12345678", "123456789", "sixteen letters!", "seventeen letters", "über", "x" * 100],
            pa.string(),
        ),
    ],
)
def test_theta_sketches_are_those_of_apache_datasketches(values: list[Any], kind: pa.DataType) -> None:
    for some in (values[:0], values[:1], values):
        theirs = datasketches.update_theta_sketch(5)
        for value in some:
            theirs.update(value)
        ours = Theta.nothing(32).add(hashed(pa.array(some, kind)))
        assert ours.to_bytes() == theirs.compact().serialize()


def test_a_full_theta_sketch_is_that_of_apache_datasketches() -> None:
    theirs = datasketches.update_theta_sketch(5)
    for value in range(1000):
        theirs.update(value)
    theirs.trim()
    ours = (
        Theta.nothing(32)
        .add(hashed(pa.array(range(600))))
        .merge(Theta.nothing(32).add(hashed(pa.array(range(400, 1000)))))
    )
    assert ours.to_bytes() == theirs.compact().serialize()
    assert ours.estimate == pytest.approx(theirs.get_estimate())
    assert Theta.from_bytes(ours.to_bytes(), 32).hashes.tolist() == ours.hashes.tolist()


def test_overlap_of_keys_is_estimated() -> None:
    planes, flown = (
        Theta.nothing(4096).add(hashed(pa.array(range(*span)))) for span in ((0, 40_000), (30_000, 50_000))
    )
    assert flown.contained_in(planes) == pytest.approx(0.5, abs=0.03)
    assert planes.contained_in(flown) == pytest.approx(0.25, abs=0.03)


def test_distinct_values_are_estimated_within_three_errors() -> None:
    profile = profiled(pa.array(np.arange(300_000) % 70_000), np.zeros(300_000, dtype=np.int64))
    assert profile.distinct is not None
    assert profile.distinct.estimate == pytest.approx(70_000, rel=3 * 0.031)


def test_top_values_are_exact_while_there_are_few() -> None:
    profile = profiled(pa.array(["a", "b", None, "a", "c", "a", "b"]), np.arange(7))
    assert profile.top is not None
    assert profile.top.exact
    assert profile.top.most(2) == [("a", 3.0), ("b", 2.0)]


def test_a_frequent_value_is_found_among_very_many() -> None:
    random = np.random.default_rng(5)
    numbers = np.where(random.random(50_000) < 0.2, -1, np.arange(50_000))
    profile = profiled(pa.array(numbers), np.arange(50_000))
    assert profile.top is not None
    assert not profile.top.exact
    [(value, count)] = profile.top.most(5)
    assert value == "-1"
    assert count == pytest.approx((numbers == -1).sum(), rel=0.25)


def test_nan_and_infinities_are_counted_apart() -> None:
    profile = profiled(pa.array([1.0, None, math.nan, math.inf, -math.inf, 3.0]), np.arange(6))
    assert (profile.rows, profile.nulls, profile.nan, profile.infinite) == (6, 1, 1, 2)
    assert profile.numbers is not None
    assert (profile.numbers.low, profile.numbers.high, profile.numbers.mean) == (1.0, 3.0, 2.0)


def test_columns_of_different_kinds_do_not_merge() -> None:
    with pytest.raises(SketchError, match="no profile together"):
        ColumnProfile.nothing(pa.string()).merge(ColumnProfile.nothing(pa.int64()))


@given(st.data())
@settings(deadline=None)
def test_a_damaged_sketch_is_refused_or_read_but_never_breaks(data: st.DataObject) -> None:
    good = encode(profiled(pa.array([1.5, 2.5, None, 7.0]), np.arange(4)))
    at = data.draw(st.integers(0, len(good) - 1))
    damaged = (
        good[:at] if data.draw(st.booleans()) else good[:at] + bytes([data.draw(st.integers(0, 255))]) + good[at + 1 :]
    )
    with suppress(SketchError):
        decode(damaged)
