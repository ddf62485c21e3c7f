"""The thread of a Faust worker that runs our tasks, beside Faust's own event loop, which no step may hold up."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from threading import Thread
from time import monotonic
from typing import Final

from operators.engines.faust.handover import Handover
from operators.engines.idle import Idle
from operators.engines.report import RunReport, Until
from operators.engines.tally import Tally
from operators.engines.worker import Worker
from operators.execution.context import Context
from operators.execution.plan import Plan
from operators.execution.progress import last_progress, task_of

logger = logging.getLogger(__name__)

#: A worker that waits looks so often whether it is to stop or has got other tasks.
LOOK_SECONDS: Final = 0.05
#: Whether others are done is asked so often, by a worker that has nothing to do.
ASK_SECONDS: Final = 1.0
#: A worker whose tasks had nothing to do for so long leaves them to the others (`until="caught-up"`).
LEAVE_SECONDS: Final = 5.0
#: If tasks are lost and the group does not decide anew by itself within so many seconds, it is asked to. A worker that
#: hung is out of the group and finds that out sooner.
REJOIN_SECONDS: Final = 5.0

Job = tuple[Plan, Context]


@dataclass(frozen=True)
class Signals:
    """What the thread tells Faust: that it is done, that the group has to decide anew, that it cannot go on."""

    done: Callable[[], None]
    rejoin: Callable[[], None]
    crashed: Callable[[BaseException], None]


class TaskThread(Thread):
    """Runs the tasks that the handover says, as the embedded engine does: side by side, each with a transactional id
    of its own. `connect` opens the log and the catalog, in this thread, and closes them at the end.

    With `until="caught-up"` it is done when everything is taken. That all is idle is seen by a worker that has all the
    tasks; so those that have nothing to do leave, but for the one that has the job's first task.
    """

    def __init__(
        self,
        connect: Callable[[], AbstractContextManager[Job]],
        handover: Handover,
        signals: Signals,
        *,
        until: Until | None = None,
        max_wait: float | None = 5.0,
        watch: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(name="headwater-tasks", daemon=True)
        self.report = RunReport("")
        self.tally: Tally | None = None
        self._moved = monotonic()
        self._connect = connect
        self._handover = handover
        self._signals = signals
        self._until = until
        self._max_wait = None if until else max_wait
        self._watch = watch
        self._quiet: tuple[int, float] = (-1, 0.0)
        self._next_ask = 0.0
        self._rejoin_at: float | None = None

    def still_for(self) -> float:
        """Seconds since it last came round: it runs one transaction, or waits for the log."""
        return monotonic() - self._moved

    def run(self) -> None:
        try:
            with self._connect() as (plan, context):
                self.report.run = context.run
                self.tally = Tally(plan)
                context = replace(context, engine="faust", committed=self.tally.committed)
                worker = Worker(plan, context, None, max_wait=self._max_wait, assigned=self._handover.assignment)
                try:
                    self._work(worker, plan, context)
                finally:
                    self.report.failed = dict(worker.failed)
                    worker.close()
        except BaseException as error:
            self._signals.crashed(error)
        else:
            self._signals.done()

    def _work(self, worker: Worker, plan: Plan, context: Context) -> None:
        assert self.tally is not None
        idle = Idle(context.log)
        while not self._handover.over:
            idle.begin()
            if not self._handover.begin(LOOK_SECONDS):
                self._moved = monotonic()
                continue
            try:
                happened = worker.run_pass(stop=self._handover.interrupted)
                over = not happened and not self._handover.interrupted() and self._is_over(worker, plan, context)
            finally:
                self._handover.rest()
            self._moved = monotonic()
            self.tally.look(context.log, worker.tasks, worker.failed, now=False)
            self._watch()
            self._ask_back(worker)
            if over:
                return
            if not happened:
                idle.wait(LOOK_SECONDS)

    def _ask_back(self, worker: Worker) -> None:
        """Have the group decide anew if tasks were lost that it gave to this worker."""
        if not worker.lost or self._handover.interrupted():
            self._rejoin_at = None
        elif self._rejoin_at is None:
            self._rejoin_at = monotonic() + REJOIN_SECONDS
        elif monotonic() >= self._rejoin_at:
            self._rejoin_at = None
            logger.warning("asking the group who has %s now", ", ".join(sorted(worker.lost)))
            self._signals.rejoin()

    def _is_over(self, worker: Worker, plan: Plan, context: Context) -> bool:
        """True if this worker, which found nothing to do, need not stay."""
        names = plan.tasks()
        if len(worker.failed) == len(names):
            return True
        if self._until is None:
            return False
        here = {*worker.tasks, *worker.failed}
        if here == set(names):
            forced = worker.force(outside_only=True) or worker.force(outside_only=False)
            if forced is not None and forced[1]:
                self.report.note_forced(forced[0])
            return forced is None
        if monotonic() < self._next_ask:
            return False
        self._next_ask = monotonic() + ASK_SECONDS
        if all(task.ended for task in worker.tasks.values()) and not worker.failed and _ended(names, context):
            return True
        return names[0] not in here and self._quiet_for(plan, context) >= LEAVE_SECONDS

    def _quiet_for(self, plan: Plan, context: Context) -> float:
        """The seconds for which nobody has committed anything that a task of the plan could take."""
        position = sum(end for name in plan.streams() for _, end in context.log.bounds(name))
        if position != self._quiet[0]:
            self._quiet = (position, monotonic())
        return monotonic() - self._quiet[1]


def _ended(names: list[str], context: Context) -> bool:
    told = (last_progress(context.log, *task_of(name)) for name in names)
    return all(one is not None and one.ended for one in told)
