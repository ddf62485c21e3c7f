"""A stream for a topic that others write: its schema, key, event time and settings, found out from a sample."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from catalog import NotRegistered
from catalog.errors import HeadwaterError
from headwater.registry_topic import decoded as avro_rows
from headwater.registry_topic import described, schema_ids, schema_of
from streams.codecs import Undecodable
from streams.codecs.json import JsonCodec
from streams.infer import Inferred, infer
from streams.keys import key_bytes, partitions_of
from streams.log import Topic, UnknownTopic
from streams.message import BEGINNING, PRODUCER, Fetched, header
from streams.odcs import write_contract
from streams.read import event_times
from streams.registry import ADDRESS, checked_address
from streams.schema import Schema
from streams.stream import ADOPTED, REGISTRY, Stream
from streams.types import SchemaError

if TYPE_CHECKING:
    from headwater.connection import Connection

SAMPLE: Final = 1000
_TIME_NAMES: Final = ("at", "time", "timestamp", "ts", "event_time", "occurred_at", "created_at")
_KEY_TYPES: Final = (pa.types.is_string, pa.types.is_integer, pa.types.is_boolean, pa.types.is_date)
_SECOND: Final = 1_000_000


class CannotAdopt(HeadwaterError):
    """A topic of which no stream can be made from what lies in it."""

    exit_code = 2


@dataclass(frozen=True)
class Adoption:
    """What was found out about a topic. `contract` is the text of a file that declares `stream`; `undecodable` of the
    messages looked at do not follow it, `why` says it of the first. `notes` are for who edits the contract."""

    stream: Stream
    contract: str
    found: Inferred
    undecodable: int
    why: str | None
    notes: tuple[str, ...]


def from_topic(hub: Connection, name: str, *, sample: int = SAMPLE, registry: str | None = None) -> Adoption:
    """Look at the newest `sample` messages of a topic of JSON messages, or of Avro messages whose schemas are in the
    registry at an address; nothing is written, to the topic or elsewhere.

    UnknownTopic; CannotAdopt if the catalog holds the stream, or its messages are neither; LogError if the registry
    cannot be read.
    """
    topic = _unregistered(hub, name)
    each = max(-(-sample // topic.partitions), 1)
    fetched = [hub.log.last(name, number, each) for number in range(topic.partitions)]
    values = [value for one in fetched for value in one.values if value is not None]
    if not values:
        raise CannotAdopt("The topic is empty", where=name, fix="Write a contract by hand, or wait for messages.")
    notes: list[str] = []
    look = _look_at_avro if 2 * schema_ids(values).total() > len(values) else _look_at_json
    stream, found, decoded = look(name, values, fetched, registry, notes)
    key = _key(decoded, topic, notes)
    time = _time(found.schema, notes)
    stream = replace(
        stream,
        key=key,
        time=time,
        kind="table" if topic.compact and key else "stream",
        partitions=topic.partitions,
        lateness=_lateness(decoded, time),
        retention=topic.retention,
        description=f"What others write to the topic {name}; declared after a look at {len(values):,} messages.",
    )
    notes += _further_notes(found, fetched, topic, stream)
    return Adoption(
        stream,
        write_contract(stream),
        found,
        sum(one.undecodable for one in decoded),
        next((one.why for one in decoded if one.why), None),
        tuple(notes),
    )


def _look_at_json(
    name: str, values: list[bytes], fetched: list[Fetched], registry: str | None, notes: list[str]
) -> tuple[Stream, Inferred, list[_Decoded]]:
    if registry is not None:
        notes.append("The messages have no ids of schemas before them: the registry was not asked.")
    found = infer(values)
    if not found.schema.names:
        raise CannotAdopt(
            f"None of the {len(values)} messages looked at is a JSON object with fields",
            where=name,
            fix="Only topics of JSON objects, or of Avro with a registry, can be looked at. Write a contract by hand.",
        )
    schema = Schema(found.schema)
    stream = Stream(name, schema, codec="json", tags=(ADOPTED,))
    return stream, found, [_decoded(schema, one) for one in fetched]


def _look_at_avro(
    name: str, values: list[bytes], fetched: list[Fetched], registry: str | None, notes: list[str]
) -> tuple[Stream, Inferred, list[_Decoded]]:
    counts = schema_ids(values)
    registry = registry or os.environ.get(ADDRESS)
    if not registry:
        raise CannotAdopt(
            f"The messages have the id of a schema ({max(counts)}) in a registry before them",
            where=name,
            fix=f"Say which: --registry http://host:port (registry=), or {ADDRESS} in the environment.",
        )
    registry = checked_address(registry)
    try:
        schema = schema_of(counts, registry, notes)
    except (NotRegistered, SchemaError) as error:
        raise CannotAdopt(error.what, where=f"{name}, {error.where}", fix=error.fix) from error
    stream = Stream(name, schema, codec="avro", tags=(ADOPTED, REGISTRY + registry))
    looked = []
    for one in fetched:
        rows, keys, why = avro_rows(stream, one)
        looked.append(_Decoded(rows, keys, sum(value is not None for value in one.values) - len(keys), why))
    return stream, described(schema, [one.rows for one in looked], len(values)), looked


def _unregistered(hub: Connection, name: str) -> Topic:
    topic = next((one for one in hub.log.topics() if one.name == name), None)
    if topic is None:
        raise UnknownTopic(
            f"There is no topic {name!r}",
            where=name,
            fix="`headwater observe` lists the topics that are there and not registered.",
        )
    if hub.catalog.has_stream(name):
        raise CannotAdopt("This stream is registered already", where=name, fix=f"See it: headwater streams {name}")
    return topic


@dataclass(frozen=True)
class _Decoded:
    """The messages of one partition that follow the schema."""

    rows: pa.RecordBatch
    keys: list[bytes | None]
    undecodable: int
    why: str | None


def _decoded(schema: Schema, fetched: Fetched) -> _Decoded:
    codec = JsonCodec(schema, 0)
    pairs = [(key, value) for key, value in zip(fetched.keys, fetched.values, strict=True) if value is not None]
    rows: list[pa.RecordBatch] = []
    keys: list[bytes | None] = []
    why = None
    start = 0
    # What cannot be decoded ends a run of messages that can: as often as there are such messages.
    while start < len(pairs):
        stop = len(pairs)
        try:
            rows.append(codec.decode([value for _, value in pairs[start:stop]]))
        except Undecodable as error:
            why = why or error.what
            stop = start + error.index
            if stop > start:
                rows.append(codec.decode([value for _, value in pairs[start:stop]]))
        keys += [key for key, _ in pairs[start:stop]]
        start = stop + (stop < len(pairs))
    whole = pa.Table.from_batches(rows, schema.arrow).combine_chunks().to_batches()
    batch = whole[0] if whole else pa.RecordBatch.from_pylist([], schema=schema.arrow)
    return _Decoded(batch, keys, len(pairs) - len(keys), why)


def _key(decoded: list[_Decoded], topic: Topic, notes: list[str]) -> tuple[str, ...]:
    """The field whose values are the messages' keys, if there is one and it leads to the partitions they lie in."""
    keys = [key for one in decoded for key in one.keys]
    if not keys or None in keys:
        if any(keys):
            notes.append("Some messages have a key and some have none: no key is declared.")
        return ()
    for field in decoded[0].rows.schema:
        if field.nullable and any(one.rows[field.name].null_count for one in decoded):
            continue
        if not any(test(field.type) for test in _KEY_TYPES):
            continue
        if any(key_bytes(one.rows, [field.name]).to_pylist() != one.keys for one in decoded if one.keys):
            continue
        placed = all(
            np.all(partitions_of(one.rows, [field.name], topic.partitions) == number)
            for number, one in enumerate(decoded)
        )
        if placed:
            return (field.name,)
        notes.append(
            f"The messages' keys are the field {field.name}, but they lie in other partitions than Kafka's own "
            "partitioner chooses: no key is declared. Operators that need one take it from hw.repartition."
        )
        return ()
    notes.append("The messages have keys, which are no field of theirs: no key is declared.")
    return ()


def _time(schema: pa.Schema, notes: list[str]) -> str | None:
    times = [field for field in schema if pa.types.is_timestamp(field.type)]
    if not times:
        notes.append("No field is a timestamp with an offset: no event time is declared, and the rows hold always.")
        return None
    rank = {name: place for place, name in enumerate(_TIME_NAMES)}
    chosen = min(times, key=lambda field: (field.nullable, rank.get(field.name, len(rank))))
    if len(times) > 1:
        others = ", ".join(field.name for field in times if field is not chosen)
        notes.append(f"The event time is {chosen.name}; it could be {others} as well.")
    return str(chosen.name)


def _lateness(decoded: list[_Decoded], time: str | None) -> int:
    """How far rows came behind later ones of their partition, in whole seconds."""
    latest = 0
    for one in decoded:
        times = event_times(one.rows, time)
        times = times[times != BEGINNING]
        if len(times):
            latest = max(latest, int((np.maximum.accumulate(times) - times).max()))
    return -(-latest // _SECOND) * _SECOND


def _further_notes(found: Inferred, fetched: list[Fetched], topic: Topic, stream: Stream) -> list[str]:
    notes = []
    if found.not_objects:
        notes.append(f"{found.not_objects:,} of the messages are no JSON objects; operators put such aside.")
    left_out = [one.path for one in found.fields if one.type is None]
    if left_out:
        notes.append(f"Left out, as nothing tells their type: {', '.join(left_out)}.")
    if found.events is not None:
        kinds = ", ".join(f"{kind} ({count:,})" for kind, (count, _) in found.events.kinds.items())
        notes.append(
            f"Several kinds of events, by the field {found.events.field}: {kinds}. A filter makes a stream of each."
        )
    if topic.compact and stream.kind != "table":
        notes.append("The topic is compacted, but no field is its key: it is declared as a stream.")
    if stream.lateness:
        notes.append(
            f"Rows came up to {stream.lateness // _SECOND:,} s behind later ones: that is the declared lateness."
        )
    if any(header(headers, PRODUCER) is not None for one in fetched for headers in one.headers):
        notes.append("Some messages were written through Headwater: is the topic a stream of another catalog?")
    return notes


__all__ = ["SAMPLE", "Adoption", "CannotAdopt", "from_topic"]
