"""What the server that forks the jobs has in memory before it does: modules, the flights' files, compiled queries.

Each of these takes longer than a job runs on its slice of rows.
"""

from __future__ import annotations

from tempfile import TemporaryDirectory

import headwater as hw
from examples.flights import data, pipeline
from tests.faults import loop_job

__all__ = ["loop_job"]

data.weather(1)
with TemporaryDirectory() as folder, hw.connect(folder) as hub:
    hub.register(pipeline.build(1))
