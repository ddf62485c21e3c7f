"""Several worker processes of this machine for one run: they are started, replaced when they die, and heard."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from http.server import ThreadingHTTPServer
from multiprocessing.connection import Connection, wait
from typing import Any

from catalog.errors import HeadwaterError
from operators.engines.idle import Idle
from operators.engines.pages import Pages
from operators.engines.report import RunReport, Until
from operators.engines.showing import Collected, Counting
from operators.engines.web import WebAddress, shown
from operators.engines.worker import Worker
from operators.errors import TaskFailed
from operators.execution.context import Context
from operators.execution.plan import Plan
from operators.execution.progress import progress_topic

logger = logging.getLogger(__name__)

IDLE_SECONDS = 0.005
#: Where the log wakes it, a worker looks so often whether the supervisor has something for it.
WOKEN_SECONDS = 0.02
#: So many workers may die in a row without a commit of any task between.
DEATHS = 5

_GONE = (EOFError, ConnectionResetError, BrokenPipeError)


class Supervisor:
    """Starts worker processes, replaces those that die, and notices when all of them have nothing left to do."""

    def __init__(
        self,
        plan: Plan,
        context: Context,
        until: Until | None,
        workers: int,
        max_wait: float | None,
        watch: Callable[[], None] | None,
        prepare: Callable[[Context], Context],
        web: WebAddress | None = None,
    ) -> None:
        self._web = web
        self._collected = Collected(context.run)
        self._server: ThreadingHTTPServer | None = None
        self._plan = plan
        self._context = context
        self._until = until
        self._count = workers
        self._max_wait = max_wait
        self._watch = watch
        self._prepare = prepare
        self._processes: dict[Connection, Any] = {}
        self._idle_at: dict[Connection, tuple[int, int]] = {}
        self._report = RunReport(context.run)
        self._over = False
        self._deaths = 0
        self._committed = -1

    def run(self) -> RunReport:
        with ExitStack() as stack:
            if self._web is not None:
                pages = Pages(self._plan.name, self._collected.standing)
                self._server = stack.enter_context(shown(pages, self._web, self._plan.name))
            return self._run()

    def _run(self) -> RunReport:
        try:
            for number in range(self._count):
                self._start(number)
            while not self._step():
                if self._watch is not None:
                    self._watch()
        except KeyboardInterrupt:
            logger.info("stopped; the next run goes on from the last commit")
            self._report.interrupted = True
        finally:
            self._stop()
        return self._report

    def _start(self, number: int) -> None:
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("fork").Process(
            target=_worker_process,
            args=(
                self._plan,
                self._context,
                self._prepare,
                self._until,
                self._max_wait,
                theirs,
                (number, self._count),
                os.getpid(),
                self._server,
            ),
            daemon=True,
        )
        process.start()
        theirs.close()
        self._processes[ours] = (process, number)
        self._collected.begin(ours)

    def _step(self) -> bool:
        """Hear the workers once; True if the run is over."""
        for pipe in wait(list(self._processes), timeout=0.05):
            assert isinstance(pipe, Connection)
            self._hear(pipe)
        if self._over or len(self._report.failed) >= len(self._plan.tasks()):
            return True
        if self._until is None or not self._quiet():
            return False
        return not self._force()

    def _hear(self, pipe: Connection) -> tuple[str, Any] | None:
        """The worker's next message, after doing what it asks for; None if the worker is gone."""
        try:
            kind, value = pipe.recv()
        except _GONE:
            self._replace(pipe)
            return None
        if kind == "idle":
            self._idle_at[pipe] = value
        elif kind == "busy":
            self._idle_at.pop(pipe, None)
        elif kind == "counts":
            self._collected.take(pipe, value)
        elif kind == "failed":
            self._report.failed.update(value)
        elif kind == "crashed":
            self._report.failed[f"worker {self._processes[pipe][1]}"] = value
            self._over = True
        return kind, value

    def _quiet(self) -> bool:
        """Every worker found nothing to do at one and the same position of the log, and no task was left out."""
        idle = self._idle_at.values()
        if len(idle) < len(self._processes) or len({position for position, _ in idle}) > 1:
            return False
        return sum(tasks for _, tasks in idle) + len(self._report.failed) >= len(self._plan.tasks())

    def _force(self) -> bool:
        for outside_only in (True, False):
            for pipe in list(self._processes):
                try:
                    pipe.send(("force", (outside_only, sorted(self._report.failed))))
                except _GONE:
                    self._replace(pipe)
                    return True
                while (heard := self._hear(pipe)) is not None and heard[0] != "forced":
                    pass
                if heard is None:
                    return True
                if heard[1] is not None:
                    task, stuck = heard[1]
                    if stuck:
                        self._report.note_forced(task)
                    self._idle_at.clear()
                    return True
        return False

    def _replace(self, pipe: Connection) -> None:
        process, number = self._processes.pop(pipe)
        # What the others told stays true: they would not tell it again if nothing is committed any more.
        self._idle_at.pop(pipe, None)
        self._collected.end(pipe)
        process.join()
        pipe.close()
        if self._over:
            return
        committed = _committed(self._plan, self._context)
        self._deaths = self._deaths + 1 if committed == self._committed else 1
        self._committed = committed
        if self._deaths > DEATHS:
            self._report.failed[f"worker {number}"] = TaskFailed(
                f"The process died {self._deaths} times in a row (exit code {process.exitcode}) before any commit",
                where=self._plan.name,
                fix="A step that ends its process, or takes more memory than there is, does this: run with one worker "
                "to see which.",
            )
            self._over = True
            return
        logger.warning("worker %d died (exit code %s); another takes its place", number, process.exitcode)
        self._report.replaced += 1
        self._start(number)

    def _stop(self) -> None:
        for pipe, (process, _) in self._processes.items():
            try:
                pipe.send(("stop", None))
            except OSError:
                process.kill()
        for pipe, (process, _) in self._processes.items():
            process.join(timeout=10)
            if process.is_alive():
                process.kill()
                process.join()
            pipe.close()


def _committed(plan: Plan, context: Context) -> int:
    """A number that grows with every commit of a task."""
    return sum(end for name in plan.nodes for _, end in context.log.bounds(progress_topic(name)))


def _position(plan: Plan, context: Context) -> int:
    """A number that grows with every commit that a task of the plan makes or could have to follow."""
    return _committed(plan, context) + sum(
        end
        for name, stream in plan.streams().items()
        if plan.writers(name, 0) is None
        for _, end in context.log.bounds(stream.name)
    )


def _worker_process(
    plan: Plan,
    context: Context,
    prepare: Callable[[Context], Context],
    until: Until | None,
    max_wait: float | None,
    pipe: Connection,
    place: tuple[int, int],
    parent: int,
    server: ThreadingHTTPServer | None,
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    number, planned = place
    if server is not None:
        # The port is the supervisor's alone.
        server.socket.close()
    try:
        context = prepare(context)
        counting = Counting(plan, context) if server is not None else None
        if counting is not None:
            context = counting.context
        wait_at_most = None if until else max_wait
        worker = Worker(plan, context, context.log.leases, max_wait=wait_at_most, number=number, planned=planned)
        try:
            _serve(worker, plan, context, pipe, parent, until, counting)
        finally:
            worker.close()
    except (EOFError, BrokenPipeError):
        logger.info("the supervisor is gone; worker %d stops", number)
    except HeadwaterError as error:
        logger.error("worker %d cannot go on: %s", number, error)
        pipe.send(("crashed", error))
    except Exception as error:
        logger.exception("worker %d cannot go on", number)
        fix = "Nothing was lost: mend the cause, which the program's log shows, and run again."
        pipe.send(("crashed", TaskFailed(f"{type(error).__name__}: {error}", where=plan.name, fix=fix)))


def _serve(
    worker: Worker,
    plan: Plan,
    context: Context,
    pipe: Connection,
    parent: int,
    until: Until | None,
    counting: Counting | None,
) -> None:
    """Work until told to stop, and tell the supervisor when there is nothing to do and when there is again."""
    told: tuple[str, Any] = ("busy", None)
    known: set[str] = set()
    idle = Idle(context.log)
    while os.getppid() == parent:
        idle.begin()
        position = 0
        happened = worker.run_pass(stop=lambda: pipe.poll(0))
        if not happened and until is not None:
            # What is idle must have looked at everything up to one position of the log: look again, from a known one.
            position = _position(plan, context)
            happened = worker.run_pass(stop=lambda: pipe.poll(0))
        _tell_failed(worker, pipe, known)
        if counting is not None:
            counting.look(context.log, worker)
            counts = counting.due()
            if counts is not None:
                pipe.send(("counts", counts))
        message: tuple[str, Any] = ("busy", None) if happened else ("idle", (position, len(worker.tasks)))
        if message != told:
            pipe.send(message)
            told = message
        timeout = 0.0 if happened or idle.is_woken else IDLE_SECONDS
        while True:
            while pipe.poll(timeout):
                kind, value = pipe.recv()
                if kind == "stop":
                    return
                outside_only, without = value
                forced = worker.force(outside_only=outside_only, without=without)
                _tell_failed(worker, pipe, known)
                pipe.send(("forced", forced))
                happened, timeout = True, 0.0
            if happened or worker.claim_due() or os.getppid() != parent:
                break
            if idle.wait(WOKEN_SECONDS if idle.is_woken else 0.0):
                break


def _tell_failed(worker: Worker, pipe: Connection, known: set[str]) -> None:
    new = {name: error for name, error in worker.failed.items() if name not in known}
    if new:
        known |= set(new)
        pipe.send(("failed", new))
