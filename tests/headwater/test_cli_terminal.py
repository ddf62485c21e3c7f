"""What commands show on a terminal of 100 columns: aligned, nothing folded, the same facts as in a pipe."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.headwater.plant import Plant

ROOT = Path(__file__).resolve().parents[2]
STYLED = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def shown(folder: Path, *arguments: str) -> list[str]:
    """The lines that a command draws on a terminal, without colours."""
    ours, theirs = pty.openpty()
    running = subprocess.Popen(
        [sys.executable, "-m", "headwater", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "100", "LINES": "50", "TERM": "xterm-256color"},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    drawn = b""
    try:
        while piece := os.read(ours, 65_536):
            drawn += piece
    except OSError:
        pass  # how a terminal says that the other side has gone
    finally:
        os.close(ours)
    assert running.wait(timeout=60) == 0, drawn.decode()
    return [STYLED.sub("", line).rstrip() for line in drawn.decode().splitlines()]


@pytest.fixture
def drawn(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """The same without a terminal and a process of its own."""
    monkeypatch.setenv("FORCE_COLOR", "1")

    def call(*arguments: str, code: int = 0) -> list[str]:
        return [STYLED.sub("", line).rstrip() for line in plant(*arguments, code=code).out.splitlines()]

    return call


@pytest.mark.parametrize(
    "arguments",
    [
        "streams",
        "streams plant.valid.quarantine",
        "tail plant.placed",
        "search sensor",
        "status --tasks",
        "lineage plant.fahrenheit",
        "trace plant.fahrenheit 0:0:3",
        "impact plant.readings 0:5-7",
        "quarantine list",
        "run pipeline.py --until caught-up",
        "replay plant.placed",
        "dataset freeze all plant.placed plant.readings",
        "--help",
        "dataset freeze --help",
    ],
)
def test_lines_fit_the_terminal(drawn: Callable[..., list[str]], arguments: str) -> None:
    lines = drawn(*arguments.split())
    assert lines
    assert [line for line in lines if len(line) > 100] == []


def test_a_terminal_is_recognised(plant: Plant, drawn: Callable[..., list[str]]) -> None:
    arguments = ("dataset", "freeze", "all", "plant.placed")
    assert shown(plant.folder, *arguments) == drawn(*arguments)


def test_columns_are_aligned_and_numbers_have_separators(plant: Plant, drawn: Callable[..., list[str]]) -> None:
    rows = "".join(f"s1,north,2024-03-{day:02}T{n // 60:02}:{n % 60:02}:00Z,1\n" for day in (3, 4) for n in range(1000))
    (plant.folder / "more.csv").write_text("sensor,site,at,celsius\n" + rows)
    plant("publish", "plant.readings", "more.csv")
    names, *lines = drawn("streams")
    readings = next(line for line in lines if line.startswith("plant.readings"))
    valid = next(line for line in lines if line.startswith("plant.valid "))
    assert (
        readings.index("2,288") + len("2,288") == valid.index("285") + len("285") == names.index("rows") + len("rows")
    )
    assert readings.index("sensor") == valid.index("sensor") == names.index("key")
    assert plant("streams", "--json").json[2]["rows"] == 2288


def test_an_error_on_a_terminal_is_three_lines_too(plant: Plant) -> None:
    with pytest.raises(AssertionError, match="error: ") as caught:
        shown(plant.folder, "tail", "plant.reading")
    assert "where: plant.reading" in STYLED.sub("", str(caught.value))
