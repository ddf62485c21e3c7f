"""Times as they are given on the command line."""

from __future__ import annotations

from datetime import UTC, datetime

from catalog.errors import HeadwaterError
from streams.duration import DurationError, parse_duration

TIME_HELP = "ISO 8601, in UTC unless it says otherwise (2024-03-01T09:30), or so long ago (2h)."


class TimeError(HeadwaterError):
    """A time that cannot be understood."""

    exit_code = 2


def parse_time(text: str | None, now: int) -> int | None:
    """Microseconds since 1970, from ISO 8601 text or a length of time before `now`; None for None."""
    if text is None:
        return None
    try:
        return now - parse_duration(text)
    except DurationError:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise TimeError("This is not a time", where=text, fix=f"Write {TIME_HELP}") from error
    known = found if found.tzinfo else found.replace(tzinfo=UTC)
    return round(known.timestamp() * 1_000_000)
