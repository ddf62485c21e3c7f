"""Lengths of time as people write them ("15m", "1h30m", "1d") and as microseconds, which is what we compute with."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final, TypeAlias

from catalog.errors import HeadwaterError

#: Text such as "1h30m", a timedelta, or microseconds.
Duration: TypeAlias = str | timedelta | int

MICROSECONDS: Final = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
_PART: Final = re.compile(r"(\d+)(us|ms|s|m|h|d|w)")


class DurationError(HeadwaterError):
    """A length of time that cannot be understood, or is negative."""

    exit_code = 2


def parse_duration(length: Duration) -> int:
    """Microseconds, from text ("15m", "1h30m"; units us, ms, s, m, h, d, w), a timedelta, or microseconds.

    DurationError if it is none of these or negative.
    """
    if isinstance(length, timedelta):
        found = length // timedelta(microseconds=1)
    elif isinstance(length, int) and not isinstance(length, bool):
        found = length
    elif isinstance(length, str):
        found = _from_text(length)
    else:
        raise _refused(length)
    if found < 0:
        raise _refused(length)
    return found


def duration_text(microseconds: int) -> str:
    """The shortest text that `parse_duration` reads back: 5_400_000_000 is "1h30m"."""
    parts = []
    left = microseconds
    for unit in ("d", "h", "m", "s", "ms", "us"):
        count, left = divmod(left, MICROSECONDS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def _from_text(text: str) -> int:
    compact = text.replace(" ", "")
    parts = _PART.findall(compact)
    if not parts or "".join(count + unit for count, unit in parts) != compact:
        raise _refused(text)
    return sum(int(count) * MICROSECONDS[unit] for count, unit in parts)


def _refused(length: object) -> DurationError:
    return DurationError(
        f"{length!r} is not a length of time",
        fix='Write "15m", "1h30m" or "1d" (units us, ms, s, m, h, d, w), a timedelta, or microseconds from 0 up.',
    )
