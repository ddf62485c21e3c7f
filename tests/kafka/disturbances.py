"""Disturbs the workers of a job at random moments while it runs, and counts what met it.

HEADWATER_KILLS is how many workers are killed, with everything else in proportion; HEADWATER_SEED is where the
disturbances and their times come from.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from tests.faults.facts import Compared, Rows
from tests.kafka.traps import MOMENTS
from tests.kafka.workers import Workers

KILLS: Final = int(os.environ.get("HEADWATER_KILLS", "4"))
SEED: Final = int(os.environ.get("HEADWATER_SEED", "1"))
#: So far do the ends of the progress streams move between two disturbances, at most: by two a commit.
APART: Final = 80
MOST_WORKERS: Final = 4
#: A trap into which nobody falls for so long is taken away.
PATIENCE: Final = 20.0
STARTING_SECONDS: Final = 4.0


@dataclass
class Met:
    """What met jobs before their last task had ended. `moments` are those of a transaction at which workers were killed
    or stopped."""

    kinds: Counter[str] = field(default_factory=Counter)
    moments: Counter[str] = field(default_factory=Counter)
    brokers: int = 0
    killed: int = 0
    rounds: int = 0
    fenced: int = 0
    compared: Compared = field(default_factory=Compared)

    def __str__(self) -> str:
        kinds, moments = (
            ", ".join(f"{count} {name}" for name, count in sorted(found.items()))
            for found in (self.kinds, self.moments)
        )
        parts = [
            f"{self.brokers} brokers and {self.killed} workers killed while the job ran, in {self.rounds} rounds",
            *([kinds] if kinds else []),
            *([f"in transactions: {moments}"] if moments else []),
            f"{self.fenced} times a task was fenced",
            str(self.compared),
        ]
        return "; ".join(parts)

    def end(self, workers: Workers, wanted: Rows) -> None:
        """Let the job end, and its workers, and compare what it has left with what it leaves undisturbed."""
        workers.traps.clear()
        workers.note("disturbed no more")
        workers.wait_to_end()
        workers.note("ended")
        workers.leave(*workers.running)
        self.rounds += 1
        self.fenced += workers.count_said("has a newer owner") + workers.count_said("was taken over by another")
        found = Rows.of(workers.hub, workers.pipeline).against(wanted)
        assert found.equal, f"{found}: {found.differing}"
        self.compared += found


class Disturber:
    """Does one thing after the other to the workers of a job. All kinds come equally often, in random order."""

    def __init__(self, rng: random.Random, met: Met) -> None:
        self.met = met
        self._rng = rng
        self._deck: list[Callable[[Workers], str]] = []

    def run(self, workers: Workers, kills: int) -> None:
        """Disturb until the job has ended or so many workers were killed in all."""
        workers.start()
        workers.start()
        workers.wait_for(lambda: any(workers.last()))
        while self.met.killed < kills and not workers.all_ended():
            workers.wait_for_commits(self._rng.randrange(1, APART))
            if not workers.all_ended():
                self._disturb(workers)

    def _disturb(self, workers: Workers) -> None:
        if not self._deck:
            kinds = [
                self._one_killed,
                self._all_killed,
                self._killed_in_a_transaction,
                self._killed_in_a_transaction,
                self._killed_while_it_starts,
                self._hung,
                self._hung_in_a_transaction,
                self._hung_in_a_transaction,
                self._one_more,
                self._one_left,
            ]
            self._deck = self._rng.sample(kinds, len(kinds))
        kind = self._deck.pop()(workers)
        workers.note(kind or "nothing was done")
        if kind and not workers.all_ended():
            self.met.kinds[kind] += 1
        while len(workers.running) < 1 + (not workers.hung):
            workers.start()

    def _kill(self, workers: Workers, *processes: object) -> None:
        for process in list(workers.running):
            if process in processes:
                workers.kill(process)
        if not workers.all_ended():
            self.met.killed += len(processes)

    def _one_killed(self, workers: Workers) -> str:
        self._kill(workers, self._rng.choice(workers.running))
        return "one killed"

    def _all_killed(self, workers: Workers) -> str:
        self._kill(workers, *workers.running)
        return "all killed at once"

    def _killed_while_it_starts(self, workers: Workers) -> str:
        process = workers.start()
        time.sleep(self._rng.uniform(0, STARTING_SECONDS))
        self._kill(workers, process)
        return "killed while it starts"

    def _killed_in_a_transaction(self, workers: Workers) -> str:
        return self._trap(workers, signal.SIGKILL, "killed in a transaction")

    def _hung(self, workers: Workers) -> str:
        workers.stop(self._rng.choice(workers.running))
        return "hung"

    def _hung_in_a_transaction(self, workers: Workers) -> str:
        return self._trap(workers, signal.SIGSTOP, "hung in a transaction")

    def _one_more(self, workers: Workers) -> str:
        if len(workers.running) + len(workers.hung) >= MOST_WORKERS:
            return self._one_left(workers)
        workers.start()
        return "one more"

    def _one_left(self, workers: Workers) -> str:
        if len(workers.running) < 2:
            return self._one_more(workers)
        workers.leave(self._rng.choice(workers.running))
        return "one left"

    def _trap(self, workers: Workers, number: signal.Signals, kind: str) -> str:
        """The next worker that comes to a moment, with any task of one operator that has not ended."""
        moment = self._rng.choice(MOMENTS)
        operators = sorted({name.rpartition("/")[0] for name in workers.going()})
        if not operators:
            return ""
        workers.traps.set("*" if moment == "taken over" else f"{self._rng.choice(operators)}/*", moment, number)
        if moment == "taken over":
            # Tasks are taken over by one more, or from one that left: the rest of them from one that was killed.
            workers.start()
        until = time.monotonic() + PATIENCE
        workers.wait_for(lambda: workers.caught() or workers.all_ended() or time.monotonic() > until)
        workers.traps.clear()
        process = workers.caught()
        if process is None:
            return ""
        if number == signal.SIGKILL:
            self._kill(workers, process)
        else:
            workers.hangs(process)
        if not workers.all_ended():
            self.met.moments[moment] += 1
        return kind
