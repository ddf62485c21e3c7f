"""One message is one row in Avro, framed as Confluent's tools do: a zero byte, the schema id, Avro's encoding."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from typing import Any, Final

import fastavro
import pyarrow as pa

from streams.codecs.avro_form import (
    avro_schema,
    from_physical,
    physical,
    schema_from_avro,
    to_physical,
    without_logical_types,
)
from streams.codecs.avro_read import read_rows
from streams.codecs.avro_write import write_rows
from streams.codecs.undecodable import decode_or_name
from streams.conform import check_fits
from streams.nested import rebuild
from streams.schema import Schema
from streams.types import SchemaError, is_nested

__all__ = ["AvroCodec", "avro_schema", "schema_from_avro"]

_LARGEST_ID: Final = 2**31 - 1


class AvroCodec:
    """Rows in Confluent's wire format, with the schema that `avro_schema` gives.

    Flat rows are written and read column by column, many messages at once; rows with structs or lists go through
    fastavro one by one. The bytes are the same.

    `written` is for reading what others write: their Avro schema, of which `schema` is that of the rows, behind those
    whose names it uses. Such a codec encodes nothing.
    """

    name = "avro"
    row_coded = True

    def __init__(self, schema: Schema, schema_id: int, written: Sequence[Any] = ()) -> None:
        if not 0 <= schema_id <= _LARGEST_ID:
            raise SchemaError(
                "Avro messages have four bytes for this",
                where=f"schema id {schema_id}",
                fix="Use a positive id below 2^31.",
            )
        self.schema = schema
        self.schema_id = schema_id
        self._plain: Any = None
        named: dict[str, Any] = {}
        for one in written or [avro_schema(schema, "row")]:
            self._plain = fastavro.parse_schema(without_logical_types(one), named)
        self._header = struct.pack(">bI", 0, schema_id)
        self._foreign = bool(written)
        self._one_by_one = bool(written) or any(is_nested(field.type) for field in schema.arrow)
        self._physical = pa.schema([field.with_type(physical(field.type)) for field in schema.arrow])

    def encode(self, rows: pa.RecordBatch) -> list[bytes]:
        """One value a row. SchemaError names the field whose seconds do not fit Avro's milliseconds."""
        if self._foreign:
            raise SchemaError(
                "Messages of others are only read", where=f"schema id {self.schema_id}", fix="Publish as they do."
            )
        check_fits(rows, self.schema)
        if not rows.num_rows:
            return []
        columns = [self._to_physical(column, field) for column, field in zip(rows.columns, self._physical, strict=True)]
        if not self._one_by_one:
            return write_rows(columns, [field.nullable for field in self._physical], self._header)
        return self._write_one_by_one(pa.RecordBatch.from_arrays(columns, schema=self._physical))

    def decode(self, values: Sequence[bytes]) -> pa.RecordBatch:
        """One row a value. Undecodable also for another schema id, trailing bytes, and text that is not UTF-8."""
        return decode_or_name(self.name, values, self._decode)

    def _decode(self, values: Sequence[bytes]) -> pa.RecordBatch:
        fields = list(self._physical)
        if self._one_by_one:
            columns = self._read_one_by_one(values).columns
        else:
            columns = read_rows(values, [f.type for f in fields], [f.nullable for f in fields], self._header)
        logical = [
            rebuild(column, field.type, from_physical) for column, field in zip(columns, self.schema.arrow, strict=True)
        ]
        return pa.RecordBatch.from_arrays(logical, schema=self.schema.arrow)

    def _to_physical(self, column: pa.Array, field: pa.Field) -> pa.Array:
        try:
            return rebuild(column, field.type, to_physical)
        except pa.ArrowInvalid as error:
            raise SchemaError(
                str(error), where=f"field {field.name!r}", fix="Correct the value, or declare a finer unit."
            ) from error

    def _write_one_by_one(self, rows: pa.RecordBatch) -> list[bytes]:
        # fastavro writes one record a call; nested values have no encoding by columns here.
        values = []
        for row in rows.to_pylist():
            sink = io.BytesIO(self._header)
            sink.seek(len(self._header))
            fastavro.schemaless_writer(sink, self._plain, row)
            values.append(sink.getvalue())
        return values

    def _read_one_by_one(self, values: Sequence[bytes]) -> pa.RecordBatch:
        rows = []
        for value in values:
            if value[: len(self._header)] != self._header:
                raise pa.ArrowInvalid(f"it does not begin with {self._header.hex()}, the magic byte and the schema id")
            source = io.BytesIO(value)
            source.seek(len(self._header))
            try:
                rows.append(fastavro.schemaless_reader(source, self._plain, None))
            except struct.error as error:
                raise pa.ArrowInvalid("it is shorter than its schema says") from error
            if source.tell() != len(value):
                raise pa.ArrowInvalid("it is longer than its schema says")
        return pa.RecordBatch.from_pylist(rows, schema=self._physical)
