"""What `headwater streams NAME` and `hub.profile` show of a stream's profile."""

from __future__ import annotations

import html
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import headwater as hw
from headwater.profiles import spread
from operators.profile import ColumnProfile
from tests.headwater.plant import Plant
from tests.headwater.test_cli_terminal import shown

START = datetime(2024, 3, 1, tzinfo=UTC)
SCHEMA = pa.schema(
    [("sensor", pa.string()), ("at", pa.timestamp("us", "UTC")), ("celsius", pa.float64()), ("note", pa.string())]
)


@pytest.fixture(scope="module")
def profiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a workspace in which 3,000 readings of four days were profiled."""
    folder = tmp_path_factory.mktemp("profiled")
    random = np.random.default_rng(1)
    count = 3000
    rows = pa.table(
        [
            pa.array([f"s{number}" for number in random.integers(0, 30, count)]),
            pa.array([START + timedelta(minutes=2 * number) for number in range(count)], SCHEMA.field("at").type),
            pa.array(random.normal(20, 5, count), mask=np.arange(count) % 10 == 0),
            pa.array(np.where(random.random(count) < 0.75, "ok", "<b>cold</b>")),
        ],
        schema=SCHEMA,
    )
    p = hw.Pipeline("plant", partitions=2)
    readings = p.stream("readings", SCHEMA, key="sensor", time="at")
    p.source(readings, rows, chunk=500)
    p.profile(readings)
    with hw.connect(folder / ".headwater") as hub:
        hub.run(p, until="caught-up")
    return folder


def test_the_command_line_shows_it(profiled: Path) -> None:
    out = Plant(profiled)("streams", "plant.readings").out
    lines = out[out.index("# Profile") :].split("\n\n")[0].splitlines()
    assert lines[1] == (
        "3,000 rows from 2024-03-01 00:00Z to 2024-03-06 00:00Z in 5 windows, from plant.readings.profile"
    )
    names, *rows = [line.split("\t") for line in lines[2:]]
    sensor, at, celsius, note = (dict(zip(names, row, strict=True)) for row in rows)
    assert (sensor["column"], sensor["nulls"], sensor["distinct"]) == ("sensor", "0", "30.0")
    assert (at["earliest"], at["latest"]) == ("2024-03-01 00:00:00Z", "2024-03-05 03:58:00Z")
    assert (celsius["type"], celsius["nulls"], celsius["top"]) == ("float64", "300", "")
    assert abs(float(celsius["mean"]) - 20) < 1
    assert note["top"].startswith("ok 22")


def test_a_terminal_shows_a_histogram(profiled: Path) -> None:
    lines = shown(profiled, "streams", "plant.readings")
    at = next(number for number, line in enumerate(lines) if line.startswith("Profile"))
    rows = [line.split() for line in lines[at + 2 : at + 7]]
    assert rows[0] == ["column", "nulls", "distinct", "from", "middle", "to", "values"]
    assert (rows[3][:2], rows[4][:3]) == (["celsius", "10.0%"], ["note", "0", "2"])
    assert "█" in "".join(rows[3])
    assert rows[4][6:8] == ["ok", "74%,"]
    assert max(map(len, lines)) <= 100


def test_json_has_the_figures(profiled: Path) -> None:
    found = Plant(profiled)("streams", "plant.readings", "--json").json["profile"]
    assert (found["stream"], found["windows"], found["rows"]) == ("plant.readings.profile", 5, 3000)
    celsius = next(one for one in found["columns"] if one["column"] == "celsius")
    assert (celsius["rows"], celsius["nulls"]) == (3000, 300)
    assert abs(celsius["p50"] - 20) < 1
    assert "sketch" not in celsius


def test_a_stream_that_nobody_profiles_has_none(plant: Plant) -> None:
    assert plant("streams", "plant.readings", "--json").json["profile"] is None
    assert "# Profile" not in plant("streams", "plant.readings").out


def test_the_newest_windows_can_be_asked_for(profiled: Path) -> None:
    with hw.connect(profiled / ".headwater") as hub:
        found = hub.profile("plant.readings", windows=1)
    assert found is not None
    assert (found.start, found.rows) == (START + timedelta(days=4), 3000 - 4 * 720)


def test_a_notebook_shows_it_with_everything_escaped(profiled: Path) -> None:
    with hw.connect(profiled / ".headwater") as hub:
        found = hub.profile("plant.readings")
    assert found is not None
    shown = found._repr_html_()
    assert "<b>cold</b>" not in shown
    assert html.escape("<b>cold</b>") in shown
    assert found.to_pandas().loc[2, "column"] == "celsius"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], ""),
        ([5.0, 5.0], "█"),
        ([0.0] * 500 + [1.0] * 500, "█              █"),
        ([0.0] * 1000 + [1.0], "█              ▁"),
    ],
)
def test_a_histogram_in_one_line(values: list[float], expected: str) -> None:
    column = pa.array(values, pa.float64())
    profile = ColumnProfile.nothing(column.type).add(column, np.arange(len(values)))
    assert spread(profile) == expected
