"""What the server that forks the jobs has in memory before it does: the modules, and the flights' files."""

from __future__ import annotations

from examples.flights import data, pipeline
from tests.faults import loop_job

__all__ = ["data", "loop_job", "pipeline"]

# Read once here and not by every job: reading takes longer than a job runs.
data.weather(1)
