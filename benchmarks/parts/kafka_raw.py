"""The clients' own transactional loops, one after the other message: `python -m benchmarks.parts.kafka_raw JOB CLIENT`.

They read, work, write and commit, and that is all: no positions, no parents, no state, nothing that survives a crash.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from benchmarks.parts.kafka_work import SECONDS_A_TRANSACTION, Begun, Job


def with_kafka_python(job: Job) -> None:
    from kafka import KafkaConsumer, KafkaProducer, TopicPartition

    place, work, begun = TopicPartition(job.given, 0), job.function(), Begun()
    consumer = KafkaConsumer(
        bootstrap_servers=job.server,
        isolation_level="read_committed",
        enable_auto_commit=False,
        max_poll_records=5_000,
        max_partition_fetch_bytes=4 << 20,
    )
    consumer.assign([place])
    consumer.seek_to_beginning(place)
    producer = KafkaProducer(
        bootstrap_servers=job.server, transactional_id=f"{job.prefix}raw", retry_backoff_ms=5, batch_size=256 << 10
    )
    producer.init_transactions()
    partition = 0 if job.partitions == 1 else None
    taken = 0
    while taken < job.messages:
        producer.begin_transaction()
        until = time.monotonic() + SECONDS_A_TRANSACTION
        while taken < job.messages and time.monotonic() < until:
            for record in consumer.poll(timeout_ms=100).get(place, ()):
                begun()
                key, value = work(record.value)
                if value is not None:
                    producer.send(job.to, value=value, key=key, partition=partition)
                taken += 1
        producer.commit_transaction()
    consumer.close()
    producer.close()


def with_confluent_kafka(job: Job) -> None:
    from confluent_kafka import Consumer, Producer, TopicPartition

    work, begun = job.function(), Begun()
    consumer: Any = Consumer(
        {
            "bootstrap.servers": job.server,
            "group.id": f"{job.prefix}raw",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
        }
    )
    consumer.assign([TopicPartition(job.given, 0, 0)])
    producer: Any = Producer(
        {
            "bootstrap.servers": job.server,
            "transactional.id": f"{job.prefix}fast",
            "queue.buffering.max.messages": 2_000_000,
            "batch.size": 1 << 20,
            "batch.num.messages": 100_000,
        }
    )
    producer.init_transactions(30)
    more: dict[str, Any] = {"partition": 0} if job.partitions == 1 else {}
    taken = 0
    while taken < job.messages:
        producer.begin_transaction()
        until = time.monotonic() + SECONDS_A_TRANSACTION
        while taken < job.messages and time.monotonic() < until:
            for message in consumer.consume(10_000, 0.1):
                if message.error() is None:
                    begun()
                    key, value = work(message.value())
                    if value is not None:
                        producer.produce(job.to, value, key, **more)
                    taken += 1
            producer.poll(0)
        producer.commit_transaction(30)
    consumer.close()


if __name__ == "__main__":
    {"kafka-python": with_kafka_python, "confluent-kafka": with_confluent_kafka}[sys.argv[2]](Job.from_arguments())
