"""The benchmark's loops pass every row, as it was: ours and the raw clients'."""

from __future__ import annotations

import pytest

pytest.importorskip("confluent_kafka")

from benchmarks import kafka
from benchmarks.parts.kafka_measure import Loop, once
from benchmarks.parts.kafka_rows import rows

LOOPS = [
    kafka.raw("confluent-kafka", "clean_json"),
    kafka.raw("kafka-python", "clean_arrow"),
    kafka.raw("kafka-python", "keyed_json", partitions=4),
    kafka.ours("clean", "clean_json"),
    kafka.ours("clean", "clean_arrow", client="kafka+fast"),
    kafka.ours("repartition", "keyed_json", partitions=4),
    kafka.ours("log", "clean_json", engine="log"),
]


@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: f"{loop.name} {loop.work}")
def test_a_loop_passes_every_row(loop: Loop, kafka_address: str) -> None:
    seconds, size, used = once(kafka_address, loop, rows(2_000))
    assert seconds > 0
    assert size > 100_000
    assert used is not None
