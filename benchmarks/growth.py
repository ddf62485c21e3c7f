"""How the embedded engine behaves as a job grows: rows per second and peak memory, from 0.3 to 30 million rows.

    python -m benchmarks.growth [--rows 300000 3000000 30000000]

One source, one clean and one map over a stream of ten columns, arrow codec, one process for each size. The rate
should stay within 20 %, the memory bounded. 30 million rows take about 10 GB of disk.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import headwater as hw

START = 1_700_000_000_000_000 - 40_000_000 * 1_000_000
CHUNK = 10_000
SCHEMA = pa.schema(
    [
        pa.field("key", pa.int64(), nullable=False),
        pa.field("at", pa.timestamp("us", "UTC"), nullable=False),
        *[pa.field(f"value{n}", pa.float64()) for n in range(8)],
    ]
)


def generated(rows: int) -> Iterator[pa.RecordBatch]:
    """Rows one second apart, with values of which one in a hundred is out of range."""
    for start in range(0, rows, CHUNK):
        count = min(CHUNK, rows - start)
        numbers = np.arange(start, start + count)
        values = [pa.array(np.modf(numbers * (0.6180339887 + n))[0] * 100) for n in range(8)]
        at = pa.array(START + numbers * 1_000_000).cast(pa.timestamp("us", "UTC"))
        yield pa.record_batch([pa.array(numbers % 997), at, *values], schema=SCHEMA)


def total(batch: pa.RecordBatch) -> pa.RecordBatch:
    return pa.record_batch({"total": pc.add(batch["value0"], batch["value1"])})


def run_once(rows: int) -> None:
    """Run the job and print seconds, CPU seconds and peak memory in MiB."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder, hw.connect(folder) as hub:
        p = hw.Pipeline("growth", owner="benchmarks")
        expect = [hw.between("value0", 0, 99), hw.finite("value1")]
        stream = p.stream("in", SCHEMA, key="key", time="at", codec="arrow", expect=expect)
        p.source(stream, lambda: generated(rows), chunk=CHUNK)
        clean = p.clean(stream, to="clean")
        p.map(clean, total, reads=["value0", "value1"], to="out", add=True, row_wise=True)
        hub.register(p)
        started = time.perf_counter()
        hub.run(p, until="caught-up")
        seconds = time.perf_counter() - started
        made = sum(end for _, end in hub.log.bounds("growth.out"))
        assert made
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[300_000, 3_000_000, 30_000_000])
    parser.add_argument("--once", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once is not None:
        run_once(options.once)
        return
    print(f"{'rows':>12} {'seconds':>9} {'rows/s':>12} {'to the first':>13} {'rows per CPU s':>15} {'peak MiB':>9}")
    first = 0.0
    for rows in options.rows:
        command = [sys.executable, "-m", "benchmarks.growth", "--once", str(rows)]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        seconds, cpu, memory = map(float, out.split())
        rate = rows / seconds
        first = first or rate
        print(f"{rows:12,} {seconds:9.1f} {rate:12,.0f} {rate / first:13.2f} {rows / cpu:15,.0f} {memory:9.0f}")


if __name__ == "__main__":
    main()
