"""The flights job on a slice: no look into the future, nothing lost, equal for any number of workers."""

from __future__ import annotations

import bisect
import shutil
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import headwater as hw
from examples.flights import data, pipeline
from operators.execution.digest import digest_state, digest_stream
from operators.execution.task import restored_state

ROWS = 20_000
#: What is only learnt after a departure; all other columns are features.
OUTCOME = {"known_at", "arrived", "arr_delay", "air_time", "late", "censored"}


@pytest.fixture(scope="module")
def hub(flights_workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[hw.Hub]:
    copy = tmp_path_factory.mktemp("flights") / "workspace"
    shutil.copytree(flights_workspace, copy)
    with hw.connect(copy) as hub:
        yield hub


@pytest.fixture(scope="module")
def training(hub: hw.Hub) -> list[dict[str, Any]]:
    return hub.read("flights.training").to_arrow().to_pylist()


def quarantined(hub: hw.Hub, name: str) -> list[dict[str, Any]]:
    return hub.read(f"flights.{name}.quarantine").to_arrow().to_pylist()


def test_every_departure_comes_out_once_or_is_in_quarantine(hub: hw.Hub, training: list[dict[str, Any]]) -> None:
    put_aside = [row["flight_id"] for name in ("departures.clean", "outcomes.clean") for row in quarantined(hub, name)]
    found = sorted([row["flight_id"] for row in training] + put_aside)
    assert found == sorted(data.departures(ROWS)["flight_id"].to_pylist())


def test_no_feature_is_newer_than_its_departure(hub: hw.Hub, training: list[dict[str, Any]]) -> None:
    """Each row once more by hand, from the raw data: the newest report, the plan, the aircraft, the outcome."""
    bad = {(row["origin"], row["observed"]) for row in quarantined(hub, "weather.clean")}
    reports: dict[str, list[tuple[datetime, dict[str, Any]]]] = defaultdict(list)
    for row in data.weather(ROWS).to_pylist():
        if (row["origin"], row["observed"]) not in bad:
            reports[row["origin"]].append((row["observed"], row))
    for found in reports.values():
        found.sort(key=lambda one: one[0])
    plans = {row["flight_id"]: row for row in data.schedule(ROWS).to_pylist()}
    arrivals = {row["flight_id"]: row for row in data.arrivals(ROWS).to_pylist()}
    planes = {row["tailnum"]: row for row in hub.read("flights.planes.clean").to_arrow().to_pylist()}
    with_weather = 0
    for row in training:
        departed = row["departed"]
        known = reports[row["origin"]]
        at = bisect.bisect_right(known, departed, key=lambda one: one[0])
        report = known[at - 1][1] if at and departed - known[at - 1][0] <= timedelta(hours=3) else None
        assert row["weather_observed"] == (report["observed"] if report else None)
        assert row["temp"] == (report["temp"] if report else None)
        assert row["wind_speed"] == (report["wind_speed"] if report else None)
        with_weather += report is not None
        plan = plans[row["flight_id"]]
        assert (row["published"], row["distance"]) == (plan["published"], plan["distance"])
        assert row["published"] <= departed
        plane = planes.get(row["tailnum"])
        assert row["plane_seats"] == (plane["seats"] if plane else None)
        arrival = arrivals.get(row["flight_id"])
        in_time = arrival is not None and arrival["arrived"] - departed <= timedelta(days=1)
        assert row["censored"] is not in_time
        assert row["late"] == (arrival["arr_delay"] > 15 if in_time and arrival else None)
        assert row["known_at"] == (arrival["arrived"] if in_time and arrival else departed + timedelta(days=1))
    assert with_weather > 0.95 * len(training)


def test_no_feature_descends_from_an_outcome(hub: hw.Hub) -> None:
    schema = hub.stream("flights.training").schema
    features = [name for name in schema.names if name not in OUTCOME]
    assert {"hour", "temp", "plane_age", "dep_delay"} <= set(features)
    for feature in features:
        above = hub.lineage("flights.training", field=feature, direction="up")
        origins = {node.stream for node in above.nodes if node.kind == "field"}
        assert origins & {"flights.departures", "flights.schedule", "flights.weather", "flights.planes"} or (
            feature.startswith(("airline", "dest"))
        ), feature
        assert not any(name.startswith("flights.arrivals") for name in origins if name), feature
    for outcome in ("late", "censored", "arrived"):
        above = hub.lineage("flights.training", field=outcome, direction="up")
        assert "flights.arrivals" in {node.stream for node in above.nodes}


def test_what_is_in_quarantine_broke_a_rule_that_makes_sense(hub: hw.Hub) -> None:
    seats = [row for row in quarantined(hub, "planes.clean") if row["field"] == "seats"]
    assert len(seats) == 40
    assert all(int(row["value"]) < 20 for row in seats)
    zones = quarantined(hub, "airports.clean")
    assert sorted(row["faa"] for row in zones) == ["DVT", "MYF"]


@pytest.mark.parametrize("workers", [2, 3])
def test_the_number_of_workers_makes_no_difference(tmp_path: Path, workers: int) -> None:
    def digests(folder: Path, count: int) -> dict[str, Any]:
        job = pipeline.build(1_500)
        with hw.connect(folder) as hub:
            hub.run(job, until="caught-up", workers=count)
            found: dict[str, Any] = {
                stream.name: digest_stream(hub.log, stream, hub.schema) for stream in job.streams.values()
            }
            for node in job.nodes.values():
                for number in range(node.tasks if node.operator else 0):
                    found[f"{node.name}/{number}"] = digest_state(restored_state(hub.log, node.name, number))
            return found

    assert digests(tmp_path / "one", 1) == digests(tmp_path / "several", workers)
