"""Where the log and the catalog lie: a full disk, files that others hold, rows that retention took too early."""

from __future__ import annotations

import json
import resource
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool

import headwater as hw
from catalog import Catalog
from streams.log import EmbeddedLog
from tests.faults import loop_job
from tests.faults.facts import digests

PROGRAMS = Path(__file__).parents[1] / "streams" / "log" / "programs.py"
DAY = 86_400_000_000


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """As on a full disk: no file of this process, or of those that it starts, grows beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def held(file: Path) -> Iterator[sqlite3.Connection]:
    """Another connection holds the file's write lock."""
    connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        connection.close()


def impatient(plant) -> None:
    """The plant gets a hub that waits for nobody longer than a moment."""
    plant.hub.close()
    plant.hub = hw.connect(plant.workspace)
    plant.hub.log.close()
    plant.hub.log = EmbeddedLog(plant.file, busy_timeout=0.05)
    plant.hub.catalog.close()
    plant.hub.catalog = Catalog(plant.hub.config.catalog, patience=0.1)


# A full disk


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_ends_the_run_and_the_next_goes_on_when_there_is_room(plant, looped, workers):
    plant.hub.register(loop_job.build(1500))
    journal = plant.file.with_name("log.db-wal").stat().st_size
    with no_file_larger_than(journal + 1_500_000):
        failed = plant.fails(loop_job.build(1500), workers=workers)
    assert any(isinstance(error, hw.LogFull) for error in failed.failed.values())
    assert "There is no room to write the log" in str(failed) or "could not be written" in str(failed)
    assert str(plant.file) in str(failed)
    assert "room" in str(failed) or "Free space" in str(failed)
    assert plant.count("plant.readings") > 0
    assert plant.count("plant.level") < looped.count("plant.level")

    plant.run(loop_job.build(1500), workers=workers)
    wanted = digests(looped.hub, loop_job.build(1500))
    assert digests(plant.hub, loop_job.build(1500)) == wanted


def test_publishing_to_a_full_disk_writes_nothing_and_can_be_repeated(plant, rows):
    plant.fill()
    bounds = plant.bounds()
    journal = plant.file.with_name("log.db-wal").stat().st_size
    many = rows(0, 50_000)
    with no_file_larger_than(journal + 100_000), pytest.raises(hw.LogFull, match="nothing was written"):
        plant.hub.publish("plant.readings", many)
    assert plant.bounds() == bounds
    assert plant.hub.publish("plant.readings", many) == 50_000
    assert plant.count("plant.readings") == 50_400


def test_a_catalog_without_room_registers_nothing_until_it_has_some(plant, rows):
    plant.run(plant.fill())

    @event.listens_for(Pool, "connect")
    def full(connection, _) -> None:
        connection.execute("PRAGMA max_page_count = 1")

    many = hw.Pipeline("other")
    many.stream("wide", pa.schema([(f"field_{number}", pa.int64()) for number in range(2000)]))
    before = plant.hub.catalog.dump()
    try:
        plant.hub.catalog.close()
        with pytest.raises(hw.CatalogError, match=r"disk is full.*disk is not full"):
            plant.hub.register(many)
        assert plant.hub.catalog.dump() == before
        assert plant.hub.publish("plant.readings", rows(400)) == 100
    finally:
        event.remove(Pool, "connect", full)
        plant.hub.catalog.close()
    plant.hub.register(many)
    plant.run(plant.pipeline())
    assert plant.count("plant.warm") == 500
    assert len(plant.hub.stream("other.wide").schema.arrow) == 2000


# Files that others hold


def test_a_log_that_is_held_for_a_while_is_waited_for(plant, filled, caplog):
    plant.fill()
    impatient(plant)
    holder = subprocess.Popen(
        [sys.executable, str(PROGRAMS), "hold_lock", str(plant.file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    assert holder.stdout.readline() == "held\n"
    passes = []

    def release() -> None:
        passes.append(1)
        if len(passes) == 2:
            holder.stdin.write("\n")
            holder.stdin.flush()
            assert holder.stdout.readline() == "released\n"

    plant.run(plant.pipeline(), watch=release)
    holder.communicate()
    assert "trying again (1 of" in caplog.text
    assert digests(plant.hub, plant.pipeline()) == filled


def test_a_log_that_stays_held_ends_the_run_and_nothing_is_lost(plant, filled):
    plant.fill()
    impatient(plant)
    bounds = plant.bounds()
    with held(plant.file):
        failed = plant.fails(plant.pipeline())
    assert len(failed.failed) == 8
    assert all(isinstance(error, hw.LogBusy) for error in failed.failed.values())
    assert len(str(failed).splitlines()) == 3
    assert "held by another writer for more than 0.05 s" in str(failed)
    assert str(plant.file) in str(failed)
    assert plant.bounds() == bounds
    plant.run(plant.pipeline())
    assert digests(plant.hub, plant.pipeline()) == filled


def test_publishing_to_a_log_that_is_held_writes_nothing(plant, rows):
    plant.fill()
    impatient(plant)
    plant.hub.publish("plant.readings", rows())
    bounds = plant.bounds()
    with held(plant.file), pytest.raises(hw.LogBusy, match="Try again"):
        plant.hub.publish("plant.readings", rows())
    assert plant.bounds() == bounds
    assert plant.hub.publish("plant.readings", rows()) == 100


def test_a_catalog_that_is_held_lets_nothing_be_registered_or_first_published(plant, rows):
    plant.hub.register(plant.pipeline())
    impatient(plant)
    bounds = plant.bounds()
    with held(plant.workspace / "catalog.db"):
        with pytest.raises(hw.CatalogBusy, match=r"catalog\.db.*Try again"):
            plant.hub.register(hw.Pipeline("other"))
        for _ in range(2):
            with pytest.raises(hw.CatalogBusy):
                plant.hub.publish("plant.readings", rows())
        assert len(plant.hub.read("plant.readings")) == 0
    assert plant.bounds() == bounds
    assert plant.hub.publish("plant.readings", rows()) == 100
    assert len(plant.hub.lineage("plant.readings", direction="up").edges) == 1


def test_a_catalog_that_is_held_at_the_end_of_a_run_only_lags(plant, filled):
    plant.fill()
    impatient(plant)
    lock = sqlite3.connect(plant.workspace / "catalog.db", isolation_level=None)

    def hold() -> None:
        if not lock.in_transaction:
            lock.execute("BEGIN IMMEDIATE")

    with pytest.raises(hw.CatalogBehind, match=r"The run is complete, but .* hub.sync\(\)"):
        plant.run(plant.pipeline(), watch=hold)
    assert digests(plant.hub, plant.pipeline()) == filled
    assert not plant.hub.catalog.runs("plant.warm")
    lock.execute("ROLLBACK")
    lock.close()
    plant.hub.sync()
    (run,) = plant.hub.catalog.runs("plant.warm")
    assert run.rows_out == {"plant.warm": 400}


def test_why_a_run_failed_is_told_even_if_the_catalog_cannot_follow(plant):
    plant.fill()
    impatient(plant)
    lock = sqlite3.connect(plant.workspace / "catalog.db", isolation_level=None)

    def hold() -> None:
        if not lock.in_transaction:
            lock.execute("BEGIN IMMEDIATE")

    def raises(batch: object) -> object:
        raise ValueError("broken")

    failed = plant.fails(plant.pipeline(raises), watch=hold)
    lock.close()
    assert "ValueError: broken" in str(failed)
    assert "The catalog does not show this run yet" in failed.__notes__[0]


def test_another_thread_may_hold_the_log_while_a_run_waits(plant, filled):
    plant.fill()
    with held(plant.file) as connection:
        timer = threading.Timer(0.5, lambda: connection.execute("ROLLBACK"))
        timer.start()
        plant.run(plant.pipeline())
        timer.join()
    assert digests(plant.hub, plant.pipeline()) == filled


# Retention


@pytest.fixture
def short_lived(plant):
    """A pipeline whose readings are kept for a day."""

    def pipeline() -> hw.Pipeline:
        source = plant.pipeline().streams["plant.readings"]
        p = hw.Pipeline("plant")
        raw = p.stream("readings", source.schema, key="sensor", time="at", codec="arrow", retention="1d")
        p.clean(raw, to="valid")
        return p

    return pipeline


def made(plant) -> int:
    """How many valid rows were ever written: they are kept for a day, too."""
    return sum(row["rows_out"].get("plant.valid", 0) for row in progress(plant, "plant.valid"))


def sweep(plant) -> int:
    return plant.hub.log.sweep(plant.hub.clock() + 2 * DAY)


@pytest.mark.parametrize("workers", [1, 2])
def test_rows_that_went_before_they_were_read_are_missed(plant, short_lived, rows, workers):
    plant.hub.register(short_lived())
    plant.hub.publish("plant.readings", rows())
    plant.run(short_lived(), workers=workers)
    plant.hub.publish("plant.readings", rows(100))
    ends = plant.hub.log.bounds("plant.readings")
    assert sweep(plant)
    plant.hub.publish("plant.readings", rows(200, 50))

    failed = plant.fails(short_lived(), workers=workers)
    assert failed.failed
    assert all(isinstance(error, hw.RowsGone) for error in failed.failed.values())
    partition = int(min(failed.failed).split("/")[1])
    assert f"to {ends[partition][1] - 1} were removed before they were read" in failed.failed[min(failed.failed)].what
    assert f"plant.readings {partition}" in str(failed)
    assert "longer" in str(failed)
    assert "on_gap='skip'" in str(failed)
    assert made(plant) == 100
    plant.fails(short_lived(), workers=workers)

    plant.run(short_lived(), workers=workers, on_gap="skip")
    assert made(plant) == 150
    skipped = [entry for row in progress(plant, "plant.valid") for entry in row["forced"] if len(entry) == 5]
    assert {(entry[1], entry[4]) for entry in skipped} == {(n, ends[n][1]) for n in range(4) if ends[n][1]}
    plant.hub.publish("plant.readings", rows(250))
    plant.run(short_lived(), workers=workers)
    assert made(plant) == 250


def test_rows_that_went_and_left_nothing_behind_are_missed_too(plant, short_lived, rows):
    plant.hub.register(short_lived())
    plant.run(short_lived())
    plant.hub.publish("plant.readings", rows())
    plant.run(short_lived())
    plant.hub.publish("plant.readings", rows(100))
    sweep(plant)
    failed = plant.fails(short_lived())
    assert all(isinstance(error, hw.RowsGone) for error in failed.failed.values())
    plant.run(short_lived(), on_gap="skip")
    plant.run(short_lived())
    assert made(plant) == 100


def test_a_new_operator_begins_with_what_is_there(plant, short_lived, rows):
    plant.hub.register(short_lived())
    plant.hub.publish("plant.readings", rows())
    sweep(plant)
    plant.hub.publish("plant.readings", rows(100))
    plant.run(short_lived())
    assert made(plant) == 100


def test_rows_that_were_read_may_go(plant, short_lived, rows):
    plant.hub.register(short_lived())
    for first in (0, 100, 200):
        plant.hub.publish("plant.readings", rows(first))
        plant.run(short_lived())
        sweep(plant)
    plant.run(short_lived())
    assert made(plant) == 300


def test_a_subscriber_that_is_too_slow_is_told(plant, short_lived, rows):
    plant.hub.register(short_lived())
    arriving = plant.hub.subscribe("plant.readings", poll=0)
    next(arriving)
    plant.hub.publish("plant.readings", rows())
    assert len(next(arriving)) == 100
    plant.hub.publish("plant.readings", rows(100))
    sweep(plant)
    with pytest.raises(hw.RowsGone, match="subscribes again"):
        next(arriving)


def test_a_table_that_was_compacted_is_not_missing_anything(plant, rows):
    def pipeline() -> hw.Pipeline:
        p = hw.Pipeline("plant")
        source = plant.pipeline().streams["plant.readings"]
        table = p.table("latest", source.schema, key="sensor", partitions=4)
        raw = p.stream("readings", source.schema, key="sensor", time="at", codec="arrow")
        p.join(raw, table, on="sensor", to="joined")
        return p

    plant.hub.register(pipeline())
    plant.hub.publish("plant.latest", rows())
    plant.hub.publish("plant.readings", rows())
    plant.run(pipeline())
    plant.hub.publish("plant.latest", rows(100))
    plant.hub.publish("plant.latest", rows(200))
    assert plant.hub.log.compact("plant.latest") > 0
    plant.hub.publish("plant.readings", rows(300))
    plant.run(pipeline())
    assert plant.count("plant.joined") == 200


def progress(plant, operator: str) -> list[dict]:
    topic = f"{operator}.progress"
    found = []
    for partition, (first, _) in enumerate(plant.hub.log.bounds(topic)):
        found += [json.loads(value) for value in plant.hub.log.read(topic, partition, first, max_bytes=1 << 30).values]
    return found
