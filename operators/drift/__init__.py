"""Drift: what changed, in which column, how much and since when."""

from __future__ import annotations

from operators.drift.bins import DriftError
from operators.drift.declare import drift

__all__ = ["DriftError", "drift"]
