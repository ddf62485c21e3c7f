"""What an embedded run shows over HTTP: tasks, health and metrics at one address, whatever the number of workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

import headwater as hw
from operators.engines.pages import STUCK_SECONDS, Pages, Standing
from operators.engines.tally import Counts, merged
from operators.engines.web import WebAddress, shown
from tests.faults.loop_job import build
from tests.kafka_broker import free_port

ROOT = Path(__file__).parents[2]
ROWS = 600
LONGEST = 60.0


def get(port: int, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
        return bytes(answer.read())


@dataclass
class Live:
    process: subprocess.Popen[bytes]
    port: int
    said: Path

    def tasks(self) -> dict[str, dict[str, Any]]:
        return {one["name"]: one for one in json.loads(get(self.port, "/tasks/"))["tasks"]}

    def wait_for(self, met: Callable[[], bool]) -> None:
        until = time.monotonic() + LONGEST
        while True:
            try:
                if met():
                    return
            except urllib.error.URLError:
                assert self.process.poll() is None, self.said.read_text()
            assert time.monotonic() < until, self.said.read_text()
            time.sleep(0.05)

    def has_taken_all(self) -> bool:
        cleans = [one for one in self.tasks().values() if one["operator"] == "plant.valid"]
        return sum(one["rows_in"] for one in cleans) == ROWS and all(one["ended"] for one in self.tasks().values())


@pytest.fixture(scope="module", params=[1, 2])
def live(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A run of one worker, and one of two, that has done its job and goes on."""
    folder = tmp_path_factory.mktemp("live")
    port = free_port()
    program = (
        "import headwater as hw; from tests.faults.loop_job import build\n"
        f"with hw.connect({str(folder / 'shared')!r}) as hub:\n"
        f"    hub.run(build({ROWS}), max_wait=None, workers={request.param}, web_port={port})"
    )
    said = folder / "said.log"
    with said.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=output,
            stderr=output,
        )
    found = Live(process, port, said)
    try:
        found.wait_for(found.has_taken_all)
        yield found
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
    assert "Traceback" not in said.read_text()


def test_all_tasks_of_a_run_are_shown_at_one_address(live: Live) -> None:
    live.wait_for(lambda: all(one["lag"] == 0 for one in live.tasks().values() if one["operator"] == "plant.valid"))
    found = live.tasks()
    assert set(build(ROWS).plan().tasks()) == set(found)
    assert all(one["running"] and one["error"] is None for one in found.values())
    cleans = [one for one in found.values() if one["operator"] == "plant.valid"]
    assert sum(one["quarantined"] for one in cleans) == sum(n % 97 == 5 for n in range(ROWS))
    assert found["plant.level/0"]["watermark"] == "end"


def test_a_run_says_that_it_is_well(live: Live) -> None:
    body = json.loads(get(live.port, "/health/"))
    assert body["well"]
    assert body["pipeline"] == "plant"
    assert body["still_for"] < STUCK_SECONDS
    assert body["stopped"] == {}
    assert body["assigned"] == sorted(live.tasks())


def test_a_run_has_metrics_for_prometheus(live: Live) -> None:
    families = {one.name: one for one in text_string_to_metric_families(get(live.port, "/metrics").decode())}
    rows = [one for one in families["headwater_rows_taken"].samples if one.labels["operator"] == "plant.valid"]
    assert sum(one.value for one in rows) == ROWS
    assert {"headwater_lag_offsets", "headwater_state_bytes", "headwater_transaction_seconds"} <= set(families)
    assert "process_resident_memory_bytes" in families


def test_there_are_no_other_pages(live: Live) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(live.port, "/nowhere/")


def test_a_run_whose_port_is_taken_says_so(live: Live, tmp_path: Path) -> None:
    with hw.connect(tmp_path) as hub, pytest.raises(hw.TaskFailed, match=f"port {live.port} is taken"):
        hub.run(build(10), until="caught-up", web_port=live.port)


def test_a_run_without_a_port_has_no_server(tmp_path: Path) -> None:
    found: set[str] = set()
    with hw.connect(tmp_path) as hub:
        hub.run(build(10), until="caught-up", watch=lambda: found.update(one.name for one in threading.enumerate()))
        assert "MainThread" in found
        assert "headwater-web" not in found
        hub.run(
            build(10),
            until="caught-up",
            web_port=free_port(),
            watch=lambda: found.update(one.name for one in threading.enumerate()),
        )
    assert "headwater-web" in found


@pytest.mark.parametrize(("still_for", "alive"), [(STUCK_SECONDS + 1, True), (0.0, False)])
def test_a_worker_that_stands_still_or_is_gone_is_not_well(still_for: float, alive: bool) -> None:
    stuck = Standing("a-run", [], still_for, alive)
    with shown(Pages("plant", lambda: stuck), WebAddress("127.0.0.1", 0), "plant") as server:
        with pytest.raises(urllib.error.HTTPError, match="503") as refused:
            get(server.server_port, "/health/")
        assert json.loads(refused.value.read())["well"] is False
        assert get(server.server_port, "/tasks/")


def test_counts_of_several_workers_are_added_up_for_each_task() -> None:
    before = Counts("a", 0, running=False, starts=1, rows_in=10, at=5, lag=None, error="broken")
    after = Counts("a", 0, running=True, starts=1, rows_in=7, at=9, lag=3)
    other = Counts("b", 0, running=True, starts=1, rows_in=1)
    found = merged([after, other, before])
    assert [one.name for one in found] == ["a/0", "b/0"]
    assert found[0] == Counts("a", 0, running=True, starts=2, rows_in=17, at=9, lag=3)
    assert found[1] == other
