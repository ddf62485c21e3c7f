"""Quix Streams, exactly once: `python -m benchmarks.parts.kafka_quix JOB`."""

from __future__ import annotations

from typing import Any

from quixstreams import Application

from benchmarks.parts.kafka_work import SECONDS_A_TRANSACTION, Begun, Job, keeps, labelled


def main() -> None:
    job = Job.from_arguments()
    begun = Begun()
    app = Application(
        broker_address=job.server,
        consumer_group=f"{job.prefix}quix",
        processing_guarantee="exactly-once",
        auto_offset_reset="earliest",
        commit_interval=SECONDS_A_TRANSACTION,
        auto_create_topics=False,
        use_changelog_topics=False,
        loglevel="ERROR",
        producer_extra_config={
            "queue.buffering.max.messages": 2_000_000,
            "batch.size": 1 << 20,
            "batch.num.messages": 100_000,
        },
    )
    form: Any = "json" if job.row_coded else "bytes"
    rows = app.dataframe(app.topic(job.given, value_deserializer=form))
    to = app.topic(job.to, value_serializer=form)

    def kept(row: dict[str, Any]) -> bool:
        begun()
        return keeps(row)

    def label(row: dict[str, Any]) -> dict[str, Any]:
        begun()
        return labelled(row)

    def key(row: dict[str, Any]) -> str:
        begun()
        return row["id"]

    if not job.row_coded:
        work = job.function()

        def through(value: bytes) -> bytes | None:
            begun()
            return work(value)[1]

        rows = rows.apply(through)
        rows.to_topic(to)
    elif job.work == "clean_json":
        rows = rows.filter(kept)
        rows.to_topic(to)
    elif job.work == "label_json":
        rows = rows.apply(label)
        rows.to_topic(to)
    else:
        rows.to_topic(to, key=key)
    app.run()


if __name__ == "__main__":
    main()
