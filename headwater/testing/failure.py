"""What a check raises: that rows differ, or that it could not be made as asked."""

from __future__ import annotations

from typing import Final

from catalog.errors import HeadwaterError

WRONG_ROWS: Final = "One of the two is wrong:"


class CheckFailed(HeadwaterError, AssertionError):
    """What `check` found: an assertion error for test runners, with rows that show it."""

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None, rows: str = "") -> None:
        super().__init__(what, where=where, fix=f"{fix or ''}\n{rows}" if rows else fix)


class CannotCheck(HeadwaterError):
    """A check that makes no sense as it was asked for."""

    exit_code = 2
