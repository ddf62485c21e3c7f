"""Messages that cannot be taken as they lie in the log: damaged, misplaced, foreign, stamped by a broken clock."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pytest

import headwater as hw
from streams.codecs import codec as codec_of
from streams.log import Corrupt
from streams.message import SCHEMA, pack_int
from tests.faults.facts import digests

FAR = datetime(2999, 1, 1, tzinfo=UTC)


def fill(plant, rows, **options) -> hw.Pipeline:
    """Register the plant and publish to it in three calls."""
    pipeline = plant.pipeline(**options)
    plant.hub.register(pipeline)
    for first in (0, 100, 200):
        plant.hub.publish("plant.readings", rows(first))
    return pipeline


@pytest.mark.parametrize("codec", ["arrow", "avro", "json"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_damaged_message_stops_its_task_until_it_is_restored(plant, undisturbed, rows, codec, workers):
    pipeline = fill(plant, rows, codec=codec)
    undisturbed.run(fill(undisturbed, rows, codec=codec))
    partition, offset = plant.busiest("plant.readings")
    before = plant.damage("plant.readings", partition, offset)

    failed = plant.fails(pipeline, workers=workers)
    task = f"plant.valid/{partition}"
    assert list(failed.failed) == [task]
    assert isinstance(failed.failed[task], hw.StepFailed)
    assert failed.failed[task].where.startswith(f"plant.readings {partition}:")
    assert str(offset) in failed.failed[task].where
    assert "restore it" in str(failed)
    assert "on_error='quarantine'" in str(failed)
    others = [number for number in range(4) if number != partition]
    whole = undisturbed.hub.read("plant.warm").addresses.partition
    there = plant.hub.read("plant.warm").addresses.partition
    assert all((there == number).sum() == (whole == number).sum() for number in others)
    assert 0 < (there == partition).sum() < (whole == partition).sum()

    plant.restore("plant.readings", partition, offset, before)
    plant.run(pipeline, workers=workers)
    assert digests(plant.hub, pipeline) == digests(undisturbed.hub, pipeline)


def test_a_failed_run_can_be_tried_any_number_of_times(plant, rows):
    pipeline = fill(plant, rows)
    plant.damage("plant.readings", *plant.busiest("plant.readings"))
    plant.fails(pipeline)
    bounds = plant.bounds()
    plant.fails(pipeline)
    assert plant.bounds() == bounds


def test_a_damaged_message_is_listed_and_passed_over_where_that_was_asked_for(plant, rows):
    pipeline = fill(plant, rows, on_error="quarantine")
    partition, offset = plant.busiest("plant.readings")
    hidden = len(plant.hub.read("plant.readings", ranges={partition: (offset, offset + 1)}))
    plant.damage("plant.readings", partition, offset)
    plant.run(pipeline)
    (listed,) = plant.hub.read("plant.valid.failed")
    assert (listed["input"], listed["partition"]) == ("plant.readings", partition)
    assert (listed["first"], listed["end"]) == (offset, offset + 1)
    assert "checksum" in listed["error"]
    assert plant.count("plant.warm") == 300 - hidden
    plant.run(pipeline)
    assert plant.count("plant.valid.failed") == 1


def test_reading_a_damaged_message_says_where_it_lies_and_the_rest_can_be_read(plant, rows):
    fill(plant, rows)
    partition, offset = plant.busiest("plant.readings")
    plant.damage("plant.readings", partition, offset)
    with pytest.raises(Corrupt, match=f"plant.readings {partition}:{offset}.*ranges="):
        plant.hub.read("plant.readings")
    assert len(plant.hub.read("plant.readings", ranges={partition: (0, offset)}))


FOREIGN = {
    b'{"sensor": "s0", "at": "2024-03-01T00:00:00Z", "celsius": 1.0': "Missing a comma",
    b'{"sensor": "s0", "celsius": 1.0}': "required field is null [field 'at'",
    b'{"sensor": "s0", "at": "2024-03-01T00:00:00Z", "celsius": "warm"}': "celsius) changed from number to string",
    b"null": "it is null",
}


@pytest.mark.parametrize("value", FOREIGN, ids=["no JSON", "no event time", "text for a number", "null"])
def test_a_foreign_message_that_is_no_row_stops_its_task(plant, rows, value):
    pipeline = fill(plant, rows, codec="json")
    good = plant.partition_of(rows(0, 1)[0])
    end = plant.hub.log.bounds("plant.readings")[good][1]
    with plant.hub.log.writer("elsewhere/0") as writer:
        writer.append("plant.readings", good, [b"s0"], [value], ())
        writer.commit()
    plant.hub.publish("plant.readings", rows(300))
    failed = plant.fails(pipeline)
    assert list(failed.failed) == [f"plant.valid/{good}"]
    assert f"plant.readings {good}:{end}" in str(failed)
    assert FOREIGN[value] in str(failed)
    assert "on_error='quarantine'" in str(failed)
    assert plant.hub.log.bounds("plant.readings")[good][1] > end + 1

    plant.run(plant.pipeline(codec="json", on_error="quarantine"))
    (listed,) = plant.hub.read("plant.valid.failed")
    assert (listed["partition"], listed["first"], listed["end"]) == (good, end, end + 1)
    assert plant.count("plant.warm") == 400


def test_rows_in_the_wrong_partition_stop_the_task_that_finds_them(plant, rows):
    pipeline = fill(plant, rows)
    wrong = (plant.partition_of(rows(0, 1)[0]) + 1) % 4
    plant.append(wrong, rows(300, 1, sensor="s0"))
    end = plant.hub.log.bounds("plant.readings")[wrong][1]
    failed = plant.fails(pipeline)
    assert list(failed.failed) == [f"plant.valid/{wrong}"]
    assert f"plant.readings {wrong}:{end - 1}" in str(failed)
    assert "hw.repartition" in str(failed)
    assert plant.count("plant.readings") == 301
    assert plant.count("plant.warm") == 300


def test_rows_in_the_wrong_partition_among_others_are_not_missed(plant, rows):
    pipeline = fill(plant, rows)
    wrong = (plant.partition_of(rows(0, 1)[0]) + 1) % 4
    plant.append(wrong, rows(300, 1, sensor="s0"))
    for first in (400, 500):
        plant.hub.publish("plant.readings", rows(first))
    assert list(plant.fails(pipeline).failed) == [f"plant.valid/{wrong}"]
    assert "s0" not in plant.hub.read("plant.warm", ranges={wrong: (0, 1 << 40)}).table["sensor"].to_pylist()


def test_rows_in_the_wrong_partition_are_listed_where_that_was_asked_for(plant, rows):
    pipeline = fill(plant, rows, on_error="quarantine")
    wrong = (plant.partition_of(rows(0, 1)[0]) + 1) % 4
    plant.append(wrong, rows(300, 1, sensor="s0"))
    plant.hub.publish("plant.readings", rows(301, 99))
    plant.run(pipeline)
    (listed,) = plant.hub.read("plant.valid.failed")
    assert (listed["partition"], listed["rows"]) == (wrong, 1)
    assert plant.count("plant.warm") == 399


def test_a_message_of_an_unknown_schema_says_which(plant, rows):
    pipeline = fill(plant, rows)
    good = plant.partition_of(rows(0, 1)[0])
    plant.append(good, rows(300, 1, sensor="s0"), schema_id=987_654)
    failed = plant.fails(pipeline)
    assert list(failed.failed) == [f"plant.valid/{good}"]
    assert "schema 987654" in str(failed)


def test_a_message_of_another_streams_schema_says_what_does_not_fit(plant, rows):
    pipeline = fill(plant, rows)
    other = hw.Stream("plant.other", hw.Schema(pa.schema([("sensor", pa.int64()), ("at", pa.timestamp("us", "UTC"))])))
    plant.hub.register_stream(other)
    good = plant.partition_of(rows(0, 1)[0])
    with plant.hub.log.writer("elsewhere/0") as writer:
        theirs = plant.hub.catalog.stream("plant.other").schema_id
        value = codec_of("arrow", other.schema, theirs).encode(
            pa.RecordBatch.from_pylist([{"sensor": 7, "at": FAR}], schema=other.schema.arrow)
        )
        writer.append("plant.readings", good, [None], value, ((SCHEMA, pack_int(theirs)),))
        writer.commit()
    failed = plant.fails(pipeline)
    assert list(failed.failed) == [f"plant.valid/{good}"]
    assert "do not fit the stream" in str(failed)
    assert "sensor" in str(failed)
    assert plant.count("plant.warm") == 300


@pytest.mark.parametrize("codec", ["arrow", "avro"])
def test_a_foreign_event_time_far_in_the_future_makes_nobody_late(plant, rows, codec):
    pipeline = fill(plant, rows, codec=codec)
    good = plant.partition_of(rows(0, 1)[0])
    plant.append(good, rows(300, 1, sensor="s0", at=FAR))
    plant.hub.publish("plant.readings", rows(301, 99))
    plant.run(pipeline)
    assert plant.count("plant.warm") == 400
    late = [row["late"] for row in progress(plant, "plant.valid")]
    assert not any(sum(counts.values()) for counts in late)
    reached = max(row["watermark"] for row in progress(plant, "plant.valid") if row["watermark"] < 2**63 - 1)
    assert reached < FAR.timestamp() * 1e6


def progress(plant, operator: str) -> list[dict]:
    topic = f"{operator}.progress"
    found = []
    for partition, (first, _) in enumerate(plant.hub.log.bounds(topic)):
        found += [json.loads(value) for value in plant.hub.log.read(topic, partition, first, max_bytes=1 << 30).values]
    return found


@dataclass
class Reading:
    sensor: str
    at: datetime
    celsius: float


@pytest.mark.parametrize(
    "rule", [hw.not_after("at", "2100-01-01T00:00:00Z"), hw.jump("at", "1d")], ids=["not_after", "jump"]
)
def test_a_rule_quarantines_what_a_broken_clock_stamped(plant, rows, rule):
    p = hw.Pipeline("plant", owner="plant-team")
    raw = p.stream("readings", Reading, key="sensor", time="at", codec="arrow")
    p.clean(raw, to="valid", expect=[rule])
    plant.hub.register(p)
    plant.hub.publish(raw, rows())
    plant.append(plant.partition_of(rows(0, 1)[0]), rows(0, 1, at=FAR))
    plant.hub.publish(raw, rows(100))
    plant.run(p)
    (bad,) = plant.hub.read("plant.valid.quarantine")
    assert bad["at"] == FAR
    assert bad["rule"] == rule.name
    assert plant.count("plant.valid") == 200


def test_a_damaged_progress_row_says_where_it_lies(plant, rows):
    pipeline = fill(plant, rows)
    plant.run(pipeline)
    partition, _ = plant.busiest("plant.valid.progress")
    last = plant.hub.log.bounds("plant.valid.progress")[partition][1] - 1
    before = plant.damage("plant.valid.progress", partition, last)
    failed = plant.fails(pipeline)
    assert f"plant.valid.progress {partition}" in str(failed)
    assert "restore the log" in str(failed)
    plant.restore("plant.valid.progress", partition, last, before)
    plant.hub.publish("plant.readings", rows(300))
    plant.run(pipeline)
    assert plant.count("plant.warm") == 400
