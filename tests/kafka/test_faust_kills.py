"""Faust workers that are killed, or hang until the group has given their tasks away: what they leave is equal to an
undisturbed run. HEADWATER_KILLS is how many there are, HEADWATER_SEED where their times come from."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import headwater as hw
from tests.faults import loop_job
from tests.faults.facts import digests
from tests.kafka.faust_workers import SESSION, FaustWorkers

KILLS = int(os.environ.get("HEADWATER_KILLS", "4"))
SEED = int(os.environ.get("HEADWATER_SEED", "1"))
ROWS = 3_000
#: So many commits lie between two disturbances, at most.
COMMITS = 60

Make = Callable[[int], FaustWorkers]


def undisturbed(workspace: Path, rows: int) -> dict[str, Any]:
    with hw.connect(workspace) as hub:
        hub.run(loop_job.build(rows), until="caught-up")
        return digests(hub, loop_job.build(rows))


@pytest.fixture
def make(kafka_address: str, tmp_path: Path) -> Iterator[Make]:
    """Makes workers of a job of so many rows on a log of its own."""
    made: list[FaustWorkers] = []

    def making(rows: int) -> FaustWorkers:
        log = f"kafka://{kafka_address}?prefix=test-{uuid4().hex[:10]}."
        made.append(FaustWorkers(tmp_path / f"job-{len(made)}", log, rows))
        return made[-1]

    yield making
    for one in made:
        one.close()


def hang(process: subprocess.Popen[bytes]) -> None:
    """For longer than the group waits."""
    process.send_signal(signal.SIGSTOP)
    time.sleep(SESSION + 3)
    process.send_signal(signal.SIGCONT)


def disturb(workers: FaustWorkers, running: list[subprocess.Popen[bytes]], rng: random.Random) -> str:
    """Kill one worker or both, or let one hang; those that were killed are replaced."""
    kind = rng.choice(["one killed", "one killed", "both killed", "one hung"])
    if kind == "one hung":
        hang(rng.choice(running))
        return kind
    for process in list(running) if kind == "both killed" else [rng.choice(running)]:
        process.kill()
        process.wait()
        running.remove(process)
        running.append(workers.start())
    return kind


def test_workers_that_are_killed_or_hang_change_nothing(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = undisturbed(tmp_path / "undisturbed", ROWS)
    rng = random.Random(SEED)
    met: Counter[str] = Counter()
    rounds = 0
    while met.total() < KILLS:
        rounds += 1
        with closing(make(ROWS)) as workers:
            running = [workers.start(), workers.start()]
            while met.total() < KILLS and not workers.all_ended():
                enough = workers.commits() + rng.randrange(1, COMMITS)
                workers.wait_for(
                    lambda enough=enough, workers=workers: workers.commits() >= enough or workers.all_ended()
                )
                if not workers.all_ended():
                    met[disturb(workers, running, rng)] += 1
            workers.wait_for(workers.all_ended)
            assert digests(workers.hub, workers.pipeline) == wanted
    with capsys.disabled():
        print(f"\nFaust, seed {SEED}: {dict(met)} while the job ran, {rounds} rounds, 0 rows lost, 0 twice")


def test_a_worker_that_wakes_in_the_middle_of_a_transaction_is_fenced(make: Make, tmp_path: Path) -> None:
    wanted = undisturbed(tmp_path / "undisturbed", 600)
    workers = make(600)
    stopped = tmp_path / "stopped"
    hung = workers.start(WORKER_STOPS_AT=str(stopped))
    workers.wait_for(stopped.exists)
    workers.start()
    # The group gives the tasks away, and their new owner ends the transaction that is open.
    workers.wait_for(workers.all_ended)
    ended = [one and one.seq for one in workers.last()]
    hung.send_signal(signal.SIGCONT)
    workers.wait_for(lambda: "has a newer owner; this worker leaves it" in workers.said(0))
    hung.send_signal(signal.SIGTERM)
    assert hung.wait(timeout=60) == 0
    assert [one and one.seq for one in workers.last()] == ended
    assert digests(workers.hub, workers.pipeline) == wanted


def test_a_task_that_is_fenced_by_nobody_of_the_group_is_asked_back(make: Make, tmp_path: Path) -> None:
    wanted = undisturbed(tmp_path / "undisturbed", ROWS)
    workers = make(ROWS)
    workers.start()
    workers.wait_for(lambda: any(workers.last()))
    workers.hub.log.writer("plant.level/0", "a stranger").close()
    workers.wait_for(workers.all_ended)
    assert "plant.level/0 has a newer owner" in workers.said(0)
    assert "asking the group who has plant.level/0 now" in workers.said(0)
    assert digests(workers.hub, workers.pipeline) == wanted
