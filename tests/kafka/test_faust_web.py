"""What is shown of a Faust worker: tasks, health and metrics on its web server; the group in `status`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prometheus_client.parser import text_string_to_metric_families

from headwater.observe import observe
from tests.kafka.workers import Workers
from tests.kafka_broker import free_port

ROOT = Path(__file__).parents[2]
ROWS = 600


@pytest.fixture(scope="module")
def workers(kafka_address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    """One worker that has done its job."""
    log = f"kafka://{kafka_address}?prefix=test-{uuid4().hex[:10]}."
    workers = Workers("faust", tmp_path_factory.mktemp("web"), log, ROWS)
    workers.start()
    workers.wait_for(lambda: workers.all_ended() and taken(workers) == ROWS)
    yield workers
    workers.close()


def shown(workers: Workers, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{workers.ports[0]}{path}", timeout=20) as answer:
        return bytes(answer.read())


def tasks(workers: Workers) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in json.loads(shown(workers, "/tasks/"))["tasks"]}


def taken(workers: Workers) -> int:
    """Rows that clean has taken, once nothing of them is left."""
    found = [one for one in tasks(workers).values() if one["operator"] == "plant.valid"]
    return sum(one["rows_in"] for one in found) if all(one["lag"] == 0 for one in found) else 0


def test_the_worker_shows_its_tasks(workers: Workers) -> None:
    found = tasks(workers)
    assert sorted(found) == sorted(workers.plan.tasks())
    cleans = [one for one in found.values() if one["operator"] == "plant.valid"]
    quarantined = sum(n % 97 == 5 for n in range(ROWS))
    assert sum(one["rows_in"] for one in cleans) == ROWS
    assert sum(one["quarantined"] for one in cleans) == quarantined
    assert all(one["running"] and one["ended"] and one["watermark"] == "end" for one in cleans)
    assert found["plant.level/0"]["state_bytes"] > 0


def test_the_worker_says_that_it_is_well(workers: Workers) -> None:
    body = json.loads(shown(workers, "/health/"))
    assert body["well"]
    assert body["pipeline"] == "plant"
    assert body["stopped"] == {}
    assert body["assigned"] == sorted(workers.plan.tasks())


def test_the_worker_has_metrics_for_prometheus(workers: Workers) -> None:
    families = {one.name: one for one in text_string_to_metric_families(shown(workers, "/metrics").decode())}
    ours = {name for name in families if name.startswith("headwater_")}
    assert ours == {
        "headwater_rows_taken",
        "headwater_rows_made",
        "headwater_batches",
        "headwater_late_rows",
        "headwater_quarantined_rows",
        "headwater_restarts",
        "headwater_transaction_seconds",
        "headwater_task_running",
        "headwater_task_stopped",
        "headwater_lag_offsets",
        "headwater_state_bytes",
        "headwater_watermark_delay_seconds",
    }
    rows = [one for one in families["headwater_rows_taken"].samples if one.labels["operator"] == "plant.valid"]
    assert sum(one.value for one in rows) == ROWS
    seconds = {one.name for one in families["headwater_transaction_seconds"].samples}
    assert seconds == {"headwater_transaction_seconds_sum", "headwater_transaction_seconds_count"}
    assert "process_resident_memory_bytes" in families


def test_status_shows_who_works_and_observe_knows_the_group(workers: Workers) -> None:
    found = [task for one in workers.hub.status() for task in one.tasks]
    owners = {task.owner for task in found}
    assert len(owners) == 1
    assert None not in owners
    assert observe(workers.hub).readers == ()


def test_a_page_that_is_none_is_not_found(workers: Workers) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        shown(workers, "/nowhere/")


def test_a_worker_of_fausts_own_command_that_is_told_to_end_says_nothing_bad(workers: Workers, tmp_path: Path) -> None:
    said = tmp_path / "said.log"
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "HEADWATER_WORKSPACE": str(workers.hub.config.workspace),
        "HEADWATER_LOG": workers.hub.config.log,
        "WORKER_ROWS": str(ROWS),
        "WORKER_PORT": str(free_port()),
    }
    command = [sys.executable, "-m", "faust", "-A", "tests.kafka.faust_worker", "worker", "-l", "info"]
    with said.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, cwd=ROOT)
    try:
        workers.wait_for(lambda: "this worker has" in said.read_text())
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 0
    finally:
        process.kill()
    assert "Traceback" not in said.read_text()
    assert "ERROR" not in said.read_text()
