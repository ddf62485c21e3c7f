"""How rows become the values of messages and back: one codec for each format, all with the same methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import pyarrow as pa

from streams.codecs.arrow import ArrowCodec
from streams.codecs.avro import AvroCodec, avro_schema
from streams.codecs.json import JsonCodec
from streams.codecs.undecodable import Undecodable
from streams.schema import Schema
from streams.types import SchemaError

__all__ = ["ArrowCodec", "AvroCodec", "Codec", "JsonCodec", "Undecodable", "avro_schema", "codec"]


class Codec(Protocol):
    """Writes rows of one schema as message values and reads them back, exactly.

    `row_coded`: one value is one row; otherwise one value is the whole batch.
    """

    @property
    def name(self) -> str: ...
    @property
    def row_coded(self) -> bool: ...

    def encode(self, rows: pa.RecordBatch) -> list[bytes]:
        """The values of the messages that carry these rows, in their order. SchemaError if the rows do not have
        the codec's schema, or hold a value that the format cannot express."""

    def decode(self, values: Sequence[bytes]) -> pa.RecordBatch:
        """The rows, with the codec's schema. Undecodable (a `Corrupt`), which names the index of the first bad
        value, if a value is not what `encode` writes."""


def codec(name: str, schema: Schema, schema_id: int) -> Codec:
    """The codec of that name for rows of a schema, which readers know by its id. Making one takes a moment: keep it.

    SchemaError if there is no such codec, or if it cannot express the schema.
    """
    if name not in _CODECS:
        raise SchemaError("There is no such codec", where=f"codec {name!r}", fix=f"There are {', '.join(_CODECS)}.")
    return _CODECS[name](schema, schema_id)


_CODECS: Final[dict[str, type[ArrowCodec] | type[JsonCodec] | type[AvroCodec]]] = {
    "arrow": ArrowCodec,
    "json": JsonCodec,
    "avro": AvroCodec,
}
