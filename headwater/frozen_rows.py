"""The rows of one stream that a dataset is made of: read from the log or from a copy, cut evenly, digested.

Their order is that of their addresses: partition, offset, row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.execution.digest import digest_rows
from streams.condition import Condition
from streams.keys import key_bytes
from streams.log.protocol import Log
from streams.message import PRODUCER, SCHEMA, header, unpack_int
from streams.parents import Addresses, constant
from streams.read import Arrived, PartitionReader
from streams.schema import Schema
from streams.stream import Stream

#: Rows that are digested, copied and written as one; a digest depends on it.
ROWS_AT_ONCE = 65_536
#: A message has fewer rows than this.
_ROWS_OF_MESSAGE = 1 << 20
_ADDRESS = {"headwater.partition": pa.int32(), "headwater.offset": pa.int64(), "headwater.row": pa.int32()}


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows that were chosen from one batch; `producer` wrote them under `schema_id` (0 if it does not say)."""

    rows: pa.RecordBatch
    addresses: Addresses
    times: npt.NDArray[np.int64]
    producer: str = ""
    schema_id: int = 0


@dataclass(frozen=True)
class Selection:
    """Which rows of a stream: those in offset `ranges` (partition, first, end), from event time `since` up to, not
    including, `until`, for which `where` holds. Of a table, the latest row of each key within the ranges."""

    stream: Stream
    columns: tuple[str, ...]
    ranges: tuple[tuple[int, int, int], ...]
    since: int | None = None
    until: int | None = None
    where: Condition | None = None

    def pieces(self, log: Log, schemas: Callable[[int], Schema]) -> Iterator[Piece]:
        """The rows, a batch at a time. Corrupt if a batch cannot be decoded."""
        beside = self.where.fields if self.where else ()
        times = (self.stream.time,) if self.stream.time else ()
        for partition, first, end in self.ranges:
            latest = self._latest(log, schemas, partition, first, end) if self.stream.kind == "table" else None
            for batch in _batches(log, self.stream, schemas, partition, first, end, (*self.columns, *beside, *times)):
                piece = self._chosen(batch, end, latest)
                if piece is not None:
                    yield piece

    def _chosen(self, batch: Arrived, end: int, latest: npt.NDArray[np.int64] | None) -> Piece | None:
        wanted = batch.addresses.offset < end
        if latest is not None:
            wanted &= np.isin(_places(batch.addresses), latest)
        if self.since is not None:
            wanted &= batch.times >= self.since
        if self.until is not None:
            wanted &= batch.times < self.until
        if self.where is not None:
            wanted &= self.where.holds(batch.rows).to_numpy(zero_copy_only=False)
        at = np.flatnonzero(wanted)
        if not len(at):
            return None
        rows, addresses, times = batch.rows.select(list(self.columns)), batch.addresses, batch.times
        if len(at) < rows.num_rows:
            rows, addresses, times = rows.take(pa.array(at)), addresses.take(at), times[at]
        schema_id = header(batch.headers, SCHEMA)
        producer = (header(batch.headers, PRODUCER) or b"").decode()
        return Piece(rows, addresses, times, producer, unpack_int(schema_id) if schema_id else 0)

    def _latest(
        self, log: Log, schemas: Callable[[int], Schema], partition: int, first: int, end: int
    ) -> npt.NDArray[np.int64]:
        """Where the latest row of each key lies. Keys and places alone are kept in memory."""
        keys, places = [], []
        for batch in _batches(log, self.stream, schemas, partition, first, end, self.stream.key):
            inside = np.flatnonzero(batch.addresses.offset < end)
            keys.append(key_bytes(batch.rows, self.stream.key).take(pa.array(inside)))
            places.append(_places(batch.addresses)[inside])
        if not keys:
            return np.empty(0, dtype=np.int64)
        coded = pa.concat_arrays(keys).dictionary_encode()
        latest = np.zeros(len(coded.dictionary), dtype=np.int64)
        np.maximum.at(latest, coded.indices.to_numpy(), np.concatenate(places))
        return latest


def _places(addresses: Addresses) -> npt.NDArray[np.int64]:
    return np.asarray(addresses.offset, dtype=np.int64) * _ROWS_OF_MESSAGE + addresses.row


def _batches(
    log: Log,
    stream: Stream,
    schemas: Callable[[int], Schema],
    partition: int,
    first: int,
    end: int,
    columns: Iterable[str],
) -> Iterator[Arrived]:
    """Batches that begin within the range; the last may reach beyond it."""
    reader = PartitionReader(log, stream, partition, schemas, position=first, columns=list(dict.fromkeys(columns)))
    while reader.position < end and (batches := reader.fetch()):
        for batch in batches:
            if batch.first >= end:
                return
            if batch.failure is not None:
                raise batch.failure
            yield batch


def as_schema(rows: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The same columns under a schema that says otherwise only what may be null."""
    return rows if rows.schema.equals(schema) else pa.RecordBatch.from_arrays(rows.columns, schema=schema)


def recut(batches: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of exactly `size` (the last may be shorter); holds no more than that and one batch."""
    kept: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        while count + batch.num_rows >= size:
            whole = pa.Table.from_batches([*kept, batch.slice(0, size - count)]).combine_chunks()
            yield whole.to_batches()[0]
            batch = batch.slice(size - count)
            kept, count = [], 0
        if batch.num_rows:
            kept.append(batch)
            count += batch.num_rows
    if kept:
        yield pa.Table.from_batches(kept).combine_chunks().to_batches()[0]


class RunningDigest:
    """SHA-256 over the digests of `ROWS_AT_ONCE` rows each: the same however the rows come, in bounded memory.

    Columns declared as addresses are left out, unless there are no others.
    """

    def __init__(self, schema: pa.Schema, addresses: tuple[str, ...]) -> None:
        self._names = [name for name in schema.names if name not in addresses] or schema.names
        self._schema = pa.schema([schema.field(name).with_nullable(True) for name in self._names])
        self._hash = hashlib.sha256()
        self._kept: list[pa.RecordBatch] = []
        self._count = 0
        self.rows = 0

    def add(self, rows: pa.RecordBatch) -> None:
        self.rows += rows.num_rows
        rows = as_schema(rows.select(self._names), self._schema)
        while self._count + rows.num_rows >= ROWS_AT_ONCE:
            room = ROWS_AT_ONCE - self._count
            self._kept.append(rows.slice(0, room))
            self._settle()
            rows = rows.slice(room)
        if rows.num_rows:
            self._kept.append(rows)
            self._count += rows.num_rows

    def result(self) -> str:
        """64 hexadecimal digits, over all that was added."""
        if self._count or not self.rows:
            self._settle()
        return self._hash.hexdigest()

    def _settle(self) -> None:
        self._hash.update(bytes.fromhex(digest_rows(self._kept, self._schema)))
        self._kept, self._count = [], 0


def write_copy(path: Path, stream: str, schema: pa.Schema, pieces: Iterable[Piece]) -> None:
    """Copy rows and their addresses into an Arrow file."""
    beside = pa.schema([*schema, *(pa.field(name, kind, False) for name, kind in _ADDRESS.items())])

    def batches() -> Iterator[pa.RecordBatch]:
        for piece in pieces:
            where = (piece.addresses.partition, piece.addresses.offset, piece.addresses.row)
            columns = [pa.array(values, kind) for values, kind in zip(where, _ADDRESS.values(), strict=True)]
            yield pa.RecordBatch.from_arrays([*piece.rows.columns, *columns], schema=beside)

    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, beside, options=options) as writer:
        for batch in recut(batches(), ROWS_AT_ONCE):
            writer.write_batch(batch)


def read_copy(path: Path, stream: str, columns: Iterable[str]) -> Iterator[Piece]:
    """The rows that `write_copy` wrote, batch by batch. pa.ArrowInvalid if the file is damaged."""
    names = list(columns)
    with pa.OSFile(str(path), "rb") as source:
        file = pa.ipc.open_file(source)
        for number in range(file.num_record_batches):
            batch = file.get_batch(number)
            where: list[Any] = [batch.column(name).to_numpy() for name in _ADDRESS]
            none = constant(0, batch.num_rows, np.int64)
            yield Piece(batch.select(names), Addresses(stream, *where), none)
