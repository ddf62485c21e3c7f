"""Rows published one by one: in order, each once, together where they came together, the bad ones told apart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pyarrow as pa
import pytest

from catalog.errors import HeadwaterError
from streams.codecs import codec
from streams.log import EmbeddedLog, LogBusy, Topic
from streams.publish import Publisher, PublishError
from streams.row_publisher import RowPublisher
from streams.schema import Schema
from streams.stream import Codec, Stream
from streams.types import SchemaError

HOUR = 3_600_000_000
SCHEMA = pa.schema([pa.field("sensor", pa.string(), nullable=False), pa.field("level", pa.float64())])


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EmbeddedLog]:
    with EmbeddedLog(tmp_path / "log.db", busy_timeout=0.05) as log:
        yield log


def publisher_of(log: EmbeddedLog, form: Codec = "arrow", **options: Any) -> RowPublisher:
    stream = Stream("levels", Schema(SCHEMA), partitions=1, codec=form)
    log.create([Topic("levels", 1)])
    made = Publisher(log, stream, 1, service="test", now=lambda: 0)
    return RowPublisher(made, **{"linger": 1_000, **options})


def messages(log: EmbeddedLog) -> tuple[bytes, ...]:
    return log.read("levels", 0, 0).values  # type: ignore[return-value]


def levels(log: EmbeddedLog, form: Codec = "arrow") -> list[float]:
    reader = codec(form, Schema(SCHEMA), 1)
    # Of some codecs a message is one batch.
    return [level for value in messages(log) for level in reader.decode([value]).column("level").to_pylist()]


def row(level: float) -> dict[str, Any]:
    return {"sensor": "s", "level": level}


def test_rows_lie_in_the_log_as_they_were_sent(log: EmbeddedLog) -> None:
    with publisher_of(log) as rows:
        for number in range(5_000):
            rows.send(row(number))
    assert levels(log) == list(range(5_000))


def test_rows_that_came_within_the_linger_are_one_message(log: EmbeddedLog) -> None:
    with publisher_of(log, linger=HOUR) as rows:
        for number in range(50):
            rows.send(row(number))
        assert messages(log) == ()
        rows.flush()
        assert len(messages(log)) == 1
        rows.send(row(50))
    assert len(messages(log)) == 2
    assert levels(log) == list(range(51))


def test_rows_are_written_without_a_flush_once_they_have_lingered(log: EmbeddedLog) -> None:
    with publisher_of(log) as rows:
        rows.send(row(1))
        while rows.unwritten:
            pass
        assert levels(log) == [1]


def test_no_more_rows_are_on_their_way_than_allowed(log: EmbeddedLog) -> None:
    with publisher_of(log, linger=HOUR, waiting=10) as rows:
        for number in range(95):
            rows.send(row(number))
            assert len(rows.unwritten) <= 10
    assert levels(log) == list(range(95))


def test_threads_may_share_a_publisher(log: EmbeddedLog) -> None:
    def send(first: int) -> None:
        for number in range(500):
            rows.send(row(first + number))

    with publisher_of(log) as rows:
        threads = [Thread(target=send, args=(1_000 * number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = levels(log)
    assert [[one for one in found if one // 1_000 == number] for number in range(4)] == [
        [1_000 * number + place for place in range(500)] for number in range(4)
    ]


@pytest.mark.parametrize("bad", [[0], [7], [19], [3, 4, 11], list(range(20))])
def test_rows_that_do_not_fit_are_left_out_and_told_once(log: EmbeddedLog, bad: list[int]) -> None:
    rows = publisher_of(log, linger=HOUR)
    for number in range(20):
        rows.send({"sensor": "s", "level": "high"} if number in bad else row(number))
    with pytest.raises(PublishError, match=f"^{len(bad)} of the rows sent were left out.* number {bad[0]} "):
        rows.flush()
    rows.send(row(20))
    rows.close()
    assert levels(log) == [number for number in range(21) if number not in bad]


def test_the_rows_are_counted_from_the_first_that_was_sent(log: EmbeddedLog) -> None:
    rows = publisher_of(log)
    for number in range(30):
        rows.send(row(number))
    rows.flush()
    rows.send({"sensor": "s", "level": "high"})
    with pytest.raises(PublishError, match="number 30 "):
        rows.close()


def test_who_asks_for_them_gets_the_rows_that_were_refused(log: EmbeddedLog) -> None:
    refused: list[tuple[Any, HeadwaterError]] = []
    with publisher_of(log, refused=lambda row, error: refused.append((row, error))) as rows:
        rows.send(row(1))
        rows.send({"level": 2.0})
        rows.send(row(3))
    assert [one for one, _ in refused] == [{"level": 2.0}]
    assert isinstance(refused[0][1], SchemaError)
    assert levels(log) == [1, 3]


def test_a_log_that_cannot_be_written_ends_it_and_what_is_unwritten_is_told(log: EmbeddedLog, tmp_path: Path) -> None:
    rows = publisher_of(log, linger=HOUR)
    rows.send(row(0))
    rows.flush()
    with EmbeddedLog(tmp_path / "log.db") as other:
        holder = other.writer("holder/0")
        holder.append("levels", 0, [None], [b"x"], ())
        holder.flush()
        rows.send(row(1))
        rows.send(row(2))
        with pytest.raises(LogBusy):
            rows.flush()
        holder.abort()
    with pytest.raises(LogBusy):
        rows.send(row(3))
    assert rows.unwritten == [row(1), row(2)]
    with pytest.raises(LogBusy):
        rows.close()
    assert levels(log) == [0]


def test_a_closed_publisher_takes_no_rows(log: EmbeddedLog) -> None:
    rows = publisher_of(log)
    rows.close()
    rows.close()
    with pytest.raises(PublishError, match="closed"):
        rows.send(row(1))


def test_the_error_of_the_block_comes_first_and_what_was_sent_is_written(log: EmbeddedLog) -> None:
    def block() -> None:
        with publisher_of(log, linger=HOUR) as rows:
            rows.send(row(1))
            rows.send({"level": 2.0})
            rows.send(row(1 / 0))

    with pytest.raises(ZeroDivisionError):
        block()
    assert levels(log) == [1]


def test_what_the_codec_cannot_express_is_left_out(log: EmbeddedLog) -> None:
    refused: list[Any] = []
    with publisher_of(log, "json", linger=HOUR, refused=lambda row, error: refused.append(row)) as rows:
        for level in (1.0, float("inf"), 2.0):
            rows.send(row(level))
    assert refused == [row(float("inf"))]
    assert levels(log, "json") == [1, 2]
