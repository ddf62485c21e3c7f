"""Errors of monitors."""

from __future__ import annotations

from catalog.errors import HeadwaterError
from operators.errors import StepFailed


class CannotMonitor(HeadwaterError):
    """A monitor was declared that cannot be made."""

    exit_code = 2


class WindowTooLarge(StepFailed):
    """A window has more rows than a monitor may hold."""
