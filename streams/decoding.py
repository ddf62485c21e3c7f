"""Decoding: from the values of messages to rows of the schema that a reader wants."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from catalog import NotRegistered
from streams.codecs import ArrowCodec, AvroCodec, Codec, Undecodable, codec
from streams.evolution import project
from streams.log.protocol import Corrupt
from streams.message import SCHEMA, Fetched, Headers, unpack_int
from streams.message import header as header_of
from streams.registry import written
from streams.schema import Schema, SchemaError
from streams.stream import Stream

_OTHERS: Final = "It was written by a program that uses another catalog or registry."


class Decoder:
    """Decodes the messages of a stream, whichever version of its schema they were written with, to rows of `schema`."""

    def __init__(self, stream: Stream, schema: pa.Schema, schemas: Callable[[int], Schema]) -> None:
        self.schema = schema
        self._stream = stream
        self._schemas = schemas
        self._codecs: dict[int, Codec] = {}
        #: Schemas whose batches are as the reader wants them already.
        self._as_read: set[int] = set()

    def decode(self, fetched: Fetched, start: int, stop: int) -> pa.RecordBatch:
        """The rows of these messages; one message alone if each holds a batch. Corrupt."""
        if not self._stream.row_coded:
            value = fetched.values[start]
            if value is None:
                return no_rows(self.schema)
            return self._projected(self._schema_id(fetched, start), [value], fetched.offsets[start : start + 1])
        parts = []
        for first, after, schema_id in self._schema_runs(fetched, start, stop):
            values = [value for value in fetched.values[first:after] if value is not None]
            if len(values) < after - first:
                raise Corrupt(
                    "A message without a value",
                    where=self._stream.name,
                    fix="Other systems remove a key of a table so; here a row has to say it, in a column of its own.",
                )
            parts.append(self._projected(schema_id, values, fetched.offsets[first:after]))
        if len(parts) == 1:
            return parts[0]
        return pa.Table.from_batches(parts).combine_chunks().to_batches()[0]

    def _projected(self, schema_id: int, values: Sequence[bytes], offsets: Sequence[int]) -> pa.RecordBatch:
        """The rows in these values, through the reader's schema. Corrupt, which names the offset where it can."""
        try:
            rows = self._codec(schema_id).decode(values)
            return rows if schema_id in self._as_read else project(rows, self.schema)
        except Undecodable as error:
            offset = offsets[error.index]
            raise Corrupt(error.what, where=f"offset {offset}" if len(offsets) > 1 else None, fix=error.fix) from error
        except SchemaError as error:
            raise Corrupt(
                f"Rows of schema {schema_id} do not fit the stream: {error.what}",
                where=error.where,
                fix="They were written for another stream, or before an incompatible change.",
            ) from error
        except NotRegistered as error:
            holder = "registry" if self._stream.registry else "catalog"
            raise Corrupt(
                f"A message names schema {schema_id}, which the {holder} does not hold",
                fix=error.fix if self._stream.registry else _OTHERS,
            ) from error

    def _schema_runs(self, fetched: Fetched, start: int, stop: int) -> list[tuple[int, int, int]]:
        """Runs of messages with one schema: first, last + 1, schema id."""
        found: list[tuple[int, int, int]] = []
        for first, after, headers in runs(fetched.headers[start:stop]):
            # Only Avro's values say themselves which schema they have.
            stated = header_of(headers, SCHEMA) is not None and not self._stream.registry
            if self._stream.codec != "avro" or stated:
                pieces = [(start + first, start + after, self._schema_id(fetched, start + first))]
            else:
                pieces = [(at, at + 1, self._schema_id(fetched, at)) for at in range(start + first, start + after)]
            for piece in pieces:
                if found and found[-1][2] == piece[2]:
                    found[-1] = (found[-1][0], piece[1], piece[2])
                else:
                    found.append(piece)
        return found

    def _schema_id(self, fetched: Fetched, index: int) -> int:
        stated = header_of(fetched.headers[index], SCHEMA)
        if stated is not None and not self._stream.registry:
            return unpack_int(stated)
        value = fetched.values[index]
        if self._stream.codec == "avro" and value is not None and len(value) >= 5 and value[0] == 0:
            return int.from_bytes(value[1:5], "big")
        return 0

    def _codec(self, schema_id: int) -> Codec:
        known = self._codecs.get(schema_id)
        if known is None:
            if schema_id and self._stream.registry:
                known = self._foreign(schema_id)
            else:
                known = self._made(self._schemas(schema_id) if schema_id else self._stream.schema, schema_id)
            self._codecs[schema_id] = known
        return known

    def _foreign(self, schema_id: int) -> Codec:
        """For messages with a schema of the stream's registry. SchemaError for one of another kind of record."""
        others = written(self._stream.registry, schema_id)
        lacks = [
            one.name for one in self._stream.schema.arrow if not one.nullable and one.name not in others.schema.names
        ]
        if lacks:
            raise SchemaError(f"it is of {others.record} and has no {', '.join(lacks)}")
        return AvroCodec(others.schema, schema_id, (*others.needs, others.avro))

    def _made(self, schema: Schema, schema_id: int) -> Codec:
        if self._stream.codec != "arrow":
            return codec(self._stream.codec, schema, schema_id)
        shared = [name for name in self.schema.names if name in schema.names]
        made = ArrowCodec(schema, schema_id, shared or None)
        if made.decoded.arrow.equals(self.schema):
            self._as_read.add(schema_id)
        return made


def runs(headers: Sequence[Headers]) -> Iterator[tuple[int, int, Headers]]:
    """Runs of messages that share their headers: first, last + 1, headers. Equal headers that are not one object make
    several runs, which does not matter here."""
    if not headers:
        return
    objects = np.fromiter(map(id, headers), dtype=np.int64, count=len(headers))
    ends = [*(np.flatnonzero(objects[1:] != objects[:-1]) + 1).tolist(), len(headers)]
    start = 0
    for end in ends:
        yield start, end, headers[start]
        start = end


def no_rows(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)
