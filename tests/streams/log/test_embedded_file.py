"""The embedded log and its file: what is refused, full disks, read-only and damaged files, and `open_log`."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.log import open_log
from streams.log.embedded import EmbeddedLog
from streams.log.protocol import Corrupt, LogError, LogFull, Topic

PROGRAMS = Path(__file__).with_name("programs.py")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def log(path: Path) -> Iterator[EmbeddedLog]:
    with EmbeddedLog(path) as log:
        log.create([Topic("t", 1)])
        yield log


def put(log: EmbeddedLog, *values: bytes) -> None:
    with log.writer("task/0") as writer:
        writer.append("t", 0, [None] * len(values), values, ())
        writer.commit()


def fill(path: Path) -> None:
    """A closed log with some hundred messages."""
    with EmbeddedLog(path) as log:
        log.create([Topic("t", 1)])
        put(log, *[bytes([number % 256]) * 1000 for number in range(500)])


def test_messages_are_there_when_the_log_is_opened_again(path: Path) -> None:
    fill(path)
    with EmbeddedLog(path) as log:
        assert log.bounds("t") == [(0, 500)]
        assert log.read("t", 0, 499).values == (bytes([499 % 256]) * 1000,)


def test_offsets_start_at_0_and_are_dense(log: EmbeddedLog) -> None:
    put(log, b"a", b"b")
    writer = log.writer("task/0")
    writer.append("t", 0, [None], [b"gone"], ())
    writer.flush()
    writer.abort()
    put(log, b"c")
    assert log.read("t", 0, 0).offsets == (0, 1, 2)


def test_timestamps_come_from_the_clock_that_was_given(path: Path) -> None:
    with EmbeddedLog(path, clock=lambda: 1_234_567) as log:
        log.create([Topic("t", 1)])
        put(log, b"a")
        assert log.read("t", 0, 0).timestamps == (1_234_567,)


def test_a_read_past_the_end_stays_where_it_was_asked(log: EmbeddedLog) -> None:
    put(log, b"a")
    assert log.read("t", 0, 9).next == 9
    assert len(log.read("t", 0, 2**62)) == 0


def test_a_closed_log_says_so(path: Path) -> None:
    log = EmbeddedLog(path)
    log.create([Topic("t", 1)])
    writer = log.writer("task/0")
    writer.append("t", 0, [None], [b"a"], ())
    log.close()
    log.close()
    with pytest.raises(LogError, match="closed"):
        log.bounds("t")
    with pytest.raises(LogError, match="closed"):
        writer.commit()


def test_a_closed_writer_says_so(log: EmbeddedLog) -> None:
    writer = log.writer("task/0")
    writer.close()
    writer.close()
    with pytest.raises(LogError, match="closed"):
        writer.append("t", 0, [None], [b"a"], ())


def test_closing_the_log_drops_an_open_transaction(path: Path) -> None:
    log = EmbeddedLog(path)
    log.create([Topic("t", 1)])
    writer = log.writer("task/0")
    writer.append("t", 0, [None], [b"a"], ())
    writer.flush()
    log.close()
    with EmbeddedLog(path) as again:
        assert again.bounds("t") == [(0, 0)]


def test_a_full_log_keeps_what_it_has_and_goes_on_when_there_is_room(log: EmbeddedLog) -> None:
    put(log, b"before")
    connection = log._database._opened.write
    assert connection is not None
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 5}")
    writer = log.writer("task/0")
    for _ in range(3):
        writer.append("t", 0, [None] * 100, [bytes(10_000)] * 100, ())
        with pytest.raises(LogFull, match="Free space"):
            writer.commit()
        assert log.bounds("t") == [(0, 1)]
    connection.execute("PRAGMA max_page_count = 1000000")
    writer.append("t", 0, [None], [b"after"], ())
    writer.commit()
    assert log.read("t", 0, 0).values == (b"before", b"after")


def test_a_file_that_cannot_grow_keeps_what_it_has_and_goes_on_when_it_can(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(PROGRAMS), "meet_full_disk", str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("nothing was written") == 3
    with EmbeddedLog(path) as log:
        assert log.read("t", 0, 0).values == (b"before", b"after")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_file_that_may_not_be_written_is_refused_and_stays_as_it_was() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.db"
        fill(path)
        os.chmod(path, 0o444)
        os.chmod(folder, 0o555)
        before = path.read_bytes()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                if os.geteuid() == 0:
                    os.setuid(65534)  # root may write everything
                EmbeddedLog(path, busy_timeout=0.1).writer("task/0")
            except LogError as error:
                status = 0 if "this user may" in str(error) or "Allow this user" in str(error) else 2
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert path.read_bytes() == before
        os.chmod(folder, 0o755)


@pytest.mark.parametrize("content", [b"x", b"not a log at all " * 1000, bytes(5000)], ids=["short", "text", "zeros"])
def test_a_file_that_is_no_log_is_refused_and_stays_as_it_was(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(Corrupt, match="not a log"):
        EmbeddedLog(path)
    assert path.read_bytes() == content


def test_another_sqlite_file_is_refused_and_stays_as_it_was(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    before = path.read_bytes()
    with pytest.raises(Corrupt, match="not a log"):
        EmbeddedLog(path)
    assert path.read_bytes() == before


def test_a_log_of_another_format_is_refused(path: Path) -> None:
    EmbeddedLog(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(LogError, match="format 99"):
        EmbeddedLog(path)


def test_a_damaged_page_is_reported_as_damage(path: Path) -> None:
    fill(path)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(8192 * 20)
        file.write(b"\xff" * (size - 8192 * 20))
    with EmbeddedLog(path) as log, pytest.raises(Corrupt, match="restore it"):
        log.read("t", 0, 0, max_bytes=1 << 30)


def test_damaged_headers_are_reported_with_their_place(log: EmbeddedLog, path: Path) -> None:
    put(log, b"a", b"b")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE block SET headers = x'00ff00'")
    with pytest.raises(Corrupt, match="t 0"):
        log.read("t", 0, 0)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(LogError, match=r"no folder .*missing"):
        EmbeddedLog(tmp_path / "missing" / "log.db")


def test_a_folder_is_no_log(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="cannot be opened"):
        EmbeddedLog(tmp_path)


def test_durability_has_two_values(path: Path) -> None:
    with pytest.raises(LogError, match="full"):
        EmbeddedLog(path, synchronous="off")  # type: ignore[arg-type]


@pytest.mark.parametrize(("synchronous", "setting"), [("full", 2), ("normal", 1)])
def test_messages_are_committed_with_the_durability_asked_for(path: Path, synchronous: str, setting: int) -> None:
    with EmbeddedLog(path, synchronous=synchronous) as log:  # type: ignore[arg-type]
        log.create([Topic("t", 1)])
        writer = log.writer("task/0")
        writer.append("t", 0, [None], [b"a"], ())
        writer.flush()
        connection = log._database._opened.write
        assert connection is not None
        assert connection.execute("PRAGMA synchronous").fetchone() == (setting,)
        writer.commit()


def test_the_journal_is_brought_home_while_the_log_is_written(log: EmbeddedLog, path: Path) -> None:
    for _ in range(12):
        put(log, *[bytes(16_000)] * 512)
    assert path.stat().st_size > 60_000_000
    assert Path(f"{path}-wal").stat().st_size < 40_000_000


def test_a_log_is_opened_by_path_or_url(path: Path) -> None:
    fill(path)
    for url in (str(path), f"embedded://{path}"):
        log = open_log(url)
        assert log.bounds("t") == [(0, 500)]
        log.close()


def test_an_unknown_url_is_refused() -> None:
    with pytest.raises(LogError, match="pulsar"):
        open_log("pulsar://localhost")


def test_the_version_changes_with_every_commit_and_not_otherwise(log: EmbeddedLog) -> None:
    before = log.version()
    log.read("t", 0, 0)
    assert log.version() == before
    put(log, b"a")
    assert log.version() != before


def test_wait_gives_up_after_its_time(log: EmbeddedLog) -> None:
    version = log.version()
    assert log.wait(0.01, version) == version
    assert log.wait(60, version - 1) == version
