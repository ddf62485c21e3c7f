"""The embedded log among several processes, and after they were killed."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streams.log.embedded import EmbeddedLog
from streams.log.protocol import Fenced, LogBusy, LogError, Topic

PROGRAMS = Path(__file__).with_name("programs.py")
PLACES = (("a", 0, 1), ("a", 1, 2), ("b", 0, 3))
TOPICS = (Topic("a", 2), Topic("b", 1))
Run = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Starts one of the programs on the log at tmp_path/log.db."""
    started: list[subprocess.Popen[str]] = []

    def starting(name: str, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(PROGRAMS), name, str(tmp_path / "log.db"), *arguments]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield starting
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EmbeddedLog]:
    with EmbeddedLog(tmp_path / "log.db") as log:
        log.create(TOPICS)
        yield log


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def numbers(log: EmbeddedLog, topic: str, partition: int) -> list[int]:
    at, end = log.bounds(topic)[partition]
    found: list[int] = []
    while at < end:
        fetched = log.read(topic, partition, at)
        found.extend(int((value or b"").split()[0]) for value in fetched.values)
        at = fetched.next
    return found


def test_a_killed_process_leaves_each_transaction_whole_or_not_at_all(run: Run, tmp_path: Path) -> None:
    chance = random.Random(20)
    reached = -1
    for _ in range(24):
        process = run("commit_for_ever")
        assert line(process)
        time.sleep(chance.uniform(0, 0.06))
        process.send_signal(signal.SIGKILL)
        process.wait()
        with EmbeddedLog(tmp_path / "log.db") as log:
            last = numbers(log, "a", 0)[-1]
            assert last > reached
            reached = last
            for topic, partition, count in PLACES:
                found = numbers(log, topic, partition)
                assert found == [number for number in range(reached + 1) for _ in range(count)]
    with sqlite3.connect(tmp_path / "log.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_the_first_of_two_processes_with_one_task_is_fenced(run: Run, log: EmbeddedLog) -> None:
    older = log.writer("counter/0")
    older.append("b", 0, [None], [b"-1 older"], ())
    newer = run("commit_for_ever")
    assert line(newer)
    with pytest.raises(Fenced, match=r"newer owner.*counter/0, epoch 1"):
        older.commit()
    newer.kill()
    newer.wait()
    found = numbers(log, "b", 0)
    assert -1 not in found
    assert found[:3] == [0, 0, 0]


def test_many_processes_write_at_once_and_nothing_is_missing(run: Run, log: EmbeddedLog) -> None:
    processes = [run("commit_many", f"writer/{number}", "40") for number in range(6)]
    assert [line(process) for process in processes] == ["ready"] * 6
    for process in processes:
        go_on(process)
    assert [process.wait(60) for process in processes] == [0] * 6
    for topic, partition, copies in PLACES:
        fetched = log.read(topic, partition, 0)
        assert list(fetched.offsets) == list(range(6 * 40 * copies))
        for task in range(6):
            mine = [
                int(value or b"")
                for key, value in zip(fetched.keys, fetched.values, strict=True)
                if key == b"writer/%d" % task
            ]
            assert mine == [number for number in range(40) for _ in range(copies)]


def test_processes_make_one_new_log_at_the_same_time(run: Run, tmp_path: Path) -> None:
    processes = [run("commit_for_ever") for _ in range(4)]
    for process in processes:
        line(process)
        process.kill()
        process.wait()
    with EmbeddedLog(tmp_path / "log.db") as log:
        assert log.topics() == list(TOPICS)


def test_a_held_lock_is_busy_and_a_later_try_succeeds(run: Run, log: EmbeddedLog, tmp_path: Path) -> None:
    with EmbeddedLog(tmp_path / "log.db", busy_timeout=0.05) as hasty:
        writer = hasty.writer("task/0")
        holder = run("hold_lock")
        assert line(holder) == "held"
        writer.append("a", 0, [None], [b"1"], ())
        with pytest.raises(LogBusy, match="nothing was written"):
            writer.commit()
        with pytest.raises(LogBusy):
            hasty.writer("task/1")
        assert numbers(hasty, "a", 0) == []
        go_on(holder)
        assert line(holder) == "released"
        writer.append("a", 0, [None], [b"2"], ())
        writer.commit()
        assert numbers(hasty, "a", 0) == [2]


def test_a_short_lock_is_waited_for(run: Run, log: EmbeddedLog) -> None:
    holder = run("hold_lock")
    assert line(holder) == "held"
    threading.Timer(0.1, go_on, [holder]).start()
    writer = log.writer("task/0")
    writer.append("a", 0, [None], [b"1"], ())
    writer.commit()
    assert numbers(log, "a", 0) == [1]


def is_taken(path: Path, place: int) -> bool:
    """True if another process stands at this place in line."""
    with Path(f"{path}-line").open("r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except OSError:
            return True
    return False


def test_processes_write_in_the_order_in_which_they_came(run: Run, log: EmbeddedLog) -> None:
    writers = [run("commit_many", f"writer/{number}", "1") for number in range(3)]
    assert [line(writer) for writer in writers] == ["ready"] * 3
    holder = run("hold_lock")
    assert line(holder) == "held"
    for place, writer in enumerate(writers):
        go_on(writer)
        until = time.monotonic() + 20
        while not is_taken(log.path, place) and time.monotonic() < until:
            time.sleep(0.005)
    go_on(holder)
    assert [writer.wait(60) for writer in writers] == [0] * 3
    assert log.read("a", 0, 0).keys == (b"writer/0", b"writer/1", b"writer/2")


def test_a_process_that_stays_in_line_does_not_keep_others_out(run: Run, log: EmbeddedLog, tmp_path: Path) -> None:
    assert line(run("hold_line")) == "standing"
    with EmbeddedLog(tmp_path / "log.db", busy_timeout=0.1) as hasty:
        writer = hasty.writer("task/0")
        writer.append("a", 0, [None], [b"1"], ())
        writer.commit()
        assert numbers(hasty, "a", 0) == [1]


def test_reading_goes_on_while_another_process_writes(run: Run, log: EmbeddedLog) -> None:
    holder = run("hold_lock")
    assert line(holder) == "held"
    assert log.bounds("a") == [(0, 0), (0, 0)]


def test_the_version_changes_when_another_process_commits(run: Run, log: EmbeddedLog) -> None:
    version = log.version()
    assert log.version() == version
    line(run("commit_for_ever"))
    assert log.version() != version


def test_wait_returns_when_another_process_commits(run: Run, log: EmbeddedLog) -> None:
    version = log.version()
    run("commit_for_ever")
    assert log.wait(60, version) != version


def test_the_task_of_a_killed_process_may_be_claimed_at_once(run: Run, log: EmbeddedLog) -> None:
    process = run("own_task", "task/0", "worker")
    owner = line(process)
    assert [held.owner for held in log.leases.held()] == [owner]
    assert log.leases.workers() == [owner]
    assert not log.leases.claim("task/0", "successor", 60)
    process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, and not yet reaped
    assert log.leases.claim("task/0", "successor", 60)
    assert log.leases.workers() == []


def test_the_task_of_a_reaped_process_may_be_claimed_at_once(run: Run, log: EmbeddedLog) -> None:
    process = run("own_task", "task/0", "worker")
    line(process)
    process.kill()
    process.wait()
    assert log.leases.claim("task/0", "successor", 60)


def test_a_forked_child_reads_and_writes_through_the_same_object(log: EmbeddedLog) -> None:
    parent = log.writer("parent/0")
    parent.append("a", 0, [None], [b"1"], ())
    parent.commit()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            writer = log.writer("child/0")
            writer.append("a", 0, [None], [b"2"], ())
            writer.commit()
            status = 0 if numbers(log, "a", 0) == [1, 2] else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    parent.append("a", 0, [None], [b"3"], ())
    parent.commit()
    assert numbers(log, "a", 0) == [1, 2, 3]


def test_a_child_that_outlives_its_parent_loses_nothing(run: Run, tmp_path: Path) -> None:
    process = run("outlive_parent")
    child = int(line(process))
    process.kill()
    process.wait()
    try:
        for _ in range(2):
            with EmbeddedLog(tmp_path / "log.db") as log:
                assert numbers(log, "a", 0) == [0]
        go_on(process)
        assert line(process) == str(child)
        with EmbeddedLog(tmp_path / "log.db") as log:
            assert numbers(log, "a", 0) == [0, 1]
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_fork_waits_for_a_thread_that_uses_the_log(log: EmbeddedLog) -> None:
    writer = log.writer("parent/0")
    flushed, forked = threading.Event(), threading.Event()

    def write() -> None:
        writer.append("a", 0, [None], [b"1"], ())
        writer.flush()
        flushed.set()
        time.sleep(0.2)
        assert not forked.is_set()
        writer.commit()

    thread = threading.Thread(target=write)
    thread.start()
    flushed.wait()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if numbers(log, "a", 0) == [1] else 2
        finally:
            os._exit(status)
    forked.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
    assert numbers(log, "a", 0) == [1]


def test_a_fork_within_a_transaction_leaves_the_child_without_it(log: EmbeddedLog) -> None:
    writer = log.writer("parent/0")
    writer.append("a", 0, [None], [b"1"], ())
    writer.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if numbers(log, "a", 0) == [] else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    writer.commit()
    assert numbers(log, "a", 0) == [1]


def test_a_version_from_before_a_fork_is_old_in_the_child(log: EmbeddedLog) -> None:
    version = log.version()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if log.version() != version else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert log.version() == log.version()


def test_a_writer_is_refused_in_a_forked_child(log: EmbeddedLog) -> None:
    writer = log.writer("parent/0")
    writer.append("a", 0, [None], [b"1"], ())
    child = os.fork()
    if child == 0:
        status = 1
        try:
            writer.commit()
        except LogError as error:
            status = 0 if "fork" in str(error) else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    writer.commit()
    assert numbers(log, "a", 0) == [1]


def test_threads_write_different_tasks_at_once(log: EmbeddedLog) -> None:
    def write(task: str) -> None:
        writer = log.writer(task)
        for number in range(20):
            writer.append("a", 0, [task.encode()], [b"%d" % number], ())
            writer.flush()
            writer.commit()

    threads = [threading.Thread(target=write, args=[f"thread/{number}"]) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(log.read("a", 0, 0).keys) == {b"thread/%d" % number: 20 for number in range(5)}


def test_a_second_transaction_of_one_thread_is_refused_at_once(log: EmbeddedLog) -> None:
    one, other = log.writer("one/0"), log.writer("other/0")
    one.append("a", 0, [None], [b"1"], ())
    one.flush()
    other.append("a", 0, [None], [b"2"], ())
    with pytest.raises(LogBusy, match="one/0"):
        other.flush()
    one.commit()
    assert numbers(log, "a", 0) == [1]
