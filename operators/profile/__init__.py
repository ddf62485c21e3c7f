"""Profiles of streams: what each column holds, window by window, in a form that can be merged."""

from __future__ import annotations

from operators.profile.column import ColumnProfile
from operators.profile.errors import CannotProfile, SketchError
from operators.profile.operator import ProfileOperator, profile
from operators.profile.sketch import decode as read_sketch

__all__ = ["CannotProfile", "ColumnProfile", "ProfileOperator", "SketchError", "profile", "read_sketch"]
