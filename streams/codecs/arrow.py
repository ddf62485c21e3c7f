"""One message is one record batch: a checksum, then the batch as an Arrow IPC message without its schema."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from streams.codecs.undecodable import UNREADABLE, Undecodable
from streams.conform import check_fits, check_nulls
from streams.log.protocol import Corrupt
from streams.schema import Schema

#: Marks the format and keeps Arrow's buffers, after four more bytes of checksum, at multiples of eight.
MAGIC: Final = b"HWA1"
_START: Final = len(MAGIC) + 4


class ArrowCodec:
    """Rows as Arrow IPC. A value is `HWA1`, a CRC-32 (4 bytes, big-endian) and the IPC message.

    The checksum starts from the schema's fingerprint, so that reading with another schema is noticed as damage is.
    A codec for some columns `only` decodes these, in that order, and looks at no others.
    Buffers are not compressed: lz4 would save about a third of the bytes at several times the cost of all else here.
    """

    name = "arrow"
    row_coded = False

    def __init__(self, schema: Schema, schema_id: int, only: Sequence[str] | None = None) -> None:
        self.schema = schema
        self.schema_id = schema_id
        self._seed = int(schema.fingerprint[:8], 16)
        self._places = None if only is None else [schema.arrow.names.index(name) for name in only]
        #: What decoded rows look like: all columns, or those in `only`, in that order.
        self.decoded = schema if only is None else schema.select(only)

    def encode(self, rows: pa.RecordBatch) -> list[bytes]:
        """One value with all rows, also if there are none."""
        check_fits(rows, self.schema)
        body = rows.serialize()
        return [b"".join((MAGIC, zlib.crc32(body, self._seed).to_bytes(4, "big"), body))]

    def decode(self, values: Sequence[bytes]) -> pa.RecordBatch:
        """The batch of exactly one value, with the columns of `decoded`; they are views of the value's bytes."""
        if len(values) != 1:
            raise Corrupt(
                "An arrow message holds a whole batch", where=f"{len(values)} values", fix="Decode one value at a time."
            )
        (value,) = values
        if value[: len(MAGIC)] != MAGIC:
            raise Undecodable(self.name, 0, 1, f"it begins with {value[:4]!r}, not {MAGIC!r}")
        body = pa.py_buffer(value)[_START:]
        if zlib.crc32(body, self._seed).to_bytes(4, "big") != value[len(MAGIC) : _START]:
            raise Undecodable(self.name, 0, 1, "its checksum is wrong, for this schema")
        try:
            rows = pa.ipc.read_record_batch(body, self.schema.arrow)
            if self._places is not None:
                rows = rows.select(self._places)
            # A checksum proves nothing about who wrote it: offsets that point outside would crash the process.
            rows.validate(full=True)
            check_nulls(rows, self.decoded)
        except (*UNREADABLE, OSError) as error:
            raise Undecodable(self.name, 0, 1, str(error)) from error
        return rows
