"""A worker that dies when nothing is left to do: the run ends all the same."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import headwater as hw
from operators.engines import supervisor

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


def killing(born: Path, calls: list[int]) -> Callable[[], None]:
    """Kills the process that wrote its number to `born`, when the others have long had nothing to do."""

    def watch() -> None:
        calls.append(len(calls))
        if len(calls) == SOON:
            os.kill(int(born.read_text()), signal.SIGKILL)
        assert len(calls) < LONG, "the run does not end"

    return watch


def test_a_worker_that_dies_at_the_end_does_not_keep_the_run_going(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    born = tmp_path / "born"
    serve = supervisor._serve

    def stuck_at_first(worker: Any, *others: Any) -> None:
        """The first process of the second worker says nothing; the next one works."""
        if worker._number == 1 and not born.exists():
            born.write_text(str(os.getpid()))
            time.sleep(LONG)
        serve(worker, *others)

    with hw.connect(tmp_path / "workspace") as hub:
        hub.run(job(), until="caught-up")
        before = hub.read("short.copied").to_arrow()
        monkeypatch.setattr(supervisor, "_serve", stuck_at_first)
        calls: list[int] = []
        report = hub.run(job(), until="caught-up", workers=2, watch=killing(born, calls))
        assert report.replaced == 1
        assert len(calls) > SOON
        assert hub.read("short.copied").to_arrow().equals(before)
