"""What goes wrong when an evaluation is declared."""

from __future__ import annotations

from catalog.errors import HeadwaterError


class CannotEvaluate(HeadwaterError):
    """An evaluation was declared that cannot be made."""

    exit_code = 2
