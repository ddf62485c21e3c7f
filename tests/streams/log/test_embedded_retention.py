"""Retention and compaction of the embedded log."""

from __future__ import annotations

import itertools
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.log import retention
from streams.log.embedded import EmbeddedLog
from streams.log.layout import OFFSET_BITS
from streams.log.protocol import Corrupt, LogError, Topic, UnknownTopic

Pair = tuple[bytes, bytes | None]


@pytest.fixture
def now() -> list[int]:
    """The log's clock: what stands in the list."""
    return [0]


@pytest.fixture
def log(tmp_path: Path, now: list[int]) -> Iterator[EmbeddedLog]:
    with EmbeddedLog(tmp_path / "log.db", clock=lambda: now[0]) as log:
        log.create([Topic("short", 2, retention=100), Topic("forever", 1), Topic("table", 2, compact=True)])
        yield log


def put(log: EmbeddedLog, topic: str, partition: int, pairs: list[Pair]) -> None:
    with log.writer("task/0") as writer:
        writer.append(topic, partition, [key for key, _ in pairs], [value for _, value in pairs], ())
        writer.commit()


def pairs(log: EmbeddedLog, topic: str, partition: int) -> list[tuple[bytes | None, bytes | None]]:
    fetched = log.read(topic, partition, 0, max_bytes=1 << 30)
    return list(zip(fetched.keys, fetched.values, strict=True))


def test_a_sweep_drops_what_is_older_than_the_retention(log: EmbeddedLog, now: list[int]) -> None:
    for time in (0, 50, 100, 150):
        now[0] = time
        put(log, "short", 0, [(b"k", b"%d" % time)] * 2)
    assert log.sweep(160) == 4
    assert log.bounds("short") == [(4, 8), (0, 0)]
    assert [value for _, value in pairs(log, "short", 0)] == [b"100", b"100", b"150", b"150"]


def test_a_message_is_kept_for_exactly_its_retention(log: EmbeddedLog) -> None:
    put(log, "short", 0, [(b"k", b"v")])
    assert log.sweep(100) == 0
    assert log.sweep(101) == 1


def test_a_sweep_takes_the_clock_if_no_time_is_given(log: EmbeddedLog, now: list[int]) -> None:
    put(log, "short", 0, [(b"k", b"v")])
    assert log.sweep() == 0
    now[0] = 1_000
    assert log.sweep() == 1


def test_offsets_go_on_after_everything_was_swept(log: EmbeddedLog) -> None:
    put(log, "short", 1, [(b"k", b"a")] * 3)
    log.sweep(1_000)
    assert log.bounds("short") == [(0, 0), (3, 3)]
    assert log.read("short", 1, 0).next == 3
    put(log, "short", 1, [(b"k", b"b")])
    assert log.read("short", 1, 0).offsets == (3,)


def test_a_topic_without_retention_is_kept(log: EmbeddedLog) -> None:
    put(log, "forever", 0, [(b"k", b"v")])
    assert log.sweep(10**15) == 0
    assert log.bounds("forever") == [(0, 1)]


def test_only_the_start_of_a_partition_is_swept(log: EmbeddedLog, now: list[int]) -> None:
    for time in (500, 0, 500):
        now[0] = time
        put(log, "short", 0, [(b"k", b"%d" % time)])
    assert log.sweep(550) == 0
    assert len(pairs(log, "short", 0)) == 3


def test_a_large_sweep_is_made_of_several_transactions(log: EmbeddedLog) -> None:
    put(log, "short", 0, [(b"k", b"old")] * 3_500)
    seen = log.version()
    assert log.sweep(1_000) == 3_500
    assert log.version() >= seen + 1
    assert log.bounds("short")[0] == (3_500, 3_500)


def test_freed_room_is_used_again(log: EmbeddedLog, tmp_path: Path) -> None:
    sizes = []
    for _ in range(6):
        put(log, "short", 0, [(b"k", bytes(16_000))] * 1_000)
        log.sweep(1_000)
        sizes.append((tmp_path / "log.db").stat().st_size)
    assert sizes[-1] < 2.5 * 16_000_000


def test_compaction_keeps_the_newest_message_of_each_key(log: EmbeddedLog) -> None:
    put(log, "table", 0, [(b"a", b"1"), (b"b", b"1"), (b"a", b"2"), (b"c", b"1"), (b"a", b"3")])
    put(log, "table", 1, [(b"a", b"other"), (b"a", b"partition")])
    assert log.compact("table") == 3
    assert pairs(log, "table", 0) == [(b"b", b"1"), (b"c", b"1"), (b"a", b"3")]
    assert pairs(log, "table", 1) == [(b"a", b"partition")]
    assert log.bounds("table") == [(1, 5), (1, 2)]


def test_reading_goes_over_the_gaps(log: EmbeddedLog) -> None:
    put(log, "table", 0, [(b"a", b"1"), (b"b", b"1"), (b"a", b"2"), (b"a", b"3"), (b"b", b"2"), (b"c", b"1")])
    log.compact("table")
    found = []
    at = 0
    while at < log.bounds("table")[0][1]:
        fetched = log.read("table", 0, at, max_bytes=1)
        found.append((fetched.offsets[0], fetched.values[0]))
        at = fetched.next
    assert found == [(3, b"3"), (4, b"2"), (5, b"1")]
    assert log.last("table", 0, 2).offsets == (4, 5)


def test_a_tombstone_is_kept_for_its_grace_and_then_removed(log: EmbeddedLog, now: list[int]) -> None:
    put(log, "table", 0, [(b"a", b"1"), (b"b", b"1"), (b"a", None)])
    now[0] = 50
    assert log.compact("table", grace=50) == 1
    assert pairs(log, "table", 0) == [(b"b", b"1"), (b"a", None)]
    now[0] = 51
    assert log.compact("table", grace=50) == 1
    assert pairs(log, "table", 0) == [(b"b", b"1")]


def test_the_end_stays_when_the_last_message_was_a_tombstone(log: EmbeddedLog, now: list[int]) -> None:
    put(log, "table", 0, [(b"a", b"1"), (b"a", None)])
    now[0] = 1
    log.compact("table", grace=0)
    assert log.bounds("table")[0] == (2, 2)
    assert log.read("table", 0, 0).next == 2
    put(log, "table", 0, [(b"a", b"2")])
    assert log.read("table", 0, 0).offsets == (2,)


def test_a_tombstone_that_was_overtaken_goes_at_once(log: EmbeddedLog) -> None:
    put(log, "table", 0, [(b"a", None), (b"a", b"back")])
    assert log.compact("table") == 1
    assert pairs(log, "table", 0) == [(b"a", b"back")]


def test_compacting_again_removes_nothing(log: EmbeddedLog) -> None:
    put(log, "table", 0, [(b"a", b"1"), (b"a", b"2")])
    assert log.compact("table") == 1
    assert log.compact("table") == 0


def test_a_compaction_leaves_alone_what_another_one_changed_since_it_looked(log: EmbeddedLog) -> None:
    put(log, "table", 0, [(b"a", b"1"), (b"b", b"1"), (b"c", b"1"), (b"b", b"2")])
    slot, end = retention._slots(log._database, Topic("table", 2, compact=True))[0]
    row = slot << OFFSET_BITS
    log.compact("table")
    with log._database.writing() as connection:
        assert retention._thin(connection, row, end, [row, row + 1]) == 0
    assert pairs(log, "table", 0) == [(b"a", b"1"), (b"c", b"1"), (b"b", b"2")]


def test_a_topic_that_is_not_compact_is_not_compacted(log: EmbeddedLog) -> None:
    with pytest.raises(LogError, match="not compact"):
        log.compact("forever")
    with pytest.raises(UnknownTopic):
        log.compact("missing")


def test_damage_is_reported_with_its_topic_and_nothing_is_removed(log: EmbeddedLog) -> None:
    put(log, "table", 0, [(b"a", b"1"), (b"a", b"2")])
    with sqlite3.connect(log.path) as connection:
        connection.execute("UPDATE block SET lengths = x'00'")
    with pytest.raises(Corrupt, match="table"):
        log.compact("table")
    assert log.bounds("table")[0] == (0, 2)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(
        st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c", b"d"]), st.sampled_from([None, b"1", b"2"])), max_size=8),
        max_size=5,
    )
)
def test_compaction_at_any_time_leaves_the_same_table(
    log: EmbeddedLog, now: list[int], batches: list[list[Pair]]
) -> None:
    name = f"table-{len(log.topics())}"
    log.create([Topic(name, 1, compact=True)])
    expected: dict[bytes, bytes | None] = {}
    for batch in batches:
        now[0] += 1
        put(log, name, 0, batch)
        expected.update(batch)
        now[0] += 1
        log.compact(name, grace=0)
        found = pairs(log, name, 0)
        assert len(found) == len(dict(found))
        assert dict(found) == {key: value for key, value in expected.items() if value is not None}


def test_readers_and_writers_go_on_during_sweeps_and_compaction(tmp_path: Path) -> None:
    ticks = itertools.count()
    with EmbeddedLog(tmp_path / "busy.db", clock=lambda: next(ticks)) as log:
        log.create([Topic("short", 1, retention=30), Topic("table", 1, compact=True)])
        done = threading.Event()
        seen: list[int] = []

        def read() -> None:
            at = 0
            while not done.is_set() or at < log.bounds("short")[0][1]:
                fetched = log.read("short", 0, at, max_bytes=2_000)
                seen.extend(fetched.offsets)
                at = fetched.next

        def tidy() -> None:
            while not done.is_set():
                log.sweep()
                log.compact("table", grace=0)

        threads = [threading.Thread(target=work) for work in (read, tidy, tidy)]
        for thread in threads:
            thread.start()
        writer = log.writer("task/0")
        for number in range(150):
            writer.append("short", 0, [None] * 20, [b"%d" % number] * 20, ())
            writer.append("table", 0, [b"%d" % (number % 7)], [b"%d" % number], ())
            writer.commit()
        done.set()
        for thread in threads:
            thread.join()
        log.compact("table", grace=0)
        assert sorted(set(seen)) == seen
        assert seen[-1] == 150 * 20 - 1
        assert sorted(pairs(log, "table", 0)) == sorted(
            (b"%d" % (number % 7), b"%d" % number) for number in range(143, 150)
        )
