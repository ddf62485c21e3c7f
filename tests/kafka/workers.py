"""Live workers of one job, each a process of its own that can be killed, stopped, woken and told to leave."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

import headwater as hw
from headwater.faust_engine import Engine
from operators.engines.worker import LEASE_SECONDS
from operators.execution.plan import Plan
from operators.execution.progress import Progress, last_progress, progress_topic, task_of
from tests.faults import loop_job
from tests.kafka import worker
from tests.kafka.traps import Traps
from tests.kafka.worker import PARTITIONS
from tests.kafka_broker import free_port

#: Without a commit for so long they do not get on.
LONGEST: Final = 240.0
#: Whoever hangs for so long has lost its tasks.
FORGOTTEN: Final[dict[Engine, float]] = {"embedded": LEASE_SECONDS + 4, "faust": worker.SESSION + 4}

Process = BaseProcess

#: Forks workers from a process that has everything imported: that takes longer than their work.
_CONTEXT: Final = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.kafka.worker", "operators.engines.faust"])


class Workers:
    """Workers of one job on one log; what they say goes to files in the workspace. Those that hang are woken when their
    time has come, while others are waited for."""

    def __init__(self, engine: Engine, workspace: Path, log: str, rows: int, *, pause: float = 0.0) -> None:
        self.engine = engine
        self.hub = hw.connect(workspace, log=log)
        self.pipeline = loop_job.build(rows, PARTITIONS)
        self.hub.register(self.pipeline)
        self.plan: Plan = self.hub.plan(self.pipeline)
        self.traps = Traps(workspace / "traps")
        self.ports: list[int] = []
        self.running: list[Process] = []
        self.hung: dict[Process, float] = {}
        self._started: list[Process] = []
        self._workspace = workspace
        self._seen = (-1, 0.0)
        self._ended: set[str] = set()
        self._told = worker.Told(engine, workspace, log, rows, workspace / "traps", 0, workspace, pause)

    def note(self, what: str) -> None:
        """Into a file, for whoever looks into what happened."""
        with (self._workspace / "events.log").open("a") as events:
            numbers = [self._number(one) for one in self.running]
            print(f"{datetime.now():%H:%M:%S.%f} {what}; {numbers} run, progress ended at {self._seen[0]}", file=events)

    def start(self) -> Process:
        number = len(self._started)
        self.ports.append(free_port())
        told = replace(self._told, port=self.ports[-1], said=self._said(number))
        process = _CONTEXT.Process(target=worker.run, args=(told,), name=f"worker {number}")
        process.start()
        self._started.append(process)
        self.running.append(process)
        self.note(f"{number} started")
        return process

    def kill(self, process: Process) -> None:
        """It may have been caught in a trap before."""
        process.kill()
        process.join()
        self.running.remove(process)
        self.note(f"{self._number(process)} killed")

    def stop(self, process: Process) -> None:
        """It hangs until it is forgotten, and is woken then."""
        os.kill(_pid(process), signal.SIGSTOP)
        self.hangs(process)

    def hangs(self, process: Process) -> None:
        self.running.remove(process)
        self.hung[process] = time.monotonic() + FORGOTTEN[self.engine]
        self.note(f"{self._number(process)} hangs")

    def wake(self, process: Process) -> None:
        self.traps.forget(_pid(process))
        os.kill(_pid(process), signal.SIGCONT)
        del self.hung[process]
        self.running.append(process)
        self.note(f"{self._number(process)} woken")

    def leave(self, *processes: Process) -> None:
        """They are told to end, and end in order."""
        for process in processes:
            self.running.remove(process)
            process.terminate()
        for process in processes:
            process.join(LONGEST)
            code, number = process.exitcode, self._number(process)
            self.note(f"{number} left")
            # Who is told before it has begun ends at once.
            begun = self._said(number).exists() and self._said(number).stat().st_size > 0
            assert code == 0 or not begun, f"a worker that was told to end ended with {code}: {self._said(number)}"

    def caught(self) -> Process | None:
        """The worker that runs no more since it was caught in a trap."""
        return next((one for one in self.running if self.traps.caught(_pid(one))), None)

    def said(self, number: int) -> str:
        """What the worker that was started as this one, from 0, has said; one that left before it began, nothing."""
        return self._said(number).read_text() if self._said(number).exists() else ""

    def count_said(self, words: str) -> int:
        return sum(self.said(number).count(words) for number in range(len(self._started)))

    def commits(self) -> int:
        """A number that grows with every commit."""
        return sum(end for name in self.plan.nodes for _, end in self.hub.log.bounds(progress_topic(name)))

    def last(self) -> list[Progress | None]:
        return [last_progress(self.hub.log, *task_of(name)) for name in self.plan.tasks()]

    def going(self) -> list[str]:
        """The tasks that have not ended."""
        for name in self.plan.tasks():
            if name not in self._ended:
                last = last_progress(self.hub.log, *task_of(name))
                if last is not None and last.ended:
                    self._ended.add(name)
        return [name for name in self.plan.tasks() if name not in self._ended]

    def all_ended(self) -> bool:
        return not self.going()

    def wait_for(self, met: Callable[[], Any]) -> None:
        """Wait until it is so. The workers have to get on meanwhile, and none may end by itself."""
        began = time.monotonic()
        while not met():
            self._wake_forgotten()
            for one in self.running:
                if one.exitcode is not None and not self.traps.caught(_pid(one)):
                    said = self._said(self._number(one))
                    raise AssertionError(f"a worker ended by itself ({one.exitcode}): {said}")
            commits = self.commits()
            if commits != self._seen[0]:
                self._seen = (commits, time.monotonic())
            still = time.monotonic() - max(self._seen[1], began)
            assert still < LONGEST, f"the workers do not get on, {self.going()} have not ended: {self._workspace}"
            time.sleep(0.2)

    def wait_for_commits(self, count: int) -> None:
        """Wait for so many more, or until there will be no more."""
        enough = self.commits() + count
        self.wait_for(lambda: self.commits() >= enough or self.all_ended())

    def wait_to_end(self) -> None:
        """Wait until all tasks have ended, and all that hang are awake."""
        self.wait_for(lambda: self.all_ended() and not self.hung)

    def close(self) -> None:
        for process in self._started:
            process.kill()
            process.join()
        self.hub.close()

    def _wake_forgotten(self) -> None:
        for process, at in list(self.hung.items()):
            if time.monotonic() >= at:
                self.wake(process)

    def _number(self, process: Process) -> int:
        return self._started.index(process)

    def _said(self, number: int) -> Path:
        return self._workspace / f"worker-{number}.log"


def _pid(process: Process) -> int:
    assert process.pid is not None
    return process.pid
