"""One live worker of the job in tests/faults/loop_job.py: `python live_worker.py WORKSPACE LOG ROWS`. It never ends."""

from __future__ import annotations

import sys

import headwater as hw
from tests.faults.loop_job import build

if __name__ == "__main__":
    with hw.connect(sys.argv[1], log=sys.argv[2]) as hub:
        hub.run(build(int(sys.argv[3])), max_wait=None)
