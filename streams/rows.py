"""Rows read from a stream, each with its address: what `read` and `subscribe` give to people and services."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from streams.log.protocol import Log
from streams.message import RowAddress
from streams.parents import Addresses, joined
from streams.read import Arrived, PartitionReader
from streams.schema import Schema
from streams.stream import Stream


@dataclass(frozen=True)
class Row(Mapping[str, Any]):
    """One row: a mapping from field to value, with the `address` where it lies."""

    address: RowAddress
    fields: Mapping[str, Any]

    def __getitem__(self, field: str) -> Any:
        return self.fields[field]

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)


@dataclass(frozen=True)
class Rows:
    """Rows of one stream and where they lie; `table` and `addresses` have the same length."""

    stream: str
    table: pa.Table
    addresses: Addresses

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __iter__(self) -> Iterator[Row]:
        for address, values in zip(self.addresses, self.table.to_pylist(), strict=True):
            yield Row(address, values)

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.table.__arrow_c_stream__(requested_schema)

    def row(self, index: int) -> Row:
        """The row at `index` (negative from the end). IndexError if there is none."""
        at = range(len(self))[index]
        address = next(iter(self.addresses.slice(at, at + 1)))
        return Row(address, self.table.slice(at, 1).to_pylist()[0])

    def to_arrow(self) -> pa.Table:
        return self.table

    def to_pandas(self) -> Any:
        """A pandas DataFrame (needs pandas)."""
        return self.table.to_pandas()

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{name}</th>" for name in ["address", *self.table.column_names])
        body = "".join(
            f"<tr><td>{row.address.partition}:{row.address.offset}:{row.address.row}</td>"
            + "".join(f"<td>{value}</td>" for value in row.values())
            + "</tr>"
            for row in self._first(20)
        )
        more = f"<p>{len(self)} rows</p>" if len(self) > 20 else ""
        return f"<b>{self.stream}</b><table><tr>{head}</tr>{body}</table>{more}"

    def __repr__(self) -> str:
        return f"Rows({self.stream!r}, {len(self)} rows: {', '.join(self.table.column_names)})"

    def _first(self, count: int) -> Rows:
        return Rows(self.stream, self.table.slice(0, count), self.addresses.slice(0, count))


def rows_of(stream: Stream, batches: Iterable[Arrived], columns: list[str] | None = None) -> Rows:
    """Batches put one behind the other. Raises the error of a batch that cannot be decoded."""
    names = columns or stream.schema.arrow.names
    kept = []
    for batch in batches:
        if batch.failure is not None:
            raise batch.failure
        kept.append(batch)
    schema = pa.schema([stream.schema.arrow.field(name) for name in names])
    if not kept:
        return Rows(stream.name, schema.empty_table(), Addresses.of_message(stream.name, 0, 0, 0))
    parts = [pa.Table.from_batches([batch.rows]) for batch in kept]
    return Rows(stream.name, pa.concat_tables(parts, promote_options="permissive"), joined([b.addresses for b in kept]))


def read_rows(
    log: Log,
    stream: Stream,
    schemas: Callable[[int], Schema],
    *,
    last: int | None = None,
    columns: list[str] | None = None,
    ranges: Mapping[int, tuple[int, int]] | None = None,
) -> Rows:
    """Rows of all partitions, partition by partition; `ranges` limits them to offsets [first, end) by partition.

    With `last`, the newest so many: the last by event time where the stream has one, else by partition and offset.
    """
    found: list[Arrived] = []
    for partition, (first, end) in enumerate(log.bounds(stream.name)):
        if ranges is not None:
            if partition not in ranges:
                continue
            first, end = max(first, ranges[partition][0]), min(end, ranges[partition][1])
        if last is not None:
            first = max(first, _start_of_last(log, stream, partition, last, schemas))
        reader = PartitionReader(log, stream, partition, schemas, position=first)
        while reader.position < end and (batches := reader.fetch()):
            found.extend(_before(batch, end) for batch in batches if batch.first < end)
    rows = rows_of(stream, found)
    if last is not None and len(rows) > last:
        order = np.arange(len(rows))
        if stream.time is not None:
            order = np.argsort(np.concatenate([batch.times for batch in found]), kind="stable")
        newest = order[-last:]
        rows = Rows(stream.name, rows.table.take(pa.array(newest)), rows.addresses.take(newest))
    return rows if columns is None else Rows(rows.stream, rows.table.select(columns), rows.addresses)


def _before(batch: Arrived, end: int) -> Arrived:
    """The batch without what lies at or behind the offset `end`."""
    if batch.end <= end:
        return batch
    count = int(np.searchsorted(batch.addresses.offset, end))
    rows, addresses = batch.rows.slice(0, count), batch.addresses.slice(0, count)
    return replace(batch, end=end, rows=rows, addresses=addresses, times=batch.times[:count])


def _start_of_last(log: Log, stream: Stream, partition: int, rows: int, schemas: Callable[[int], Schema]) -> int:
    """An offset from which a partition has at least `rows` rows, or its beginning."""
    messages = rows if stream.row_coded else 1
    while True:
        fetched = log.last(stream.name, partition, messages)
        if not len(fetched):
            return 0
        if stream.row_coded or len(fetched) < messages:
            return int(fetched.offsets[0])
        reader = PartitionReader(log, stream, partition, schemas, position=fetched.offsets[0])
        counted = 0
        while batches := reader.fetch():
            counted += sum(batch.rows.num_rows for batch in batches)
        if counted >= rows:
            return int(fetched.offsets[0])
        messages *= 4
