"""Errors of profiles."""

from __future__ import annotations

from catalog.errors import HeadwaterError


class SketchError(HeadwaterError):
    """A sketch that is damaged, or that cannot be merged with another."""


class CannotProfile(HeadwaterError):
    """A profile was declared that cannot be made."""

    exit_code = 2
