"""`headwater publish` and `tail`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.headwater.plant import Plant

ROOT = Path(__file__).resolve().parents[2]


def test_publish_says_how_many_rows_and_then_nothing_new(started: Plant) -> None:
    started("register", "pipeline.py")
    assert started("publish", "plant.readings", "readings.csv").out == (
        "Published 288 rows of readings.csv to plant.readings.\n"
    )
    called = started("publish", "plant.readings", "readings.csv")
    assert called.out.startswith("Nothing new: the 288 rows of readings.csv were published")
    again = started("publish", "plant.readings", "readings.csv", "--json").json
    assert (again["rows"], again["before"], again["stream"]) == (0, 288, "plant.readings")
    assert started("publish", "plant.readings", "readings.csv", "--again", "--json").json["rows"] == 288


def test_publish_refuses_a_file_that_does_not_fit(plant: Plant) -> None:
    called = plant("publish", "plant.readings", "sites.csv", code=2)
    assert "field 'city'" in called.err
    called = plant("publish", "plant.valid", "readings.csv", code=2)
    assert "written by the operator plant.valid" in called.err


def test_more_rows_flow_through_in_the_next_run(plant: Plant) -> None:
    (plant.folder / "more.jsonl").write_text(
        '{"sensor": "s1", "site": "north", "at": "2024-03-02T00:00:00Z", "celsius": 10}\n'
    )
    plant("publish", "plant.readings", "more.jsonl")
    plant("run", "pipeline.py", "--until", "caught-up")
    (row,) = plant("tail", "plant.fahrenheit", "-n", "1", "--json").json
    assert row["row"]["fahrenheit"] == 50.0
    assert row["row"]["sites_city"] == "Oslo"


def test_tail_shows_the_newest_rows_with_their_addresses(plant: Plant) -> None:
    shown = plant("tail", "plant.placed", "-n", "3").table()
    found = plant("tail", "plant.placed", "-n", "3", "--json").json
    assert [f"plant.placed {row['address']}" for row in shown] == [row["address"] for row in found]
    assert shown[0]["sites_city"] == found[0]["row"]["sites_city"]
    assert {row["at"] for row in shown} == {"2024-03-01 07:50:00Z"}
    assert {row["row"]["at"] for row in found} == {"2024-03-01T07:50:00Z"}


def test_tail_shows_chosen_columns(plant: Plant) -> None:
    (row,) = plant("tail", "plant.readings", "-n", "1", "--columns", "celsius, sensor").table()
    assert list(row) == ["address", "celsius", "sensor"]
    called = plant("tail", "plant.readings", "--columns", "celcius", code=2)
    assert "There is no such field" in called.err


def test_tail_of_an_unknown_stream_names_close_ones(plant: Plant) -> None:
    called = plant("tail", "plant.reading", code=4)
    assert "'plant.readings'" in called.err
    assert called.out == ""


def test_tail_follows_what_comes_in(plant: Plant) -> None:
    command = [sys.executable, "-m", "headwater", "tail", "plant.readings", "-n", "1", "--follow", "--json"]
    following = subprocess.Popen(
        [*command, "--workspace", str(plant.folder / ".headwater")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert following.stdout is not None
        assert json.loads(following.stdout.readline())["row"]["at"] == "2024-03-01T07:50:00Z"
        (plant.folder / "more.csv").write_text("sensor,site,at,celsius\ns9,west,2024-03-02T00:00:00Z,1\n")
        plant("publish", "plant.readings", "more.csv")
        assert json.loads(following.stdout.readline())["row"]["sensor"] == "s9"
    finally:
        following.kill()
        following.wait()


def test_an_address_from_tail_can_be_traced(plant: Plant) -> None:
    (row,) = plant("tail", "plant.fahrenheit", "-n", "1", "--json").json
    assert "plant.readings" in plant("trace", *row["address"].split()).out
