"""Appends to and reads from the embedded log next to plain SQLite and plain Arrow IPC files of the same durability.

`python benchmarks/log.py` prints the tables in under a minute; `--growth 30000000` shows the rate while the log grows.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[1]))

from streams.log.embedded import EmbeddedLog
from streams.log.protocol import Topic
from streams.message import PRODUCER, TASK, WATERMARK, Headers, pack_int

PARTITIONS = 4
HEADERS: Headers = ((PRODUCER, b"bench@1"), (TASK, b"bench/0"), (WATERMARK, pack_int(1_700_000_000_000_000)))


@dataclass(frozen=True)
class Load:
    """What is written: `messages` values, `per_commit` of them in a transaction, `rows` rows in each."""

    name: str
    value: bytes
    batch: pa.RecordBatch
    rows: int
    messages: int
    per_commit: int

    def commits(self) -> Iterator[list[bytes]]:
        for start in range(0, self.messages, self.per_commit):
            yield [self.value] * min(self.per_commit, self.messages - start)


def arrow_load(rows: int, per_commit: int, name: str) -> Load:
    """Messages of 1,000 rows: two columns of 8 bytes a row, as one Arrow record batch each."""
    chance = np.random.default_rng(7)
    batch = pa.record_batch({"at": chance.integers(0, 1 << 62, 1_000), "value": chance.random(1_000)})
    return Load(name, batch.serialize().to_pybytes(), batch, 1_000, max(rows // 1_000, 1), per_commit)


def small_load(rows: int) -> Load:
    """Messages of 100 bytes, one row each."""
    value = np.random.default_rng(7).bytes(100)
    return Load("100-byte messages", value, pa.record_batch({"value": pa.array([value] * 10_000)}), 1, rows, 10_000)


def our_log(load: Load, folder: Path, synchronous: str) -> tuple[float, float]:
    """Seconds to append and commit everything, and to read it back, over four partitions."""
    with EmbeddedLog(folder / "log.db", synchronous=synchronous) as log:  # type: ignore[arg-type]
        log.create([Topic("bench", PARTITIONS)])
        writer = log.writer("bench/0")
        begin = time.perf_counter()
        for number, values in enumerate(load.commits()):
            writer.append("bench", number % PARTITIONS, [None] * len(values), values, HEADERS)
            writer.commit()
        written = time.perf_counter()
        found = 0
        for partition in range(PARTITIONS):
            at, end = log.bounds("bench")[partition]
            while at < end:
                fetched = log.read("bench", partition, at)
                found += len(fetched)
                at = fetched.next
        assert found == load.messages
        return written - begin, time.perf_counter() - written


def plain_sqlite(load: Load, folder: Path, synchronous: str) -> tuple[float, float]:
    connection = sqlite3.connect(folder / "plain.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("CREATE TABLE message (id INTEGER PRIMARY KEY, value BLOB)")
    begin = time.perf_counter()
    for values in load.commits():
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO message (value) VALUES (?)", [(value,) for value in values])
        connection.execute("COMMIT")
    written = time.perf_counter()
    found = 0
    while True:
        rows = connection.execute(
            "SELECT id, value FROM message WHERE id > ? LIMIT ?", (found, max((4 << 20) // len(load.value), 1))
        ).fetchall()
        if not rows:
            break
        found += len(rows)
    assert found == load.messages
    seconds = written - begin, time.perf_counter() - written
    connection.close()
    return seconds


def arrow_files(load: Load, folder: Path, synchronous: str) -> tuple[float, float]:
    """One IPC file a transaction; `normal` leaves the fsync out."""
    names = []
    begin = time.perf_counter()
    for number, values in enumerate(load.commits()):
        names.append(folder / f"{number}.arrow")
        with names[-1].open("wb") as file:
            with pa.ipc.new_stream(file, load.batch.schema) as sink:
                if load.rows == 1:
                    sink.write_batch(pa.record_batch({"value": pa.array(values)}))
                else:
                    for _ in values:
                        sink.write_batch(load.batch)
            file.flush()
            if synchronous == "full":
                os.fsync(file.fileno())
    written = time.perf_counter()
    found = 0
    for name in names:
        with name.open("rb") as file:
            found += pa.ipc.open_stream(file).read_all().num_rows
    assert found == load.messages * load.rows
    return written - begin, time.perf_counter() - written


Way = Callable[[Load, Path, str], tuple[float, float]]
WAYS: dict[str, Way] = {"embedded log": our_log, "plain SQLite": plain_sqlite, "Arrow IPC files": arrow_files}


def measure(way: Way, load: Load, place: str | None, synchronous: str) -> tuple[float, float]:
    folder = Path(tempfile.mkdtemp(dir=place))
    try:
        gc.collect()
        return way(load, folder, synchronous)
    finally:
        shutil.rmtree(folder)


def compare(load: Load, repeat: int, place: str | None, synchronous: str) -> None:
    # The ways take turns, so that what else the machine does falls on all of them alike.
    seconds = {name: [] for name in WAYS}  # type: dict[str, list[tuple[float, float]]]
    for _ in range(repeat):
        for name, way in WAYS.items():
            seconds[name].append(measure(way, load, place, synchronous))
    medians = {
        name: tuple(statistics.median(column) for column in zip(*found, strict=True)) for name, found in seconds.items()
    }
    rows, size = load.rows * load.messages, len(load.value) * load.messages / 1e6
    print(
        f"\n{load.name}: {load.messages:,} messages of {len(load.value):,} bytes, {load.per_commit:,} a transaction,"
        f" synchronous={synchronous}, median of {repeat}"
    )
    print(f"{'':16} {'append rows/s':>14} {'MB/s':>8} {'ratio':>6} {'read rows/s':>14} {'MB/s':>8} {'ratio':>6}")
    plain = medians["plain SQLite"]
    for name, (append, read) in medians.items():
        print(
            f"{name:16} {rows / append:14,.0f} {size / append:8.1f} {plain[0] / append:6.2f}"
            f" {rows / read:14,.0f} {size / read:8.1f} {plain[1] / read:6.2f}"
        )


def grow(load: Load, place: str | None, synchronous: str) -> None:
    """The rate of each tenth of the appends; CPU time shows the log's own work when others use the disk."""
    folder = Path(tempfile.mkdtemp(dir=place))
    print(f"\nGrowth, {load.name}: {load.messages * load.rows:,} rows in {PARTITIONS} partitions")
    print(
        f"{'rows in the log':>16} {'append rows/s':>14} {'to the first':>12}"
        f" {'CPU s a M rows':>14} {'file MB':>8} {'memory MB':>9}"
    )
    try:
        with EmbeddedLog(folder / "log.db", synchronous=synchronous) as log:  # type: ignore[arg-type]
            log.create([Topic("bench", PARTITIONS)])
            writer = log.writer("bench/0")
            commits = enumerate(load.commits())
            part = max(load.messages // load.per_commit // 10, 1)
            rates: list[float] = []
            total = 0
            while tenth := list(islice(commits, part)):
                begin, worked = time.perf_counter(), time.process_time()
                for number, values in tenth:
                    writer.append("bench", number % PARTITIONS, [None] * len(values), values, HEADERS)
                    writer.commit()
                rows = load.rows * sum(len(values) for _, values in tenth)
                rates.append(rows / (time.perf_counter() - begin))
                worked = (time.process_time() - worked) / rows * 1e6
                total += rows
                memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                size = (folder / "log.db").stat().st_size / 1e6
                print(
                    f"{total:16,} {rates[-1]:14,.0f} {rates[-1] / rates[0]:12.2f}"
                    f" {worked:14.3f} {size:8.0f} {memory:9.0f}"
                )
    finally:
        shutil.rmtree(folder)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=4_000_000, help="rows in 1,000-row messages (a tenth in others)")
    options.add_argument("--repeat", type=int, default=5)
    options.add_argument("--growth", type=int, default=10_000_000, help="rows of the growth run, 0 for none")
    options.add_argument("--growth-small", type=int, default=0, help="the same in 100-byte messages")
    options.add_argument("--synchronous", choices=["full", "normal"], default="full")
    options.add_argument("--folder", help="where to write (default: the system's temporary folder)")
    given = options.parse_args()
    print(f"Python {sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}, pyarrow {pa.__version__}")
    loads = [
        arrow_load(given.rows, 64, "1,000-row Arrow messages"),
        small_load(given.rows // 10),
        arrow_load(given.rows // 10, 1, "1,000-row Arrow messages, one a transaction"),
    ]
    for load in loads:
        compare(load, given.repeat, given.folder, given.synchronous)
    if given.growth:
        grow(arrow_load(given.growth, 64, "1,000-row messages"), given.folder, given.synchronous)
    if given.growth_small:
        grow(small_load(given.growth_small), given.folder, given.synchronous)


if __name__ == "__main__":
    main()
