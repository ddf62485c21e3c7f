"""The flights job: what the services of an airport publish becomes a training set with honest outcomes.

`build` declares it; `python -m examples.flights` or `headwater run examples/flights/pipeline.py` runs it.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

import headwater as hw
from examples.flights import data, features, learning

CONTRACTS: Final = Path(__file__).parent / "contracts"

#: Rows in one batch of a source, about four days.
FLIGHTS_AT_ONCE: Final = 4_000
#: Four days of weather at three airports.
HOURS_AT_ONCE: Final = 288


def build(rows: int | None = None) -> hw.Pipeline:
    """The job over all flights of 2013, or over the first `rows` of them by scheduled departure."""
    p = hw.Pipeline(
        "flights",
        owner="flight-data",
        description="Every flight that left New York in 2013, from its schedule to its outcome.",
    )
    _describe_entities(p)

    def contract(name: str) -> Path:
        return CONTRACTS / f"{name}.odcs.yaml"

    # What other teams publish, each stream under its own contract.
    airlines = p.table("airlines", contract=contract("airlines"))
    airports = p.table("airports", contract=contract("airports"))
    planes = p.table("planes", contract=contract("planes"))
    schedule = p.stream("schedule", contract=contract("schedule"))
    departures = p.stream("departures", contract=contract("departures"))
    arrivals = p.stream("arrivals", contract=contract("arrivals"))
    weather = p.stream("weather", contract=contract("weather"))

    p.source(airlines, data.airlines)
    p.source(airports, data.airports)
    p.source(planes, data.planes)
    p.source(schedule, partial(data.schedule, rows), chunk=FLIGHTS_AT_ONCE)
    p.source(departures, partial(data.departures, rows), chunk=FLIGHTS_AT_ONCE)
    p.source(arrivals, partial(data.arrivals, rows), chunk=FLIGHTS_AT_ONCE)
    p.source(weather, partial(data.weather, rows), chunk=HOURS_AT_ONCE)

    # What breaks a contract goes to <name>.clean.quarantine, with the rule and the value.
    known_planes = p.clean(planes, to="planes.clean")
    known_airports = p.clean(airports, to="airports.clean")
    planned = p.clean(schedule, to="schedule.clean", tables=[airlines])
    departed = p.clean(departures, to="departures.clean")
    arrived = p.clean(arrivals, to="arrivals.clean")
    observed = p.clean(weather, to="weather.clean", impute={"pressure": hw.impute.last_value(by="origin")})

    # What was known of a flight when it left the gate, and nothing that was learnt later.
    scheduled = p.join(
        departed,
        planned,
        how="asof",
        on="flight_id",
        fields={name: name for name in ("published", "distance", "scheduled_departure", "scheduled_arrival")},
        tolerance="2d",
        to="scheduled",
        description="Departures with the plan of their flight.",
        tags=["flights"],
    )
    in_weather = p.join(
        scheduled,
        observed,
        how="asof",
        on="origin",
        broadcast=True,
        fields=features.WEATHER,
        tolerance="3h",
        to="in_weather",
        description="Departures with the newest weather at their airport that was known when they left.",
        tags=["flights", "weather"],
    )
    # What flights that have just arrived have lost on their way, by where they came from and where they went.
    flown = p.join(
        arrived,
        departed,
        how="asof",
        on="flight_id",
        left_fields=["origin", "dest", "arr_delay"],
        fields={"dep_delay": "dep_delay"},
        tolerance="2d",
        to="flown",
        description="Arrivals with their delay at departure.",
        tags=["flights"],
    )
    lost = p.monitor(flown, features.lost, window="3h", reads=["arr_delay", "dep_delay", "origin", "dest"], to="lost")
    leaving = p.join(
        in_weather,
        lost,
        how="asof",
        on=("origin", "metric"),
        broadcast=True,
        fields={"value": "lost_from", "window_end": "lost_from_until"},
        tolerance="6h",
        to="leaving",
        description="Departures with what others from there have just lost.",
        tags=["flights"],
    )
    going = p.join(
        leaving,
        lost,
        how="asof",
        on=("dest", "metric"),
        broadcast=True,
        fields={"value": "lost_to", "window_end": "lost_to_until"},
        tolerance="6h",
        to="going",
        description="Departures with what others to their destination have just lost.",
        tags=["flights"],
    )
    described = p.join(
        going,
        {"plane": known_planes, "airline": airlines, "destination": known_airports},
        on={"plane": "tailnum", "airline": "carrier", "destination": ("dest", "faa")},
        fields={
            "plane": {"year": "plane_year", "seats": "plane_seats"},
            "airline": {"name": "airline"},
            "destination": {"lat": "dest_lat", "lon": "dest_lon", "alt": "dest_alt"},
        },
        to="described",
        description="Departures with their plan, weather, aircraft, airline and destination.",
        tags=["flights"],
    )
    at_departure = p.map(
        described,
        features.at_departure,
        reads=features.READS,
        schema=features.SCHEMA,
        derives=features.DERIVES,
        add=True,
        row_wise=True,
        to="features",
        description="What a model may know of a flight at the moment of its departure.",
        owner="delay-prediction",
        tags=["flights", "features"],
    )

    # Only later, when a flight has arrived or a day has passed, is its outcome known.
    outcomes = p.join(
        at_departure,
        arrived,
        how="window",
        on="flight_id",
        after="1d",
        many="one",
        left_fields=features.KEPT,
        fields={name: name for name in ("arrived", "arr_delay", "air_time")},
        time_name="known_at",
        to="outcomes",
        description="Departures with their arrival; without one if none came within a day.",
        tags=["flights", "outcome"],
    )
    plausible = p.clean(outcomes, expect=features.PLAUSIBLE, to="outcomes.clean")
    training = p.map(
        plausible,
        features.outcome,
        reads=["arrived", "arr_delay"],
        schema=features.OUTCOME_SCHEMA,
        derives={"censored": ["arrived"], "late": ["arr_delay"]},
        add=True,
        row_wise=True,
        to="training",
        description="The training set: features as of departure, and whether the flight came over 15 minutes late.",
        owner="delay-prediction",
        tags=["flights", "training"],
    )
    learning.learn(p, at_departure, training)
    return p


def _describe_entities(p: hw.Pipeline) -> None:
    p.entity("flight", synonyms=["connection", "service"], description="One departure of one airline on one day.")
    p.entity(
        "aircraft",
        synonyms=["plane", "airplane", "aeroplane", "tail number", "tail", "airframe"],
        description="One airframe, known by its tail number.",
    )
    p.entity(
        "airport", synonyms=["field", "destination", "origin"], description="A place with an FAA code of three letters."
    )
    p.entity("airline", synonyms=["carrier", "operator"], description="A company with a code of two letters.")


pipeline: Final = build()
