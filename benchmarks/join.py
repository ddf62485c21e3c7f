"""How fast a join steps, next to libraries that join whole tables in memory.

    python benchmarks/join.py [--rows 1000000] [--keys 1000]

Ours takes the rows in batches, in event-time order, holds rows back and keeps parents, as in a running job, but
without log and codecs. The others do one job on all rows at once, and keep no parents; those that are not installed
are left out. Rates are rows of the left side a second; the best of three runs counts.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from operators.execution.state import State
from operators.join import join
from operators.operator import TICK, Batch, Operator
from streams.message import BEGINNING, END
from streams.parents import Addresses
from streams.schema import Schema
from streams.stream import Stream

UTC = pa.timestamp("us", tz="UTC")
WINDOW = 2_000  # microseconds; a row comes each microsecond and side
LEFT = Stream("b.left", Schema(pa.schema([("k", pa.string()), ("at", UTC), ("x", pa.float64())])), ("k",), "at")
RIGHT = Stream("b.right", Schema(pa.schema([("k", pa.string()), ("t", UTC), ("y", pa.float64())])), ("k",), "t")
TABLE = Stream("b.table", Schema(pa.schema([("k", pa.string()), ("y", pa.float64())])), ("k",), kind="table")

Job = Callable[[], int]


def side(rows: int, keys: int, stream: Stream, seed: int) -> pa.Table:
    """One row a microsecond, with a key at random."""
    random = np.random.default_rng(seed)
    names = np.array([f"K{number:06d}"[:7] for number in range(keys)])
    columns = [
        pa.array(names[random.integers(0, keys, rows)]),
        pa.array(np.arange(rows)).cast(UTC),
        pa.array(random.random(rows)),
    ]
    return pa.Table.from_arrays(columns, schema=stream.schema.arrow)


def batches(stream: Stream, table: pa.Table, size: int) -> Iterator[Batch]:
    for offset, rows in enumerate(table.combine_chunks().to_batches(max_chunksize=size)):
        times = np.full(rows.num_rows, BEGINNING)
        if stream.time is not None:
            times = rows.column(stream.time).cast(pa.int64()).to_numpy()
        yield Batch(
            stream.name, rows, Addresses.of_message(stream.name, 0, offset, rows.num_rows), times, int(times[0])
        )


def merged(*sides: Iterator[Batch]) -> list[Batch]:
    """In the order of a strict merge."""
    return sorted((batch for one in sides for batch in one), key=lambda batch: batch.clock)


def ours(operator: Operator, taken: list[Batch]) -> int:
    state = State()
    empty = np.empty(0, dtype=np.int64)
    last = Batch(TICK, pa.RecordBatch.from_pylist([], pa.schema([])), Addresses("", empty, empty, empty), empty, END)
    return sum(output.rows.num_rows for batch in [*taken, last] for output in operator.step(batch, state))


def table_jobs(left: pa.Table, keys: int) -> Iterator[tuple[str, Job]]:
    random = np.random.default_rng(3)
    names = [f"K{number:06d}"[:7] for number in range(keys)]
    table = pa.Table.from_arrays([pa.array(names), pa.array(random.random(keys))], schema=TABLE.schema.arrow)
    operator = join(LEFT, TABLE, on="k", to="b.out")
    for size in (1_000, 10_000):
        taken = merged(batches(TABLE, table, 100_000), batches(LEFT, left, size))
        yield f"headwater, batches of {size:,}", lambda taken=taken: ours(operator, taken)
    yield "pyarrow Table.join", lambda: left.join(table, "k").num_rows
    if importlib.util.find_spec("polars"):
        import polars as pl

        a, b = pl.DataFrame(left), pl.DataFrame(table)
        yield "polars join", lambda: a.join(b, on="k", how="left").height
    if importlib.util.find_spec("pandas"):
        c, d = left.to_pandas(), table.to_pandas()
        yield "pandas merge", lambda: len(c.merge(d, on="k", how="left"))
    if importlib.util.find_spec("duckdb"):
        query = "select l.*, r.y from l left join r using (k)"
        yield "duckdb left join", lambda: duck(query, left, table)


def asof_jobs(left: pa.Table, right: pa.Table) -> Iterator[tuple[str, Job]]:
    operator = join(LEFT, RIGHT, on="k", how="asof", to="b.out")
    for size in (1_000, 10_000):
        taken = merged(batches(LEFT, left, size), batches(RIGHT, right, size))
        yield f"headwater, batches of {size:,}", lambda taken=taken: ours(operator, taken)
    a, b = (one.set_column(1, "at", one.column(1).cast(pa.int64())) for one in (left, right))
    yield "pyarrow join_asof", lambda: a.join_asof(b, on="at", by="k", tolerance=-len(a)).num_rows
    if importlib.util.find_spec("polars"):
        import polars as pl

        c, d = pl.DataFrame(left), pl.DataFrame(right)
        yield (
            "polars join_asof",
            lambda: c.join_asof(d, left_on="at", right_on="t", by="k", check_sortedness=False).height,
        )
    if importlib.util.find_spec("pandas"):
        import pandas as pd

        e, f = left.to_pandas(), right.to_pandas()
        yield "pandas merge_asof", lambda: len(pd.merge_asof(e, f, left_on="at", right_on="t", by="k"))
    if importlib.util.find_spec("duckdb"):
        query = "select l.*, r.t, r.y from l asof left join r on l.k = r.k and l.at >= r.t"
        yield "duckdb asof join", lambda: duck(query, left, right)


def window_jobs(left: pa.Table, right: pa.Table) -> Iterator[tuple[str, Job]]:
    operator = join(LEFT, RIGHT, on="k", how="window", after=WINDOW, to="b.out")
    for size in (1_000, 10_000):
        taken = merged(batches(LEFT, left, size), batches(RIGHT, right, size))
        yield f"headwater, batches of {size:,}", lambda taken=taken: ours(operator, taken)
    if importlib.util.find_spec("duckdb"):
        span = f"r.t between l.at and l.at + interval {WINDOW} microseconds"
        yield "duckdb left join", lambda: duck(f"select * from l left join r on l.k = r.k and {span}", left, right)


def duck(query: str, left: pa.Table, right: pa.Table) -> int:
    import duckdb

    with duckdb.connect() as connection:
        connection.register("l", left)
        connection.register("r", right)
        answer: Any = connection.sql(query).to_arrow_table()
        return int(answer.num_rows)


def report(title: str, rows: int, jobs: Iterator[tuple[str, Job]]) -> None:
    print(f"\n{title}")
    print(f"{'':32}{'rows out':>12}{'M rows/s':>12}{'ratio':>9}")
    first = None
    for name, job in jobs:
        seconds, made = min(timed(job) for _ in range(3))
        rate = rows / seconds
        first = first or rate
        print(f"{name:32}{made:>12,}{rate / 1e6:>12.2f}{rate / first:>9.2f}", flush=True)


def timed(job: Job) -> tuple[float, int]:
    start = time.perf_counter()
    made = job()
    return time.perf_counter() - start, made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of each side")
    parser.add_argument("--keys", type=int, default=1_000, help="different keys")
    options = parser.parse_args()
    left = side(options.rows, options.keys, LEFT, seed=1)
    right = side(options.rows, options.keys, RIGHT, seed=2)
    print(
        f"{options.rows:,} rows a side, {options.keys:,} keys. Headwater steps through batches as they would come and"
    )
    print("keeps parents; the others do one job on all rows at once. Ratio is to the first line.")
    report("Table join (left rows against a table by key)", options.rows, table_jobs(left, options.keys))
    report("As-of join (newest right row at or before)", options.rows, asof_jobs(left, right))
    report(f"Window join (right rows up to {WINDOW} us after)", options.rows, window_jobs(left, right))


if __name__ == "__main__":
    main()
