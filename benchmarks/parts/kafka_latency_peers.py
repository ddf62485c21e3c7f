"""What the latency of a hop is compared with: other loops that take a JSON row a message from one topic to another."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import orjson

#: The raw loop puts into a transaction what comes within so many seconds.
RAW_COMMIT_SECONDS = 0.005


def work_raw(server: str, source: str, target: str, told: Any) -> None:
    """The client's own loop: consume what is there, produce it again, commit small transactions."""
    from confluent_kafka import Consumer, Producer, TopicPartition

    consumer: Any = Consumer(
        {
            "bootstrap.servers": server,
            "group.id": f"{source}-loop",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
        }
    )
    consumer.assign([TopicPartition(source, 0, 0)])
    producer: Any = Producer(
        {
            "bootstrap.servers": server,
            "transactional.id": f"{source}-loop",
            "linger.ms": 0,
            # A transaction right behind another is refused at first; by default it would wait for 100 ms then.
            "retry.backoff.ms": 5,
        }
    )
    producer.init_transactions(30)
    with busy("worker", told):
        while True:
            messages = [one for one in consumer.consume(10_000, RAW_COMMIT_SECONDS) if one.error() is None]
            if not messages:
                continue
            producer.begin_transaction()
            for message in messages:
                producer.produce(target, orjson.dumps(orjson.loads(message.value())), partition=0)
            positions = consumer.position([TopicPartition(source, 0)])
            producer.send_offsets_to_transaction(positions, consumer.consumer_group_metadata())
            producer.commit_transaction(30)


def work_quix(server: str, source: str, target: str, told: Any) -> None:
    """Quix Streams with exactly-once and the shortest commits that it takes."""
    from quixstreams import Application

    app = Application(
        broker_address=server,
        consumer_group=f"{source}-quix",
        processing_guarantee="exactly-once",
        commit_interval=0.005,
        auto_offset_reset="earliest",
        loglevel="ERROR",
    )
    frame = app.dataframe(app.topic(source, value_deserializer="json"))
    frame.to_topic(app.topic(target, value_serializer="json"))
    with busy("worker", told):
        app.run(frame)


@contextmanager
def busy(name: str, told: Any) -> Iterator[None]:
    """Tell at the end, which is a signal, how much of a processor this process took."""
    before, began = time.process_time(), time.monotonic()

    def ended(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, ended)
    with suppress(KeyboardInterrupt):
        yield
    told.put((name, (time.process_time() - before) / (time.monotonic() - began)))
