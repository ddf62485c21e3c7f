"""Clean: normalise, judge against the contract, impute; what fails goes to quarantine and can come back."""

from __future__ import annotations

from operators.clean.normalise import CleanError
from operators.clean.operator import Clean, clean

__all__ = ["Clean", "CleanError", "clean"]
