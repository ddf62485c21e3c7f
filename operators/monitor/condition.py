"""When a metric raises an alarm: `"> 0.2"`, `"< 10 or > 500"`, or a number not to be passed."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from operators.monitor.errors import CannotMonitor

_COMPARED: Final[dict[str, Callable[[float, float], bool]]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
_PART: Final = re.compile(r"(>=|<=|>|<)\s*(\S+)")


@dataclass(frozen=True)
class AlarmCondition:
    """Parts of which any may hold: a comparison and its threshold."""

    text: str
    parts: tuple[tuple[str, float], ...]

    @classmethod
    def of(cls, given: str | float, where: str) -> AlarmCondition:
        """CannotMonitor for what is no condition."""
        if isinstance(given, int | float) and not isinstance(given, bool):
            return cls(f"> {given:g}", ((">", float(given)),))
        text = str(given).strip()
        try:
            return cls(text, tuple(_part(part.strip()) for part in text.split(" or ")))
        except ValueError as error:
            raise CannotMonitor(
                f"{given!r} is no condition for an alarm.",
                where=where,
                fix='Write "> 0.2", ">= 3", "< 10 or > 500", or a number that is not to be passed.',
            ) from error

    def broken(self, value: float | None) -> float | None:
        """The threshold that a value is beyond; None for none, and for no value."""
        if value is None:
            return None
        return next((threshold for sign, threshold in self.parts if _COMPARED[sign](value, threshold)), None)


def _part(text: str) -> tuple[str, float]:
    found = _PART.fullmatch(text)
    if found is None:
        raise ValueError(text)
    return found[1], float(found[2])
