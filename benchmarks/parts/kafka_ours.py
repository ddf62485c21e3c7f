"""Our loops: `python -m benchmarks.parts.kafka_ours JOB CLIENT ENGINE`.

CLIENT is `kafka` or `kafka+fast`, ENGINE `embedded`, `faust`, or `log`: then it is no operator but the log's protocol
alone, in a loop such as the raw clients'.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

import headwater as hw
from benchmarks.parts.kafka_work import LIMITS, SCHEMA, SECONDS_A_TRANSACTION, Begun, Job
from streams.log import open_log


def pipeline(job: Job) -> hw.Pipeline:
    """One operator over the rows: clean, labels (three operators), or a repartition."""
    p = hw.Pipeline("bench", owner="bench", partitions=1)
    ranges = [hw.between("level0", 0, 1), hw.between("count0", 0, 1_000)] if job.work.startswith("clean") else []
    given = p.stream("in", SCHEMA, time="at", codec="json" if job.row_coded else "arrow", expect=ranges)
    if job.work.startswith("clean"):
        p.clean(given, to="out", codec=given.codec)
    elif job.work.startswith("label"):
        p.label(given, functions(), to="out", keep=["id"], update_every=50_000)
    else:
        p.repartition(given, "id", to="out", partitions=job.partitions, codec=given.codec)
    return p


def functions() -> list[hw.LabelingFunction]:
    """The ten functions of `labelled`, on whole columns."""

    def one(number: int, name: str, limit: float) -> hw.LabelingFunction:
        otherwise = None if number % 2 else "good"
        made = hw.labeling_function(reads=[name], name=f"f{number}", label="bad", otherwise=otherwise)
        return made(lambda rows: pc.greater(rows.column(0), limit))

    return [one(number, name, limit) for number, (name, limit) in enumerate(LIMITS)]


def begins_with_the_first(log: Any, topic: str) -> None:
    """Say so when the first messages of the topic are handed out."""
    begun, read = Begun(), log.read

    def reading(name: str, *given: Any, **named: Any) -> Any:
        fetched = read(name, *given, **named)
        if name == topic and len(fetched):
            begun()
        return fetched

    log.read = reading


def operator(job: Job, url: str, engine: str) -> None:
    with tempfile.TemporaryDirectory() as folder, hw.connect(Path(folder), log=url) as hub:
        given = pipeline(job)
        hub.register(given)
        begins_with_the_first(hub.log, job.given.removeprefix(job.prefix))
        print("ready", flush=True)
        if engine == "faust":
            hub.run(given, engine="faust", until="caught-up", web_port=None)
        else:
            hub.run(given, until="caught-up", max_wait=0.5)


def loop(job: Job, url: str) -> None:
    """The raw loop through the log's protocol."""
    begun, work = Begun(), job.function()
    given, to = job.given.removeprefix(job.prefix), job.to.removeprefix(job.prefix)
    with open_log(url) as log:
        end = log.bounds(given)[0][1]
        writer = log.writer("loop/0")
        at = 0
        while at < end:
            until = time.monotonic() + SECONDS_A_TRANSACTION
            while at < end and time.monotonic() < until:
                fetched = log.read(given, 0, at)
                begun()
                made = [work(value)[1] for value in fetched.values if value is not None]
                values = [value for value in made if value is not None]
                writer.append(to, 0, [None] * len(values), values, ())
                at = fetched.next
            writer.commit()


def main() -> None:
    job, client, engine = Job.from_arguments(), sys.argv[2], sys.argv[3]
    url = f"{client}://{job.server}?prefix={job.prefix}"
    if engine == "log":
        loop(job, url)
    else:
        operator(job, url, engine)


if __name__ == "__main__":
    main()
