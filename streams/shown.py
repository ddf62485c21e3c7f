"""Values as JSON and moments as text: how rows are shown outside of Arrow."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from streams.message import BEGINNING, END

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(microseconds: int | None) -> str | None:
    """A time in microseconds since 1970 as ISO 8601; the beginning and the end of time have no date."""
    if microseconds is None or microseconds in (BEGINNING, END):
        return None
    try:
        return (_EPOCH + timedelta(microseconds=microseconds)).isoformat()
    except OverflowError:
        return f"{microseconds} us"


def json_value(value: Any) -> Any:
    """A value of a row as a JSON value: times as ISO 8601, bytes in base 64, numbers that JSON lacks as text."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return {str(name): json_value(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(one) for one in value]
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return str(value)
