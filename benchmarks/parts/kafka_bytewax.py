"""Bytewax, at least once (it has no transactions): `python -m benchmarks.parts.kafka_bytewax JOB`."""

from __future__ import annotations

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSinkMessage, KafkaSource, KafkaSourceMessage
from bytewax.connectors.kafka import operators as kafka
from bytewax.dataflow import Dataflow
from bytewax.run import cli_main
from confluent_kafka import OFFSET_BEGINNING

from benchmarks.parts.kafka_work import Begun, Job


def main() -> None:
    job = Job.from_arguments()
    begun, work = Begun(), job.function()

    def through(message: KafkaSourceMessage[bytes | None, bytes]) -> KafkaSinkMessage[bytes | None, bytes] | None:
        begun()
        key, value = work(message.value)
        return None if value is None else KafkaSinkMessage(key, value)

    flow = Dataflow("bench")
    read = KafkaSource(
        [job.server],
        [job.given],
        starting_offset=OFFSET_BEGINNING,
        tail=False,
        batch_size=10_000,
        add_config={"isolation.level": "read_committed"},
    )
    made = op.filter_map("through", op.input("in", flow, read), through)
    kafka.output(
        "out",
        made,
        brokers=[job.server],
        topic=job.to,
        add_config={"acks": "all", "queue.buffering.max.messages": "2000000"},
    )
    cli_main(flow)


if __name__ == "__main__":
    main()
