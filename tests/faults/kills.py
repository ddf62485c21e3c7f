"""Kills a job at random moments while it runs, lets it go on, and says where the kills met it.

HEADWATER_KILLS is how many kills there are in all (default 9), HEADWATER_SEED where their times come from.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

import headwater as hw
from tests.faults.facts import Build, Facts, facts, rows_taken

KILLS = int(os.environ.get("HEADWATER_KILLS", "9"))
SEED = int(os.environ.get("HEADWATER_SEED", "1"))
LONGEST_RUN = 120
#: One of so many kills meets the job before its tasks run, while it opens the log and registers.
EARLY = 5
REGISTERING = 0.5

BEGUN, RUNNING = 1, 2


@dataclass
class Undisturbed:
    """What a job leaves when nobody kills it, how long it takes, and how many rows its operators take."""

    build: Build
    facts: Facts
    seconds: float
    rows: int

    @classmethod
    def run(cls, build: Build, workspace: Path, workers: int = 1) -> Undisturbed:
        with hw.connect(workspace) as hub:
            report = hub.run(build(), until="caught-up", workers=workers)
        return cls(build, facts(workspace, build), report.seconds, rows_taken(workspace, build))


@dataclass
class Met:
    """The kills of one job: those that met it while its tasks ran, by how many of all rows operators had taken (in
    percent), whom they hit, and how many met it while it registered."""

    shares: list[int] = field(default_factory=list)
    hit: dict[str, int] = field(default_factory=dict)
    registering: int = 0
    rounds: int = 0

    def __str__(self) -> str:
        hit = ", ".join(f"{count} {whom}" for whom, count in sorted(self.hit.items()))
        shares = ", ".join(map(str, self.shares))
        return (
            f"{len(self.shares)} kills while it ran ({hit}), at {shares} % of the rows that operators take, "
            f"{self.registering} more while it registered, {self.rounds} rounds"
        )


class Job:
    """A job in a process group of its own. Everything it needs is imported before, so that kills meet the job and not
    the interpreter that starts."""

    def __init__(self, build: Build, workspace: Path, workers: int) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.faults.warm"])
        self._told, theirs = context.Pipe(duplex=False)
        self._process: BaseProcess = context.Process(target=_run, args=(build, workspace, workers, theirs))
        self._process.start()
        theirs.close()
        self._come_to = 0

    def has_come_to(self, stage: int) -> bool:
        """True once it has BEGUN, and once its tasks are RUNNING."""
        with suppress(EOFError):
            while self._come_to < stage and self._told.poll():
                self._come_to = self._told.recv()
        return self._come_to >= stage

    def wait_for(self, stage: int) -> None:
        until = time.monotonic() + LONGEST_RUN
        while not self.has_come_to(stage) and self.exit_code is None:
            assert time.monotonic() < until, "it does not begin to run"
            self._told.poll(0.05)

    @property
    def exit_code(self) -> int | None:
        return self._process.exitcode

    def wait(self) -> int | None:
        self._process.join(LONGEST_RUN)
        return self._process.exitcode

    def kill(self, rng: random.Random) -> str:
        """SIGKILL to the job with all its workers, to its first process alone (its workers have to notice), or to one
        worker, of which the job must take no harm. Says which; "" if the job was over already."""
        pid = self._process.pid
        assert pid is not None
        workers = _children(pid)
        whom = rng.choice(["all", "the first process", "one worker"] if workers else ["all"])
        try:
            if whom == "one worker":
                os.kill(rng.choice(workers), signal.SIGKILL)
            elif whom == "all":
                os.killpg(pid, signal.SIGKILL)
            else:
                os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return ""
        if whom == "one worker":
            return whom
        self._process.join()
        return whom if self._process.exitcode == -signal.SIGKILL else ""


def check_kills(
    wanted: Undisturbed, workspaces: Path, workers: int, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every stream, the states and the catalog have to be as if nothing had happened; says where the kills met it."""
    rng = random.Random(f"{SEED} {workers}")
    met, left = kill_and_go_on(wanted, workspaces, workers, max(1, KILLS // 3), rng)
    for found in left:
        assert wanted.facts.missed_by(found) == {}
    with capsys.disabled():
        print(f"\n{name}, {workers} workers: {met}: all streams, states and the catalog equal")


def kill_and_go_on(
    wanted: Undisturbed, workspaces: Path, workers: int, kills: int, rng: random.Random
) -> tuple[Met, list[Facts]]:
    """Run the job until so many kills met it while it ran: in one workspace until it is done, then in another. Gives
    what it left in each."""
    met = Met()
    left = []
    while len(met.shares) < kills:
        met.rounds += 1
        workspace = workspaces / f"round-{met.rounds}"
        _one_round(wanted, workspace, workers, kills, rng, met)
        left.append(facts(workspace, wanted.build))
    return met, left


def _one_round(wanted: Undisturbed, workspace: Path, workers: int, kills: int, rng: random.Random, met: Met) -> None:
    longest = 1.5 * wanted.seconds / (kills + 1)
    share = 0
    job = Job(wanted.build, workspace, workers)
    # With 100 % the catalog alone has to be brought up to date: one such kill a round is enough.
    while len(met.shares) < kills and share < 100:
        early = rng.randrange(EARLY) == 0
        job.wait_for(BEGUN if early else RUNNING)
        time.sleep(rng.uniform(0, REGISTERING if early else longest))
        if job.exit_code is not None:
            break
        running = job.has_come_to(RUNNING)
        whom = job.kill(rng)
        if whom and not running:
            met.registering += 1
        elif whom:
            met.hit[whom] = met.hit.get(whom, 0) + 1
            share = round(100 * rows_taken(workspace, wanted.build) / wanted.rows)
            met.shares.append(share)
        if job.exit_code == -signal.SIGKILL:
            job = Job(wanted.build, workspace, workers)
    code = job.wait()
    assert code == 0, f"exit code {code}: see {workspace}.log"


def _run(build: Build, workspace: Path, workers: int, told: Connection) -> None:
    os.setsid()
    with Path(f"{workspace}.log").open("a") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    stage = BEGUN
    told.send(stage)

    def tell() -> None:
        nonlocal stage
        if stage < RUNNING:
            stage = RUNNING
            told.send(stage)

    with hw.connect(workspace) as hub:
        hub.run(build(), until="caught-up", workers=workers, watch=tell)
    sys.stdout.flush()


def _children(pid: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
