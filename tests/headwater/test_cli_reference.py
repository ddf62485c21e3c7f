"""Every command has help with examples that work, and stands in docs/reference/cli.md with all its options."""

from __future__ import annotations

import importlib
import pkgutil
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import typer

from catalog.errors import HeadwaterError
from headwater.cli import app, session
from streams.log import EmbeddedLog, Topic
from tests.headwater.plant import Plant

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "cli.md").read_text()
SECTION = re.compile(r"^### `headwater (?P<name>[a-z ]+)`$(?P<text>.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
SHARED = {"--workspace", "-w", "--json", "--debug", "--help", "-h"}
WEATHER = """
import pyarrow as pa

import headwater as hw

SCHEMA = pa.schema([("at", pa.timestamp("us", "UTC")), ("humidity", pa.int64()), ("rained", pa.bool_())])
rows = [{"at": number * 10**6, "humidity": number % 100, "rained": number % 100 > 70} for number in range(600)]
p = hw.Pipeline("weather")
reports = p.stream("reports", SCHEMA, time="at")
p.source(reports, pa.Table.from_pylist(rows, schema=SCHEMA))
functions = [hw.rule(f"over {limit}", f"humidity > {limit}", "wet", otherwise="dry") for limit in (60, 70, 80)]
p.label(reports, functions, to="labels", keep=["rained"], update_every=100)
"""
#: They go on until they are stopped.
ENDLESS = {"--follow", "--watch"}


def commands(group: Any = None, above: str = "") -> Iterator[tuple[str, Any]]:
    for name, one in (group or typer.main.get_command(app)).commands.items():
        if hasattr(one, "commands"):
            yield from commands(one, f"{above}{name} ")
        else:
            yield f"{above}{name}", one


COMMANDS = dict(commands())


def examples(command: Any) -> list[str]:
    head, *lines = [line.strip() for line in command.epilog.split("\n\n")]
    assert head == "Examples:"
    return lines


def options(command: Any) -> set[str]:
    return {
        name for one in command.params if one.param_type_name == "option" for name in (*one.opts, *one.secondary_opts)
    }


def test_the_commands_are_those_of_this_release() -> None:
    assert set(COMMANDS) == {
        "init", "register", "publish", "tail", "run", "status", "replay", "streams", "search", "alarms", "labels",
        "lineage", "trace", "impact",
        "dataset freeze", "dataset list", "dataset show", "dataset export", "quarantine list", "quarantine replay",
        "observe", "catalog rebuild", "catalog upgrade",
        "models list", "models show", "models promote", "models rollback", "models card",
    }  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example_and_says_what_everything_is(empty: Plant, name: str) -> None:
    command = COMMANDS[name]
    # Typer decides once a process whether it draws colours, so another test may have decided it.
    out = re.sub(r"\x1b\[[0-9;]*m", "", empty(*name.split(), "--help").out)
    assert examples(command)
    assert all(line.startswith(f"headwater {name}") for line in examples(command))
    assert examples(command)[0].split("'")[0].split('"')[0].strip() in " ".join(out.split())
    assert command.help
    assert [one.name for one in command.params if not one.help] == []
    assert SHARED - {"--help", "-h"} <= options(command)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented_with_its_options(name: str) -> None:
    sections = {found["name"]: found["text"] for found in SECTION.finditer(PAGE)}
    assert set(sections) == set(COMMANDS)
    documented = {
        option
        for line in sections[name].splitlines()
        if line.startswith("| `-")
        for option in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", line.split("|")[1])
    }
    assert documented == options(COMMANDS[name]) - SHARED
    arguments = [one for one in COMMANDS[name].params if one.param_type_name == "argument"]
    assert all(f"`{one.metavar}`" in sections[name] for one in arguments)


def test_the_options_of_every_command_are_documented_once() -> None:
    head = PAGE.split("### ")[0]
    assert all(f"`{option}`" in head for option in SHARED if option.startswith("--"))


def test_every_exit_code_is_documented() -> None:
    for package in ("catalog", "streams", "operators", "headwater"):
        for found in pkgutil.walk_packages([str(ROOT / package)], f"{package}."):
            if ".starter." not in found.name and not found.name.endswith("__main__"):
                importlib.import_module(found.name)
    codes = {kind.exit_code for kind in kinds(HeadwaterError)}
    codes |= {session.DIFFERENT, session.UNEXPECTED, session.INTERRUPTED, session.BROKEN_PIPE, 143, 0}
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}
    assert documented == codes


def kinds(kind: type[HeadwaterError]) -> Iterator[type[HeadwaterError]]:
    yield kind
    for further in kind.__subclasses__():
        yield from kinds(further)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "init"])
def test_the_examples_work(plant: Plant, name: str) -> None:
    day = pyarrow.csv.read_csv(plant.folder / "readings.csv").slice(0, 10)
    pq.write_table(day, plant.folder / "day.parquet")
    (plant.folder / "mend.py").write_text("def in_celsius(rows):\n    return rows\n")
    plant("dataset", "freeze", "cold", "plant.placed")
    if name.startswith("models "):
        shutil.copy(ROOT / "tests" / "headwater" / "learning.py", plant.folder)
        plant("run", "learning.py", "--until", "caught-up")
    if name == "register":
        with EmbeddedLog(plant.folder / ".headwater" / "log.db") as log:
            log.create([Topic("web.clicks", 1)])
            writer = log.writer("others")
            writer.append("web.clicks", 0, [None], [b'{"page": "/", "ms": 12}'], ())
            writer.commit()
    if name == "labels":
        (plant.folder / "weather.py").write_text(WEATHER)
        plant("run", "weather.py", "--until", "caught-up")
    for example in examples(COMMANDS[name]):
        words = shlex.split(example)[1:]
        if ENDLESS & set(words) or (name == "run" and "--until" not in words):
            continue
        # There was no run between two hours and one hour ago.
        plant(*words, code=9 if "2h" in words else 0)


def test_the_examples_of_init_work(empty: Plant) -> None:
    for example in examples(COMMANDS["init"]):
        empty(*shlex.split(example)[1:])
