"""Upkeep drops what retention no longer keeps and compacts what has grown, and leaves the rest."""

from __future__ import annotations

from pathlib import Path

from streams.log import EmbeddedLog, Topic
from streams.log.upkeep import EVERY, LEAST_GROWTH, Upkeep

SECOND = 1_000_000


def test_old_messages_and_superseded_keys_go(tmp_path: Path) -> None:
    now = [1_000 * SECOND]
    log = EmbeddedLog(tmp_path / "log.db", clock=lambda: now[0])
    log.create([Topic("short", 1, retention=60 * SECOND), Topic("table", 1, compact=True), Topic("kept", 1)])
    writer = log.writer("t/0")
    count = LEAST_GROWTH + 10
    writer.append("short", 0, [None] * 3, [b"v"] * 3, ())
    writer.append("kept", 0, [None] * 3, [b"v"] * 3, ())
    writer.append("table", 0, [b"k%d" % (n % 5) for n in range(count)], [b"%d" % n for n in range(count)], ())
    writer.commit()
    upkeep = Upkeep(log, lambda: now[0])
    upkeep()
    assert len(log.read("short", 0, 0)) == 3
    now[0] += EVERY + 60 * SECOND
    upkeep()
    assert len(log.read("short", 0, 0)) == 0
    assert len(log.read("kept", 0, 0)) == 3
    table = log.read("table", 0, 0)
    assert sorted(table.values) == sorted(b"%d" % n for n in range(count - 5, count))
