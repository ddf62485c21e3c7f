"""Rows that carry the truth of their own descent: each has an id, the ids of the source rows that it was made from
(`exact`), and of those that its declared granularity lets it be made from (`wide`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from operators.function import Mapped
from operators.operator import Batch, Derived, Input, Output
from streams.message import END, RowAddress
from streams.parents import Addresses
from streams.schema import Schema
from streams.stream import Stream

UTC = pa.timestamp("us", "UTC")
START = 1_704_067_200_000_000
SECOND = 1_000_000

ROWS = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("at", UTC, nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("n", pa.int64(), nullable=False),
        pa.field("exact", pa.string(), nullable=False),
        pa.field("wide", pa.string(), nullable=False),
    ]
)
FIELDS = tuple(ROWS.names)
#: What a function makes when the key and the event time are carried over.
MADE = pa.schema([ROWS.field(name) for name in ("id", "n", "exact", "wide")])


def ids(*texts: str | None) -> frozenset[str]:
    """The ids in columns of descent; a null has none."""
    return frozenset(one for text in texts if text for one in text.split(","))


def text(found: Iterable[str]) -> str:
    return ",".join(sorted(found))


def source_rows(
    stream: str, drawn: Sequence[tuple[int, int, int]], first: int = 0, clock: int = 0
) -> list[dict[str, Any]]:
    """Rows of (key, seconds since the row before, n); each is its own descent."""
    rows = []
    for number, (key, step, n) in enumerate(drawn, first):
        clock += step
        own = f"{stream}-{number}"
        at = START + clock * SECOND
        rows.append({"key": f"k{key}", "at": at, "id": own, "n": n, "exact": own, "wide": own})
    return rows


def table(rows: Sequence[dict[str, Any]], schema: pa.Schema = ROWS) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=schema)


def made(rows: list[dict[str, Any]], schema: pa.Schema = MADE) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(rows, schema=schema)


def kept(batch: pa.RecordBatch) -> pa.RecordBatch:
    """One row for each row."""
    return made([{**row, "id": f"{row['id']}k"} for row in batch.to_pylist()])


def exploded(batch: pa.RecordBatch) -> Mapped:
    """Each row as often as its n says."""
    rows = batch.to_pylist()
    indices = [index for index, row in enumerate(rows) for _ in range(row["n"] % 3)]
    return Mapped(
        made([{**rows[index], "id": f"{rows[index]['id']}x{number}"} for number, index in enumerate(indices)]), indices
    )


def reordered(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Any]:
    """Each row once, ordered by n."""
    rows = batch.to_pylist()
    order = sorted(range(len(rows)), key=lambda index: (rows[index]["n"], -index))
    return made([{**rows[index], "id": f"{rows[index]['id']}r"} for index in order]), np.array(order, dtype=np.int64)


def summed(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows and their sum, without a word on what was made of which: of the batch as a whole."""
    rows = batch.to_pylist()
    if not rows:
        return made([], ROWS)
    wide = text(ids(*(row["wide"] for row in rows)))
    whole = {**rows[0], "id": f"{rows[0]['id']}s", "n": sum(row["n"] for row in rows)}
    whole["exact"] = text(ids(*(row["exact"] for row in rows)))
    return made([{**row, "id": f"{row['id']}b", "wide": wide} for row in rows] + [{**whole, "wide": wide}], ROWS)


def merged(batch: pa.RecordBatch) -> pa.RecordBatch:
    """What a join put side by side, as rows of one descent: columns `exact` and `other_exact`, and so on."""
    return made(
        [
            {
                "id": f"{row['id']}+{row['other_id'] or ''}",
                "n": row["n"] + (row["other_n"] or 0),
                "exact": text(ids(row["exact"], row["other_exact"])),
                "wide": text(ids(row["wide"], row["other_wide"])),
            }
            for row in batch.to_pylist()
        ]
    )


class Copy:
    """The same rows under another codec: an operator whose output has one row a message."""

    kind = "copy"
    version = "1"
    tick = None
    row_wise = False
    keeps_key = True

    def __init__(self, source: Stream, to: str, codec: Any) -> None:
        self.name = to
        self.params: dict[str, Any] = {}
        self.inputs = (Input(source, reads=FIELDS),)
        self.outputs = (Stream(to, Schema(ROWS), key=("key",), time="at", codec=codec, partitions=source.partitions),)
        self._source = source

    def step(self, batch: Batch, state: Any) -> Iterable[Output]:
        return [] if batch.is_tick else [Output(self.name, batch.rows, (batch.addresses,))]

    def holds(self, state: Any) -> int:
        return END

    def derives(self) -> dict[str, tuple[Derived, ...]]:
        return {self.name: tuple(Derived(name, ((self._source.name, name),)) for name in FIELDS)}


class Gate:
    """Rows of a stream, each made also from the row that last came back to this task, in a loop with a delay."""

    kind = "gate"
    version = "1"
    tick = None
    row_wise = False
    keeps_key = True

    def __init__(self, forward: Stream, back: Stream, to: str, delay: int) -> None:
        self.name = to
        self.params: dict[str, Any] = {"delay": delay}
        self.inputs = (Input(forward, reads=FIELDS), Input(back, reads=FIELDS, delay=delay, later=True))
        self.outputs = (Stream(to, Schema(ROWS), key=("key",), time="at", partitions=forward.partitions),)
        self._forward, self._back = forward, back

    def step(self, batch: Batch, state: Any) -> Iterable[Output]:
        if batch.is_tick or not batch.rows.num_rows:
            return []
        if batch.input == self._back.name:
            last = batch.rows.num_rows - 1
            (address,) = batch.addresses.slice(last, last + 1)
            state["row"] = batch.rows.slice(last, 1)
            state["address"] = ":".join(map(str, address[1:])).encode()
            return []
        count = batch.rows.num_rows
        memory = state.table("row")
        known = memory.to_pylist()[0] if memory is not None else {"id": "", "exact": "", "wide": ""}
        places = [int(part) for part in (state.raw("address") or b"-1:-1:-1").decode().split(":")]
        rows = [
            {
                **row,
                "id": f"{row['id']}g{known['id'][:8]}",
                "exact": text(ids(row["exact"], known["exact"])),
                "wide": text(ids(row["wide"], known["wide"])),
            }
            for row in batch.rows.to_pylist()
        ]
        remembered = Addresses(self._back.name, *(np.full(count, place, dtype=np.int64) for place in places))
        return [Output(self.name, made(rows, ROWS), (batch.addresses, remembered))]

    def holds(self, state: Any) -> int:
        return END

    def derives(self) -> dict[str, tuple[Derived, ...]]:
        both = {"id", "exact", "wide"}
        fields = []
        for name in FIELDS:
            origins = (self._forward, self._back) if name in both else (self._forward,)
            fields.append(Derived(name, tuple((origin.name, name) for origin in origins)))
        return {self.name: tuple(fields)}


class Lying:
    """An operator whose rows are right and whose parents are not: of the rows for `stream`, the first that the lie
    fits is given other parents than it was made from."""

    #: Batch by batch, so that each output goes through `step`.
    steps = None

    def __init__(self, honest: Any, stream: str, lie: str) -> None:
        self._honest = honest
        self._stream = stream
        self._lie = lie

    def __getattr__(self, name: str) -> Any:
        return getattr(self._honest, name)

    def step(self, batch: Batch, state: Any) -> Iterable[Output]:
        for output in self._honest.step(batch, state):
            if output.stream == self._stream and output.rows.num_rows > 1:
                yield Output(output.stream, output.rows, _lied(output.parents, self._lie))
            else:
                yield output


def _lied(parents: Any, lie: str) -> Any:
    *others, last = parents
    if lie == "a side is left out":
        return tuple(others)
    partition, offset, row = (np.array(part) for part in (last.partition, last.offset, last.row))
    if lie == "a parent is left out":
        partition[0] = offset[0] = row[0] = -1
    elif lie == "another row is named":
        others_of_it = np.flatnonzero((offset != offset[0]) | (row != row[0]) | (partition != partition[0]))
        assert len(others_of_it), "there is no other row to name"
        other = int(others_of_it[0])
        partition[0], offset[0], row[0] = partition[other], offset[other], row[other]
    return (*others, Addresses(last.stream, partition, offset, row))


def addresses_of(rows: Any) -> list[RowAddress]:
    return list(rows.addresses)
