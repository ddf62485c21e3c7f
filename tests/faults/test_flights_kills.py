"""The flights job, killed at random moments and gone on with: every stream and state as if nothing had happened."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from examples.flights import pipeline
from tests.faults.kills import Undisturbed, check_kills

ROWS = 12_000
build = partial(pipeline.build, ROWS)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return Undisturbed.run(build, tmp_path_factory.mktemp("undisturbed") / "workspace")


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_kills_of_the_flights_job_leave_no_trace(
    undisturbed: Undisturbed, tmp_path: Path, workers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    check_kills(undisturbed, tmp_path, workers, f"flights job, {ROWS:,} flights", capsys)
