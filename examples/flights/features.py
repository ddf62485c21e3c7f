"""The plain functions of the flights job: features of a departure, its outcome, and which outcomes can be believed."""

from __future__ import annotations

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

import headwater as hw

#: A flight counts as late from this many minutes behind its plan.
LATE_AFTER: Final = 15
NEW_YORK: Final = pa.timestamp("us", "America/New_York")

#: Columns of the weather and what they are called beside a departure.
WEATHER: Final = {
    "observed": "weather_observed",
    "temp": "temp",
    "humid": "humid",
    "wind_speed": "wind_speed",
    "wind_gust": "wind_gust",
    "precip": "precip",
    "pressure": "pressure",
    "visib": "visib",
}

DERIVES: Final[dict[str, list[str]]] = {
    "hour": ["scheduled_departure"],
    "weekday": ["scheduled_departure"],
    "month": ["scheduled_departure"],
    "planned_minutes": ["scheduled_departure", "scheduled_arrival"],
    "plane_age": ["departed", "plane_year"],
    "weather_age": ["departed", "weather_observed"],
}
READS: Final = sorted({field for fields in DERIVES.values() for field in fields})
SCHEMA: Final = hw.Schema(
    pa.schema({name: pa.int32() for name in DERIVES})
).described(
    {
        "hour": "Planned hour of departure on the clock in New York.",
        "weekday": "Planned day of departure in New York: 0 is Monday.",
        "month": "Planned month of departure in New York.",
        "planned_minutes": "Minutes from planned departure to planned arrival.",
        "plane_age": "Years since the aircraft was made; null if the register does not say.",
        "weather_age": "Minutes from the weather report to the departure; null without a report.",
    }
)  # fmt: skip
#: What is known at departure and goes into the training set, with the times at which it was known.
KEPT: Final = (
    *("flight_id", "departed", "published", "weather_observed"),
    *("carrier", "airline", "tailnum", "origin", "dest", "dep_delay", "distance"),
    *(name for name in WEATHER.values() if name != "weather_observed"),
    *("plane_seats", "dest_lat", "dest_lon", "dest_alt"),
    *DERIVES,
)

OUTCOME_SCHEMA: Final = hw.Schema(
    pa.schema([pa.field("censored", pa.bool_(), nullable=False), pa.field("late", pa.bool_())])
).described(
    {
        "censored": "True if no arrival was seen within a day: the outcome is unknown, not on time.",
        "late": f"True if the flight arrived more than {LATE_AFTER} minutes late; null if it is censored.",
    }
)


def at_departure(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Features from what is in the row; each row by itself."""
    planned = pc.cast(rows["scheduled_departure"], NEW_YORK)
    columns = {
        "hour": pc.hour(planned),
        "weekday": pc.day_of_week(planned),
        "month": pc.month(planned),
        "planned_minutes": pc.minutes_between(rows["scheduled_departure"], rows["scheduled_arrival"]),
        "plane_age": pc.subtract(pc.year(rows["departed"]), rows["plane_year"]),
        "weather_age": pc.minutes_between(rows["weather_observed"], rows["departed"]),
    }
    return pa.RecordBatch.from_arrays([column.cast(pa.int32()) for column in columns.values()], schema=SCHEMA.arrow)


def outcome(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Whether a flight came late, and whether anybody knows."""
    columns = [pc.is_null(rows["arrived"]), pc.greater(rows["arr_delay"], LATE_AFTER)]
    return pa.RecordBatch.from_arrays(columns, schema=OUTCOME_SCHEMA.arrow)


def _speed(rows: pa.RecordBatch) -> pa.Array:
    """No airliner flies from start to landing at more than 600 miles per hour on average."""
    return pc.less_equal(pc.multiply(rows["distance"], 60), pc.multiply(rows["air_time"], 600))


def _air_time(rows: pa.RecordBatch) -> pa.Array:
    """An aircraft is in the air for less time than from gate to gate."""
    return pc.less_equal(rows["air_time"], pc.minutes_between(rows["departed"], rows["arrived"]))


#: What must hold between a departure and its arrival.
PLAUSIBLE: Final = (
    hw.compare("departed", "<", "arrived"),
    hw.condition("air time fits between departure and arrival", _air_time, ["departed", "arrived", "air_time"]),
    hw.condition("at most 600 miles per hour", _speed, ["distance", "air_time"]),
)
