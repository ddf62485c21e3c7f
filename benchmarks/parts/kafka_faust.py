"""Faust alone, an agent that reads and sends: `python -m benchmarks.parts.kafka_faust JOB`.

At least once: with processing_guarantee="exactly_once" what goes to a topic that the app does not read itself leaves
outside of any transaction.
"""

from __future__ import annotations

import tempfile
from typing import Any

import faust
from mode import Worker

from benchmarks.parts.kafka_work import Begun, Job


def app_of(job: Job, folder: str) -> Any:
    begun, work = Begun(), job.function()
    app = faust.App(
        f"{job.prefix}faust",
        broker=f"kafka://{job.server}",
        datadir=folder,
        store="memory://",
        web_enabled=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        stream_buffer_maxsize=16_384,
        producer_acks=-1,
        producer_linger_ms=5,
        broker_commit_interval=1.0,
    )
    given = app.topic(job.given, value_type=bytes, value_serializer="raw", key_type=bytes)
    to = app.topic(job.to, value_type=bytes, value_serializer="raw", key_type=bytes)
    partition = 0 if job.partitions == 1 else None

    @app.agent(given)
    async def through(values: Any) -> None:
        async for value in values:
            begun()
            key, made = work(value)
            if made is not None:
                await to.send(key=key, value=made, partition=partition)

    return app


def main() -> None:
    job = Job.from_arguments()
    with tempfile.TemporaryDirectory() as folder:
        Worker(app_of(job, folder), loglevel="ERROR", redirect_stdouts=False).execute_from_commandline()


if __name__ == "__main__":
    main()
