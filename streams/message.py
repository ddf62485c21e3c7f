"""What lies in a log: messages, their headers, and the words for places and times in them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

Headers = tuple[tuple[str, bytes], ...]

#: Event times are microseconds since 1970 UTC; these two stand for "before all" and "after all".
BEGINNING: Final = -(2**63)
END: Final = 2**63 - 1

SCHEMA: Final = "hw-schema"
PRODUCER: Final = "hw-producer"
TASK: Final = "hw-task"
RUN: Final = "hw-run"
WATERMARK: Final = "hw-watermark"
PARENTS: Final = "hw-parents"
#: On the last message of a row-coded batch: how many messages the batch has.
LAST: Final = "hw-last"
#: Reserved for per-entity encryption keys.
KEY_ID: Final = "hw-key"


class RowAddress(NamedTuple):
    """Where one row lies: stream, partition, offset of its message, row within the message (from 0)."""

    stream: str
    partition: int
    offset: int
    row: int

    def __str__(self) -> str:
        return f"{self.stream} {self.partition}:{self.offset}:{self.row}"


@dataclass(frozen=True, slots=True)
class Fetched:
    """Consecutive messages of one partition, column by column; `next` is the offset to read on from.

    `keys`, `values` and `headers` have one entry a message. `timestamps` are append times in
    microseconds since 1970. Offsets increase; they are not dense.
    """

    offsets: Sequence[int]
    timestamps: Sequence[int]
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    headers: Sequence[Headers]
    next: int

    def __len__(self) -> int:
        return len(self.offsets)


def header(headers: Headers, name: str) -> bytes | None:
    """The value of the first header of that name, or None."""
    for key, value in headers:
        if key == name:
            return value
    return None


def pack_int(value: int) -> bytes:
    """A signed 64-bit integer, big-endian: how schema ids, watermarks and counts are written in headers."""
    return value.to_bytes(8, "big", signed=True)


def unpack_int(data: bytes) -> int:
    return int.from_bytes(data, "big", signed=True)


def pack_headers(headers: Headers) -> bytes:
    """Headers as one byte string: per header a 2-byte name length, a 4-byte value length, name, value."""
    return b"".join(
        part
        for name, value in headers
        for part in (struct.pack(">HI", len(name), len(value)), name.encode("ascii"), value)
    )


def unpack_headers(data: bytes) -> Headers:
    found = []
    at = 0
    while at < len(data):
        name_length, value_length = struct.unpack_from(">HI", data, at)
        at += 6
        name = data[at : at + name_length].decode("ascii")
        at += name_length
        found.append((name, data[at : at + value_length]))
        at += value_length
    return tuple(found)
