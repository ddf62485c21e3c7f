"""What a codec says of a value that it cannot read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from streams.fit import first_failing
from streams.log.protocol import Corrupt
from streams.types import SchemaError

#: What reading damaged or foreign bytes raises in the libraries below us.
UNREADABLE = (pa.ArrowException, SchemaError, ValueError, TypeError, KeyError, IndexError, EOFError, OverflowError)


class Undecodable(Corrupt):
    """The value at `index`, of those given to `decode`, is not what the codec writes."""

    def __init__(self, codec: str, index: int, of: int, why: str) -> None:
        self.index = index
        super().__init__(
            f"A message cannot be decoded as {codec}: {why}",
            where=f"value {index} of {of}",
            fix="It was damaged, or written by a program that does not keep the stream's schema and codec.",
        )


def decode_or_name(codec: str, values: Sequence[bytes], decode: Callable[[Any], pa.RecordBatch]) -> pa.RecordBatch:
    """`decode(values)`, which must fail on a slice if and only if it fails on one of its values; Undecodable with
    the first of them if it fails."""
    try:
        return decode(values)
    except UNREADABLE:
        index = first_failing(values, decode, UNREADABLE)
        try:
            decode(values[index : index + 1])
        except UNREADABLE as error:
            raise Undecodable(codec, index, len(values), " ".join(str(error).split())) from error
        raise
