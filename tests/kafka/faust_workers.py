"""Faust workers in processes of their own, started with Faust's own command."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import headwater as hw
from operators.execution.plan import Plan
from operators.execution.progress import Progress, last_progress, progress_topic, task_of
from tests.faults import loop_job
from tests.kafka_broker import free_port

ROOT = Path(__file__).parents[2]
LONGEST = 150.0
#: The smallest that a broker allows unless told otherwise.
SESSION = 6.0


class FaustWorkers:
    """Workers of one job on one log; what they say goes to files in the workspace."""

    def __init__(self, workspace: Path, log: str, rows: int) -> None:
        self.hub = hw.connect(workspace, log=log)
        self.pipeline = loop_job.build(rows)
        self.hub.register(self.pipeline)
        self.plan: Plan = self.hub.plan(self.pipeline)
        self.ports: list[int] = []
        self._started: list[subprocess.Popen[bytes]] = []
        self._workspace = workspace
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "HEADWATER_WORKSPACE": str(workspace),
            "HEADWATER_LOG": log,
            "WORKER_ROWS": str(rows),
        }

    def start(self, **environment: str) -> subprocess.Popen[bytes]:
        self.ports.append(free_port())
        said = (self._workspace / f"worker-{len(self.ports)}.log").open("wb")
        process = subprocess.Popen(
            [sys.executable, "-m", "faust", "-A", "tests.kafka.faust_worker", "worker", "-l", "info"],
            env={**self._environment, "WORKER_PORT": str(self.ports[-1]), **environment},
            stdout=said,
            stderr=said,
            cwd=ROOT,
        )
        self._started.append(process)
        return process

    def said(self, number: int) -> str:
        return (self._workspace / f"worker-{number + 1}.log").read_text()

    def commits(self) -> int:
        """A number that grows with every commit."""
        return sum(end for name in self.plan.nodes for _, end in self.hub.log.bounds(progress_topic(name)))

    def last(self) -> list[Progress | None]:
        return [last_progress(self.hub.log, *task_of(name)) for name in self.plan.tasks()]

    def all_ended(self) -> bool:
        return all(one is not None and one.ended for one in self.last())

    def wait_for(self, met: Callable[[], Any]) -> None:
        until = time.monotonic() + LONGEST
        while not met():
            assert time.monotonic() < until, f"the workers do not get on: see {self._workspace}"
            time.sleep(0.1)

    def wait_for_commits(self, count: int) -> None:
        """Wait for so many more, or until there will be no more."""
        enough = self.commits() + count
        self.wait_for(lambda: self.commits() >= enough or self.all_ended())

    def close(self) -> None:
        for process in self._started:
            process.kill()
            process.wait()
        self.hub.close()
