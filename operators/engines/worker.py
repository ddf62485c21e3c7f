"""A worker: claims a fair share of a job's tasks and runs them side by side in one thread."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from time import monotonic

from catalog.errors import HeadwaterError
from operators.engines.assignment import NOTHING, Assignment
from operators.engines.positions import ShownPositions
from operators.errors import TaskFailed
from operators.execution.context import Context
from operators.execution.plan import Plan
from operators.execution.progress import task_of
from operators.execution.selection import workers_name
from operators.execution.source_task import SourceTask
from operators.execution.task import Task
from streams.log.protocol import Fenced, Leases, LogBusy

logger = logging.getLogger(__name__)

#: A lease not renewed for so many seconds may be taken over.
LEASE_SECONDS = 10.0
#: So often in a row the log may be busy (each time for as long as the log waits) before a task gives up.
BUSY_ATTEMPTS = 5


class Worker:
    """Runs tasks of a plan. `leases` None means that this worker is the only one; otherwise it takes its share among
    all workers that are announced, or `planned` to come. `number` spreads the tasks of one operator over workers.
    With `assigned` a group shares the tasks out: this worker has those of the newest assignment, and a task that it
    loses meanwhile is in `lost` and is not started again before another assignment.
    With `max_wait` a task goes on after so many seconds without an input that brings nothing.

    A task that stops with an error is in `failed` and does nothing more, here or on another worker of the run.
    """

    def __init__(
        self,
        plan: Plan,
        context: Context,
        leases: Leases | None,
        *,
        max_wait: float | None = None,
        number: int = 0,
        planned: int = 1,
        assigned: Callable[[], Assignment] | None = None,
    ) -> None:
        self.tasks: dict[str, Task | SourceTask] = {}
        self.failed: dict[str, HeadwaterError] = {}
        self.lost: set[str] = set()
        self._assigned = assigned
        self._assignment = NOTHING
        self._due: list[str] = []
        self._plan = plan
        self._context = context
        self._leases = leases
        self._max_wait = max_wait
        self._number = number
        self._planned = planned
        self._next_claim = 0.0
        self._busy: dict[str, int] = {}
        self._moved: dict[str, float] = {}
        self._stopped: list[Task | SourceTask] = []
        self._positions = ShownPositions(context.log)

    def run_pass(self, *, stop: Callable[[], bool] = lambda: False) -> bool:
        """Claim tasks if it is time to, and give every task one transaction. True if anything happened."""
        happened = self._claim(stop)
        for name in list(self.tasks):
            if stop():
                break
            happened |= self._work(name)
        self._positions.tell(self.tasks.values())
        return happened

    def force(self, *, outside_only: bool, without: Iterable[str] = ()) -> tuple[str, bool] | None:
        """Let one task go on without the channels that it waits for; which one, and whether it is part of a loop that
        is stuck. With `outside_only`, only a task that waits for a stream written from outside. Tasks behind one that
        failed (here, or `without` on other workers) wait for what it will write in the next run, and tasks behind one
        that is not run here for those who run it."""
        waiting = self._plan.downstream_of({*self.failed, *without, *self._plan.elsewhere()})
        for name in self._plan.tasks():
            task = self.tasks.get(name)
            if not isinstance(task, Task) or name in waiting or not task.has_queued():
                continue
            if outside_only and not task.waits_for_outside():
                continue
            stuck = not outside_only and task.loop_is_stuck()
            if self._work(name, force=True):
                return name, stuck
        return None

    def claim_due(self) -> bool:
        """True if it is time to look for tasks to claim, to renew leases, or to go on without an idle input."""
        return monotonic() >= self._next_claim

    def close(self) -> None:
        """Give all tasks up."""
        self._positions.tell(self.tasks.values(), now=True)
        held = [*self.tasks.values(), *self._stopped]
        self.tasks.clear()
        self._stopped.clear()
        orderly = True
        for task in held:
            # A busy log need not be waited for once a task: leases run out by themselves.
            if orderly:
                orderly = self._give_up(task, release=True)
            else:
                self._abort(task)

    def _claim(self, stop: Callable[[], bool]) -> bool:
        if self._assigned is not None:
            return self._follow(self._assigned, stop)
        now = monotonic()
        if now < self._next_claim:
            return False
        self._next_claim = now + LEASE_SECONDS / 5
        names = [name for name in self._plan.tasks() if name not in self.failed]
        if self._leases is None:
            missing = [name for name in names if name not in self.tasks]
            for name in missing:
                self._start(name)
            return bool(missing)
        try:
            return self._claim_share(names, self._leases)
        except LogBusy as error:
            if self._attempts("leases") >= BUSY_ATTEMPTS:
                raise
            logger.warning("%s; trying again", error)
            return True

    def _follow(self, assigned: Callable[[], Assignment], stop: Callable[[], bool]) -> bool:
        """Have the tasks of the newest assignment: each is started once for it; those that stay go on as they are."""
        newest = assigned()
        if newest != self._assignment:
            self._assignment = newest
            self.lost.clear()
            for name in [name for name in self.tasks if name not in newest.tasks]:
                self._drop(name, release=True)
            known = {*self.tasks, *self.failed}
            self._due = [name for name in self._plan.tasks() if name in newest.tasks and name not in known]
        happened = bool(self._due)
        while self._due and assigned() == self._assignment and not stop():
            self._start(self._due.pop(0))
        return happened

    def _claim_share(self, names: list[str], leases: Leases) -> bool:
        owner = self._context.owner
        # Who works on other jobs, or other operators of this one, takes no share.
        kind = f"{workers_name(self._plan.name, self._plan.only)}:"
        leases.announce(kind + owner, LEASE_SECONDS)
        kept = leases.renew(owner, LEASE_SECONDS)
        for name in [name for name in self.tasks if name not in kept]:
            # Its work would tell, if it had any: until then it would count as part of the share.
            logger.warning("%s has been taken over by another worker; this one leaves it", name)
            self._drop(name, release=False)
        workers = {name for name in leases.workers() if name.startswith(kind)} | {kind + owner}
        count = max(len(workers), self._planned)
        share = -(-len(self._plan.tasks()) // count)
        while len(self.tasks) > share:
            self._drop(next(reversed(self.tasks)), release=True)
        happened = False
        # Those put off come first: their leases are held here, nobody else can start them.
        turn = {name: (name not in self._busy, (place - self._number) % count) for place, name in enumerate(names)}
        for name in sorted(names, key=turn.__getitem__):
            if len(self.tasks) >= share:
                break
            if name not in self.tasks and leases.claim(name, owner, LEASE_SECONDS):
                self._start(name)
                happened = True
        self._busy.pop("leases", None)
        return happened

    def _start(self, name: str) -> None:
        operator, number = task_of(name)
        node = self._plan.nodes[operator]
        task: Task | SourceTask
        if node.source is not None:
            task = SourceTask(node, self._context)
        else:
            task = Task(node, number, self._plan, self._context)
        try:
            task.start()
        except Fenced:
            logger.warning("%s was taken over by another worker while this one started it", name)
            self.lost.add(name)
            self._abort(task)
        except LogBusy as error:
            self._put_off(task, error)
        except Exception as error:
            self._fail(task, error)
        else:
            self.tasks[name] = task
            self._moved[name] = monotonic()

    def _work(self, name: str, *, force: bool = False) -> bool:
        task = self.tasks[name]
        if self._max_wait is not None and task.has_queued() and monotonic() - self._moved[name] > self._max_wait:
            logger.warning("%s goes on without %s", name, ", ".join(task.waiting_for()))
            force = True
        try:
            happened = task.work(force=force)
        except Fenced:
            logger.warning("%s has a newer owner; this worker leaves it", name)
            self.lost.add(name)
            self._drop(name, release=False)
            return True
        except LogBusy as error:
            self._put_off(task, error)
            return True
        except Exception as error:
            self._fail(task, error)
            return True
        self._busy.pop(name, None)
        if happened:
            self._moved[name] = monotonic()
        return happened

    def _put_off(self, task: Task | SourceTask, error: LogBusy) -> None:
        """The task starts anew from its last commit in the next pass; after some attempts it fails."""
        attempt = self._attempts(task.name)
        if attempt >= BUSY_ATTEMPTS:
            self._fail(task, error)
            return
        logger.warning("%s: %s; trying again (%d of %d)", task.name, error, attempt, BUSY_ATTEMPTS - 1)
        self.tasks.pop(task.name, None)
        self.lost.add(task.name)
        self._abort(task)
        self._next_claim = 0.0

    def _attempts(self, name: str) -> int:
        self._busy[name] = self._busy.get(name, 0) + 1
        return self._busy[name]

    def _fail(self, task: Task | SourceTask, error: Exception) -> None:
        if not isinstance(error, HeadwaterError):
            logger.exception("%s met an error that nobody foresaw", task.name, exc_info=error)
            error = TaskFailed(
                f"{type(error).__name__}: {error}",
                where=task.name,
                fix="Nothing was lost: mend the cause, which the program's log shows, and run again.",
            )
        logger.error("%s has stopped: %s", task.name, error)
        self.failed[task.name] = error
        self.tasks.pop(task.name, None)
        # Its lease is kept until the worker closes, so that no other worker fails at the same.
        self._abort(task)
        self._stopped.append(task)

    def _drop(self, name: str, *, release: bool) -> None:
        self._give_up(self.tasks.pop(name), release=release)

    def _give_up(self, task: Task | SourceTask, *, release: bool) -> bool:
        try:
            task.close()
            if release and self._leases is not None:
                self._leases.release(task.name, self._context.owner)
        except HeadwaterError as error:
            logger.warning("%s could not be given up in order: %s", task.name, error)
            return False
        return True

    def _abort(self, task: Task | SourceTask) -> None:
        try:
            task.abort()
        except HeadwaterError as error:
            logger.warning("%s could not be aborted in order: %s", task.name, error)
