"""A worker that dies when nothing is left to do: the run ends all the same."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa

import headwater as hw

START = datetime(2024, 6, 1, tzinfo=UTC)
EVENT = pa.schema([("key", pa.string()), ("at", pa.timestamp("us", "UTC"))])
#: Calls of the watch, twenty a second.
SOON, LONG = 20, 600


def job() -> hw.Pipeline:
    p = hw.Pipeline("short", owner="tests")
    events = p.stream("events", EVENT, key="key", time="at")
    p.source(events, [{"key": f"k{n % 9}", "at": START + timedelta(minutes=n)} for n in range(200)], chunk=50)
    p.map(events, lambda batch: batch.select(["key"]), reads=["key"], to="copied", add=True)
    return p


def stopping(calls: list[int]) -> Callable[[], None]:
    """Stops one worker before it has said anything, and kills it when the other has nothing to do."""
    stopped: list[int] = []

    def watch() -> None:
        calls.append(len(calls))
        if len(calls) == 1:
            stopped.append(max(child.pid or 0 for child in multiprocessing.active_children()))
            os.kill(stopped[0], signal.SIGSTOP)
        elif len(calls) == SOON:
            os.kill(stopped[0], signal.SIGKILL)
        assert len(calls) < LONG, "the run does not end"

    return watch


def test_a_worker_that_dies_at_the_end_does_not_keep_the_run_going(tmp_path: Path) -> None:
    with hw.connect(tmp_path / "workspace") as hub:
        hub.run(job(), until="caught-up")
        before = hub.read("short.copied").to_arrow()
        calls: list[int] = []
        report = hub.run(job(), until="caught-up", workers=2, watch=stopping(calls))
        assert report.replaced == 1
        assert len(calls) > SOON
        assert hub.read("short.copied").to_arrow().equals(before)
