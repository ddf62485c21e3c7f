"""The flights job, killed at random moments and gone on with: every stream and state as if nothing had happened."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path

import pytest

from examples.flights import pipeline
from tests.faults.kills import KILLS, SEED, Undisturbed, kill_and_go_on

ROWS = 12_000
build = partial(pipeline.build, ROWS)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return Undisturbed.run(build, tmp_path_factory.mktemp("undisturbed") / "workspace")


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_kills_of_the_flights_job_leave_no_trace(
    undisturbed: Undisturbed, tmp_path: Path, workers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(f"{SEED} {workers}")
    met, left = kill_and_go_on(undisturbed, tmp_path, workers, max(1, KILLS // 3), rng)
    for found in left:
        assert undisturbed.facts.missed_by(found) == {}
    with capsys.disabled():
        print(f"\nflights job, {ROWS:,} flights, {workers} workers: {met}: all streams, states and the catalog equal")
