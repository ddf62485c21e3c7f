"""Ctrl-C while a transaction is written: it always comes through, and is no error of the log."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from streams.log import Topic, open_log
from streams.log.protocol import Writer

INTERRUPTS = 40
LONGEST_SECONDS = 0.03


@pytest.fixture
def interrupted() -> Iterator[None]:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def write_for_long(writer: Writer) -> None:
    for _ in range(2_000):
        for number in range(20):
            writer.append("t", 0, [None], [b"%d" % number], ())
        writer.flush()
        writer.append("t", 0, [None], [b"last"], ())
        writer.commit(seen=False)


@pytest.mark.parametrize("scheme", ["kafka", "kafka+fast"])
def test_an_interrupt_is_never_lost(kafka_url: str, scheme: str, interrupted: None) -> None:
    rng = random.Random(1)
    with open_log(kafka_url.replace("kafka:", f"{scheme}:")) as log:
        log.create([Topic("t", 1)])
        for _ in range(INTERRUPTS):
            writer = log.writer("task/0")
            signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.001, LONGEST_SECONDS))
            with pytest.raises(KeyboardInterrupt):
                write_for_long(writer)
            writer.close()
        # Of each transaction all or nothing is there.
        rows = [value for value in log.read("t", 0, 0, max_bytes=64 << 20).values if value is not None]
    assert len(rows) % 21 == 0
    assert rows.count(b"last") == len(rows) // 21
