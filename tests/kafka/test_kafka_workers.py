"""Live workers in processes of their own share a job on Kafka, and take over from those that are killed or hang."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import headwater as hw
from operators.execution.progress import last_progress
from tests.faults import loop_job
from tests.faults.facts import digests

ROOT = Path(__file__).parents[2]
ROWS = 1_500
LONGEST = 150.0

Start = Callable[[], "subprocess.Popen[bytes]"]


@pytest.fixture
def wanted(tmp_path: Path) -> dict[str, Any]:
    with hw.connect(tmp_path / "undisturbed") as hub:
        hub.run(loop_job.build(ROWS), until="caught-up")
        return digests(hub, loop_job.build(ROWS))


@pytest.fixture
def hub(kafka_url: str, tmp_path: Path) -> Iterator[hw.Hub]:
    with hw.connect(tmp_path / "shared", log=kafka_url) as hub:
        hub.register(loop_job.build(ROWS))
        yield hub


@pytest.fixture
def start(hub: hw.Hub, kafka_url: str, tmp_path: Path) -> Iterator[Start]:
    """Starts one more worker; all are killed at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def starting() -> subprocess.Popen[bytes]:
        program = Path(__file__).with_name("live_worker.py")
        process = subprocess.Popen(
            [sys.executable, str(program), str(tmp_path / "shared"), kafka_url, str(ROWS)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        started.append(process)
        return process

    yield starting
    for process in started:
        process.kill()
        process.wait()


def committed(hub: hw.Hub, plan: Any) -> list[Any]:
    return [last_progress(hub.log, *_task(name)) for name in plan.tasks()]


def _task(name: str) -> tuple[str, int]:
    operator, _, number = name.rpartition("/")
    return operator, int(number)


def wait_for(hub: hw.Hub, plan: Any, met: Callable[[list[Any]], bool]) -> None:
    until = time.monotonic() + LONGEST
    while not met(committed(hub, plan)):
        assert time.monotonic() < until, "the workers do not get on"
        time.sleep(0.2)


def some_commits(found: list[Any]) -> bool:
    return sum(one is not None for one in found) > len(found) // 2


def all_ended(found: list[Any]) -> bool:
    return all(one is not None and one.ended for one in found)


def test_a_worker_that_is_killed_is_succeeded(hub: hw.Hub, start: Start, wanted: dict[str, Any]) -> None:
    plan = hub.plan(loop_job.build(ROWS))
    first = start()
    start()
    wait_for(hub, plan, some_commits)
    first.kill()
    first.wait()
    start()
    wait_for(hub, plan, all_ended)
    assert digests(hub, loop_job.build(ROWS)) == wanted


def test_a_worker_that_hangs_does_no_harm_when_it_wakes(hub: hw.Hub, start: Start, wanted: dict[str, Any]) -> None:
    plan = hub.plan(loop_job.build(ROWS))
    hung = start()
    wait_for(hub, plan, any)
    hung.send_signal(signal.SIGSTOP)
    start()
    # Its leases run out, and the other takes all.
    wait_for(hub, plan, all_ended)
    ended = [(one.task, one.operator, one.seq) for one in committed(hub, plan)]
    hung.send_signal(signal.SIGCONT)
    time.sleep(3)
    assert [(one.task, one.operator, one.seq) for one in committed(hub, plan)] == ended
    assert digests(hub, loop_job.build(ROWS)) == wanted
