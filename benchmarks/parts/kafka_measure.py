"""One loop, measured: topics made and filled, the loop in a process of its own, its output watched and checked.

Time runs from the first message that the loop is handed to the commit that makes its last row visible.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pyarrow as pa
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from benchmarks.parts.kafka_peers import NotHad
from benchmarks.parts.kafka_rows import Lost, check, values_of
from benchmarks.parts.kafka_work import Job
from streams.log import Log, Topic, open_log
from streams.log.protocol import UnknownTopic

ROOT = Path(__file__).parents[2]
LONGEST = 120.0
#: A loop that does not end by itself has come to its end when nothing came for so long, and all is there.
QUIET = 2.5
LOOK_EVERY = 0.05


@dataclass(frozen=True)
class Loop:
    """What is measured: `command` gives the program (NotHad if there is none), `work` is one of kafka_work's.

    `made` says that the loop makes its output topic itself, `ends` that it ends by itself, `rows` that it is given no
    more than so many, `checked` that its output is the same as everybody's.
    """

    name: str
    command: Callable[[], Sequence[str]]
    work: str
    promise: str = "exactly once"
    arguments: tuple[str, ...] = ()
    made: bool = False
    ends: bool = True
    rows: int | None = None
    partitions: int = 1
    java: bool = False
    checked: bool = True


@dataclass
class Result:
    """Rows and megabytes a second of each round, and seconds of processor time a row (where the loop tells, as those in
    Python do); or why there are none."""

    loop: Loop
    rates: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)
    used: list[float] = field(default_factory=list)
    failure: str = ""

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)


def measured(server: str, loops: Sequence[Loop], table: pa.Table, repeat: int) -> list[Result]:
    """Rounds in which each loop has its turn, so that what else goes on meets all of them."""
    found = [Result(loop) for loop in loops]
    for turn in range(repeat):
        for result in found:
            if result.failure:
                continue
            given = table.slice(0, result.loop.rows or table.num_rows)
            try:
                seconds, size, used = once(server, result.loop, given)
            except (NotHad, Lost, TimeoutError) as error:
                result.failure = str(error)
                continue
            result.rates.append(given.num_rows / seconds)
            result.megabytes.append(size / seconds / 1e6)
            result.used += [] if used is None else [used / given.num_rows]
            print(f"  {turn + 1}: {result.loop.name}: {result.rates[-1]:,.0f} rows/s", file=sys.stderr, flush=True)
    return found


def once(server: str, loop: Loop, table: pa.Table) -> tuple[float, int, float | None]:
    """Seconds that the loop took, the bytes that it read, and the processor time that it used, if it told."""
    program = list(loop.command())
    prefix = f"b{uuid4().hex[:8]}."
    url = f"kafka://{server}?prefix={prefix}"
    values = values_of(table, row_coded=loop.work.endswith("json"))
    try:
        with open_log(url) as log:
            log.create([Topic("bench.in", 1), *([] if loop.made else [Topic("bench.out", loop.partitions)])])
            fill(server, f"{prefix}bench.in", values)
            job = Job(
                server, prefix, f"{prefix}bench.in", f"{prefix}bench.out", loop.work, len(values), loop.partitions
            )
            seconds, used = _run(program, loop, job, log)
        if loop.checked:
            check(url, "bench.out", loop.work, table)
    finally:
        remove(server, prefix)
    return seconds, sum(map(len, values)), used


def _run(program: list[str], loop: Loop, job: Job, log: Log) -> tuple[float, float | None]:
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "told"
        if loop.java:
            arguments = [job.server, job.prefix, job.given, job.to, job.work, folder]
        else:
            arguments = [orjson.dumps(dataclasses.asdict(job)).decode(), *loop.arguments]
        with told.open("wb") as output, (Path(folder) / "errors").open("wb") as errors:
            process = subprocess.Popen(
                [*program, *arguments],
                stdout=output,
                stderr=errors,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
        try:
            ended = _watch(process, loop, job, log)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        lines = [line.split() for line in told.read_text().splitlines()]
        facts = {line[0]: float(line[1]) for line in lines if len(line) == 2 and line[0] in ("began", "used")}
        if "began" not in facts or ended is None:
            last = (Path(folder) / "errors").read_text().strip().splitlines()[-1:] or ["it said nothing"]
            raise Lost(f"it made nothing: {last[0][:200]}")
        return ended - facts["began"], facts.get("used")


def _watch(process: subprocess.Popen[bytes], loop: Loop, job: Job, log: Log) -> float | None:
    """When the last of what it wrote became visible."""
    until = time.monotonic() + LONGEST
    ends, changed, last = 0, None, time.monotonic()
    while time.monotonic() < until:
        over = process.poll() is not None
        now = _written(log)
        if now > ends:
            ends, changed, last = now, time.time(), time.monotonic()
        if over or (not loop.ends and ends >= job.messages and time.monotonic() - last > QUIET):
            return changed
        time.sleep(LOOK_EVERY)
    raise TimeoutError(f"it wrote {ends:,} of {job.messages:,} messages in {LONGEST:.0f} s")


def _written(log: Log) -> int:
    try:
        return sum(end for _, end in log.bounds("bench.out"))
    except UnknownTopic:
        return 0


def fill(server: str, topic: str, values: Sequence[bytes]) -> None:
    producer: Any = Producer(
        {"bootstrap.servers": server, "enable.idempotence": True, "queue.buffering.max.messages": 2_000_000}
    )
    for start in range(0, len(values), 10_000):
        for value in values[start : start + 10_000]:
            producer.produce(topic, value, partition=0)
        producer.poll(0)
    left = producer.flush(60)
    if left:
        raise TimeoutError(f"{left:,} messages could not be written to fill {topic}")


def remove(server: str, prefix: str) -> None:
    """Remove the topics of one measurement, so that the broker's disk does not fill."""
    admin: Any = AdminClient({"bootstrap.servers": server})
    names = [name for name in admin.list_topics(timeout=10).topics if name.startswith(prefix)]
    for done in admin.delete_topics(names).values() if names else ():
        done.result()
