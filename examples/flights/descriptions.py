"""What each stream of the flights job and each of its fields means, in words for the catalog."""

from __future__ import annotations

from typing import Final

DESCRIPTIONS: Final[dict[str, str]] = {
    "schedule": "Flights as planned, published twelve hours before their scheduled departure. Cancelled ones too.",
    "departures": "Flights that left New York, at the instant of departure, with their departure delay.",
    "arrivals": "The outcome of a flight, at the instant of arrival. Cancelled and diverted flights never get one.",
    "weather": "Hourly weather at the three New York airports, as known when the hour is over.",
    "planes": "Aircraft by tail number, from the civil aviation register. Some tail numbers were reused.",
    "airports": "Airports by FAA code, with place and time zone. Puerto Rico and the Virgin Islands are missing.",
    "airlines": "Airlines by carrier code.",
}

_FLIGHT: Final = "The flight: local date of scheduled departure, carrier and number, origin."
_CARRIER: Final = "Two-letter code of the airline that operates the flight."
_TAILNUM: Final = "Tail number of the aircraft that flew."
_ORIGIN: Final = "FAA code of the airport of departure: EWR, JFK or LGA."
_DEST: Final = "FAA code of the airport of destination."

#: Fields by stream, in the order of the columns.
FIELDS: Final[dict[str, dict[str, str]]] = {
    "schedule": {
        "flight_id": _FLIGHT,
        "published": "When the plan was published: the scheduled departure less twelve hours.",
        "carrier": _CARRIER,
        "flight": "Flight number.",
        "origin": _ORIGIN,
        "dest": _DEST,
        "distance": "Distance between the two airports, in miles.",
        "scheduled_departure": "Planned instant of departure.",
        "scheduled_arrival": "Planned instant of arrival.",
    },
    "departures": {
        "flight_id": _FLIGHT,
        "departed": "When the aircraft left the gate.",
        "carrier": _CARRIER,
        "tailnum": _TAILNUM,
        "origin": _ORIGIN,
        "dest": _DEST,
        "dep_delay": "Minutes behind the planned departure; negative if early.",
    },
    "arrivals": {
        "flight_id": _FLIGHT,
        "arrived": "When the aircraft reached the gate.",
        "carrier": _CARRIER,
        "tailnum": _TAILNUM,
        "origin": _ORIGIN,
        "dest": _DEST,
        "arr_delay": "Minutes behind the planned arrival; negative if early.",
        "air_time": "Minutes in the air.",
    },
    "weather": {
        "origin": "FAA code of the airport: EWR, JFK or LGA.",
        "observed": "When the row was known: the end of its hour.",
        "hour_start": "Start of the hour that the readings are from.",
        "temp": "Temperature in degrees Fahrenheit.",
        "dewp": "Dew point in degrees Fahrenheit.",
        "humid": "Relative humidity in percent.",
        "wind_dir": "Direction that the wind comes from, in degrees; 0 if calm, null if variable or unknown.",
        "wind_speed": "Wind speed in miles per hour.",
        "wind_gust": "Speed of gusts in miles per hour; null if there were none.",
        "precip": "Precipitation of the hour in inches.",
        "pressure": "Pressure at sea level in millibars.",
        "visib": "Visibility in miles; 10 stands for 10 and more.",
    },
    "planes": {
        "tailnum": "Tail number of the aircraft.",
        "year": "Year of manufacture.",
        "type": "Kind of aircraft.",
        "manufacturer": "Who made it.",
        "model": "Model.",
        "engines": "Number of engines.",
        "seats": "Number of seats.",
        "speed": "Cruising speed in miles per hour; mostly unknown.",
        "engine": "Kind of engine.",
    },
    "airports": {
        "faa": "FAA code of the airport.",
        "name": "Name of the airport.",
        "lat": "Latitude in degrees.",
        "lon": "Longitude in degrees.",
        "alt": "Altitude in feet.",
        "tz": "Hours from UTC in winter.",
        "dst": "Rule for daylight saving time: A (as in the United States), N (none), U (unknown).",
        "tzone": "Time zone by its IANA name.",
    },
    "airlines": {
        "carrier": "Two-letter code of the airline.",
        "name": "Name of the airline.",
    },
}
