"""Weak labels: functions that vote on whole columns, and a model of what their votes are worth."""

from __future__ import annotations

from operators.label.declare import label

__all__ = ["label"]
