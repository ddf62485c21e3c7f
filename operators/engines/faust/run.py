"""A Faust worker in this process: it runs until it is done, or until a signal."""

from __future__ import annotations

import asyncio
import errno
import signal
from time import monotonic
from typing import Any

import faust

from catalog.errors import HeadwaterError
from operators.engines.faust.app import App
from operators.engines.report import RunFailed, RunReport
from operators.engines.web import port_taken
from operators.errors import TaskFailed


class Worker(faust.Worker):
    """Faust's worker, which remembers the signal that ended it."""

    ended_by: int | None = None

    def _on_sigint(self) -> None:
        self.ended_by = signal.SIGINT
        super()._on_sigint()

    def _on_sigterm(self) -> None:
        self.ended_by = signal.SIGTERM
        super()._on_sigterm()

    def carp(self, msg: str) -> None:
        """A signal is no mishap."""


def run(app: App, name: str, tasks: int) -> RunReport:
    """Run a worker of the app in the main thread, whose signals Faust takes meanwhile; SIGINT and SIGTERM end it in
    order, and the report says so. RunFailed if tasks stopped with errors."""
    started = monotonic()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    worker = Worker(app, loop=loop, quiet=True, override_logging=False, redirect_stdouts=False)
    worker.spinner = None
    try:
        _serve(worker, loop)
    except Exception as error:
        raise _told(error, app, name) from error
    finally:
        asyncio.set_event_loop(None)
    if app.crashed_by is not None:
        raise _told(app.crashed_by, app, name) from app.crashed_by
    report = app.tasks.report
    report.seconds = monotonic() - started
    report.interrupted = worker.ended_by is not None
    report.signal = worker.ended_by
    if report.failed:
        raise RunFailed.of(name, tasks, report.failed)
    return report


def _serve(worker: Worker, loop: asyncio.AbstractEventLoop) -> None:
    starting = loop.create_task(worker.start())
    try:
        loop.run_until_complete(starting)
    except asyncio.CancelledError:
        # A signal while it started.
        pass
    finally:
        worker.on_worker_shutdown()
        worker.stop_and_shutdown()


def _told(error: BaseException, app: App, name: str) -> BaseException:
    cause: Any = app.crashed_by or error
    if isinstance(cause, HeadwaterError):
        return cause
    if isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE:
        return port_taken(app.conf.web_port, name)
    return TaskFailed(
        f"The Faust worker has stopped: {type(cause).__name__}: {cause}",
        where=name,
        fix="Nothing was lost: the next worker goes on from the last commit. The program's log shows the cause.",
    )
