"""A reader that waits on Kafka is woken by what others commit, and what it then reads is there."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event, Thread

import pytest

from streams.log import Log, Topic, open_log
from streams.log.protocol import WakesReaders

LONGEST = 60.0


@pytest.fixture
def other(kafka_url: str) -> Iterator[Log]:
    log = open_log(kafka_url)
    yield log
    log.close()


def put(log: Log, value: bytes, topic: str = "t") -> None:
    writer = log.writer("other/0")
    writer.append(topic, 0, [None], [value], ())
    writer.commit()
    writer.close()


def waiting(log: Log) -> tuple[Thread, Event]:
    """A thread that waits until `t` has moved on."""
    assert isinstance(log, WakesReaders)
    log.ends([("t", 0)])
    woken = Event()

    def wait() -> None:
        assert isinstance(log, WakesReaders)
        log.wait_for_more(LONGEST)
        woken.set()

    thread = Thread(target=wait, daemon=True)
    thread.start()
    return thread, woken


@pytest.mark.parametrize("read_before", [True, False])
def test_a_commit_wakes_who_waits(kafka_log: Log, other: Log, read_before: bool) -> None:
    kafka_log.create([Topic("t", 1)])
    at = kafka_log.read("t", 0, 0).next if read_before else 0
    for number in range(3):
        _, woken = waiting(kafka_log)
        put(other, str(number).encode())
        assert woken.wait(LONGEST / 2)
        fetched = kafka_log.read("t", 0, at)
        assert fetched.values == (str(number).encode(),)
        assert kafka_log.ends([("t", 0)])[0] >= fetched.next
        at = kafka_log.ends([("t", 0)])[0]


def test_who_waits_does_not_keep_others_from_reading(kafka_log: Log, other: Log) -> None:
    kafka_log.create([Topic("t", 1), Topic("u", 1)])
    kafka_log.read("t", 0, 0)
    kafka_log.read("u", 0, 0)
    _, woken = waiting(kafka_log)
    put(other, b"x", "u")
    assert kafka_log.read("u", 0, 0).values == (b"x",)
    assert not woken.is_set()
    put(other, b"y")
    assert woken.wait(LONGEST / 2)


def test_unread_messages_do_not_wake_again_and_again(kafka_log: Log, other: Log) -> None:
    kafka_log.create([Topic("t", 1)])
    kafka_log.read("t", 0, 0)
    put(other, b"x")
    assert isinstance(kafka_log, WakesReaders)
    kafka_log.ends([("t", 0)])
    kafka_log.wait_for_more(0.2)
    _, woken = waiting(kafka_log)
    assert not woken.wait(0.5)
    put(other, b"y")
    assert woken.wait(LONGEST / 2)
    assert kafka_log.read("t", 0, 0).values == (b"x", b"y")


def test_what_is_committed_without_waiting_is_seen_here_at_once_and_elsewhere_soon(kafka_log: Log, other: Log) -> None:
    kafka_log.create([Topic("t", 1)])
    writer = kafka_log.writer("task/0")
    at = 0
    for number in range(10):
        writer.append("t", 0, [None], [str(number).encode()], ())
        writer.commit(seen=False)
        fetched = kafka_log.read("t", 0, at)
        assert fetched.values == (str(number).encode(),)
        at = fetched.next
    while not other.read("t", 0, 0).values[9:]:
        pass
    writer.append("t", 0, [None], [b"last"], ())
    writer.commit(seen=False)
    kafka_log.ends([("t", 0)])
    assert other.last("t", 0).values == (b"last",)


def test_every_reader_waits_for_what_was_committed_to_what_it_reads(kafka_log: Log) -> None:
    names = ["a", "b", "c"]
    kafka_log.create([Topic(name, 1) for name in names])
    writers = [kafka_log.writer(f"task/{number}") for number in range(3)]
    written: dict[str, list[bytes]] = {name: [] for name in names}
    for turn in range(20):
        for number, writer in enumerate(writers):
            for name in {names[number], names[(number + turn) % 3]}:
                written[name].append(f"{turn} {number}".encode())
                writer.append(name, 0, [None], [written[name][-1]], ())
            writer.commit(seen=False)
        name = names[turn % 3]
        if turn % 2:
            assert kafka_log.read(name, 0, 0).values == tuple(written[name])
        else:
            assert kafka_log.last(name, 0).values == (written[name][-1],)
    for name in names:
        assert kafka_log.read(name, 0, 0).values == tuple(written[name])
