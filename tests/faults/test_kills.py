"""Kill what runs at random moments, go on, and find every stream and state as if nothing had happened.

HEADWATER_KILLS is how many kills there are in all (default 9), HEADWATER_SEED where their times come from.
"""

from __future__ import annotations

import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import headwater as hw

JOB = Path(__file__).with_name("loop_job.py")
KILLS = int(os.environ.get("HEADWATER_KILLS", "9"))
SEED = int(os.environ.get("HEADWATER_SEED", "1"))
LONGEST_RUN = 120


def load_job() -> ModuleType:
    spec = importlib.util.spec_from_file_location("loop_job", JOB)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["loop_job"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def job() -> ModuleType:
    return load_job()


def facts(job: ModuleType, workspace: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The digests of streams and states, and the catalog without what differs from run to run."""
    with hw.connect(workspace) as hub:
        hub.sync()
        return job.digests(hub, job.build()), hub.catalog.dump(without_runs=True)


@pytest.fixture(scope="module")
def undisturbed(job: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    workspace = tmp_path_factory.mktemp("undisturbed")
    with hw.connect(workspace) as hub:
        hub.run(job.build(), until="caught-up")
    return facts(job, workspace)


def start(workspace: Path, workers: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(JOB), str(workspace), str(workers)],
        env={**os.environ, "PYTHONPATH": str(JOB.parents[2])},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def children(pid: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def everybody_or_one(process: subprocess.Popen[bytes], rng: random.Random) -> None:
    """SIGKILL to the job with all its workers, or to one worker, of which the job must take no harm."""
    workers = children(process.pid)
    if workers and rng.random() < 0.5:
        os.kill(rng.choice(workers), signal.SIGKILL)
    else:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def killed(workspace: Path, workers: int, kills: int, rng: random.Random) -> Iterator[None]:
    """Run the job, killing it `kills` times; yields at each kill that met it running."""
    process = start(workspace, workers)
    met = 0
    while met < kills:
        time.sleep(rng.uniform(0.4, 3.0))
        if process.poll() is not None:
            if process.returncode == 0:
                return
            process = start(workspace, workers)
            continue
        everybody_or_one(process, rng)
        met += 1
        yield
    if process.poll() is None or process.returncode != 0:
        if process.poll() is None:
            assert process.wait(timeout=LONGEST_RUN) == 0
        else:
            assert start(workspace, workers).wait(timeout=LONGEST_RUN) == 0


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_kills_leave_no_trace(
    job: ModuleType,
    undisturbed: tuple[dict[str, Any], dict[str, Any]],
    tmp_path: Path,
    workers: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rng = random.Random(f"{SEED} {workers}")
    wanted = max(1, KILLS // 3)
    met = 0
    rounds = 0
    while met < wanted:
        rounds += 1
        workspace = tmp_path / f"round-{rounds}"
        for _ in killed(workspace, workers, wanted - met, rng):
            met += 1
        streams, catalog = facts(job, workspace)
        assert streams == undisturbed[0]
        assert catalog == undisturbed[1]
    with capsys.disabled():
        print(f"\n{met} kills, {workers} workers, {rounds} rounds: 0 rows lost, 0 twice, states and catalog equal")


def test_more_workers_make_no_difference(
    job: ModuleType, undisturbed: tuple[dict[str, Any], dict[str, Any]], tmp_path: Path
) -> None:
    with hw.connect(tmp_path) as hub:
        hub.run(job.build(), until="caught-up", workers=3)
    assert facts(job, tmp_path) == undisturbed
