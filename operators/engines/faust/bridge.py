"""A registered stream as a topic of somebody's own Faust app: its codec, its schema, our headers. At least once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import faust
import pyarrow as pa
from aiokafka import AIOKafkaConsumer
from faust.exceptions import ValueDecodeError
from faust.transport.drivers import aiokafka as driver

from streams.codecs import codec
from streams.conform import conform
from streams.keys import key_bytes, partitions_of
from streams.log.protocol import Corrupt, Log
from streams.message import LAST, PRODUCER, SCHEMA, Fetched, pack_int
from streams.publish import PublishError, check_rows
from streams.read import PartitionReader
from streams.schema import Schema
from streams.stream import Stream


@dataclass(frozen=True)
class Registered:
    """What a bridge has to know of a stream. `service` is who the app is to the catalog, `schema` finds a schema by id,
    `observe` is told when the app first reads or writes, `publishable` gives the id of the schema to write with, or
    raises PublishError if services may not write to the stream. `now` is in microseconds since 1970."""

    stream: Stream
    topic: str
    service: str
    log: Log
    schema: Callable[[int], Schema]
    observe: Callable[[Literal["reads", "writes"]], None]
    publishable: Callable[[], int]
    now: Callable[[], int]


@dataclass(frozen=True)
class Encoded:
    """One message: where it goes and what it says."""

    partition: int | None
    key: bytes | None
    value: bytes
    headers: dict[str, bytes]


class StreamSchema(faust.Schema[Any, Any]):
    """Reads and writes messages of one registered stream. A message of a stream of one row a message is a dict, of
    another one a `pa.RecordBatch`."""

    def __init__(self, registered: Registered) -> None:
        super().__init__(allow_empty=True)
        self.registered = registered
        self._reader = PartitionReader(registered.log, registered.stream, 0, registered.schema)

    def loads_key(self, app: Any, message: Any, **_: Any) -> Any:
        """The key's bytes: the row has what they mean."""
        return message.key

    def loads_value(self, app: Any, message: Any, **_: Any) -> Any:
        """ValueDecodeError, which says where the message lies, for one that is not what the stream says."""
        self.registered.observe("reads")
        headers = tuple(message.headers.items() if isinstance(message.headers, dict) else message.headers or ())
        fetched = Fetched([message.offset], [0], [message.key], [message.value], [headers], message.offset + 1)
        try:
            rows = self._reader.decode(fetched)
        except Corrupt as error:
            place = f"{self.registered.stream.name} {message.partition}:{message.offset}"
            raise ValueDecodeError(f"{error.what} [{place}]") from error
        return rows.to_pylist()[0] if self.registered.stream.row_coded else rows

    def encoded(self, value: Any) -> Encoded:
        """A row (a dict or dataclass instance) as a message, or rows that go to one partition as one. SchemaError or
        PublishError, and nothing is sent, if they do not fit the stream."""
        stream = self.registered.stream
        schema_id = self.registered.publishable()
        data = [value] if stream.row_coded and not isinstance(value, pa.Table | pa.RecordBatch | list) else value
        rows = conform(data, stream.schema, where=stream.name)
        self._refuse_several(rows)
        check_rows(rows, stream, now=self.registered.now(), where=stream.name)
        batch = rows.combine_chunks().to_batches()[0]
        self.registered.observe("writes")
        headers = {SCHEMA: pack_int(schema_id), PRODUCER: f"service:{self.registered.service}".encode()}
        if stream.row_coded:
            headers[LAST] = pack_int(1)
        key = key_bytes(batch, stream.key)[0].as_py() if stream.key and stream.row_coded else None
        value = codec(stream.codec, stream.schema, schema_id).encode(batch)[0]
        return Encoded(self._partition(batch), key, value, headers)

    def _refuse_several(self, rows: pa.Table) -> None:
        if rows.num_rows != 1 and (self.registered.stream.row_coded or not rows.num_rows):
            raise PublishError(
                f"{rows.num_rows} rows are not one message",
                where=self.registered.stream.name,
                fix="Send them one by one, or publish them with hub.publish.",
            )

    def _partition(self, batch: pa.RecordBatch) -> int | None:
        stream = self.registered.stream
        if not stream.key:
            return None
        places = set(partitions_of(batch, stream.key, stream.partitions).tolist())
        if len(places) > 1:
            raise PublishError(
                f"The rows belong to {len(places)} partitions, a message goes to one",
                where=stream.name,
                fix="Send them key by key, or publish them with hub.publish.",
            )
        return int(places.pop())


class StreamTopic(faust.Topic):
    """The topic of a registered stream. Key and partition of a message come from its row."""

    def as_future_message(
        self, key: Any = None, value: Any = None, partition: int | None = None, *rest: Any, **more: Any
    ) -> Any:
        """PublishError if key or partition are given; SchemaError or PublishError if the row does not fit."""
        if key is not None or partition is not None:
            raise PublishError(
                "Key and partition of a message are those of its row", where=str(self.topics), fix="Leave them out."
            )
        made = self.schema.encoded(value)  # type: ignore[attr-defined]
        future = super().as_future_message(None, None, made.partition, *rest, **more)
        headers = {**dict(future.message.headers or {}), **made.headers}
        future.message = future.message._replace(key=made.key, value=made.value, headers=headers)
        return future


class ReadCommitted(driver.AIOKafkaConsumerThread):
    """Faust's consumer, but for rows of transactions that were dropped: it does not read them."""

    def _create_worker_consumer(self, transport: driver.Transport) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        # Faust has no setting for it that does not bring its own transactions with it.
        consumer._isolation_level = "read_committed"
        return consumer


class Consumer(driver.Consumer):
    def _new_consumer_thread(self) -> ReadCommitted:
        return ReadCommitted(self, loop=self.loop, beacon=self.beacon)


class Transport(driver.Transport):
    Consumer = Consumer


def stream_topic(app: faust.App, registered: Registered) -> StreamTopic:
    """The stream as a topic of the app; from then on the app's consumer reads committed messages only."""
    if not isinstance(app.transport, Transport):
        app.transport = Transport(app.conf.broker_consumer, app)
    return StreamTopic(app, topics=[registered.topic], schema=StreamSchema(registered), allow_empty=True)
