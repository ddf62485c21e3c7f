"""The embedded engine: runs a job's tasks in this process, or in several worker processes of this machine."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from time import monotonic

from operators.engines.idle import Idle
from operators.engines.pages import Pages
from operators.engines.report import RunFailed, RunReport, Until
from operators.engines.showing import Counting
from operators.engines.supervisor import Supervisor
from operators.engines.web import WebAddress, shown
from operators.engines.worker import Worker
from operators.execution.context import Context
from operators.execution.plan import Plan
from streams.log.protocol import Leases

__all__ = ["RunFailed", "RunReport", "Until", "run"]

logger = logging.getLogger(__name__)

#: A worker that waits for the log calls `watch`, and sees to its leases, so often.
LOOK_SECONDS = 0.05


def run(
    plan: Plan,
    context: Context,
    *,
    until: Until | None = None,
    workers: int = 1,
    leases: Leases | None = None,
    max_wait: float | None = 5.0,
    watch: Callable[[], None] | None = None,
    prepare: Callable[[Context], Context] = lambda context: context,
    web: WebAddress | None = None,
) -> RunReport:
    """Run the plan: until everything in the log is taken (`until="caught-up"`), or for ever.

    With `until="caught-up"` nothing is waited for that is not there; without it a task goes on without an idle input
    after `max_wait` seconds. `watch` is called every now and then while it runs. `prepare` makes a context fit
    for a forked worker process (its own connections). Ctrl-C ends it in order, and the report says so. At `web`
    the run, with all its worker processes, shows itself there meanwhile; TaskFailed if it cannot.

    A task that meets an error stops; the others go on as far as they need nothing of it, and RunFailed is raised at the
    end: when the others have caught up, or when no task is left.
    """
    started = monotonic()
    if workers == 1:
        report = _run_here(plan, context, until, leases, max_wait, watch, web)
    else:
        report = Supervisor(plan, context, until, workers, max_wait, watch, prepare, web).run()
    report.seconds = monotonic() - started
    if report.failed:
        raise RunFailed.of(plan.name, len(plan.tasks()), report.failed)
    return report


def _run_here(
    plan: Plan,
    context: Context,
    until: Until | None,
    leases: Leases | None,
    max_wait: float | None,
    watch: Callable[[], None] | None,
    web: WebAddress | None,
) -> RunReport:
    report = RunReport(context.run)
    counting = Counting(plan, context) if web is not None else None
    if counting is not None:
        context = counting.context
    worker = Worker(plan, context, leases, max_wait=None if until else max_wait)

    idle = Idle(context.log)

    def look() -> bool:
        if watch is not None:
            watch()
        if counting is not None:
            counting.look(context.log, worker)
        return False

    with ExitStack() as stack:
        if counting is not None and web is not None:
            stack.enter_context(shown(Pages(plan.name, counting.standing), web, plan.name))
        return _work(plan, worker, report, idle, until, look)


def _work(
    plan: Plan, worker: Worker, report: RunReport, idle: Idle, until: Until | None, look: Callable[[], bool]
) -> RunReport:
    try:
        while len(worker.failed) < len(plan.tasks()):
            idle.begin()
            happened = worker.run_pass(stop=look)
            look()
            if happened:
                continue
            if until == "caught-up":
                forced = worker.force(outside_only=True) or worker.force(outside_only=False)
                if forced is None:
                    break
                task, stuck = forced
                if stuck:
                    report.note_forced(task)
            else:
                idle.wait(LOOK_SECONDS)
    except KeyboardInterrupt:
        logger.info("stopped; the next run goes on from the last commit")
        report.interrupted = True
    finally:
        worker.close()
    report.failed = dict(worker.failed)
    return report
