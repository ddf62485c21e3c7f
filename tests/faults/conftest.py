"""What the tests of faults share: a small plant with live readings, its digests, and ways to damage a log file."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import headwater as hw
from streams.append import Appender
from streams.keys import partitions_of
from tests.faults import loop_job
from tests.faults.facts import digests

START = datetime(2024, 3, 1, tzinfo=UTC)


@dataclass
class Reading:
    sensor: str
    at: datetime
    celsius: float | None


def readings(first: int = 0, count: int = 100, **changes: Any) -> list[dict[str, Any]]:
    """Rows of eleven sensors, a minute apart."""
    return [
        {"sensor": f"s{n % 11}", "at": START + timedelta(minutes=n), "celsius": n / 10, **changes}
        for n in range(first, first + count)
    ]


def fahrenheit(batch: pa.RecordBatch) -> pa.RecordBatch:
    return pa.record_batch({"fahrenheit": pc.add(pc.multiply(batch["celsius"], 1.8), 32.0)})


class Plant:
    """A workspace with a pipeline: published readings, cleaned, then mapped; `main` is what the tests disturb."""

    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace
        self.hub = hw.connect(workspace)

    def pipeline(self, function: Any = fahrenheit, *, codec: str = "arrow", **options: Any) -> hw.Pipeline:
        """plant.readings -> plant.valid -> plant.warm. `options` are those of the map."""
        p = hw.Pipeline("plant", owner="plant-team")
        raw = p.stream(
            "readings", Reading, key="sensor", time="at", codec=codec, expect=[hw.between("celsius", -80, 150)]
        )
        valid = p.clean(raw, to="valid", on_error=options.get("on_error", "stop"))
        options.setdefault("schema", pa.schema([("fahrenheit", pa.float64())]))
        p.map(valid, function, reads=["celsius"], to="warm", add=True, **options)
        return p

    def fill(self, **options: Any) -> hw.Pipeline:
        """Register the pipeline and publish to it, four times 100 rows."""
        pipeline = self.pipeline(**options)
        self.hub.register(pipeline)
        for first in (0, 100, 200, 300):
            self.hub.publish("plant.readings", readings(first))
        self.hub.sync()
        return pipeline

    def run(self, pipeline: hw.Pipeline, **options: Any) -> hw.RunReport:
        return self.hub.run(pipeline, until="caught-up", **options)

    def fails(self, pipeline: hw.Pipeline, **options: Any) -> hw.RunFailed:
        """Run; it must fail. Gives the error."""
        with pytest.raises(hw.RunFailed) as failed:
            self.run(pipeline, **options)
        return failed.value

    def count(self, stream: str) -> int:
        return len(self.hub.read(stream))

    def busiest(self, stream: str) -> tuple[int, int]:
        """The partition with most messages, and an offset in its middle."""
        ends = [end for _, end in self.hub.log.bounds(stream)]
        return ends.index(max(ends)), max(ends) // 2

    def partition_of(self, row: dict[str, Any]) -> int:
        """The partition in which a reading belongs."""
        stream = self.hub.stream("plant.readings")
        rows = pa.RecordBatch.from_pylist([row], schema=stream.schema.arrow)
        return int(partitions_of(rows, stream.key, stream.partitions)[0])

    def append(self, partition: int, rows: list[dict[str, Any]], *, schema_id: int | None = None) -> None:
        """Append readings by hand to a partition, as a program of somebody else would."""
        stream = self.hub.stream("plant.readings")
        known = self.hub.catalog.stream(stream.name).schema_id
        batch = pa.RecordBatch.from_pylist(rows, schema=stream.schema.arrow)
        with self.hub.log.writer("elsewhere/0") as writer:
            Appender(writer, stream, schema_id or known, producer="service:elsewhere").append(partition, batch)
            writer.commit()

    def bounds(self) -> dict[str, list[tuple[int, int]]]:
        """Where every topic begins and ends, but those of the catalog."""
        return {
            topic.name: self.hub.log.bounds(topic.name)
            for topic in self.hub.log.topics()
            if topic.name != "headwater.catalog"
        }

    def data_bounds(self) -> dict[str, list[tuple[int, int]]]:
        """Likewise, of streams of rows alone."""
        own = (".progress", ".state", ".snapshots")
        return {name: bounds for name, bounds in self.bounds().items() if not name.endswith(own)}

    @property
    def file(self) -> Path:
        return self.workspace / "log.db"

    def damage(self, stream: str, partition: int, offset: int) -> bytes:
        """Flip the middle bytes of a message's value in the log's file; gives the block as it was, for `restore`."""
        with _connected(self.file) as connection:
            row, start, stop, value = _place(connection, stream, partition, offset)
            middle = (start + stop) // 2
            flipped = bytes(byte ^ 0xFF for byte in value[middle : middle + 4])
            changed = value[:middle] + flipped + value[middle + 4 :]
            connection.execute("UPDATE block SET value = ? WHERE id = ?", (changed, row))
        return value

    def restore(self, stream: str, partition: int, offset: int, value: bytes) -> None:
        with _connected(self.file) as connection:
            row, *_ = _place(connection, stream, partition, offset)
            connection.execute("UPDATE block SET value = ? WHERE id = ?", (value, row))


@contextmanager
def _connected(file: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(file, timeout=10)
    try:
        with connection:
            yield connection
    finally:
        connection.close()


def _place(connection: sqlite3.Connection, stream: str, partition: int, offset: int) -> tuple[int, int, int, bytes]:
    """The row of the block with this message, and the value's first and last + 1 byte in it."""
    (slot,) = connection.execute(
        "SELECT id FROM slot WHERE topic = ? AND partition = ?", (stream, partition)
    ).fetchone()
    base = slot << 40
    at = base + offset
    row, count, lengths, value = connection.execute(
        "SELECT id, count, lengths, value FROM block WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 1", (base, at)
    ).fetchone()
    if lengths is None:
        return row, 0, len(value), value
    sizes = struct.unpack(f"<{2 * count}i", lengths)[count:]
    start = sum(sizes[: at - row])
    return row, start, start + sizes[at - row], value


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    made = Plant(tmp_path / "plant")
    yield made
    made.hub.close()


@pytest.fixture
def undisturbed(tmp_path: Path) -> Iterator[Plant]:
    """Another workspace, to compare with."""
    made = Plant(tmp_path / "undisturbed")
    yield made
    made.hub.close()


@pytest.fixture(scope="session")
def looped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """The loop job over 1,500 rows, undisturbed. Nobody changes it."""
    made = Plant(tmp_path_factory.mktemp("looped"))
    made.run(loop_job.build(1500))
    yield made
    made.hub.close()


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The digests of a plant that was filled and run, undisturbed."""
    made = Plant(tmp_path_factory.mktemp("filled"))
    made.fill()
    made.run(made.pipeline())
    yield digests(made.hub, made.pipeline())
    made.hub.close()


@pytest.fixture
def rows() -> Any:
    """`readings`, for tests: conftest modules cannot be imported."""
    return readings
