"""A module for Faust's own command (`-A tests.kafka.faust_worker`): the job in tests/faults/loop_job.py.

With WORKER_STOPS_AT, the name of a file, it stops itself (SIGSTOP) in the middle of a transaction, once, and makes that
file before.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import headwater as hw
from streams.log.kafka.writer import KafkaWriter
from streams.log.protocol import Placed
from tests.faults.loop_job import build
from tests.kafka.faust_workers import SESSION


def stop_in_transaction(marker: Path) -> None:
    flush = KafkaWriter.flush

    def flush_and_stop(self: KafkaWriter) -> list[Placed]:
        placed = flush(self)
        if placed and self.task.startswith("plant.placed/") and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGSTOP)
        return placed

    KafkaWriter.flush = flush_and_stop  # type: ignore[method-assign]


if "WORKER_STOPS_AT" in os.environ:
    stop_in_transaction(Path(os.environ["WORKER_STOPS_AT"]))

app = hw.faust_app(
    build(int(os.environ["WORKER_ROWS"])), max_wait=None, session=SESSION, web_port=int(os.environ["WORKER_PORT"])
)
