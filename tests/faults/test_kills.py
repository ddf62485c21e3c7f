"""A job with a loop, killed at random moments and gone on with: every stream and state as if nothing had happened."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.kills import Undisturbed, check_kills
from tests.faults.loop_job import build


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return Undisturbed.run(build, tmp_path_factory.mktemp("undisturbed") / "workspace")


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_kills_leave_no_trace(
    undisturbed: Undisturbed, tmp_path: Path, workers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    check_kills(undisturbed, tmp_path, workers, "loop job", capsys)


def test_more_workers_make_no_difference(undisturbed: Undisturbed, tmp_path: Path) -> None:
    found = Undisturbed.run(build, tmp_path / "workspace", workers=3)
    assert undisturbed.facts.missed_by(found.facts) == {}
