"""What other processes do to a log in these tests: `python programs.py NAME PATH ...`, from the repository's root."""

from __future__ import annotations

import os
import resource
import sqlite3
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from streams.log.embedded import EmbeddedLog
from streams.log.leases import owner_name
from streams.log.line import Line
from streams.log.protocol import LogFull, Topic

#: Where each transaction of `commit_for_ever` writes, and how many messages.
PLACES = (("a", 0, 1), ("a", 1, 2), ("b", 0, 3))
TOPICS = (Topic("a", 2), Topic("b", 1))


def commit_for_ever(path: str) -> None:
    """Write numbered transactions over several topics, going on from the last number that is there."""
    with EmbeddedLog(path) as log:
        log.create(TOPICS)
        writer = log.writer("counter/0")
        last = log.last("a", 0)
        number = int(last.values[0] or b"") + 1 if len(last) else 0
        while True:
            for topic, partition, count in PLACES:
                value = b"%d" % number if topic == "a" else b"%d " % number + bytes(3_000)
                writer.append(topic, partition, [None] * count, [value] * count, (("n", b"%d" % number),))
                if number % 3 == 0:
                    writer.flush()
            writer.commit()
            if number % 5 == 0:
                print(number, flush=True)
            number += 1


def commit_many(path: str, task: str, count: str) -> None:
    """Wait for a line, then commit so many transactions as this task."""
    with EmbeddedLog(path) as log:
        writer = log.writer(task)
        print("ready", flush=True)
        sys.stdin.readline()
        for number in range(int(count)):
            for topic, partition, copies in PLACES:
                writer.append(topic, partition, [task.encode()] * copies, [b"%d" % number] * copies, ())
            writer.commit()


def hold_lock(path: str) -> None:
    """Hold the write lock until a line comes."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    print("held", flush=True)
    sys.stdin.readline()
    connection.execute("ROLLBACK")
    print("released", flush=True)


def hold_line(path: str) -> None:
    """Stand at the front of the line of writers until a line of text comes."""
    with Line(Path(path)).standing(until=time.monotonic() + 60):
        print("standing", flush=True)
        sys.stdin.readline()


def own_task(path: str, task: str, name: str) -> None:
    """Claim a task and announce a worker for an hour, tell the owner's name, and wait for a line."""
    owner = owner_name(name)
    with EmbeddedLog(path) as log:
        assert log.leases.claim(task, owner, 3600)
        log.leases.announce(owner, 3600)
        print(owner, flush=True)
        sys.stdin.readline()


def outlive_parent(path: str) -> None:
    """Commit, fork a child that commits once and, after a line, once more; tell its process id, and wait for it."""
    with EmbeddedLog(path) as log:
        log.create(TOPICS)
        log.read("a", 0, 0)
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            return
        writer = log.writer("child/0")
        for number in range(2):
            writer.append("a", 0, [None], [b"%d" % number], ())
            writer.commit()
            print(os.getpid(), flush=True)
            sys.stdin.readline()


def meet_full_disk(path: str) -> None:
    """Commit, fail to commit because no file may grow, then commit again."""
    with EmbeddedLog(path) as log:
        log.create([Topic("t", 1)])
        writer = log.writer("task/0")
        writer.append("t", 0, [None], [b"before"], ())
        writer.commit()
        journal = Path(path + "-wal").stat().st_size
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (journal + 50_000, hard))
        for _ in range(3):
            writer.append("t", 0, [None] * 40, [bytes(10_000)] * 40, ())
            try:
                writer.commit()
            except LogFull as error:
                print(error, flush=True)
            assert list(log.read("t", 0, 0).values) == [b"before"]
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        writer.append("t", 0, [None], [b"after"], ())
        writer.commit()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
