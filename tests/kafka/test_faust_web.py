"""What is shown of a Faust worker: tasks, health and metrics on its web server; the group in `status`."""

from __future__ import annotations

import json
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from prometheus_client.parser import text_string_to_metric_families

from headwater.observe import observe
from tests.kafka.faust_workers import FaustWorkers

ROWS = 600


@pytest.fixture(scope="module")
def workers(kafka_address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaustWorkers]:
    """One worker that has done its job."""
    log = f"kafka://{kafka_address}?prefix=test-{uuid4().hex[:10]}."
    workers = FaustWorkers(tmp_path_factory.mktemp("web"), log, ROWS)
    workers.start()
    workers.wait_for(lambda: workers.all_ended() and taken(workers) == ROWS)
    yield workers
    workers.close()


def shown(workers: FaustWorkers, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{workers.ports[0]}{path}", timeout=20) as answer:
        return bytes(answer.read())


def tasks(workers: FaustWorkers) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in json.loads(shown(workers, "/tasks/"))["tasks"]}


def taken(workers: FaustWorkers) -> int:
    """Rows that clean has taken, once nothing of them is left."""
    found = [one for one in tasks(workers).values() if one["operator"] == "plant.valid"]
    return sum(one["rows_in"] for one in found) if all(one["lag"] == 0 for one in found) else 0


def test_the_worker_shows_its_tasks(workers: FaustWorkers) -> None:
    found = tasks(workers)
    assert sorted(found) == sorted(workers.plan.tasks())
    cleans = [one for one in found.values() if one["operator"] == "plant.valid"]
    quarantined = sum(n % 97 == 5 for n in range(ROWS))
    assert sum(one["rows_in"] for one in cleans) == ROWS
    assert sum(one["quarantined"] for one in cleans) == quarantined
    assert all(one["running"] and one["ended"] and one["watermark"] == "end" for one in cleans)
    assert found["plant.level/0"]["state_bytes"] > 0


def test_the_worker_says_that_it_is_well(workers: FaustWorkers) -> None:
    body = json.loads(shown(workers, "/health/"))
    assert body["well"]
    assert body["pipeline"] == "plant"
    assert body["stopped"] == {}
    assert body["assigned"] == sorted(workers.plan.tasks())


def test_the_worker_has_metrics_for_prometheus(workers: FaustWorkers) -> None:
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


def test_status_shows_who_works_and_observe_knows_the_group(workers: FaustWorkers) -> None:
    found = [task for one in workers.hub.status() for task in one.tasks]
    owners = {task.owner for task in found}
    assert len(owners) == 1
    assert None not in owners
    assert observe(workers.hub).readers == ()


def test_a_page_that_is_none_is_not_found(workers: FaustWorkers) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        shown(workers, "/nowhere/")


def test_a_worker_that_is_told_to_end_says_nothing_bad(workers: FaustWorkers) -> None:
    process = workers.start()
    workers.wait_for(lambda: "this worker has" in workers.said(1))
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    assert "Traceback" not in workers.said(1)
    assert "ERROR" not in workers.said(1)
