"""Jobs on Kafka give what they give on the embedded log, row for row, on the embedded engine and on Faust."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import headwater as hw
from examples.flights.pipeline import build
from headwater.faust_engine import Engine
from operators.execution.digest import digest_stream
from tests.faults import loop_job
from tests.faults.facts import digests

FLIGHTS = 2_000


def flights(workspace: Path, log: str | None, engine: Engine = "embedded") -> dict[str, Any]:
    pipeline = build(FLIGHTS)
    with hw.connect(workspace, log=log) as hub:
        hub.run(pipeline, until="caught-up", engine=engine, web_port=None)
        return {name: digest_stream(hub.log, hub.stream(name), hub.schema) for name in pipeline.streams}


@pytest.mark.parametrize(("scheme", "workers"), [("kafka", 1), ("kafka", 2), ("kafka+fast", 1), ("kafka+fast", 2)])
def test_a_job_with_a_loop_gives_the_same_on_kafka(kafka_url: str, tmp_path: Path, scheme: str, workers: int) -> None:
    with hw.connect(tmp_path / "embedded") as hub:
        hub.run(loop_job.build(1_500), until="caught-up")
        wanted = digests(hub, loop_job.build(1_500))
    with hw.connect(tmp_path / "kafka", log=kafka_url.replace("kafka:", f"{scheme}:")) as hub:
        hub.run(loop_job.build(1_500), until="caught-up", workers=workers)
        assert digests(hub, loop_job.build(1_500)) == wanted


@pytest.mark.parametrize("scheme", ["kafka", "kafka+fast"])
def test_a_job_with_a_loop_gives_the_same_on_faust(kafka_url: str, tmp_path: Path, scheme: str) -> None:
    with hw.connect(tmp_path / "embedded") as hub:
        hub.run(loop_job.build(1_500), until="caught-up")
        wanted = digests(hub, loop_job.build(1_500))
    with hw.connect(tmp_path / "faust", log=kafka_url.replace("kafka:", f"{scheme}:")) as hub:
        report = hub.run(loop_job.build(1_500), until="caught-up", engine="faust", web_port=None)
        assert not report.interrupted
        assert digests(hub, loop_job.build(1_500)) == wanted


@pytest.fixture(scope="module")
def wanted_flights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return flights(tmp_path_factory.mktemp("flights"), None)


@pytest.mark.parametrize("engine", ["embedded", "faust"])
def test_the_flights_job_gives_the_same_on_kafka(
    kafka_url: str, tmp_path: Path, wanted_flights: dict[str, Any], engine: Engine
) -> None:
    assert flights(tmp_path, kafka_url, engine) == wanted_flights


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
