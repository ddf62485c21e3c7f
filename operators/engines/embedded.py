"""The embedded engine: runs a job's tasks in this process, or in several worker processes of this machine."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from time import monotonic, sleep
from typing import Any, Literal

from catalog.errors import HeadwaterError
from operators.engines.worker import Worker
from operators.execution.plan import Plan
from operators.execution.progress import progress_topic
from operators.execution.task import Context
from streams.log.protocol import Leases

logger = logging.getLogger(__name__)

Until = Literal["caught-up"]

IDLE_SECONDS = 0.005


class RunFailed(HeadwaterError):
    """Some tasks of a run stopped with errors; the others went on."""

    exit_code = 8


@dataclass
class RunReport:
    """What a run came to: its id, seconds, and how often a worker died and was replaced."""

    run: str
    seconds: float = 0.0
    replaced: int = 0
    failed: dict[str, str] = field(default_factory=dict)


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
) -> RunReport:
    """Run the plan: until everything in the log is taken (`until="caught-up"`), or for ever.

    With `until="caught-up"` nothing is waited for that is not there; without it a task goes on without an idle input
    after `max_wait` seconds. `watch` is called every now and then while it runs. `prepare` makes a context fit
    for a forked worker process (its own connections). Raises RunFailed if tasks stopped with errors.
    """
    started = monotonic()
    if workers == 1:
        report = _run_here(plan, context, until, leases, max_wait, watch)
    else:
        report = _Supervisor(plan, context, until, workers, leases, max_wait, watch, prepare).run()
    report.seconds = monotonic() - started
    if report.failed:
        shown = "; ".join(f"{task}: {error}" for task, error in sorted(report.failed.items()))
        raise RunFailed(
            f"{len(report.failed)} tasks stopped: {shown}",
            where=plan.name,
            fix="What they had not taken is still in the log; the next run goes on from there.",
        )
    return report


def _position(plan: Plan, context: Context) -> int:
    """A number that grows with every commit to a progress stream of the plan."""
    return sum(end for name in plan.nodes for _, end in context.log.bounds(progress_topic(name))) + sum(
        end
        for name, stream in plan.streams().items()
        if plan.writers(name, 0) is None
        for _, end in context.log.bounds(stream.name)
    )


def _run_here(
    plan: Plan,
    context: Context,
    until: Until | None,
    leases: Leases | None,
    max_wait: float | None,
    watch: Callable[[], None] | None,
) -> RunReport:
    worker = Worker(plan, context, leases, max_wait=None if until else max_wait)
    try:
        while True:
            happened = worker.run_pass()
            if watch is not None:
                watch()
            if happened:
                continue
            if until == "caught-up":
                if not (worker.force(outside_only=True) or worker.force(outside_only=False)):
                    break
            else:
                sleep(IDLE_SECONDS)
    except KeyboardInterrupt:
        logger.info("stopped; the next run goes on from the last commit")
    finally:
        worker.close()
    return RunReport(context.run, failed={name: str(error) for name, error in worker.failed.items()})


class _Supervisor:
    """Starts worker processes, replaces those that die, and notices when all of them have nothing left to do."""

    def __init__(
        self,
        plan: Plan,
        context: Context,
        until: Until | None,
        workers: int,
        leases: Leases | None,
        max_wait: float | None,
        watch: Callable[[], None] | None,
        prepare: Callable[[Context], Context],
    ) -> None:
        self._plan = plan
        self._context = context
        self._until = until
        self._count = workers
        self._leases = leases
        self._max_wait = max_wait
        self._watch = watch
        self._prepare = prepare
        self._processes: dict[Connection, Any] = {}
        self._idle_at: dict[Connection, tuple[int, int]] = {}
        self._report = RunReport(context.run)

    def run(self) -> RunReport:
        try:
            for number in range(self._count):
                self._start(number)
            while not self._step():
                if self._watch is not None:
                    self._watch()
        except KeyboardInterrupt:
            logger.info("stopped; the next run goes on from the last commit")
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
            ),
            daemon=True,
        )
        process.start()
        theirs.close()
        self._processes[ours] = (process, number)

    def _step(self) -> bool:
        """Hear the workers once; True if the run is over."""
        for pipe in wait(list(self._processes), timeout=0.05):
            assert isinstance(pipe, Connection)
            try:
                kind, value = pipe.recv()
            except (EOFError, ConnectionResetError):
                self._replace(pipe)
                continue
            if kind == "idle":
                self._idle_at[pipe] = value
            elif kind == "busy":
                self._idle_at.pop(pipe, None)
            elif kind == "failed":
                self._report.failed.update(value)
            elif kind == "crashed":
                raise RunFailed(
                    f"A worker process could not go on: {value}",
                    where=self._plan.name,
                    fix="Nothing was lost; mend the cause and run again.",
                )
        if self._until is None or not self._quiet():
            return False
        return not self._force()

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
                    pipe.send(("force", outside_only))
                    while True:
                        kind, value = pipe.recv()
                        if kind == "forced":
                            break
                        if kind == "failed":
                            self._report.failed.update(value)
                except (EOFError, ConnectionResetError, BrokenPipeError):
                    self._replace(pipe)
                    return True
                if value:
                    self._idle_at.clear()
                    return True
        return False

    def _replace(self, pipe: Connection) -> None:
        process, number = self._processes.pop(pipe)
        self._idle_at.clear()
        process.join()
        pipe.close()
        logger.warning("worker %d died (exit code %s); another takes its place", number, process.exitcode)
        self._report.replaced += 1
        self._start(number)

    def _stop(self) -> None:
        for pipe, (process, _) in self._processes.items():
            try:
                pipe.send(("stop", None))
            except (BrokenPipeError, OSError):
                process.kill()
        for pipe, (process, _) in self._processes.items():
            process.join(timeout=10)
            if process.is_alive():
                process.kill()
                process.join()
            pipe.close()


def _worker_process(
    plan: Plan,
    context: Context,
    prepare: Callable[[Context], Context],
    until: Until | None,
    max_wait: float | None,
    pipe: Connection,
    place: tuple[int, int],
    parent: int,
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    number, planned = place
    try:
        context = prepare(context)
        wait_at_most = None if until else max_wait
        worker = Worker(plan, context, context.log.leases, max_wait=wait_at_most, number=number, planned=planned)
        try:
            _serve(worker, plan, context, pipe, parent)
        finally:
            worker.close()
    except (EOFError, BrokenPipeError):
        logger.info("the supervisor is gone; worker %d stops", number)
    except Exception as error:
        logger.exception("worker %d cannot go on", number)
        pipe.send(("crashed", f"{type(error).__name__}: {error}"))


def _serve(worker: Worker, plan: Plan, context: Context, pipe: Connection, parent: int) -> None:
    """Work until told to stop, and tell the supervisor when there is nothing to do and when there is again."""
    told: tuple[str, Any] = ("busy", None)
    known: set[str] = set()

    def tell(message: tuple[str, Any]) -> None:
        nonlocal told
        new = {name: str(error) for name, error in worker.failed.items() if name not in known}
        if new:
            known.update(new)
            pipe.send(("failed", new))
        if message != told:
            pipe.send(message)
            told = message

    while os.getppid() == parent:
        version = context.log.version()
        happened = worker.run_pass(stop=lambda: pipe.poll(0))
        if not happened:
            # What is idle must have looked at everything up to one position of the log: look again, from a known one.
            position = _position(plan, context)
            happened = worker.run_pass(stop=lambda: pipe.poll(0))
        tell(("busy", None) if happened else ("idle", (position, len(worker.tasks))))
        timeout = 0.0 if happened else IDLE_SECONDS
        while True:
            while pipe.poll(timeout):
                kind, value = pipe.recv()
                if kind == "stop":
                    return
                pipe.send(("forced", worker.force(outside_only=value)))
                happened, timeout = True, 0.0
            if happened or worker.claim_due() or context.log.version() != version or os.getppid() != parent:
                break
