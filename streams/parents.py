"""Parents: the row addresses that each output row was made from, as arrays in memory and as a header in a message."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from streams.log.protocol import Corrupt
from streams.message import RowAddress

IntArray = npt.NDArray[Any]

#: A header larger than this falls back from rows to offset ranges.
LARGEST_HEADER = 64 * 1024
NO_PARENT = -1


#: Counts up from 0 by one. Its beginnings, which tell the rows of most messages, are told from other arrays by it.
_COUNTING: Final = np.arange(1 << 17, dtype=np.int32)
_COUNTING.flags.writeable = False


def _counting(count: int) -> IntArray:
    return _COUNTING[:count] if count <= len(_COUNTING) else np.arange(count, dtype=np.int32)


def constant(value: int, count: int, kind: type[np.int32 | np.int64]) -> IntArray:
    """One value `count` times, in the memory of one; stride 0 tells it from other arrays. (np.broadcast_to does the
    same in twenty times the time, which is felt where batches are small.)"""
    return np.ndarray((count,), kind, kind(value).tobytes(), 0, (0,))


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where n rows of one stream lie, column by column; offset -1 means "no parent here" (outer joins).

    `partition`, `offset` and `row` are integer arrays of shape (n,).
    """

    stream: str
    partition: IntArray
    offset: IntArray
    row: IntArray

    @classmethod
    def of_message(cls, stream: str, partition: int, offset: int, rows: int) -> Addresses:
        """The rows of one message that carries a whole batch."""
        return cls(
            stream,
            constant(partition, rows, np.int32),
            constant(offset, rows, np.int64),
            _counting(rows),
        )

    @classmethod
    def of_offsets(cls, stream: str, partition: int, offsets: Sequence[int] | IntArray) -> Addresses:
        """Rows that are one message each."""
        at = np.asarray(offsets, dtype=np.int64)
        return cls(
            stream,
            constant(partition, len(at), np.int32),
            at,
            constant(0, len(at), np.int32),
        )

    @classmethod
    def of_row(cls, stream: str, place: tuple[int, int, int] | None, count: int) -> Addresses:
        """One row's (partition, offset, row), `count` times; None for "no parent"."""
        partition, offset, row = place or (NO_PARENT, NO_PARENT, NO_PARENT)
        return cls(
            stream,
            constant(partition, count, np.int32),
            constant(offset, count, np.int64),
            constant(row, count, np.int32),
        )

    def __len__(self) -> int:
        return len(self.offset)

    def __iter__(self) -> Iterator[RowAddress]:
        for partition, offset, row in zip(
            self.partition.tolist(), self.offset.tolist(), self.row.tolist(), strict=True
        ):
            yield RowAddress(self.stream, partition, offset, row)

    def take(self, indices: IntArray) -> Addresses:
        """The addresses at `indices`; a negative index gives "no parent"."""
        indices = np.asarray(indices)
        if not len(self):
            none = np.full(len(indices), NO_PARENT, dtype=np.int64)
            return Addresses(self.stream, none.astype(np.int32), none, none.astype(np.int32))
        missing = indices < 0
        if not missing.any():
            return Addresses(self.stream, *(_taken(part, indices) for part in (self.partition, self.offset, self.row)))
        taken = Addresses(self.stream, self.partition[indices], self.offset[indices], self.row[indices])
        taken.partition[missing] = NO_PARENT
        taken.offset[missing] = NO_PARENT
        taken.row[missing] = NO_PARENT
        return taken

    def slice(self, start: int, stop: int) -> Addresses:
        return Addresses(self.stream, self.partition[start:stop], self.offset[start:stop], self.row[start:stop])


def _taken(values: IntArray, indices: IntArray) -> IntArray:
    """A column that repeats one value stays one value."""
    return values[indices] if values.strides[0] else constant(values[0], len(indices), values.dtype.type)


def joined(parts: Sequence[Addresses]) -> Addresses:
    """Several runs of addresses of one stream, one after the other."""
    if len(parts) == 1:
        return parts[0]
    return Addresses(
        parts[0].stream,
        np.concatenate([part.partition for part in parts]),
        np.concatenate([part.offset for part in parts]),
        np.concatenate([part.row for part in parts]),
    )


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """The messages of one partition from offset `first` up to, not including, `end`."""

    stream: str
    partition: int
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class Ranges:
    """Every output row was made from all rows in these offset ranges. `mode` is `range` for what is wide by
    nature (windows, models), `batch` for a function that does not say its mapping."""

    ranges: tuple[OffsetRange, ...]
    mode: str = "range"


#: One entry for each way in which an output row descends: a join has two, left and right.
Parents = tuple["Addresses | Ranges", ...]


def ranges_of(addresses: Addresses, mode: str = "range") -> Ranges:
    """The smallest offset ranges, one a partition, that hold all these rows."""
    found = []
    offsets, partitions = addresses.offset, addresses.partition
    if len(offsets):
        first, end = int(offsets.min()), int(offsets.max()) + 1
        if first != NO_PARENT and (partitions.strides[0] == 0 or (partitions == partitions[0]).all()):
            return Ranges((OffsetRange(addresses.stream, int(partitions[0]), first, end),), mode)
    known = addresses.offset != NO_PARENT
    for partition in np.unique(addresses.partition[known]).tolist():
        here = addresses.offset[known & (addresses.partition == partition)]
        found.append(OffsetRange(addresses.stream, partition, int(here.min()), int(here.max()) + 1))
    return Ranges(tuple(found), mode)


def encode_parents(parents: Parents) -> bytes:
    """The `hw-parents` header: a length-prefixed JSON description, then the packed columns that it names.

    A row-exact part larger than 64 KiB is replaced by its offset ranges and marked `range`.
    """
    described: list[dict[str, Any]] = []
    blobs: list[bytes] = []
    for part in parents:
        if isinstance(part, Addresses):
            columns, packed = _pack_part(part)
            if sum(map(len, packed)) <= LARGEST_HEADER:
                described.append({"s": part.stream, "n": len(part), "c": columns})
                blobs.extend(packed)
                continue
            part = ranges_of(part)
        described.append({"m": part.mode, "r": [[r.stream, r.partition, r.first, r.end] for r in part.ranges]})
    head = orjson.dumps(described)
    return len(head).to_bytes(4, "big") + head + b"".join(blobs)


def decode_parents(data: bytes) -> Parents:
    """What `encode_parents` wrote. Corrupt if it is something else."""
    try:
        start = 4 + int.from_bytes(data[:4], "big")
        parts: list[Addresses | Ranges] = []
        for part in orjson.loads(data[4:start]):
            if "r" in part:
                parts.append(Ranges(tuple(OffsetRange(*r) for r in part["r"]), part["m"]))
                continue
            columns = []
            for column in part["c"]:
                values, start = _unpack_column(column, part["n"], data, start)
                columns.append(values)
            parts.append(Addresses(part["s"], *columns))
        return tuple(parts)
    except (ValueError, KeyError, IndexError, TypeError, OSError, pa.ArrowException) as error:
        raise Corrupt(
            "A parents header cannot be decoded",
            where=f"{len(data)} bytes",
            fix=f"The message was not written by Headwater, or was damaged: {error}",
        ) from error


def mode_of(part: Addresses | Ranges) -> str:
    """How exact a part is: `identity`, `bitmap`, `index`, `range` or `batch`."""
    if isinstance(part, Ranges):
        return part.mode
    columns, _ = _pack_part(part)
    kinds = [column[0] for column in columns]
    if kinds[0] == "=" and set(kinds[1:]) <= {"=", "+"}:
        return "identity"
    if "#" not in kinds:
        return "bitmap"
    return "index"


# A column is packed as ["=", value] (constant), ["+", first] (counting up by one), ["b", first, bits, bytes]
# (increasing: a bitmap) or ["#", smallest, item size, bytes] (anything: differences to the smallest, compressed).


def _pack_part(part: Addresses) -> tuple[list[list[Any]], list[bytes]]:
    columns: list[list[Any]] = []
    blobs: list[bytes] = []
    for values in (part.partition, part.offset, part.row):
        column, blob = _pack_column(values)
        columns.append(column)
        if blob:
            blobs.append(blob)
    return columns, blobs


def _pack_column(values: IntArray) -> tuple[list[Any], bytes]:
    count = len(values)
    if not count:
        return ["=", 0], b""
    first = int(values[0])
    if values.strides[0] == 0 or count == 1:
        return ["=", first], b""
    if values.base is _COUNTING and values.strides == _COUNTING.strides:
        return ["+", first], b""
    span = int(values[-1]) - first + 1
    # Only what ends a little above its beginning can be increasing: most columns of joins need not be looked through.
    if count <= span <= 8 * count and int(np.diff(values).min()) > 0:
        if span == count:
            return ["+", first], b""
        bits = np.zeros(span, dtype=bool)
        bits[values - first] = True
        blob = np.packbits(bits).tobytes()
        return ["b", first, span, len(blob)], blob
    smallest = int(values.min())
    largest = int(values.max()) - smallest
    if not largest:
        return ["=", first], b""
    above = values - smallest
    item = next(size for size in (1, 2, 4, 8) if largest < 1 << (8 * size) or size == 8)
    raw = above.astype(f"<u{item}").tobytes()
    blob = pa.compress(raw, codec="lz4_raw", asbytes=True)
    return ["#", smallest, item, len(blob)], blob


def _unpack_column(column: list[Any], count: int, data: bytes, start: int) -> tuple[IntArray, int]:
    kind = column[0]
    if kind == "=":
        return constant(column[1], count, np.int64), start
    if kind == "+":
        return np.arange(column[1], column[1] + count, dtype=np.int64), start
    length = column[3]
    blob = data[start : start + length]
    if kind == "b":
        bits = np.unpackbits(np.frombuffer(blob, dtype=np.uint8), count=column[2])
        return np.flatnonzero(bits) + column[1], start + length
    raw = pa.decompress(blob, decompressed_size=count * column[2], codec="lz4_raw", asbytes=True)
    return np.frombuffer(raw, dtype=f"<u{column[2]}").astype(np.int64) + column[1], start + length
