"""The display of a run: what it counts, and what it shows on a terminal and where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import headwater as hw
from headwater.display import Display
from streams.message import END


@dataclass
class Reading:
    sensor: str
    at: datetime
    celsius: float


def readings() -> list[dict[str, object]]:
    start = datetime(2024, 3, 1, tzinfo=UTC)
    return [
        {"sensor": f"s{n % 3}", "at": start + timedelta(hours=n), "celsius": 999.0 if n % 50 == 7 else n / 10}
        for n in range(200)
    ]


def pipeline() -> hw.Pipeline:
    p = hw.Pipeline("plant", partitions=2)
    found = p.stream("readings", Reading, key="sensor", time="at", expect=[hw.between("celsius", -80, 150)])
    p.source(found, readings, chunk=20)
    p.clean(found, to="valid")
    return p


class Clock:
    """Goes on by a second each time that it is asked."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[hw.Hub]:
    with hw.connect(tmp_path / "workspace") as found:
        yield found


def display_of(hub: hw.Hub, p: hw.Pipeline, shown: Console, **options: Any) -> Display:
    hub.register(p)
    return Display(hub.plan(p), hub.log, shown, **options)


def console(*, terminal: bool, height: int = 40) -> Console:
    return Console(file=StringIO(), force_terminal=terminal, width=100, height=height, color_system=None)


def printed(shown: Console) -> str:
    assert isinstance(shown.file, StringIO)
    return shown.file.getvalue()


def test_it_counts_what_was_taken_made_and_quarantined(hub: hw.Hub) -> None:
    p = pipeline()
    with display_of(hub, p, console(terminal=False)) as display:
        hub.run(p, until="caught-up", watch=display)
    source, clean = display.counts["plant.readings.source"], display.counts["plant.valid"]
    assert (source.rows_in, source.rows_out, source.quarantined) == (0, 200, 0)
    assert (clean.rows_in, clean.rows_out, clean.quarantined) == (200, 196, 4)
    assert display.rows == 400
    assert source.watermark == clean.watermark == END


def test_a_second_run_counts_from_nought_and_knows_how_far_the_first_came(hub: hw.Hub) -> None:
    p = pipeline()
    hub.run(p, until="caught-up")
    with display_of(hub, p, console(terminal=False)) as display:
        hub.run(p, until="caught-up", watch=display)
    assert display.rows == 0
    assert display.counts["plant.valid"].watermark == END


def test_without_a_terminal_there_are_a_few_plain_lines(hub: hw.Hub) -> None:
    p, shown = pipeline(), console(terminal=False)
    with display_of(hub, p, shown, clock=Clock()) as display:
        hub.run(p, until="caught-up", workers=2, watch=display)
    *before, last = printed(shown).splitlines()
    assert last.startswith("400 rows in ")
    assert last.endswith(" rows/s, 4 in quarantine")
    assert "\x1b" not in printed(shown)
    # A look takes two of the clock's seconds at least, and there is a line every five.
    assert len(before) <= 1 + (display._clock.now - 100) / 5  # type: ignore[attr-defined]


def test_on_a_terminal_there_is_a_line_for_each_operator(hub: hw.Hub) -> None:
    p, shown = pipeline(), console(terminal=True)
    with display_of(hub, p, shown, clock=Clock()) as display:
        hub.run(p, until="caught-up", watch=display)
    table = printed(shown)[printed(shown).rindex("operator") :]
    lines = {line.split()[0]: line.split() for line in table.splitlines() if line.strip()}
    assert lines["readings.source"][1] == "200"
    assert lines["valid"][1:3] == ["200", "196"]
    assert lines["valid"][-2:] == ["end", "4"]


def test_a_small_terminal_leaves_out_what_has_ended(hub: hw.Hub) -> None:
    p, shown = pipeline(), console(terminal=True, height=8)
    for number in range(6):
        p.filter(p.streams["plant.valid"], lambda rows: rows["celsius"].is_valid(), reads=["celsius"], to=f"f{number}")
    with display_of(hub, p, shown) as display:
        hub.run(p, until="caught-up", watch=display)
    table = printed(shown)[printed(shown).rindex("operator") :]
    assert "that have ended" in table
    assert len([line for line in table.splitlines() if line.strip()]) <= 8


def test_the_hub_shows_a_run_when_asked(hub: hw.Hub) -> None:
    shown = console(terminal=False)
    hub.run(pipeline(), until="caught-up", console=shown)
    assert "400 rows in" in printed(shown)


def test_an_error_is_not_hidden_by_the_display(hub: hw.Hub) -> None:
    p = pipeline()
    p.map(p.streams["plant.valid"], refuse, reads=["celsius"], schema=hw.Schema.of(Reading).select(["celsius"]), to="x")
    with (
        pytest.raises(hw.RunFailed),
        display_of(hub, p, console(terminal=True)) as display,
    ):
        hub.run(p, until="caught-up", watch=display)


def refuse(rows: object) -> object:
    raise ValueError("not today")
