"""A look at a topic of Avro messages whose schemas are in a registry: what the registry says of them, and what of it is
there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import orjson
import pyarrow as pa

from catalog import NotRegistered
from streams.decoding import Decoder
from streams.evolution import differences
from streams.infer import FoundField, Inferred
from streams.log.protocol import Corrupt
from streams.message import Fetched
from streams.registry import Written, written
from streams.schema import Schema
from streams.stream import Stream
from streams.types import SchemaError

_SHOWN = 40


def schema_ids(values: Sequence[bytes]) -> Counter[int]:
    """How many of these messages begin with the id of which schema, as Confluent's tools write them."""
    return Counter(int.from_bytes(value[1:5], "big") for value in values if len(value) > 5 and value[0] == 0)


def schema_of(counts: Counter[int], registry: str, notes: list[str]) -> Schema:
    """The newest schema of the record that most messages hold, of so many messages of each schema. NotRegistered or
    SchemaError if none of them can be read; LogError if the registry cannot."""
    found: dict[int, Written] = {}
    schemas: dict[int, Schema] = {}
    failed: NotRegistered | SchemaError | None = None
    for number in sorted(counts):
        try:
            found[number] = written(registry, number)
            schemas[number] = found[number].schema
        except (NotRegistered, SchemaError) as error:
            failed = error
            notes.append(f"{counts[number]:,} messages have schema {number}, which is of no use here: {error.what}.")
    if not schemas:
        assert failed is not None
        raise failed
    records: Counter[str] = Counter()
    for number in schemas:
        records[found[number].record] += counts[number]
    record = records.most_common(1)[0][0]
    if len(records) > 1:
        kinds = ", ".join(f"{name} ({count:,})" for name, count in records.most_common())
        notes.append(f"Several types of records: {kinds}. The stream is of {record}; operators put others aside.")
    versions = [number for number in schemas if found[number].record == record]
    newest = versions[-1]
    if len(versions) > 1:
        notes.append(f"Its schemas in the registry are {', '.join(map(str, versions))}; the stream has the newest.")
    for number in versions[:-1]:
        apart = differences(schemas[number], schemas[newest])
        if apart:
            notes.append(f"Schema {number} does not go over into {newest}: {'; '.join(apart)}.")
    return schemas[newest]


def decoded(stream: Stream, fetched: Fetched) -> tuple[pa.RecordBatch, list[bytes | None], str | None]:
    """The rows of the messages that follow the stream's schema, their keys, and why the first other one does not."""
    decoder = Decoder(stream, stream.schema.arrow, _no_others)
    rows: list[pa.RecordBatch] = []
    keys: list[bytes | None] = []
    why = None
    for at, value in enumerate(fetched.values):
        if value is None:
            continue
        try:
            columns = decoder.decode(fetched, at, at + 1).columns
            rows.append(pa.RecordBatch.from_arrays(columns, schema=stream.schema.arrow))
            keys.append(fetched.keys[at])
        except Corrupt as error:
            why = why or error.what
    table = pa.Table.from_batches(rows, stream.schema.arrow).combine_chunks()
    whole = table.to_batches()
    return whole[0] if whole else pa.RecordBatch.from_pylist([], schema=stream.schema.arrow), keys, why


def described(schema: Schema, batches: Sequence[pa.RecordBatch], messages: int) -> Inferred:
    """How often each field is there, whose types the registry has said."""
    table = pa.Table.from_batches(batches, schema.arrow)
    rows = pa.array(table.to_pylist(), pa.struct(list(schema.arrow)))
    return Inferred(schema.arrow, tuple(_fields(rows, schema.arrow, "")), messages, 0, None)


def _fields(rows: pa.StructArray, fields: pa.Schema | pa.StructType, prefix: str) -> Iterator[FoundField]:
    there = rows.drop_null()
    for at, field in enumerate(fields):
        column = there.field(at)
        known = column.drop_null()
        example = orjson.dumps(known[0].as_py(), default=str).decode() if len(known) else ""
        path = prefix + field.name
        yield FoundField(
            path,
            field.type,
            len(there),
            max(len(there), 1),
            column.null_count,
            not field.nullable,
            (),
            example if len(example) <= _SHOWN else f"{example[: _SHOWN - 1]}…",
        )
        if pa.types.is_struct(field.type):
            yield from _fields(column, field.type, f"{path}.")


def _no_others(number: int) -> Schema:
    raise NotRegistered(f"Schema {number} is none of the registry's")
