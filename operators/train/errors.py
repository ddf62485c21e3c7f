"""What goes wrong when a trainer is declared."""

from __future__ import annotations

from catalog.errors import HeadwaterError


class CannotTrain(HeadwaterError):
    """A trainer was declared that cannot be made."""

    exit_code = 2
