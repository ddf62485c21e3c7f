"""Errors of steps: an operator or a user's function that failed on what it was given."""

from __future__ import annotations

from catalog.errors import HeadwaterError


class StepFailed(HeadwaterError):
    """An operator's step, or a user's function in it, raised. The task has stopped; its input stays where it was."""

    exit_code = 8


class WrongOutput(StepFailed):
    """A step gave back rows that do not fit the stream they are for."""


class TaskFailed(HeadwaterError):
    """A task met an error that nobody foresaw, outside of its step. It has stopped; its input stays where it was."""

    exit_code = 8
