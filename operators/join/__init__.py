"""Joins: rows of two or more streams brought together, by key and event time."""

from operators.join.columns import CannotJoin, NotCoPartitioned
from operators.join.declare import join

__all__ = ["CannotJoin", "NotCoPartitioned", "join"]
