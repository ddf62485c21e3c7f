"""Lengths of time as people write them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from operators.duration import WrongDuration, microseconds


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("1h", 3_600_000_000),
        ("1h30m", 5_400_000_000),
        ("2 d", 172_800_000_000),
        ("5ms", 5_000),
        (timedelta(seconds=2), 2_000_000),
        (7, 7),
    ],
)
def test_lengths_are_read(given: Any, expected: int) -> None:
    assert microseconds(given) == expected


@pytest.mark.parametrize("given", ["", "1", "h", "1 hour", "-1h", -1, timedelta(seconds=-1)])
def test_other_texts_are_refused(given: Any) -> None:
    with pytest.raises(WrongDuration):
        microseconds(given)
