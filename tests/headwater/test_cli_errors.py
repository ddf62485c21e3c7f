"""Errors of commands: three lines on standard error, an exit code for each kind, and no traceback unless asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from catalog.errors import HeadwaterError
from headwater.cli.session import reporting
from tests.headwater.plant import Plant

ROOT = Path(__file__).resolve().parents[2]


def called(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    """A command line in a real shell, as a user gives it."""
    return subprocess.run(
        ["bash", "-c", command.replace("headwater", f"{sys.executable} -m headwater")],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_error_is_three_lines(plant: Plant) -> None:
    ran = called(plant.folder, "headwater tail plant.reading")
    assert ran.returncode == 4
    assert ran.stdout == ""
    what, where, fix = ran.stderr.splitlines()
    assert what == "error: No stream is registered under this name"
    assert where == "where: plant.reading"
    assert fix.startswith("fix:   Did you mean 'plant.readings'")


def test_debug_shows_the_traceback(plant: Plant) -> None:
    err = plant("tail", "plant.reading", "--debug", code=4).err
    assert "Traceback" in err
    assert "error: No stream is registered" in err


def test_with_json_an_error_leaves_standard_output_empty(plant: Plant) -> None:
    assert plant("streams", "plant.reading", "--json", code=4).out == ""


@pytest.mark.parametrize(
    "arguments", [["nothing"], ["streams", "--nothing"], ["publish", "plant.readings"], ["tail", "x", "-n", "-1"]]
)
def test_wrong_usage_ends_with_2(plant: Plant, arguments: list[str]) -> None:
    assert plant(*arguments, code=2).out == ""


def test_without_a_workspace_it_says_how_to_begin(empty: Plant) -> None:
    err = empty("streams", code=2).err
    assert "headwater init" in err
    assert not (empty.folder / ".headwater").exists()


def test_a_damaged_headwater_toml_is_named(plant: Plant) -> None:
    (plant.folder / "headwater.toml").write_text("worksapce = 'x'\n")
    err = plant("streams", code=2).err
    assert "worksapce" in err
    assert "headwater.toml" in err


def test_the_environment_names_the_workspace(plant: Plant, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HEADWATER_WORKSPACE", str(plant.folder / ".headwater"))
    assert len(Plant(tmp_path)("streams", "--json").json) == 6


def test_commands_below_the_folder_find_its_workspace(plant: Plant) -> None:
    (plant.folder / "deep" / "down").mkdir(parents=True)
    assert len(Plant(plant.folder / "deep" / "down")("streams", "--json").json) == 6


def test_a_log_that_is_none_is_an_error_of_ours(plant: Plant) -> None:
    (plant.folder / ".headwater" / "log.db").write_bytes(b"not a log" * 1000)
    err = plant("tail", "plant.readings", code=6).err
    assert "log.db" in err
    assert "Traceback" not in err


def test_an_unforeseen_error_ends_with_70(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as caught, reporting(debug=False):
        {}["missing"]  # type: ignore[index]
    assert caught.value.exit_code == 70
    what, where, fix = capsys.readouterr().err.splitlines()
    assert what == "error: Headwater did not foresee this: KeyError: 'missing'"
    assert where.startswith("where: test_cli_errors.py line ")
    assert "--debug" in fix


def test_an_error_without_place_or_advice_is_shorter(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), reporting(debug=False):
        raise HeadwaterError("It is\nso")
    assert capsys.readouterr().err == "error: It is so\n"


@pytest.mark.parametrize("options", [["--follow"], ["--json"], []])
def test_a_reader_that_goes_away_is_no_error_message(plant: Plant, options: list[str]) -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "headwater", "tail", "plant.readings", *options],
        cwd=plant.folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None
    assert running.stderr is not None
    running.stdout.close()
    told = running.stderr.read()
    assert running.wait(timeout=60) == 141
    assert told == ""


def test_version(plant: Plant) -> None:
    assert plant("--version").out == "headwater 0.1.0\n"


def test_help_comes_without_arrow_and_sqlalchemy(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from headwater.cli import main\n"
        "sys.argv = ['headwater', '--help']\n"
        "try:\n"
        "    main()\n"
        "except SystemExit:\n"
        "    pass\n"
        "heavy = {'pyarrow', 'sqlalchemy', 'numpy', 'fastavro', 'pandas'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "lineage" in ran.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("headwater tail plant.v", ["plant.valid", "plant.valid.quarantine", "plant.valid.retry"]),
        ("headwater streams --entity s", ["sensor"]),
        ("headwater status plant.f", ["plant.fahrenheit"]),
        ("headwater tail nothing", []),
    ],
)
def test_names_are_completed(plant: Plant, words: str, expected: list[str]) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "headwater"],
        cwd=plant.folder,
        env=os.environ
        | {
            "PYTHONPATH": str(ROOT),
            "_HEADWATER_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.stdout.split() == expected
    assert ran.stderr == ""
