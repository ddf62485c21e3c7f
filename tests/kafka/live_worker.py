"""One live worker of the job in tests/faults/loop_job.py: `python live_worker.py WORKSPACE LOG ROWS`. It never ends."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import headwater as hw

JOB = Path(__file__).parents[1] / "faults" / "loop_job.py"

if __name__ == "__main__":
    spec = importlib.util.spec_from_file_location("loop_job", JOB)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["loop_job"] = module
    spec.loader.exec_module(module)
    with hw.connect(sys.argv[1], log=sys.argv[2]) as hub:
        hub.run(module.build(int(sys.argv[3])), max_wait=None)
