"""No row of the training set knows anything that was learnt after its departure: checked against the raw tables, row by
row, by plain search."""

from __future__ import annotations

import shutil
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from math import log1p, tanh
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

import headwater as hw
from examples.flights import data

ROWS = 20_000
#: What is only learnt after a departure.
OUTCOME = {"arrived", "arr_delay", "air_time", "known_at", "censored", "late"}
WEATHER = ("temp", "humid", "wind_speed", "wind_gust", "precip", "pressure", "visib")
CURVES = ("expected_delay", "delay_curve", "delay_log", "delay_edge", "lost_from_curve", "lost_to_curve")
#: What is known of other flights, which have arrived.
OF_OTHERS = {"lost_from", "lost_from_until", "lost_to", "lost_to_until"}
OF_OTHERS |= {"expected_delay", "lost_from_curve", "lost_to_curve"}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Row = dict[str, Any]


@pytest.fixture(scope="module")
def hub(flights_workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[hw.Hub]:
    copied = tmp_path_factory.mktemp("leakage") / "workspace"
    shutil.copytree(flights_workspace, copied)
    with hw.connect(copied) as found:
        yield found


@pytest.fixture(scope="module")
def training(hub: hw.Hub) -> list[Row]:
    return hub.read("flights.training").to_arrow().to_pylist()


@pytest.fixture(scope="module")
def schedule() -> dict[str, Row]:
    return {row["flight_id"]: row for row in data.schedule(ROWS).to_pylist()}


@pytest.fixture(scope="module")
def departures() -> dict[str, Row]:
    return {row["flight_id"]: row for row in data.departures(ROWS).to_pylist()}


@pytest.fixture(scope="module")
def arrivals() -> dict[str, Row]:
    return {row["flight_id"]: row for row in data.arrivals(ROWS).to_pylist()}


def reports(by: str) -> dict[str, list[Row]]:
    """Believable weather reports of each airport, by that time; a missing pressure is the one of the report before."""
    found: dict[str, list[Row]] = defaultdict(list)
    pressure: dict[str, float] = {}
    for row in data.weather().sort_by([("origin", "ascending"), ("observed", "ascending")]).to_pylist():
        if None in (row["temp"], row["humid"], row["wind_speed"]) or row["wind_speed"] > 250:
            continue
        row["pressure"] = pressure.get(row["origin"]) if row["pressure"] is None else row["pressure"]
        pressure[row["origin"]] = row["pressure"]
        found[row["origin"]].append(row)
    return {origin: sorted(rows, key=lambda row: row[by]) for origin, rows in found.items()}


def newest(rows: list[Row], by: str, departed: Any) -> Row | None:
    """The newest report whose time `by` is not after the departure, nor more than three hours before it."""
    place = bisect_right(rows, departed, key=lambda row: row[by])
    if not place or departed - rows[place - 1][by] > timedelta(hours=3):
        return None
    return rows[place - 1]


def expected_weather(training: list[Row], by: str) -> Iterator[Row]:
    known = reports(by)
    for row in training:
        found = newest(known[row["origin"]], by, row["departed"]) or {}
        yield {"weather_observed": found.get("observed"), **{name: found.get(name) for name in WEATHER}}


def actual_weather(training: list[Row]) -> list[Row]:
    return [{name: row[name] for name in ("weather_observed", *WEATHER)} for row in training]


def test_the_weather_is_the_newest_that_was_known(training: list[Row]) -> None:
    assert actual_weather(training) == list(expected_weather(training, "observed"))


def test_weather_by_the_start_of_its_hour_would_have_been_noticed(training: list[Row]) -> None:
    """The mistake that the event time of the weather is there to prevent would not pass the test above."""
    leaking = list(expected_weather(training, "hour_start"))
    wrong = sum(one != other for one, other in zip(leaking, actual_weather(training), strict=True))
    newer = sum(
        one["weather_observed"] is not None and one["weather_observed"] > row["departed"]
        for one, row in zip(leaking, training, strict=True)
    )
    assert wrong > len(training) / 2
    assert newer > len(training) / 2


def test_no_time_of_a_feature_is_after_the_departure(training: list[Row]) -> None:
    for row in training:
        assert row["published"] <= row["departed"]
        assert row["weather_observed"] is None or row["weather_observed"] <= row["departed"]


def test_the_rest_is_the_plan_and_the_departure(
    training: list[Row], schedule: dict[str, Row], departures: dict[str, Row]
) -> None:
    planes = {row["tailnum"]: row for row in data.planes().to_pylist() if row["seats"] >= 20}
    airlines = {row["carrier"]: row["name"] for row in data.airlines().to_pylist()}
    airports = {row["faa"]: row for row in data.airports().to_pylist() if "Asia" not in (row["tzone"] or "")}
    for row in training:
        plan, left = schedule[row["flight_id"]], departures[row["flight_id"]]
        plane, airport = planes.get(row["tailnum"], {}), airports.get(row["dest"], {})
        assert {name: row[name] for name in left} == left
        assert (row["published"], row["distance"]) == (plan["published"], plan["distance"])
        planned = plan["scheduled_arrival"] - plan["scheduled_departure"]
        assert row["planned_minutes"] == planned.total_seconds() / 60
        assert row["airline"] == airlines[row["carrier"]]
        assert row["plane_seats"] == plane.get("seats")
        made = plane.get("year")
        assert row["plane_age"] == (None if made is None else row["departed"].year - made)
        assert (row["dest_lat"], row["dest_lon"], row["dest_alt"]) == (
            airport.get("lat"),
            airport.get("lon"),
            airport.get("alt"),
        )
        known = row["weather_observed"]
        assert row["weather_age"] == (None if known is None else (row["departed"] - known).total_seconds() // 60)


def losses(airport: str, arrivals: dict[str, Row], departures: dict[str, Row]) -> dict[tuple[str, int], float]:
    """What flights lost on their way, on average by airport and number of the window of three hours they came in."""
    found: dict[tuple[str, int], list[int]] = defaultdict(list)
    for flight, row in arrivals.items():
        window = (row["arrived"] - EPOCH) // timedelta(hours=3)
        found[row[airport], window].append(row["arr_delay"] - departures[flight]["dep_delay"])
    return {place: fmean(lost) for place, lost in found.items()}


@pytest.mark.parametrize(("lost", "airport"), [("lost_from", "origin"), ("lost_to", "dest")])
def test_what_others_lost_is_of_flights_that_had_arrived(
    training: list[Row], arrivals: dict[str, Row], departures: dict[str, Row], lost: str, airport: str
) -> None:
    """The last window of three hours with arrivals that had ended, at most six hours ago."""
    known = losses(airport, arrivals, departures)
    found = 0
    for row in training:
        expected: tuple[float | None, Any] = None, None
        window = (row["departed"] - EPOCH) // timedelta(hours=3)
        for before in range(window - 1, window - 4, -1):
            until = EPOCH + (before + 1) * timedelta(hours=3)
            if (row[airport], before) in known and row["departed"] - until <= timedelta(hours=6):
                expected = known[row[airport], before], until
                break
        assert (row[lost], row[f"{lost}_until"]) == (pytest.approx(expected[0]), expected[1])
        found += expected[0] is not None
    assert found > len(training) / 2


def test_curves_are_of_what_was_known(training: list[Row]) -> None:
    for row in training:
        delay, lost_from, lost_to = (
            row["dep_delay"],
            *(-5.0 if row[name] is None else row[name] for name in ("lost_from", "lost_to")),
        )
        assert row["expected_delay"] == pytest.approx(delay + max(min(lost_to, 30), -25))
        assert row["delay_curve"] == pytest.approx(tanh(delay / 30))
        assert row["delay_log"] == pytest.approx(log1p(max(min(delay, 180), -20) + 21))
        assert row["delay_edge"] == pytest.approx(tanh((delay - 15) / 10))
        assert row["lost_from_curve"] == pytest.approx(tanh(lost_from / 15))
        assert row["lost_to_curve"] == pytest.approx(tanh(lost_to / 15))


def test_nothing_else_is_in_the_training_set(training: list[Row]) -> None:
    """A new feature has to be added to this list, and to a test above."""
    checked = {"flight_id", "departed", "carrier", "tailnum", "origin", "dest", "dep_delay", "published", "distance"}
    checked |= {"planned_minutes", "airline", "plane_seats", "plane_age", "dest_lat", "dest_lon", "dest_alt"}
    checked |= {"weather_observed", "weather_age", *WEATHER}
    checked |= {"lost_from", "lost_from_until", "lost_to", "lost_to_until", *CURVES}
    of_the_plan = {"hour", "weekday", "month"}
    assert set(training[0]) == checked | of_the_plan | OUTCOME


def test_no_feature_descends_from_an_arrival_but_for_what_others_lost(hub: hw.Hub) -> None:
    def origins(field: str) -> set[str | None]:
        return {node.stream for node in hub.lineage("flights.training", field=field, direction="up").nodes}

    names = hub.stream("flights.training").schema.names
    for name in set(names) - OUTCOME - OF_OTHERS:
        assert "flights.arrivals" not in origins(name), name
    for name in OF_OTHERS:
        assert "flights.lost" in origins(name), name
    for name in OUTCOME:
        assert "flights.arrivals" in origins(name), name


def test_the_outcome_is_the_arrival_and_comes_when_it_is_known(training: list[Row], arrivals: dict[str, Row]) -> None:
    nothing = {"arrived": None, "arr_delay": None, "air_time": None}
    for row in training:
        arrival = arrivals.get(row["flight_id"])
        found = nothing if arrival is None else {name: arrival[name] for name in nothing}
        assert {name: row[name] for name in nothing} == found
        assert row["censored"] == (arrival is None)
        assert row["late"] == (None if arrival is None else arrival["arr_delay"] > 15)
        assert row["known_at"] == (row["departed"] + timedelta(days=1) if arrival is None else arrival["arrived"])
        assert row["known_at"] > row["departed"]


def test_every_departure_is_there_once(training: list[Row], departures: dict[str, Row]) -> None:
    assert sorted(row["flight_id"] for row in training) == sorted(departures)
