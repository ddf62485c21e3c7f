"""A module for Faust's own command (`-A tests.kafka.faust_worker`): the job in tests/faults/loop_job.py."""

from __future__ import annotations

import os

import headwater as hw
from tests.faults.loop_job import build
from tests.kafka.worker import PARTITIONS

app = hw.faust_app(
    build(int(os.environ["WORKER_ROWS"]), PARTITIONS), max_wait=None, web_port=int(os.environ["WORKER_PORT"])
)
