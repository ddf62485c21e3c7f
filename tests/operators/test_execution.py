"""Tasks on the embedded engine: order, commits, restarts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from operators.operator import Input, Output
from streams.message import END

SCHEMA = pa.schema(
    [pa.field("key", pa.string(), nullable=False), pa.field("at", pa.timestamp("us", "UTC")), pa.field("n", pa.int64())]
)
START = 1_600_000_000_000_000


def rows(count: int, *, step: int = 1_000_000, start: int = START, keys: int = 7) -> pa.Table:
    numbers = np.arange(count)
    return pa.table(
        {
            "key": pa.array([f"k{n % keys}" for n in range(count)]),
            "at": pa.array(start + numbers * step, pa.int64()).cast(pa.timestamp("us", "UTC")),
            "n": pa.array(numbers),
        },
        schema=SCHEMA,
    )


def doubled(name, source, function_operator, **options):
    out = source.__class__(name, source.schema, key=("key",), time="at", partitions=source.partitions)

    def step(batch, state):
        if batch.is_tick:
            return []
        changed = batch.rows.set_column(2, "n", pc.multiply(batch.rows.column(2), 2))
        return [Output(name, changed, (batch.addresses,))]

    return function_operator(
        name, (Input(source, reads=("key", "at", "n")),), (out,), step, row_wise=True, keeps_key=True, **options
    )


def test_a_source_and_an_operator_carry_every_row(job, function_operator):
    source = job.stream("in", SCHEMA, key=("key",), time="at")
    job.source(source, rows(1000))
    job.add(doubled("out", source, function_operator))
    job.run()
    assert sorted(job.rows("out").table["n"].to_pylist()) == [2 * n for n in range(1000)]


def test_rows_know_their_parents(job, function_operator):
    from streams.parents import decode_parents
    from streams.read import PartitionReader

    source = job.stream("in", SCHEMA, key=("key",), time="at")
    job.source(source, rows(500))
    out = job.add(doubled("out", source, function_operator))
    job.run()
    schema = job.context().schema
    originals = {tuple(address): row["n"] for row in job.rows("in") for address in [row.address]}
    seen = 0
    for partition in range(4):
        for batch in PartitionReader(job.log, out, partition, schema).fetch():
            (part,) = decode_parents(batch.parents)
            for parent, n in zip(part, batch.rows.column(2).to_pylist(), strict=True):
                assert originals[tuple(parent)] * 2 == n
                seen += 1
    assert seen == 500


def totals(source, other, function_operator, mode="gathered"):
    """Order-sensitive: a running fold over both inputs."""
    from streams.schema import Schema
    from streams.stream import Stream

    out = Stream(
        "total", Schema(pa.schema([("fold", pa.int64()), ("at", pa.timestamp("us", "UTC"))])), time="at", partitions=1
    )

    def step(batch, state):
        fold = int.from_bytes(state.raw("fold") or b"\0" * 8, "big")
        if batch.is_tick:
            return []
        for n in batch.rows.column(1).to_pylist():
            fold = (fold * 31 + n + (7 if batch.input == "b" else 0)) % (1 << 61)
        state["fold"] = fold.to_bytes(8, "big")
        made = pa.RecordBatch.from_arrays([pa.array([fold]), batch.rows.column(0)[-1:]], schema=out.schema.arrow)
        return [Output("total", made, (batch.addresses.slice(len(batch.addresses) - 1, len(batch.addresses)),))]

    return function_operator(
        "total",
        (Input(source, mode, ("at", "n")), Input(other, mode, ("at", "n"))),
        (out,),
        step,
    )


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_merge_gives_one_order_whatever_the_number_of_workers(make_job, function_operator, workers):
    def result(name, count):
        job = make_job(name)
        a = job.stream("a", SCHEMA, key=("key",), time="at")
        b = job.stream("b", SCHEMA, key=("key",), time="at")
        job.source(a, rows(1000), chunk=90)
        job.source(b, rows(300, step=3_300_000, start=START + 5), chunk=35)
        first = job.add(doubled("a2", a, function_operator))
        job.add(totals(first, b, function_operator))
        job.run(workers=count)
        return job.digests()

    assert result("one", 1) == result("many", workers)


def test_a_second_run_adds_nothing(job, function_operator):
    source = job.stream("in", SCHEMA, key=("key",), time="at")
    job.source(source, rows(1000))
    job.add(doubled("out", source, function_operator))
    job.run()
    before = job.digests()
    job.run()
    assert job.digests() == before


def test_held_rows_come_out_at_the_end(job, function_operator):
    from streams.schema import Schema
    from streams.stream import Stream

    source = job.stream("in", SCHEMA, key=("key",), time="at")
    out = Stream("count", Schema(pa.schema([("n", pa.int64())])), partitions=1)

    def step(batch, state):
        if batch.clock == END:
            held = int(state.raw("n") or b"0")
            return [Output("count", pa.record_batch([pa.array([held])], schema=out.schema.arrow), ())]
        state["n"] = str(int(state.raw("n") or b"0") + batch.rows.num_rows).encode()
        return []

    job.source(source, rows(777))
    job.add(function_operator("count", (Input(source, "gathered", ("n",)),), (out,), step))
    job.run()
    assert job.rows("count").table["n"].to_pylist() == [777]
