from __future__ import annotations

import math

import numpy as np
import pytest

from operators.drift.distance import (
    adjusted,
    chi_square_tail,
    compare,
    jensen_shannon,
    kolmogorov_tail,
    normal_tail,
    rates_differ,
    stability_index,
)


@pytest.mark.parametrize(
    ("statistic", "freedom", "tail"),
    [(3.841458820694124, 1, 0.05), (5.991464547107979, 2, 0.05), (16.918977604620448, 9, 0.05), (30.0, 19, 0.05179846)],
)
def test_chi_square_tails_are_those_of_the_tables(statistic: float, freedom: int, tail: float) -> None:
    assert chi_square_tail(np.array([statistic]), np.array([float(freedom)]))[0] == pytest.approx(tail, rel=1e-4)


def test_chi_square_tails_at_the_ends() -> None:
    found = chi_square_tail(np.array([0.0, 0.0, 1e6, 5.0]), np.array([1.0, 8.0, 30.0, 0.0]))
    assert found.tolist() == [1.0, 1.0, 0.0, 1.0]


def test_kolmogorov_and_normal_tails() -> None:
    assert kolmogorov_tail(np.array([1.3581, 0.0, 5.0])) == pytest.approx([0.05, 1.0, 0.0], abs=1e-4)
    assert normal_tail(np.array([1.6448536, 0.0])) == pytest.approx([0.05, 0.5], abs=1e-6)


def test_equal_histograms_have_no_distance_and_disjoint_ones_all_of_it() -> None:
    reference = np.array([[50, 50, 0, 0], [50, 50, 0, 0]])
    window = np.array([[500, 500, 0, 0], [0, 0, 70, 30]])
    found = compare(reference, window, np.array([True, True]))
    assert found.distance == pytest.approx([0.0, 1.0])
    assert found.effect[0] == 0.0
    assert found.ks == pytest.approx([0.0, 1.0])
    assert found.p_value[0] == 1.0
    assert found.p_value[1] < 1e-20


def test_jensen_shannon_and_stability_index_by_hand() -> None:
    p, q = np.array([[0.5, 0.5]]), np.array([[0.9, 0.1]])
    by_hand = 0.5 * (0.5 * math.log2(0.5 / 0.7) + 0.5 * math.log2(0.5 / 0.3))
    by_hand += 0.5 * (0.9 * math.log2(0.9 / 0.7) + 0.1 * math.log2(0.1 / 0.3))
    assert jensen_shannon(p, q)[0] == pytest.approx(by_hand)
    many = stability_index(p * 1e9, q * 1e9)[0]
    assert many == pytest.approx(0.4 * math.log(0.9 / 0.5) - 0.4 * math.log(0.1 / 0.5), rel=1e-6)


def test_effect_of_two_samples_of_one_distribution_does_not_grow_with_few_rows() -> None:
    made = np.random.default_rng(0)
    reference = made.multinomial(500, [0.05] * 20, size=2000)
    window = made.multinomial(100, [0.05] * 20, size=2000)
    found = compare(reference, window, np.ones(2000, dtype=bool))
    assert np.median(found.distance) > 0.15
    assert np.median(found.effect) < 0.06


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("rows", [60, 300, 5000])
def test_p_values_under_no_change_are_not_too_small(rows: int, ordered: bool) -> None:
    made = np.random.default_rng(rows)
    shares = [0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.05, 0.03, 0.015, 0.005]
    reference = made.multinomial(1000, shares, size=4000)
    window = made.multinomial(rows, shares, size=4000)
    p_values = compare(reference, window, np.full(4000, ordered)).p_value
    for level in (0.2, 0.05, 0.01):
        assert (p_values <= level).mean() <= 1.35 * level


def test_columns_without_rows_have_no_p_value() -> None:
    found = compare(np.array([[5, 5], [0, 0]]), np.array([[0, 0], [5, 5]]), np.array([True, False]))
    assert np.isnan(found.p_value).all()
    assert np.isnan(found.effect).all()


def test_shares_differ() -> None:
    _, p_value = rates_differ(
        np.array([10, 10, 0, 3]), np.array([1000] * 4), np.array([10, 90, 0, 0]), np.array([1000] * 3 + [0])
    )
    assert p_value[0] > 0.9
    assert p_value[1] < 1e-12
    assert p_value[2] == 1.0
    assert np.isnan(p_value[3])


def test_adjusted_p_values_by_hand() -> None:
    found = adjusted(np.array([0.01, 0.04, np.nan, 0.03, 0.005]))
    assert found[[0, 1, 3, 4]] == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert np.isnan(found[2])


def test_false_discoveries_stay_at_the_rate_asked_for() -> None:
    made = np.random.default_rng(3)
    shares = []
    for _ in range(400):
        p_values = np.concatenate([made.random(40), made.random(10) * 1e-4])
        believed = adjusted(p_values) <= 0.1
        shares.append(believed[:40].sum() / max(believed.sum(), 1))
    assert np.mean(shares) < 0.11
