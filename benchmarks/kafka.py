"""Exactly-once loops over one partition of a real Kafka broker: ours next to the clients' own transactional loops.

`python -m benchmarks.kafka` starts a broker (HEADWATER_TEST_KAFKA names one that runs) and prints rows/s, MB/s and the
ratio to the raw loop of the same client, which reads, decodes, encodes, writes and commits and does nothing else.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import orjson
import pyarrow as pa

import headwater as hw
from streams.log import Topic, open_log
from tests.kafka_broker import NAMED, VERSION, Broker

SECONDS_A_TRANSACTION = 1.0
START = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp() * 1_000_000)
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("at", pa.timestamp("us", "UTC"), nullable=False),
        *(pa.field(f"level{number}", pa.float64()) for number in range(5)),
        *(pa.field(f"count{number}", pa.int32()) for number in range(3)),
    ]
)


def rows(count: int, seed: int = 7) -> pa.Table:
    """`count` rows of ten columns, about 76 bytes each."""
    chance = np.random.default_rng(seed)
    return pa.table(
        [
            pa.array(np.char.mod("sensor-%05d", chance.integers(0, 10_000, count))),
            pa.array(START + 1_000 * np.arange(count)).cast(pa.timestamp("us", "UTC")),
            *(pa.array(chance.random(count)) for _ in range(5)),
            *(pa.array(chance.integers(0, 1_000, count).astype(np.int32)) for _ in range(3)),
        ],
        schema=SCHEMA,
    )


def arrow_values(table: pa.Table) -> list[bytes]:
    """Messages of 1,000 rows."""
    return [batch.serialize().to_pybytes() for batch in table.combine_chunks().to_batches(1_000)]


def json_values(table: pa.Table) -> list[bytes]:
    return [orjson.dumps(row) for row in table.to_pylist()]


def through_arrow(value: bytes) -> bytes:
    return pa.ipc.read_record_batch(pa.py_buffer(value), SCHEMA).serialize().to_pybytes()


def through_json(value: bytes) -> bytes:
    return orjson.dumps(orjson.loads(value))


def filled(url: str, values: list[bytes]) -> None:
    """Put the values into the topic `in`, and make `out`."""
    log = open_log(url)
    log.create([Topic("in", 1), Topic("out", 1)])
    writer = log.writer("fill/0")
    for start in range(0, len(values), 5_000):
        part = values[start : start + 5_000]
        writer.append("in", 0, [None] * len(part), part, ())
        writer.commit()
    writer.close()
    log.close()


def raw_python(server: str, prefix: str, count: int, through: Callable[[bytes], bytes]) -> None:
    """kafka-python's own transactional loop."""
    from kafka import KafkaConsumer, KafkaProducer, TopicPartition

    place = TopicPartition(f"{prefix}in", 0)
    consumer = KafkaConsumer(
        bootstrap_servers=server,
        isolation_level="read_committed",
        enable_auto_commit=False,
        max_poll_records=5_000,
        max_partition_fetch_bytes=4 << 20,
    )
    consumer.assign([place])
    consumer.seek_to_beginning(place)
    producer = KafkaProducer(
        bootstrap_servers=server, transactional_id=f"{prefix}raw", retry_backoff_ms=5, batch_size=256 << 10
    )
    producer.init_transactions()
    taken = 0
    while taken < count:
        producer.begin_transaction()
        until = time.monotonic() + SECONDS_A_TRANSACTION
        while taken < count and time.monotonic() < until:
            for record in consumer.poll(timeout_ms=100).get(place, ()):
                producer.send(f"{prefix}out", value=through(record.value), partition=0)
                taken += 1
        producer.commit_transaction()
    consumer.close()
    producer.close()


def raw_fast(server: str, prefix: str, count: int, through: Callable[[bytes], bytes]) -> None:
    """confluent-kafka's own transactional loop."""
    from confluent_kafka import Consumer, Producer, TopicPartition

    consumer: Any = Consumer(
        {
            "bootstrap.servers": server,
            "group.id": f"{prefix}raw",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
        }
    )
    consumer.assign([TopicPartition(f"{prefix}in", 0, 0)])
    producer: Any = Producer(
        {
            "bootstrap.servers": server,
            "transactional.id": f"{prefix}fast",
            "queue.buffering.max.messages": 2_000_000,
            "batch.size": 1 << 20,
        }
    )
    producer.init_transactions(30)
    taken = 0
    while taken < count:
        producer.begin_transaction()
        until = time.monotonic() + SECONDS_A_TRANSACTION
        while taken < count and time.monotonic() < until:
            for message in consumer.consume(10_000, 0.1):
                if message.error() is None:
                    producer.produce(f"{prefix}out", through(message.value()), partition=0)
                    taken += 1
            producer.poll(0)
        producer.commit_transaction(30)
    consumer.close()


def through_log(url: str, through: Callable[[bytes], bytes]) -> None:
    """The same loop through the log's protocol."""
    log = open_log(url)
    end = log.bounds("in")[0][1]
    writer = log.writer("loop/0")
    at = 0
    while at < end:
        until = time.monotonic() + SECONDS_A_TRANSACTION
        while at < end and time.monotonic() < until:
            fetched = log.read("in", 0, at)
            values = [through(value) for value in fetched.values if value is not None]
            writer.append("out", 0, [None] * len(values), values, ())
            at = fetched.next
        writer.commit()
    log.close()


def pipeline(codec: str, step: str) -> hw.Pipeline:
    p = hw.Pipeline("bench", owner="bench", partitions=1)
    given = p.stream(
        "in", SCHEMA, time="at", codec=codec, expect=[hw.between("level0", 0, 1), hw.between("count0", 0, 1_000)]
    )
    if step == "clean":
        p.clean(given, to="out")
    else:
        p.map(given, lambda batch: batch, reads=list(SCHEMA.names), to="out", schema=SCHEMA, time="at")
    return p


def operator(url: str, folder: Path, table: pa.Table, codec: str, step: str) -> float:
    """Seconds that the embedded engine takes for one operator over rows that lie in the log."""
    with hw.connect(folder, log=url) as hub:
        job = pipeline(codec, step)
        hub.register(job)
        for start in range(0, table.num_rows, 500_000):
            hub.publish("bench.in", table.slice(start, 500_000))
        began = time.perf_counter()
        hub.run(job, until="caught-up")
        took = time.perf_counter() - began
        assert len(hub.read("bench.out", columns=["level0"])) == table.num_rows
        return took


@contextmanager
def broker() -> Iterator[str]:
    named = os.environ.get(NAMED)
    if named:
        yield named
        return
    with tempfile.TemporaryDirectory() as folder:
        made = Broker(Path(folder))
        made.start()
        try:
            yield made.address
        finally:
            made.stop()


def measure(what: Callable[[], float | None], repeat: int) -> float:
    """Seconds, the median of so many runs."""
    took = []
    for _ in range(repeat):
        began = time.perf_counter()
        told = what()
        took.append(told if told is not None else time.perf_counter() - began)
    return statistics.median(took)


def compare(server: str, name: str, table: pa.Table, codec: str, repeat: int) -> None:
    values = arrow_values(table) if codec == "arrow" else json_values(table)
    through = through_arrow if codec == "arrow" else through_json
    size = sum(map(len, values))
    print(f"\n{name}: {table.num_rows:,} rows, {len(values):,} messages, {size / 1e6:.0f} MB")
    print(f"{'':45} {'rows/s':>12} {'MB/s':>7} {'of raw':>7}")
    for client, raw in (("kafka", raw_python), ("kafka+fast", raw_fast)):

        def url(client: str = client) -> str:
            return f"{client}://{server}?prefix=bench-{uuid4().hex[:8]}."

        def prepared() -> tuple[str, str]:
            made = url()
            filled(made, values)
            return made, made.partition("prefix=")[2]

        def run_raw(raw: Any = raw) -> float:
            _, prefix = prepared()
            began = time.perf_counter()
            raw(server, prefix, len(values), through)
            return time.perf_counter() - began

        def run_log() -> float:
            made, _ = prepared()
            began = time.perf_counter()
            through_log(made, through)
            return time.perf_counter() - began

        def run_operator(step: str) -> float:
            with tempfile.TemporaryDirectory() as folder:
                return operator(url(), Path(folder), table, codec, step)

        ceiling = measure(run_raw, repeat)
        for label, took in (
            ("the client's own loop", ceiling),
            ("our log", measure(run_log, repeat)),
            ("map to Arrow, embedded engine", measure(lambda: run_operator("map"), repeat)),
            ("clean to Arrow, embedded engine", measure(lambda: run_operator("clean"), repeat)),
        ):
            rate, ratio = table.num_rows / took, ceiling / took
            print(f"{client + ': ' + label:45} {rate:12,.0f} {size / took / 1e6:7.1f} {ratio:7.2f}", flush=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=2_000_000, help="rows in Arrow messages (a tenth as JSON)")
    options.add_argument("--repeat", type=int, default=3)
    given = options.parse_args()
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    print(f"Python {sys.version.split()[0]}, pyarrow {pa.__version__}, Kafka {VERSION}, {os.cpu_count()} cores")
    table = rows(given.rows)
    with broker() as server:
        compare(server, "Messages of 1,000 rows", table, "arrow", given.repeat)
        compare(server, "One JSON row a message", table.slice(0, given.rows // 10), "json", given.repeat)


if __name__ == "__main__":
    main()
