"""Jobs on Kafka give what they give on the embedded log, row for row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import headwater as hw
from examples.flights.pipeline import build
from operators.execution.digest import digest_stream
from tests.faults import loop_job
from tests.faults.facts import digests

FLIGHTS = 2_000


def flights(workspace: Path, log: str | None, workers: int = 1) -> dict[str, Any]:
    pipeline = build(FLIGHTS)
    with hw.connect(workspace, log=log) as hub:
        hub.run(pipeline, until="caught-up", workers=workers)
        return {name: digest_stream(hub.log, hub.stream(name), hub.schema) for name in pipeline.streams}


@pytest.mark.parametrize(("scheme", "workers"), [("kafka", 1), ("kafka", 2), ("kafka+fast", 1), ("kafka+fast", 2)])
def test_a_job_with_a_loop_gives_the_same_on_kafka(kafka_url: str, tmp_path: Path, scheme: str, workers: int) -> None:
    with hw.connect(tmp_path / "embedded") as hub:
        hub.run(loop_job.build(1_500), until="caught-up")
        wanted = digests(hub, loop_job.build(1_500))
    with hw.connect(tmp_path / "kafka", log=kafka_url.replace("kafka:", f"{scheme}:")) as hub:
        hub.run(loop_job.build(1_500), until="caught-up", workers=workers)
        assert digests(hub, loop_job.build(1_500)) == wanted


def test_the_flights_job_gives_the_same_on_kafka(kafka_url: str, tmp_path: Path) -> None:
    assert flights(tmp_path / "kafka", kafka_url) == flights(tmp_path / "embedded", None)


def test_a_job_on_kafka_goes_on_from_its_last_commit(kafka_url: str, tmp_path: Path) -> None:
    with hw.connect(tmp_path / "one", log=kafka_url) as hub:
        hub.run(loop_job.build(600), until="caught-up")
        wanted = digests(hub, loop_job.build(600))
    with hw.connect(tmp_path / "one", log=kafka_url) as hub:
        hub.run(loop_job.build(600), until="caught-up")
        assert digests(hub, loop_job.build(600)) == wanted


def test_a_catalog_is_made_anew_from_kafka(kafka_url: str, tmp_path: Path) -> None:
    with hw.connect(tmp_path / "one", log=kafka_url) as hub:
        hub.run(loop_job.build(300), until="caught-up")
        wanted = hub.catalog.dump(without_runs=True)
    with hw.connect(tmp_path / "other", log=kafka_url) as hub:
        hub.rebuild()
        assert hub.catalog.dump(without_runs=True) == wanted
