from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.parts.drift_streams import GENERATORS, worlds
from operators.drift.concept import Change, ErrorDetector, Floats, Memory


def found_in(errors: Floats, cuts: list[int] | None = None, **options: float) -> list[Change]:
    """What the detector finds when it is fed in pieces, remembering what it would store in between."""
    memory, found = Memory.new(), []
    times = np.arange(len(errors), dtype=np.int64) * 1000
    for first, end in zip([0, *(cuts or [])], [*(cuts or []), len(errors)], strict=True):
        found += ErrorDetector(**options).feed(errors[first:end], times[first:end], memory)
        memory = Memory.from_table(memory.to_table())
    return found


def coins(seed: int, *parts: tuple[int, float]) -> Floats:
    made = np.random.default_rng(seed)
    return np.concatenate([made.random(rows) < rate for rows, rate in parts]).astype(np.float64)


@pytest.mark.parametrize("name", ["SINE1", "MIXED", "STAGGER"])
def test_abrupt_changes_are_found_soon_and_nothing_else(name: str) -> None:
    for world in worlds(name, seeds=2, rows=9_000, every=3_000):
        rows = [change.row for change in found_in(world.errors)]
        for change in world.changes:
            assert [row for row in rows if change < row <= change + 150], (name, change, rows)
        assert len(rows) <= len(world.changes) + 1


def test_changes_of_circles_are_found_though_they_are_small() -> None:
    for world in worlds("CIRCLES", seeds=2, rows=8_000, every=4_000):
        rows = [change.row for change in found_in(world.errors)]
        assert len(rows) == 1
        assert 4_000 < rows[0] < 5_500


@pytest.mark.parametrize("name", ["SINE1", "MIXED", "STAGGER"])
def test_gradual_changes_are_found_while_they_go_on(name: str) -> None:
    for world in worlds(name, seeds=2, rows=6_000, every=3_000, width=1_000):
        rows = [change.row for change in found_in(world.errors)]
        assert 3_000 < rows[0] < 4_000


@pytest.mark.parametrize("name", GENERATORS)
def test_a_concept_that_stays_raises_nothing(name: str) -> None:
    for world in worlds(name, seeds=3, rows=8_000, every=0):
        assert found_in(world.errors) == []


def test_it_says_how_much_and_since_when() -> None:
    (change,) = found_in(coins(1, (5000, 0.1), (1000, 0.5)))
    assert 5000 < change.row < 5060
    assert change.at == (change.row - 1) * 1000
    assert abs(change.changed - 5001) < 20
    assert change.since == (change.changed - 1) * 1000
    assert change.before == pytest.approx(0.1, abs=0.02)
    assert change.after == pytest.approx(0.5, abs=0.25)
    assert change.p_value < 0.1


def test_the_beginning_of_a_small_change_long_ago_is_told_roughly() -> None:
    (change,) = found_in(coins(2, (60_000, 0.1), (8_000, 0.13)))
    assert 60_000 < change.row < 68_000
    assert abs(change.changed - 60_000) < 1_500


def test_fewer_errors_are_no_alarm_but_what_follows_is_held_to_them() -> None:
    found = found_in(coins(3, (3000, 0.4), (3000, 0.05), (1000, 0.25)))
    assert len(found) == 1
    assert 6000 < found[0].row < 6150
    assert found[0].before < 0.08


def test_every_change_is_found_after_the_one_before() -> None:
    found = found_in(coins(4, (2000, 0.05), (2000, 0.3), (2000, 0.05), (2000, 0.4), (2000, 0.8)))
    assert [round(one.row, -3) for one in found] == [2000, 6000, 8000]


def test_changes_smaller_than_the_least_effect_are_left_alone() -> None:
    errors = coins(5, (100_000, 0.10), (100_000, 0.112))
    assert len(found_in(errors, effect=0.001, quiet=10**7)) == 1
    assert found_in(errors, effect=0.03, quiet=10**7) == []


def test_losses_between_0_and_1_are_watched_as_well() -> None:
    made = np.random.default_rng(6)
    losses = np.concatenate([made.beta(2, 8, 4000), made.beta(4, 6, 1000)])
    (change,) = found_in(losses)
    assert 4000 < change.row < 4250


def test_errors_outside_of_0_and_1_count_as_the_nearest() -> None:
    errors = coins(7, (2000, 0.1), (300, 0.7))
    assert found_in(errors * 5.0 - 1.0 * (errors == 0)) == found_in(errors)


@pytest.mark.parametrize("rate", [0.002, 0.05, 0.3, 0.5])
def test_false_alarms_are_rarer_than_asked_for(rate: float) -> None:
    found = [one for seed in range(2) for one in found_in(coins(seed, (80_000, rate)), quiet=1000, effect=0.0)]
    assert len(found) < 160


def test_a_learner_that_gets_better_slowly_raises_nothing() -> None:
    made = np.random.default_rng(8)
    rates = 0.05 + 0.45 / (1 + np.arange(30_000) / 500)
    assert found_in((made.random(30_000) < rates).astype(np.float64)) == []


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 9000), max_size=8), st.integers(0, 5))
def test_how_rows_come_does_not_matter(cuts: list[int], seed: int) -> None:
    errors = coins(seed, (3000, 0.15), (3000, 0.05), (1500, 0.35), (1500, 0.6))
    errors *= np.random.default_rng(seed).random(9000)
    assert found_in(errors, sorted(cuts)) == found_in(errors)


def test_single_rows_give_the_same_memory_as_all_at_once() -> None:
    errors = coins(9, (300, 0.1), (200, 0.6))
    times = np.arange(500, dtype=np.int64)
    whole, single = Memory.new(), Memory.new()
    ErrorDetector().feed(errors, times, whole)
    for at in range(500):
        ErrorDetector().feed(errors[at : at + 1], times[at : at + 1], single)
    assert whole.to_table().equals(single.to_table())


def test_its_memory_is_small_however_much_it_has_seen() -> None:
    memory = Memory.new()
    ErrorDetector().feed(coins(10, (400_000, 0.1)), np.arange(400_000, dtype=np.int64), memory)
    assert memory.to_table().nbytes < 40_000
