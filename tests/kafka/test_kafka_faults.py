"""Brokers that are not there, go away and come back; writers that hang; transactions that ran out of time."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pytest

from streams.log import Fenced, Log, LogError, Topic, open_log
from streams.publish import Publisher
from streams.read import PartitionReader
from streams.schema import Schema
from streams.stream import Stream
from tests.kafka_broker import Broker, free_port

ROOT = Path(__file__).parents[2]


@pytest.fixture
def own_url(own_broker: Broker) -> str:
    return f"kafka://{own_broker.address}?prefix=test-{uuid4().hex[:10]}."


def values(log: Log, topic: str) -> list[bytes | None]:
    return list(log.read(topic, 0, 0).values)


def test_a_dead_broker_is_told_within_ten_seconds() -> None:
    began = time.monotonic()
    with pytest.raises(LogError, match="No broker answers") as told:
        open_log(f"kafka://127.0.0.1:{free_port()}")
    assert time.monotonic() - began < 10
    assert "Start it" in str(told.value)


def test_the_command_line_tells_a_dead_broker_in_plain_words(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "headwater", "status", "--workspace", str(tmp_path)],
        env={**os.environ, "HEADWATER_LOG": f"kafka://127.0.0.1:{free_port()}", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 6
    assert "No broker answers" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert "ERROR" not in ran.stderr


def test_a_broker_that_goes_away_is_waited_for_and_the_log_says_so(
    own_broker: Broker, own_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    log = open_log(own_url)
    log.create([Topic("t", 1)])
    writer = log.writer("task/0")
    writer.append("t", 0, [None], [b"before"], ())
    writer.commit()
    assert values(log, "t") == [b"before"]
    writer.append("t", 0, [None], [b"after"], ())
    own_broker.kill()
    back = threading.Timer(2.5, own_broker.start)
    committing = threading.Thread(target=writer.commit)
    with caplog.at_level(logging.WARNING):
        back.start()
        committing.start()
        bounds = log.bounds("t")
        committing.join()
    back.join()
    assert bounds[0][1] > 0
    said = [record.message for record in caplog.records]
    waits = [one for one in said if "waiting for the broker" in one]
    assert any("(writing)" in one for one in waits)
    assert any("(looking for leaders)" in one or "(asking for offsets)" in one for one in waits)
    assert any("is back after" in one for one in said)
    assert values(log, "t") == [b"before", b"after"]
    log.close()


def test_a_writer_that_hangs_is_fenced_by_its_successor(kafka_log: Log, kafka_url: str) -> None:
    kafka_log.create([Topic("t", 1)])
    hung = kafka_log.writer("task/0")
    hung.append("t", 0, [None], [b"never"], ())
    hung.flush()
    other = open_log(kafka_url)
    successor = other.writer("task/0")
    # What the successor reads when it owns the task is final.
    assert values(other, "t") == []
    successor.append("t", 0, [None], [b"after"], ())
    successor.commit()
    with pytest.raises(Fenced, match="task/0"):
        hung.commit()
    assert values(kafka_log, "t") == [b"after"]
    other.close()


def test_a_transaction_that_runs_out_of_time_is_gone(kafka_url: str) -> None:
    log = open_log(f"{kafka_url}&transaction_timeout=1")
    log.create([Topic("t", 1)])
    writer = log.writer("task/0")
    writer.append("t", 0, [None], [b"late"], ())
    writer.flush()
    # The broker looks for such transactions every ten seconds.
    time.sleep(12)
    with pytest.raises(Fenced, match="ran out of time"):
        writer.commit()
    assert values(log, "t") == []
    log.close()


def test_a_publisher_whose_transaction_was_lost_publishes_all_the_same(kafka_log: Log) -> None:
    stream = Stream("numbers", Schema.of(pa.schema([("n", pa.int64())])), partitions=1)
    kafka_log.create([Topic("numbers", 1)])
    publisher = Publisher(kafka_log, stream, 1, service="test", now=lambda: 0)
    publisher.publish({"n": [1]})
    (task,) = kafka_log._writers  # type: ignore[attr-defined]
    # As the broker does when it gives a transaction up: it moves the epoch on.
    kafka_log.writer(task)
    publisher.publish({"n": [2, 3]})
    reader = PartitionReader(kafka_log, stream, 0, lambda _: stream.schema)
    assert [batch.rows.column(0).to_pylist() for batch in reader.fetch()] == [[1], [2, 3]]
