"""A worker: claims a fair share of a job's tasks and runs them side by side in one thread."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from time import monotonic

from catalog.errors import HeadwaterError
from operators.execution.plan import Plan
from operators.execution.progress import task_of
from operators.execution.source_task import SourceTask
from operators.execution.task import Context, Task
from streams.log.protocol import Fenced, Leases, LogBusy

logger = logging.getLogger(__name__)

#: A lease not renewed for so many seconds may be taken over.
LEASE_SECONDS = 10.0
BUSY_ATTEMPTS = 5


class Worker:
    """Runs tasks of a plan. `leases` None means that this worker is the only one; otherwise it takes its share among
    all workers that are announced, or `planned` to come. `number` spreads the tasks of one operator over workers.
    With `max_wait` a task goes on after so many seconds without an input that brings nothing."""

    def __init__(
        self,
        plan: Plan,
        context: Context,
        leases: Leases | None,
        *,
        max_wait: float | None = None,
        number: int = 0,
        planned: int = 1,
    ) -> None:
        self.tasks: dict[str, Task | SourceTask] = {}
        self.failed: dict[str, Exception] = {}
        self._plan = plan
        self._context = context
        self._leases = leases
        self._max_wait = max_wait
        self._number = number
        self._planned = planned
        self._next_claim = 0.0
        self._busy: dict[str, int] = {}
        self._moved: dict[str, float] = {}

    def run_pass(self, *, stop: Callable[[], bool] = lambda: False) -> bool:
        """Claim tasks if it is time to, and give every task one transaction. True if anything happened."""
        happened = self._claim()
        for name in list(self.tasks):
            if stop():
                break
            happened |= self._work(name)
        return happened

    def force(self, *, outside_only: bool) -> bool:
        """Let one task go on without the channels that it waits for. With `outside_only`, only a task that waits
        for a stream written from outside."""
        for name in self._plan.tasks():
            task = self.tasks.get(name)
            if not isinstance(task, Task) or not task.has_queued():
                continue
            if outside_only and not task.waits_for_outside():
                continue
            if self._work(name, force=True):
                return True
        return False

    def claim_due(self) -> bool:
        """True if it is time to look for tasks to claim, to renew leases, or to go on without an idle input."""
        return monotonic() >= self._next_claim

    def close(self) -> None:
        """Give all tasks up."""
        for name in list(self.tasks):
            self._drop(name, release=True)

    def _claim(self) -> bool:
        now = monotonic()
        if now < self._next_claim:
            return False
        self._next_claim = now + LEASE_SECONDS / 5
        names = [name for name in self._plan.tasks() if name not in self.failed]
        if self._leases is None:
            missing: Sequence[str] = [name for name in names if name not in self.tasks]
            started = [self._start(name) for name in missing]
            return any(started)
        owner = self._context.owner
        self._leases.announce(owner, LEASE_SECONDS)
        self._leases.renew(owner, LEASE_SECONDS)
        workers = sorted(set(self._leases.workers()) | {owner})
        count = max(len(workers), self._planned)
        share = -(-len(self._plan.tasks()) // count)
        while len(self.tasks) > share:
            self._drop(next(reversed(self.tasks)), release=True)
        happened = False
        for name in sorted(names, key=lambda name: (names.index(name) - self._number) % count):
            if len(self.tasks) >= share:
                break
            if name not in self.tasks and self._leases.claim(name, owner, LEASE_SECONDS):
                happened |= self._start(name)
        return happened

    def _start(self, name: str) -> bool:
        operator, number = task_of(name)
        node = self._plan.nodes[operator]
        task: Task | SourceTask
        if node.source is not None:
            task = SourceTask(node, self._context)
        else:
            task = Task(node, number, self._plan, self._context)
        try:
            task.start()
        except HeadwaterError as error:
            self._fail(name, error)
            return False
        self.tasks[name] = task
        self._moved[name] = monotonic()
        return True

    def _work(self, name: str, *, force: bool = False) -> bool:
        task = self.tasks[name]
        if self._max_wait is not None and task.has_queued() and monotonic() - self._moved[name] > self._max_wait:
            logger.warning("%s goes on without %s", name, ", ".join(task.waiting_for()))
            force = True
        try:
            happened = task.work(force=force)
        except Fenced:
            logger.warning("%s has a newer owner; this worker leaves it", name)
            self._drop(name, release=False)
            return True
        except LogBusy as error:
            return self._retry(name, error)
        except Exception as error:
            self._fail(name, error)
            return True
        self._busy.pop(name, None)
        if happened:
            self._moved[name] = monotonic()
        return happened

    def _retry(self, name: str, error: LogBusy) -> bool:
        attempt = self._busy[name] = self._busy.get(name, 0) + 1
        if attempt >= BUSY_ATTEMPTS:
            self._fail(name, error)
            return True
        logger.warning("%s: %s; trying again (%d of %d)", name, error, attempt, BUSY_ATTEMPTS)
        self._drop(name, release=False)
        return self._start(name)

    def _fail(self, name: str, error: Exception) -> None:
        logger.error("%s has stopped: %s", name, error)
        self.failed[name] = error
        if name in self.tasks:
            self._drop(name, release=False)

    def _drop(self, name: str, *, release: bool) -> None:
        task = self.tasks.pop(name)
        try:
            task.close()
            if release and self._leases is not None:
                self._leases.release(name, self._context.owner)
        except HeadwaterError as error:
            logger.warning("%s could not be given up in order: %s", name, error)
