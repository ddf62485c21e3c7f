"""Messages as they lie in an embedded log: small ones of one append and with equal headers share a row, a block."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby
from typing import Final, NamedTuple

from streams.log.protocol import Corrupt, LogError
from streams.message import Headers, pack_headers

#: About the most bytes of keys and values that share a row.
_LARGEST: Final = 16 << 10

#: The columns of the table `block`: row id, append time, and those of `Block`.
COLUMNS: Final = "id, time, count, headers, lengths, key, value"

Column = Sequence[bytes | None]


class Block(NamedTuple):
    """So many messages of consecutive offsets. `lengths` holds the keys' lengths, then the values', each 4 bytes,
    -1 for None; `key` and `value` are all keys and all values, one after the other. A message of its own has
    no `lengths`, and its key and value as they are."""

    messages: int
    headers: bytes
    lengths: bytes | None
    key: bytes | None
    value: bytes | None


def pack(keys: Column, values: Column, headers: Headers | Sequence[Headers]) -> list[Block]:
    """The messages as blocks, in order. LogError for what is not bytes, or headers that cannot be written."""
    if not set(map(type, keys)) | set(map(type, values)) <= {bytes, type(None)}:
        raise LogError("A key or value is not bytes", fix="Encode it before it is appended.")
    key_lengths, value_lengths = _lengths(keys), _lengths(values)
    # A None counts -1 here; block sizes need not be exact.
    ends = list(accumulate(map(int.__add__, key_lengths, value_lengths)))
    return [
        _block(packed, start, end, (keys, values), (key_lengths, value_lengths))
        for packed, first, after in _alike(headers, len(values))
        for start, end in _cut(ends, first, after)
    ]


def unpack(block: Block) -> tuple[Column, Column]:
    """The keys and the values. struct.error if the block is damaged."""
    if block.lengths is None:
        return (block.key,), (block.value,)
    lengths = struct.unpack(f"<{2 * block.messages}i", block.lengths)
    return _split(block.key or b"", lengths[: block.messages]), _split(block.value or b"", lengths[block.messages :])


def unpack_keys(count: int, lengths: bytes | None, key: bytes, absent: bool) -> tuple[Column, list[bool]]:
    """The keys, and which of the values are None; `absent` says so for a message of its own. struct.error if
    the block is damaged."""
    if lengths is None:
        return (key,), [absent]
    sizes = struct.unpack(f"<{2 * count}i", lengths)
    return _split(key, sizes[:count]), [size < 0 for size in sizes[count:]]


def damaged(where: str, first: int, last: int, error: Exception) -> Corrupt:
    """What to raise for messages at these offsets that cannot be decoded."""
    return Corrupt(
        f"The messages from offset {first} to {last} cannot be decoded ({error})",
        where=where,
        fix="The file is damaged, or another program wrote to it; restore it from a copy.",
    )


def part(keys: Column, values: Column, headers: bytes) -> Block:
    """Messages of one block that stay together when others of it are removed."""
    return _block(headers, 0, len(keys), (keys, values), (_lengths(keys), _lengths(values)))


def _lengths(column: Column) -> list[int]:
    if None not in column:
        return list(map(len, column))  # type: ignore[arg-type]
    return [-1 if entry is None else len(entry) for entry in column]


def _alike(headers: Headers | Sequence[Headers], count: int) -> Iterator[tuple[bytes, int, int]]:
    """Runs of messages with equal headers: the packed headers, first and last + 1."""
    try:
        if isinstance(headers, tuple):
            yield pack_headers(headers), 0, count
            return
        first = 0
        for alike, run in groupby(headers):
            after = first + len(list(run))
            yield pack_headers(alike), first, after
            first = after
    except (struct.error, TypeError, ValueError) as error:
        raise LogError(
            f"A header cannot be written ({error})", fix="Give short ASCII names and bytes as values."
        ) from error


def _cut(ends: Sequence[int], first: int, after: int) -> Iterator[tuple[int, int]]:
    start = first
    while start < after:
        before = ends[start - 1] if start else 0
        end = min(max(bisect_right(ends, before + _LARGEST, start, after), start + 1), after)
        yield start, end
        start = end


def _block(
    headers: bytes, start: int, end: int, columns: tuple[Column, Column], lengths: tuple[list[int], list[int]]
) -> Block:
    keys, values = (column[start:end] for column in columns)
    if end - start == 1:
        return Block(1, headers, None, keys[0], values[0])
    both = lengths[0][start:end] + lengths[1][start:end]
    return Block(end - start, headers, struct.pack(f"<{len(both)}i", *both), _join(keys), _join(values))


def _join(column: Column) -> bytes:
    return b"".join(filter(None, column))


def _split(data: bytes, lengths: Sequence[int]) -> Column:
    if max(lengths) < 0:
        return (None,) * len(lengths)
    some_none = min(lengths) < 0
    ends = list(accumulate(map(max, lengths, [0] * len(lengths)) if some_none else lengths))
    if ends[-1] != len(data):
        raise struct.error(f"{len(data)} bytes where {ends[-1]} were expected")
    found: list[bytes | None] = list(map(data.__getitem__, map(slice, [0, *ends], ends)))
    if some_none:
        found = [None if length < 0 else entry for length, entry in zip(lengths, found, strict=True)]
    return found
