"""The paired test: it errs no more often than it says, however often one looks, and finds what is there."""

from __future__ import annotations

import os
from collections.abc import Callable
from math import log

import numpy as np
import pytest

from operators.train.sequential import BETS, Wager, share_of

#: How many pairs of predictors each simulation draws.
PAIRS = int(os.environ.get("HEADWATER_PAIRS", "1000"))
ROWS = 2_000
ERROR = 0.05

Draw = Callable[[np.random.Generator, float], np.ndarray]


def wrong_or_right(random: np.random.Generator, gap: float) -> np.ndarray:
    """Losses of 0 or 1, independent: the first errs in 30 % and the gap."""
    first, second = random.random(ROWS) < 0.3 + gap, random.random(ROWS) < 0.3
    return first.astype(float) - second


def squared(random: np.random.Generator, gap: float) -> np.ndarray:
    """Brier losses of two noisy readings of one probability."""
    chance = random.beta(2, 2, ROWS)
    outcome = random.random(ROWS) < chance
    shown = [np.clip(chance + random.normal(0, noise, ROWS), 0, 1) for noise in (0.1 + 2 * gap, 0.1)]
    return (shown[0] - outcome) ** 2 - (shown[1] - outcome) ** 2


def restless(random: np.random.Generator, gap: float) -> np.ndarray:
    """Differences whose size depends on those before: bursts that a test for independent rows would take for more."""
    signs = np.where(random.random(ROWS) < 0.5 + gap, 1.0, -1.0)
    size = np.repeat(random.choice([0.01, 0.9], ROWS // 50), 50)
    return signs * size


@pytest.mark.parametrize("draw", [wrong_or_right, squared, restless])
def test_of_equal_predictors_few_are_taken_for_better_although_one_looks_after_every_row(draw: Draw) -> None:
    random = np.random.default_rng(7)
    promoted = sum(Wager().after(draw(random, 0.0)).decides(ERROR) for _ in range(PAIRS))
    assert promoted <= ERROR * PAIRS


@pytest.mark.parametrize("draw", [wrong_or_right, squared, restless])
def test_a_better_predictor_is_found(draw: Draw) -> None:
    random = np.random.default_rng(8)
    found = sum(Wager().after(draw(random, 0.1)).decides(ERROR) for _ in range(PAIRS))
    assert found >= 0.9 * PAIRS


def test_a_worse_predictor_is_hardly_ever_taken_for_better() -> None:
    random = np.random.default_rng(9)
    wrong = sum(Wager().after(wrong_or_right(random, -0.05)).decides(ERROR) for _ in range(PAIRS))
    assert wrong <= ERROR / 5 * PAIRS


def test_looking_with_an_ordinary_test_after_every_row_would_err_much_more_often() -> None:
    random = np.random.default_rng(7)
    counts = np.arange(1, ROWS + 1)
    wrong = 0
    for _ in range(PAIRS):
        drawn = wrong_or_right(random, 0.0)
        mean = np.cumsum(drawn) / counts
        deviation = np.sqrt(np.maximum(np.cumsum(drawn**2) / counts - mean**2, 1e-9) / counts)
        wrong += bool((mean / deviation > 1.645)[30:].any())
    assert wrong > 3 * ERROR * PAIRS


@pytest.mark.parametrize("cuts", [[1], [1, 2, 3], [500], [17, 600, 1999]])
def test_the_wealth_does_not_depend_on_how_rows_come(cuts: list[int]) -> None:
    drawn = squared(np.random.default_rng(1), 0.05)
    parts = Wager()
    for piece in np.split(drawn, cuts):
        parts = parts.after(piece)
    whole = Wager().after(drawn)
    assert parts.rows == whole.rows
    assert parts.peak == pytest.approx(whole.peak)
    assert parts.mean == pytest.approx(float(drawn.mean()))


def test_the_peak_is_that_of_the_best_row_not_of_the_last() -> None:
    wager = Wager().after(np.ones(10))
    assert wager.after(-np.ones(200)).peak == wager.peak > -log(ERROR)


def test_one_row_multiplies_each_part_of_the_wealth_by_its_bet() -> None:
    assert np.exp(Wager().after(np.array([0.5])).wealth) == pytest.approx(1 + 0.5 * BETS)


def test_nothing_is_decided_without_rows() -> None:
    assert not Wager().after(np.empty(0)).decides(0.5)


def test_all_tests_together_use_no_more_than_the_error() -> None:
    assert sum(share_of(0.05, number) for number in range(1, 10_000)) < 0.05


def test_many_comparisons_in_one_reign_err_no_more_often_than_one() -> None:
    """Three challengers, and comparisons that begin anew every 250 rows: one promotion in all is one too many."""
    random = np.random.default_rng(10)
    wrong = 0
    for _ in range(PAIRS // 4):
        losses = random.random((4, ROWS)) < 0.3
        number = 0
        found = False
        for start in range(0, ROWS, 250):
            for challenger in (1, 2, 3):
                number += 1
                rows = np.s_[start : start + 250]
                wager = Wager().after(losses[0][rows].astype(float) - losses[challenger][rows])
                found |= wager.decides(share_of(ERROR, number))
        wrong += found
    assert wrong <= ERROR * (PAIRS // 4)
