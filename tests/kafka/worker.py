"""One live worker of the job in tests/faults/loop_job.py, on either engine. It never ends by itself."""

from __future__ import annotations

import logging
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import headwater as hw
from headwater.faust_engine import Engine
from operators.execution import task
from tests.faults.loop_job import build
from tests.kafka.traps import Traps

#: The smallest that a broker allows unless told otherwise.
SESSION = 6.0
#: Few tasks, which start sooner, and many small transactions: there is more to disturb.
PARTITIONS = 2
ROWS_PER_TRANSACTION = 64


@dataclass(frozen=True)
class Told:
    """What a worker is told: its job, where it listens (Faust), and which file takes what it says."""

    engine: Engine
    workspace: Path
    log: str
    rows: int
    traps: Path
    port: int
    said: Path
    #: So many seconds lie between two transactions of a worker.
    pause: float = 0.0


def run(told: Told) -> None:
    with told.said.open("w") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", force=True)
    task.ROWS_PER_TRANSACTION = task.ROWS_AT_ONCE = task.ROWS_IN_STEPS = ROWS_PER_TRANSACTION  # type: ignore[misc]
    Traps(told.traps).watch(told.pause)
    # As `headwater run` does it; Faust puts its own in place when it has started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        (_run_faust if told.engine == "faust" else _run_embedded)(told)
    sys.stdout.flush()


def _run_embedded(told: Told) -> None:
    with hw.connect(told.workspace, log=told.log) as hub:
        hub.run(build(told.rows, PARTITIONS), max_wait=None)


def _run_faust(told: Told) -> None:
    # conftest.py imports this module too, and other tests on Kafka do without Faust.
    from operators.engines import faust

    pipeline = build(told.rows, PARTITIONS)
    app = hw.faust_app(
        pipeline, workspace=told.workspace, log=told.log, max_wait=None, session=SESSION, web_port=told.port
    )
    faust.run(app, pipeline.name, sum(node.tasks for node in pipeline.nodes.values()))
