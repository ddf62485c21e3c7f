"""Rows per second of the codecs and of partitioning, next to the libraries below them, in one run.

    python -m benchmarks.codecs [--rows 50000] [--repeat 5]

Best of `repeat` runs each, on one core. Peers marked "dicts" start from or end in Python dicts and leave out what it
costs to turn Arrow into dicts; those marked "Arrow" include it, as whoever uses them with columns must (orjson's leave
timestamps as texts when reading).
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import time
from collections.abc import Callable, Sequence
from typing import Any

import fastavro
import numpy as np
import orjson
import pyarrow as pa

from streams.codecs import avro_schema, codec
from streams.keys import partitions_of
from streams.schema import Schema

BATCH = 1000


def flights(count: int) -> pa.RecordBatch:
    """Ten columns as a departure has them: four short texts, three numbers, two times, one flag; some nulls."""
    random = np.random.default_rng(0)

    def pick(values: list[str]) -> pa.Array:
        return pa.array(values).take(pa.array(random.integers(0, len(values), count)))

    scheduled = 1_357_016_400_000_000 + np.sort(random.integers(0, 365 * 24 * 60, count)) * 60_000_000
    late = random.normal(10, 30, count).round()
    columns = {
        "carrier": pick(["UA", "AA", "DL", "B6", "EV", "MQ"]),
        "flight": pa.array(random.integers(1, 9999, count), pa.int32()),
        "tailnum": pick([f"N{number}UA" for number in range(100, 4100)]),
        "origin": pick(["EWR", "JFK", "LGA"]),
        "dest": pick(["ATL", "ORD", "LAX", "BOS", "MCO", "SFO"]),
        "scheduled": pa.array(scheduled, pa.timestamp("us", "UTC")),
        "departed": pa.array(scheduled + (late * 60e6).astype(np.int64), pa.timestamp("us", "UTC")),
        "delay": pa.array(late, mask=random.random(count) < 0.03),
        "distance": pa.array(random.integers(80, 4983, count).astype(float)),
        "cancelled": pa.array(random.random(count) < 0.02),
    }
    return pa.RecordBatch.from_pydict(columns)


def best(work: Callable[[], Any], repeat: int) -> float:
    """Seconds of the fastest run."""
    taken = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)


class Table:
    """Lines of a name, bytes a row, rows a second each way, and how often the first line of the group is as fast."""

    def __init__(self, rows: int, repeat: int) -> None:
        self.rows = rows
        self.repeat = repeat
        self.first: tuple[float, float] | None = None
        print(f"{'':34}{'bytes/row':>10}{'encode M/s':>12}{'decode M/s':>12}{'ours is':>10}{'times as fast':>14}")

    def group(self) -> None:
        self.first = None
        print()

    def line(self, name: str, size: float, encode: Callable[[], Any], decode: Callable[[], Any]) -> None:
        speeds = (self.rows / best(encode, self.repeat) / 1e6, self.rows / best(decode, self.repeat) / 1e6)
        self.first = self.first or speeds
        ratios = "".join(f"{ours / theirs:>12.1f}" for ours, theirs in zip(self.first, speeds, strict=True))
        print(f"{name:34}{size:>10.1f}{speeds[0]:>12.3f}{speeds[1]:>12.3f}{ratios}", flush=True)


def size(values: Sequence[Any], rows: int) -> float:
    return sum(map(len, values)) / rows


def compare_arrow(table: Table, rows: pa.RecordBatch) -> None:
    ours = codec("arrow", Schema(rows.schema), 1)
    parts = [rows.slice(start, BATCH) for start in range(0, rows.num_rows, BATCH)]
    values = [ours.encode(part)[0] for part in parts]
    table.line(
        f"arrow, {BATCH} rows a message",
        size(values, rows.num_rows),
        lambda: [ours.encode(part) for part in parts],
        lambda: [ours.decode([value]) for value in values],
    )
    plain = [part.serialize().to_pybytes() for part in parts]
    table.line(
        "  plain Arrow IPC, unchecked",
        size(plain, rows.num_rows),
        lambda: [part.serialize().to_pybytes() for part in parts],
        lambda: [pa.ipc.read_record_batch(pa.py_buffer(value), rows.schema) for value in plain],
    )
    for compression in "lz4", "zstd":
        options = pa.ipc.IpcWriteOptions(compression=compression)

        def write(part: pa.RecordBatch, options: Any = options) -> bytes:
            sink = io.BytesIO()
            with pa.ipc.new_stream(sink, part.schema, options=options) as writer:
                writer.write_batch(part)
            return sink.getvalue()

        squeezed = [write(part) for part in parts]
        table.line(
            f"  plain Arrow IPC, {compression}, with schema",
            size(squeezed, rows.num_rows),
            lambda write=write: [write(part) for part in parts],  # type: ignore[misc]
            lambda squeezed=squeezed: [pa.ipc.open_stream(one).read_next_batch() for one in squeezed],  # type: ignore[misc]
        )


def compare_json(table: Table, rows: pa.RecordBatch) -> None:
    ours = codec("json", Schema(rows.schema), 1)
    values = ours.encode(rows)
    dicts = rows.to_pylist()
    count = rows.num_rows
    table.line("json", size(values, count), lambda: ours.encode(rows), lambda: ours.decode(values))
    theirs = [orjson.dumps(row) for row in dicts]
    table.line(
        "  orjson row by row, dicts",
        size(theirs, count),
        lambda: [orjson.dumps(row) for row in dicts],
        lambda: [orjson.loads(value) for value in theirs],
    )
    untimed = rows.schema.set(5, rows.schema.field(5).with_type(pa.string()))
    untimed = untimed.set(6, rows.schema.field(6).with_type(pa.string()))
    table.line(
        "  orjson row by row, Arrow",
        size(theirs, count),
        lambda: [orjson.dumps(row) for row in rows.to_pylist()],
        lambda: pa.RecordBatch.from_pylist([orjson.loads(value) for value in theirs], schema=untimed),
    )


def compare_avro(table: Table, rows: pa.RecordBatch) -> None:
    schema = Schema(rows.schema)
    ours = codec("avro", schema, 1)
    values = ours.encode(rows)
    dicts = rows.to_pylist()
    count = rows.num_rows
    parsed = fastavro.parse_schema(avro_schema(schema, "row"))

    def write(some: list[dict[str, Any]]) -> list[bytes]:
        written = []
        for row in some:
            sink = io.BytesIO(b"\0\0\0\0\1")
            sink.seek(5)
            fastavro.schemaless_writer(sink, parsed, row)
            written.append(sink.getvalue())
        return written

    def read() -> list[Any]:
        return [fastavro.schemaless_reader(io.BytesIO(value[5:]), parsed, None) for value in values]

    if write(dicts) != values:
        raise SystemExit("avro: the bytes differ from fastavro's")
    table.line("avro", size(values, count), lambda: ours.encode(rows), lambda: ours.decode(values))
    table.line("  fastavro row by row, dicts", size(values, count), lambda: write(dicts), read)
    table.line(
        "  fastavro row by row, Arrow",
        size(values, count),
        lambda: write(rows.to_pylist()),
        lambda: pa.RecordBatch.from_pylist(read(), schema=rows.schema),
    )


def compare_partitioning(rows: pa.RecordBatch, repeat: int) -> None:
    print(f"\n{'partition of each row by':34}{'M rows/s':>10}")
    for key in (["tailnum"], ["flight"], ["scheduled"], ["carrier", "flight"]):
        speed = rows.num_rows / best(lambda key=key: partitions_of(rows, key, 12), repeat) / 1e6  # type: ignore[misc]
        print(f"{' and '.join(key):34}{speed:>10.2f}")
    if importlib.util.find_spec("kafka") is None:
        print("  kafka-python is not installed: no peer to compare with")
        return
    from kafka.partitioner.default import murmur2

    keys = rows.column("tailnum").cast(pa.binary()).to_pylist()
    speed = rows.num_rows / best(lambda: [(murmur2(key) & 0x7FFFFFFF) % 12 for key in keys], repeat) / 1e6
    print(f"{'  kafka-python, tailnum':34}{speed:>10.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--repeat", type=int, default=5)
    asked = parser.parse_args()
    rows = flights(asked.rows)
    table = Table(asked.rows, asked.repeat)
    compare_arrow(table, rows)
    table.group()
    compare_json(table, rows)
    table.group()
    compare_avro(table, rows)
    compare_partitioning(rows, asked.repeat)


if __name__ == "__main__":
    main()
