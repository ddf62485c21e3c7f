"""How long one hop takes on Kafka: from `send(row)` to a read-committed reader, open loop, lingering included.

    python -m benchmarks.parts.kafka_latency [--rate 10000] [--seconds 10]

The publisher, the worker that runs one operator, and the reader are processes of their own, beside the broker. Every
row has a moment at which it is due, fixed beforehand; latency counts from that moment until the reader has its message,
so whatever holds the publisher up counts too. The peers do the same with one JSON row a message: confluent-kafka's
transactional loop (consume, produce, offsets, commit) and, where it is installed, Quix Streams exactly-once. The same
hop on the embedded log stands beside them.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import orjson
import pyarrow as pa

import headwater as hw
from benchmarks.parts.kafka_latency_peers import busy, work_quix, work_raw
from streams.codecs import codec
from streams.log import Topic, open_log

#: What is published before counts as warming up.
WARM_SECONDS = 3.0
#: A reader that nothing came to for so long, after all was published, has it all.
QUIET_SECONDS = 3.0
LINGER = "2ms"

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("at", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("due", pa.int64(), nullable=False),
        *(pa.field(f"level{number}", pa.float64()) for number in range(5)),
        *(pa.field(f"count{number}", pa.int32()) for number in range(3)),
    ]
)

_processes = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Load:
    """Rows a second, for so many seconds behind the warming up, and how they are published."""

    rate: int = 10_000
    seconds: float = 10.0
    linger: str = LINGER

    @property
    def rows(self) -> int:
        return round(self.rate * (self.seconds + WARM_SECONDS))

    @property
    def warm(self) -> int:
        return round(self.rate * WARM_SECONDS)


@dataclass(frozen=True)
class Hop:
    """Milliseconds from due to received, of so many rows; `wanted` are those that were to come. Seconds of processor
    time for each second, by process."""

    rows: int
    wanted: int
    p50: float
    p90: float
    p99: float
    most: float
    busy: dict[str, float]

    @classmethod
    def of(cls, load: Load, due: np.ndarray, received: np.ndarray, busy: dict[str, float]) -> Hop:
        order = np.argsort(due, kind="stable")
        took = ((received - due)[order] / 1e6)[load.warm :]
        if not len(took):
            return cls(0, load.rows - load.warm, *[float("nan")] * 4, busy)
        at = np.percentile(took, [50, 90, 99])
        return cls(len(took), load.rows - load.warm, *(float(one) for one in at), float(took.max()), busy)


# Rows, each due at its moment


def rows_due(load: Load, start: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """When each row is due (nanoseconds of the monotonic clock), and the row."""
    chance = np.random.default_rng(7)
    levels = chance.random((load.rows, 5)).tolist()
    counts = chance.integers(0, 1_000, (load.rows, 3)).tolist()
    sensors = chance.integers(0, 10_000, load.rows).tolist()
    behind = time.time_ns() - time.monotonic_ns()
    for number in range(load.rows):
        due = start + number * 1_000_000_000 // load.rate
        row: dict[str, Any] = {"id": f"sensor-{sensors[number]:05d}", "at": (due + behind) // 1_000, "due": due}
        row |= {f"level{place}": value for place, value in enumerate(levels[number])}
        row |= {f"count{place}": value for place, value in enumerate(counts[number])}
        yield due, row


def send_all(load: Load, prepare: Callable[[dict[str, Any]], Any], send: Callable[[Any], None]) -> float:
    """Send every row when it is due, or as soon as may be; how much of a processor that took."""
    start = time.monotonic_ns() + 3_000_000_000 + load.rows * 5_000
    ready = [(due, prepare(row)) for due, row in rows_due(load, start)]
    while (left := start - time.monotonic_ns()) > 0:
        time.sleep(left / 1e9)
    before, began = time.process_time(), time.monotonic()
    for due, row in ready:
        while (left := due - time.monotonic_ns()) > 0:
            # As services do: woken by what comes in, here a thousand times a second.
            time.sleep(max(left / 1e9, 0.001))
        send(row)
    return (time.process_time() - before) / (time.monotonic() - began)


# Processes


def publish_ours(url: str, folder: str, load: Load, told: Any) -> None:
    from datetime import UTC, datetime

    def prepare(row: dict[str, Any]) -> dict[str, Any]:
        return row | {"at": datetime.fromtimestamp(row["at"] / 1e6, UTC)}

    with hw.connect(folder, log=url, service="bench") as hub, hub.publisher("bench.in", linger=load.linger) as rows:
        told.put(("publisher", send_all(load, prepare, rows.send)))


def publish_raw(server: str, topic: str, load: Load, told: Any) -> None:
    """Rows of JSON, one a message, by an idempotent producer; no transaction."""
    from confluent_kafka import Producer

    producer: Any = Producer(
        {
            "bootstrap.servers": server,
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": float(load.linger.removesuffix("ms")),
            "queue.buffering.max.messages": 2_000_000,
        }
    )

    def send(value: bytes) -> None:
        producer.produce(topic, value, partition=0)
        producer.poll(0)

    told.put(("publisher", send_all(load, orjson.dumps, send)))
    producer.flush(30)


def receive(server: str, topic: str, ready: Any, published: Any, told: Any, file: str) -> None:
    """Take the time of each message at its receipt; values and times go to a file."""
    received = _from_embedded(server, topic) if server.startswith("embedded:") else _from_kafka(server, topic)
    times: list[int] = []
    values: list[bytes] = []
    heard = time.monotonic()
    before = began = 0.0
    for value in received:
        if value is not None:
            times.append(time.monotonic_ns())
            values.append(value)
            heard = time.monotonic()
            if not ready.is_set():
                ready.set()
                before, began = time.process_time(), time.monotonic()
        elif published.is_set() and time.monotonic() - heard >= QUIET_SECONDS:
            break
    told.put(("reader", (time.process_time() - before) / (heard - began)))
    with pa.OSFile(file, "wb") as sink:
        table = pa.table({"at": pa.array(times, pa.int64()), "value": pa.array(values, pa.large_binary())})
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)


def _from_embedded(url: str, topic: str) -> Iterator[bytes | None]:
    """Messages as they come; None now and then without any."""
    log = open_log(url)
    at = 0
    while True:
        version = log.version()
        fetched = log.read(topic, 0, at)
        at = fetched.next
        yield from fetched.values
        if not len(fetched):
            log.wait(0.1, version)
            yield None


def _from_kafka(server: str, topic: str) -> Iterator[bytes | None]:
    from confluent_kafka import Consumer, TopicPartition

    consumer: Any = Consumer(
        {
            "bootstrap.servers": server,
            "group.id": f"{topic}-reader",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    while True:
        message = consumer.poll(0.1)
        yield None if message is None or message.error() is not None else message.value()


def pipeline(step: str, coded: str) -> hw.Pipeline:
    p = hw.Pipeline("bench", owner="bench", partitions=1)
    checks = [hw.between("level0", 0, 1), hw.between("count0", 0, 1_000)]
    given = p.stream("in", SCHEMA, time="at", codec=coded, expect=checks)
    if step == "clean":
        p.clean(given, to="out")
    else:
        p.map(given, lambda batch: batch, reads=list(SCHEMA.names), to="out", schema=SCHEMA, time="at")
    return p


def work_ours(url: str, folder: str, step: str, coded: str, told: Any) -> None:
    with hw.connect(folder, log=url) as hub, busy("worker", told):
        hub.run(pipeline(step, coded), max_wait=None)


# Measurements


@dataclass(frozen=True)
class Way:
    """One way to do the hop: the topic that the reader reads, what the worker and the publisher run, one row ahead of
    the load, and how a message's rows tell when they were due."""

    target: str
    work: tuple[Callable[..., None], tuple[Any, ...]]
    publish: tuple[Callable[..., None], tuple[Any, ...]]
    one_ahead: Callable[[], None]
    due: Callable[[bytes], list[int]]


def measure(server: str, way: Way, load: Load, folder: Path) -> Hop:
    ready, published, told = _processes.Event(), _processes.Event(), _processes.Queue()
    received = folder / "received.arrow"
    function, given = way.work
    worker = _processes.Process(target=function, args=(*given, told), daemon=True)
    reader = _processes.Process(
        target=receive, args=(server, way.target, ready, published, told, str(received)), daemon=True
    )
    worker.start()
    reader.start()
    try:
        way.one_ahead()
        if not ready.wait(60):
            raise RuntimeError("nothing came through within a minute")
        function, given = way.publish
        publisher = _processes.Process(target=function, args=(*given, load, told), daemon=True)
        publisher.start()
        publisher.join(4 * (load.seconds + WARM_SECONDS) + 60)
        worker_busy = ("publisher", told.get(timeout=60)[1])
        published.set()
        reader.join(60)
    finally:
        worker.terminate()
        worker.join(10)
        for process in (worker, reader):
            if process.is_alive():
                process.kill()
    busy = dict([worker_busy, told.get(timeout=10), told.get(timeout=10)])
    table = pa.ipc.open_file(str(received)).read_all().slice(1)
    due, at = [], []
    for when, value in zip(table["at"].to_pylist(), table["value"].to_pylist(), strict=True):
        found = way.due(value)
        due += found
        at += [when] * len(found)
    return Hop.of(load, np.array(due), np.array(at), busy)


def ours(server: str, scheme: str, step: str, coded: str, folder: Path, load: Load) -> Hop:
    prefix = "" if scheme == "embedded" else f"latency-{uuid4().hex[:8]}."
    url = f"embedded://{folder / 'log.db'}" if scheme == "embedded" else f"{scheme}://{server}?prefix={prefix}"
    job = pipeline(step, coded)
    with hw.connect(folder, log=url) as hub:
        hub.register(job)
        stream, schema_id = hub.registered("bench.out")
        decoder = codec(stream.codec, stream.schema, schema_id)

        def due(value: bytes) -> list[int]:
            return decoder.decode([value]).column("due").to_pylist()

        first = pa.Table.from_pylist([{"id": "first", "at": 0, "due": 0}], schema=SCHEMA)
        return measure(
            url if scheme == "embedded" else server,
            Way(
                f"{prefix}bench.out",
                (work_ours, (url, str(folder), step, coded)),
                (publish_ours, (url, str(folder))),
                lambda: hub.publish("bench.in", first),
                due,
            ),
            load,
            folder,
        )


def raw(server: str, loop: Callable[..., None], folder: Path, load: Load) -> Hop:
    prefix = f"latency-{uuid4().hex[:8]}."
    log = open_log(f"kafka://{server}?prefix={prefix}")
    log.create([Topic("in", 1), Topic("out", 1)])
    log.close()

    def one_ahead() -> None:
        from confluent_kafka import Producer

        producer: Any = Producer({"bootstrap.servers": server})
        producer.produce(f"{prefix}in", b'{"due": 0}', partition=0)
        producer.flush(10)

    return measure(
        server,
        Way(
            f"{prefix}out",
            (loop, (server, f"{prefix}in", f"{prefix}out")),
            (publish_raw, (server, f"{prefix}in")),
            one_ahead,
            lambda value: [json.loads(value)["due"]],
        ),
        load,
        folder,
    )


def compare(server: str, load: Load | None = None, *, only: str = "") -> dict[str, Hop]:
    """Print a line for each way whose name has `only` in it, and give the figures by name."""
    load = load or Load()
    print(f"\nOne hop, open loop, {load.rate:,} rows/s for {load.seconds:.0f} s, linger {load.linger}; milliseconds")
    busy = ("publisher", "worker", "reader")
    print(f"{'':44} {'p50':>7} {'p90':>7} {'p99':>7} {'max':>8}  rows lost; processors of {', '.join(busy)}")
    found = {}
    ways: dict[str, Callable[[Path], Hop]] = {
        f"{scheme}: {step}, {coded} messages": lambda folder, scheme=scheme, step=step, coded=coded: ours(  # type: ignore[misc]
            server, scheme, step, coded, folder, load
        )
        for scheme in ("kafka", "kafka+fast", "embedded")
        for step, coded in (("clean", "arrow"), ("map", "arrow"), ("map", "json"))
        if scheme != "embedded" or (step, coded) == ("map", "arrow")
    }
    ways["confluent-kafka's own loop, json messages"] = lambda folder: raw(server, work_raw, folder, load)
    if find_spec("quixstreams") is not None:
        ways["Quix Streams, exactly-once, json messages"] = lambda folder: raw(server, work_quix, folder, load)
    for name, way in ways.items():
        if only not in name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            hop = found[name] = way(Path(folder))
        took = ", ".join(f"{hop.busy.get(one, float('nan')):.2f}" for one in busy)
        print(
            f"{name:44} {hop.p50:7.1f} {hop.p90:7.1f} {hop.p99:7.1f} {hop.most:8.1f}  "
            f"{hop.wanted - hop.rows} of {hop.wanted:,}; {took}",
            flush=True,
        )
    return found


def main() -> None:
    from benchmarks.kafka import broker

    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rate", type=int, default=10_000, help="rows a second")
    options.add_argument("--seconds", type=float, default=10.0)
    options.add_argument("--linger", default=LINGER)
    options.add_argument("--only", default="", help="the ways whose name has this in it")
    given = options.parse_args()
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    print(f"Python {sys.version.split()[0]}, pyarrow {pa.__version__}, {os.cpu_count()} cores, the broker on them")
    with broker() as server:
        compare(server, Load(given.rate, given.seconds, given.linger), only=given.only)


if __name__ == "__main__":
    main()
