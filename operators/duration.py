"""Lengths of event time as people write them: "90s", "1h30m", "2d"."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TypeAlias

from catalog.errors import HeadwaterError

#: Text such as "1h30m", a timedelta, or microseconds.
Duration: TypeAlias = "str | timedelta | int"

_UNITS = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
_TEXT = re.compile(r"(?:\d+(?:us|ms|s|m|h|d|w))+")
_PART = re.compile(r"(\d+)(us|ms|s|m|h|d|w)")


class WrongDuration(HeadwaterError):
    """A length of time that cannot be read."""


def microseconds(duration: Duration) -> int:
    """The length in microseconds, never negative. WrongDuration if it cannot be read."""
    if isinstance(duration, timedelta):
        length = duration // timedelta(microseconds=1)
    elif isinstance(duration, str):
        text = duration.replace(" ", "")
        if not _TEXT.fullmatch(text):
            raise WrongDuration(
                f"{duration!r} is not a length of time.", fix='Write, for example, "30s", "1h30m" or "2d".'
            )
        length = sum(int(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    else:
        length = duration
    if length < 0:
        raise WrongDuration(f"{duration!r} is negative.", fix="Lengths of time count from zero up.")
    return length
