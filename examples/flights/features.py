"""The plain functions of the flights job: features of a departure, its outcome, and which outcomes can be believed."""

from __future__ import annotations

from typing import Final

import numpy as np
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

#: How a delay of so many minutes looks to a linear model: a curve for all of it, and the edge at LATE_AFTER.
DELAY_SCALE: Final = 30.0
EDGE_SCALE: Final = 10.0
#: Of so many minutes lost between departure and arrival.
LOST_SCALE: Final = 15.0
#: A delay without a report of what others lost: flights make up about five minutes on their way.
USUALLY_LOST: Final = -5.0

DERIVES: Final[dict[str, list[str]]] = {
    "expected_delay": ["dep_delay", "lost_to"],
    "delay_curve": ["dep_delay"],
    "delay_log": ["dep_delay"],
    "delay_edge": ["dep_delay"],
    "lost_from_curve": ["lost_from"],
    "lost_to_curve": ["lost_to"],
    "hour": ["scheduled_departure"],
    "weekday": ["scheduled_departure"],
    "month": ["scheduled_departure"],
    "planned_minutes": ["scheduled_departure", "scheduled_arrival"],
    "plane_age": ["departed", "plane_year"],
    "weather_age": ["departed", "weather_observed"],
}
READS: Final = sorted({field for fields in DERIVES.values() for field in fields})
CURVES: Final = ("expected_delay", "delay_curve", "delay_log", "delay_edge", "lost_from_curve", "lost_to_curve")
SCHEMA: Final = hw.Schema(
    pa.schema({name: pa.float64() if name in CURVES else pa.int32() for name in DERIVES})
).described(
    {
        "expected_delay": "Minutes behind the plan on arrival, if it loses what others have just lost there.",
        "delay_curve": "The delay at departure, from -1 to 1 (hyperbolic tangent, half an hour to the unit).",
        "delay_log": "The delay at departure, as a logarithm from 21 minutes before the plan.",
        "delay_edge": "How the delay at departure stands to the limit of being late, from -1 to 1.",
        "lost_from_curve": "What others from here have just lost on their way, from -1 to 1.",
        "lost_to_curve": "What others to there have just lost on their way, from -1 to 1.",
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
    *("lost_from", "lost_from_until", "lost_to", "lost_to_until"),
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
    delay = rows["dep_delay"].cast(pa.float64())
    lost_from, lost_to = (pc.fill_null(rows[name], USUALLY_LOST) for name in ("lost_from", "lost_to"))
    columns = {
        "expected_delay": pc.add(delay, pc.max_element_wise(pc.min_element_wise(lost_to, 30.0), -25.0)),
        "delay_curve": _squashed(delay, 0.0, DELAY_SCALE),
        "delay_log": pc.log1p(pc.add(pc.max_element_wise(pc.min_element_wise(delay, 180.0), -20.0), 21.0)),
        "delay_edge": _squashed(delay, LATE_AFTER, EDGE_SCALE),
        "lost_from_curve": _squashed(lost_from, 0.0, LOST_SCALE),
        "lost_to_curve": _squashed(lost_to, 0.0, LOST_SCALE),
        "hour": pc.hour(planned),
        "weekday": pc.day_of_week(planned),
        "month": pc.month(planned),
        "planned_minutes": pc.minutes_between(rows["scheduled_departure"], rows["scheduled_arrival"]),
        "plane_age": pc.subtract(pc.year(rows["departed"]), rows["plane_year"]),
        "weather_age": pc.minutes_between(rows["weather_observed"], rows["departed"]),
    }
    arrays = [column.cast(SCHEMA.arrow.field(name).type) for name, column in columns.items()]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA.arrow)


def _squashed(minutes: pa.Array, middle: float, scale: float) -> pa.Array:
    return pa.array(np.tanh((minutes.to_numpy(zero_copy_only=False) - middle) / scale))


def lost(flown: pa.RecordBatch) -> dict[str, float]:
    """Minutes that flights lost between departure and arrival, on average: for an airport in New York those that left
    from there, for any other those that went there."""
    return dict(sorted((_mean_loss(flown, "dest") | _mean_loss(flown, "origin")).items()))


def _mean_loss(flown: pa.RecordBatch, airport: str) -> dict[str, float]:
    lost = pc.subtract(flown["arr_delay"], flown["dep_delay"]).cast(pa.float64()).to_numpy(zero_copy_only=False)
    airports = flown[airport].dictionary_encode()
    known = ~np.isnan(lost) & airports.is_valid().to_numpy(zero_copy_only=False)
    codes = airports.indices.to_numpy(zero_copy_only=False)[known].astype(np.int64)
    names = airports.dictionary.to_pylist()
    counts = np.bincount(codes, minlength=len(names))
    means = np.bincount(codes, lost[known], len(names)) / np.maximum(counts, 1)
    return {name: mean for name, mean, count in zip(names, means.tolist(), counts.tolist(), strict=True) if count}


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
