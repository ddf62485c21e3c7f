from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.duration import DurationError, duration_text, parse_duration


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [("15m", 900_000_000), ("1h30m", 5_400_000_000), ("1d", 86_400_000_000), ("250 ms", 250_000), ("0s", 0)],
)
def test_text_is_read_as_microseconds(text: str, microseconds: int) -> None:
    assert parse_duration(text) == microseconds


def test_a_timedelta_and_microseconds_are_taken_as_they_are() -> None:
    assert parse_duration(timedelta(hours=2)) == 7_200_000_000
    assert parse_duration(42) == 42


@pytest.mark.parametrize("nonsense", ["", "5", "1 hour", "m5", "-1h", -1, True, 1.5, None, timedelta(seconds=-1)])
def test_nonsense_is_refused_with_what_to_write(nonsense: object) -> None:
    with pytest.raises(DurationError, match="not a length of time"):
        parse_duration(nonsense)  # type: ignore[arg-type]


@given(st.integers(0, 2**60))
def test_text_of_a_duration_reads_back(microseconds: int) -> None:
    assert parse_duration(duration_text(microseconds)) == microseconds
