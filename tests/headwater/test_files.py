"""Publishing files: each content once, all of it or nothing, resumed where it was interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import headwater as hw
from headwater import files
from headwater.files import publish_file
from streams.log.protocol import Fenced
from streams.publish import CHUNK
from streams.sources import SourceError

START = datetime(2024, 3, 1, tzinfo=UTC)
SCHEMA = pa.schema(
    [
        pa.field("sensor", pa.string(), nullable=False),
        pa.field("at", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("n", pa.int64()),
    ]
)


def readings(count: int, first: int = 0) -> pa.Table:
    numbers = range(first, first + count)
    return pa.table(
        {
            "sensor": [f"s{n % 5}" for n in numbers],
            "at": [START + timedelta(seconds=n) for n in numbers],
            "n": list(numbers),
        },
        schema=SCHEMA,
    )


#: Batches of one transaction, here.
BATCHES = 2


@pytest.fixture(autouse=True)
def short_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BATCHES", BATCHES)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[hw.Hub]:
    with hw.connect(tmp_path / "workspace") as hub:
        p = hw.Pipeline("plant", owner="plant-team")
        raw = p.stream("readings", SCHEMA, key="sensor", time="at", codec="arrow")
        p.map(raw, lambda rows: rows, reads=["n"], to="kept")
        p.source(p.stream("imported", SCHEMA, key="sensor", time="at"), readings(10))
        hub.register(p)
        yield hub


def write(folder: Path, name: str, rows: pa.Table) -> Path:
    place = folder / name
    if place.suffix == ".csv":
        pyarrow.csv.write_csv(rows, place)
    else:
        pq.write_table(rows, place)
    return place


def published(hub: hw.Hub) -> list[int]:
    return sorted(hub.read("plant.readings").table.column("n").to_pylist())


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
def test_a_file_is_published_once(hub: hw.Hub, tmp_path: Path, name: str) -> None:
    place = write(tmp_path, name, readings(100))
    first = hub.publish_file("plant.readings", place)
    assert (first.rows, first.before) == (100, 0)
    second = hub.publish_file("plant.readings", place)
    assert (second.rows, second.before, second.at) == (0, 100, first.at)
    assert published(hub) == list(range(100))


def test_a_file_is_known_by_its_content(hub: hw.Hub, tmp_path: Path) -> None:
    place = write(tmp_path, "rows.parquet", readings(100))
    hub.publish_file("plant.readings", place)
    assert hub.publish_file("plant.readings", place.rename(tmp_path / "moved.parquet")).rows == 0
    write(tmp_path, "rows.parquet", readings(50, 100))
    assert hub.publish_file("plant.readings", place).rows == 50
    assert published(hub) == list(range(150))


def test_again_publishes_once_more(hub: hw.Hub, tmp_path: Path) -> None:
    place = write(tmp_path, "rows.parquet", readings(7))
    hub.publish_file("plant.readings", place)
    assert hub.publish_file("plant.readings", place, again=True).rows == 7
    assert published(hub) == sorted([*range(7), *range(7)])
    assert hub.publish_file("plant.readings", place).rows == 0


def test_one_bad_row_keeps_all_out(hub: hw.Hub, tmp_path: Path) -> None:
    rows = readings(CHUNK * 3)
    bad = rows.slice(0, 1).set_column(
        1, SCHEMA.field("at"), pa.array([datetime(2999, 1, 1, tzinfo=UTC)], SCHEMA.field("at").type)
    )
    place = write(tmp_path, "rows.parquet", pa.concat_tables([rows, bad]))
    with pytest.raises(hw.PublishError, match=f"rows.parquet from row {CHUNK * 3}"):
        hub.publish_file("plant.readings", place)
    assert published(hub) == []
    assert not hub.catalog.has_stream("headwater.files")


def test_an_interrupted_file_goes_on_where_it_was(hub: hw.Hub, tmp_path: Path) -> None:
    count = CHUNK * BATCHES * 2 + 5
    place = write(tmp_path, "rows.parquet", readings(count))

    def interrupt(rows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish_file(hub, "plant.readings", place, watch=interrupt)
    committed = len(published(hub))
    assert committed == CHUNK * BATCHES
    resumed = hub.publish_file("plant.readings", place)
    assert (resumed.rows, resumed.before) == (count - committed, committed)
    assert published(hub) == list(range(count))


def test_a_killed_process_leaves_nothing_twice(hub: hw.Hub, tmp_path: Path) -> None:
    count = CHUNK * BATCHES * 3
    place = write(tmp_path, "rows.parquet", readings(count))
    program = (
        "import os, signal, sys, headwater as hw\n"
        "from headwater import files\n"
        f"files.BATCHES = {BATCHES}\n"
        "hub = hw.connect(sys.argv[1])\n"
        "kill = lambda rows: os.kill(os.getpid(), signal.SIGKILL) if rows > 30_000 else None\n"
        "files.publish_file(hub, 'plant.readings', sys.argv[2], watch=kill)\n"
    )
    root = Path(__file__).resolve().parents[2]
    killed = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "workspace"), str(place)],
        env=os.environ | {"PYTHONPATH": str(root)},
        check=False,
        timeout=60,
    )
    assert killed.returncode == -signal.SIGKILL
    assert hub.publish_file("plant.readings", place).before == CHUNK * BATCHES * 2
    assert published(hub) == list(range(count))


def test_a_second_publisher_of_the_same_file_ends_the_first(hub: hw.Hub, tmp_path: Path) -> None:
    count = CHUNK * BATCHES * 2
    place = write(tmp_path, "rows.parquet", readings(count))

    def overtake(rows: int) -> None:
        if rows == CHUNK * BATCHES:
            with hw.connect(tmp_path / "workspace") as other:
                other.publish_file("plant.readings", place)

    with pytest.raises(Fenced):
        publish_file(hub, "plant.readings", place, watch=overtake)
    assert published(hub) == list(range(count))


@pytest.mark.parametrize("name", ["plant.kept", "plant.imported", "plant.kept.progress"])
def test_what_others_write_is_not_published_to(hub: hw.Hub, tmp_path: Path, name: str) -> None:
    place = write(tmp_path, "rows.parquet", readings(3))
    with pytest.raises(hw.PublishError, match="is written by"):
        hub.publish_file(name, place)
    with pytest.raises(hw.PublishError, match="is written by"):
        hub.publish(name, readings(3))


def test_what_was_published_is_a_table(hub: hw.Hub, tmp_path: Path) -> None:
    place = write(tmp_path, "rows.parquet", readings(3))
    done = hub.publish_file("plant.readings", place)
    row: Any = hub.lookup("headwater.files", {"stream": "plant.readings", "sha256": done.sha256})
    assert (row["file"], row["rows"], row["complete"], row["service"]) == (str(place), 3, True, "python")
    assert hub.catalog.stream("plant.readings").producers == ("python",)


def test_a_file_that_is_not_there_is_an_error(hub: hw.Hub, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        hub.publish_file("plant.readings", tmp_path / "nothing.csv")
    (tmp_path / "rows.xlsx").write_bytes(b"x")
    with pytest.raises(SourceError, match=r"\.xlsx cannot be read"):
        hub.publish_file("plant.readings", tmp_path / "rows.xlsx")
