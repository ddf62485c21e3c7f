"""`headwater run`, `status` and `replay`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.headwater.plant import Plant

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_run_tells_what_each_operator_did(started: Plant, workers: str) -> None:
    started("register", "pipeline.py")
    started("publish", "plant.readings", "readings.csv")
    called = started("run", "pipeline.py", "--until", "caught-up", "--workers", workers)
    rows = {row["operator"]: row for row in called.table()}
    assert rows["plant.valid"] == {
        "operator": "plant.valid", "rows in": "288", "rows out": "285", "quarantined": "3", "late": "0", "lag": "0",
    }  # fmt: skip
    assert rows["plant.fahrenheit"]["rows out"] == "285"
    assert list(rows) == ["plant.sites.source", "plant.valid", "plant.placed", "plant.fahrenheit"]


def test_a_second_run_finds_nothing_to_do(plant: Plant) -> None:
    called = plant("run", "pipeline.py", "--until", "caught-up")
    assert {row["rows in"] for row in called.table()} == {"0"}


def test_run_as_json_has_the_report_and_how_things_stand(plant: Plant) -> None:
    found = plant("run", "pipeline.py", "--until", "caught-up", "--json").json
    assert found["stopped"] is False
    assert found["failed"] == {}
    assert {one["operator"]: one["rows_out"] for one in found["operators"]}["plant.valid"] == 285


def test_a_step_that_raises_ends_the_run_with_its_place(started: Plant) -> None:
    started.change(
        "    return pa.record_batch", "    assert batch.num_rows == 0, 'too hot'\n    return pa.record_batch"
    )
    started("register", "pipeline.py")
    started("publish", "plant.readings", "readings.csv")
    called = started("run", "pipeline.py", "--until", "caught-up", code=8)
    what, cause, where, fix = called.err.splitlines()
    assert what == "error: 3 of 13 tasks stopped:"
    assert cause.strip().startswith("plant.fahrenheit/0, plant.fahrenheit/1, plant.fahrenheit/3: ")
    assert "AssertionError: too hot" in cause
    assert "plant.placed 0:0" in cause
    assert where == "where: plant"
    assert fix.startswith("fix:   ")
    started.change("    assert batch.num_rows == 0, 'too hot'\n", "")
    rows = {row["operator"]: row for row in started("run", "pipeline.py", "--until", "caught-up").table()}
    assert rows["plant.fahrenheit"]["rows out"] == "285"


@pytest.mark.parametrize(("number", "code", "workers"), [(signal.SIGINT, 130, "1"), (signal.SIGTERM, 143, "2")])
def test_a_run_for_ever_stops_cleanly(plant: Plant, number: signal.Signals, code: int, workers: str) -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "headwater", "run", "pipeline.py", "--workers", workers, "--json"],
        cwd=plant.folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        (plant.folder / "more.csv").write_text("sensor,site,at,celsius\ns9,west,2024-03-02T00:00:00Z,1\n")
        plant("publish", "plant.readings", "more.csv")
        until = time.monotonic() + 60
        while not any(task["owner"] for one in status(plant) for task in one["tasks"]):
            assert time.monotonic() < until
            assert running.poll() is None, running.stderr.read() if running.stderr else ""
        running.send_signal(number)
        out, err = running.communicate(timeout=60)
    finally:
        running.kill()
        running.wait()
    assert (running.returncode, err) == (code, "")
    assert json.loads(out)["stopped"] is True
    assert not any(task["owner"] for one in status(plant) for task in one["tasks"])


def status(plant: Plant) -> list[dict[str, list[dict[str, str]]]]:
    found: list[dict[str, list[dict[str, str]]]] = plant("status", "--json").json["operators"]
    return found


def test_status_tells_the_same_to_people_and_programs(plant: Plant) -> None:
    out = plant("status").out
    parts = [part.splitlines() for part in out.split("\n\n")]
    assert parts[0][0] == "workspace\t.headwater" or parts[0][0].endswith("/.headwater")
    names, *lines = parts[1][1:]
    shown = [dict(zip(names.split("\t"), line.split("\t"), strict=True)) for line in lines]
    found = plant("status", "--json").json
    by_name = {one["operator"]: one for one in found["operators"]}
    for row in shown:
        one = by_name[row["operator"]]
        assert (int(row["in"]), int(row["out"]), int(row["quar."]), int(row["late"])) == (
            one["rows_in"], one["rows_out"], one["quarantined"], one["late"],
        )  # fmt: skip
        assert row["tasks"] == f"0/{len(one['tasks'])}"
    assert by_name["plant.valid"]["watermark"] == "2024-03-01T07:50:00Z"
    assert by_name["plant.sites.source"]["ended"] is True
    assert {one["stream"]: one["rows"] for one in found["streams"]}["plant.valid.quarantine"] == 3


def test_status_of_some_operators_and_their_tasks(plant: Plant) -> None:
    found = plant("status", "plant.valid", "--json").json
    assert [one["operator"] for one in found["operators"]] == ["plant.valid"]
    assert "plant.valid/3" in plant("status", "plant.valid", "--tasks").out
    plant("status", "plant.vald", code=4)


def test_status_watched_prints_again(plant: Plant) -> None:
    watching = subprocess.Popen(
        [sys.executable, "-m", "headwater", "status", "--watch", "--every", "0.1", "--json"],
        cwd=plant.folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert watching.stdout is not None
    looks = [json.loads(watching.stdout.readline()) for _ in range(2)]
    watching.send_signal(signal.SIGINT)
    _, err = watching.communicate(timeout=60)
    assert (watching.returncode, err) == (130, "Stopped.\n")
    assert looks[0]["operators"] == looks[1]["operators"]


def test_replay_of_the_same_operator_is_equal(plant: Plant) -> None:
    for operator in ("plant.valid", "plant.placed", "plant.fahrenheit"):
        found = plant("replay", operator, "--json").json
        assert found["equal"] is True
        assert found["rows"] in (285, 288)
    assert "288 rows of 3 transactions came out equal." in plant("replay", "plant.valid").out


def test_replay_finds_a_changed_operator_with_its_first_differing_row(plant: Plant) -> None:
    plant.change("32.0)", "33.0)")
    called = plant("replay", "plant.fahrenheit", "--json", code=10)
    different = called.json["comparisons"][0]
    assert different["equal"] is False
    then, now = different["difference"]["then"], different["difference"]["now"]
    assert now["fahrenheit"] == pytest.approx(then["fahrenheit"] + 1)
    out = plant("replay", "plant.fahrenheit", code=10).out
    assert "First difference in plant.fahrenheit 0: row 0" in out
    assert "fahrenheit\t15.98\t16.98" in out


def test_replay_of_a_function_that_raises_now_names_the_place(plant: Plant) -> None:
    plant.change("    return pa.record_batch", "    assert batch.num_rows == 0, 'too hot'\n    return pa.record_batch")
    called = plant("replay", "plant.fahrenheit", code=8)
    assert "AssertionError: too hot" in called.err
    assert "where: plant.placed " in called.err
    assert "where it did not then" in called.err


def test_replay_of_a_range_of_time(plant: Plant) -> None:
    assert plant("replay", "plant.valid", "--from", "1d", "--json").json["transactions"] == 3
    called = plant("replay", "plant.valid", "--to", "2001-01-01", code=9)
    assert "no transaction to replay" in called.err
    called = plant("replay", "plant.valid", "--from", "yesterday", code=2)
    assert "not a time" in called.err


def test_replay_names_the_operators_that_there_are(plant: Plant) -> None:
    called = plant("replay", "plant.nothing", code=9)
    assert "plant.placed" in called.err
    called = plant("replay", "plant.valid", "--pipeline", "other.py", code=2)
    assert "where: other.py" in called.err
