"""Record batches put together by us and handed to kafka-python, from where on they go the way of its own.

It puts batches together message by message, and copies each several times: ten times the time of all else that it does.
Sequence numbers, transactions, retries, compression and checksums stay its business.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import time
from typing import Any, Final

from kafka import KafkaProducer, TopicPartition
from kafka.errors import IllegalStateError
from kafka.producer.future import FutureRecordMetadata
from kafka.producer.producer_batch import ProducerBatch
from kafka.record.memory_records import MemoryRecordsBuilder

from streams.log.kafka.pack import BLOCK_BYTES, LARGEST_PACKED, packed, record
from streams.log.kafka.wire import Place
from streams.message import Headers

#: The client's thread is woken when so much was added, and for the rest by `flush`: each time is a change of threads.
WAKING_BYTES: Final = 4 << 20
#: From so many messages to one partition on they are packed column by column.
MANY: Final = 8


class Batches:
    """What waits in a client to be sent. Its methods raise what the client raises."""

    def __init__(self, client: KafkaProducer) -> None:
        self._client = client
        self._accumulator: Any = client._accumulator
        self._added = 0

    def add(
        self,
        place: Place,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        headers: Sequence[Headers] | Headers,
    ) -> tuple[Any, Any] | None:
        """Add messages to one partition, in order; gives the futures of the first and the last."""
        if not values:
            return None
        client, partition = self._client, TopicPartition(place.topic, place.partition)
        if client._closed:
            raise IllegalStateError("the producer is closed")
        if client._metadata.partitions_for_topic(place.topic) is None:
            client._wait_on_metadata(place.topic, client.config["max_block_ms"])
        largest = max(map(len, filter(None, values)), default=0)
        client._ensure_valid_record_size(largest)
        client._transaction_manager.maybe_add_partition_to_transaction(partition)
        if len(values) >= MANY and largest <= LARGEST_PACKED:
            found = [(self._add(partition, *block), block[0]) for block in packed(keys, values, headers)]
        else:
            found = [
                (self._add_one(partition, key, value, headers if isinstance(headers, tuple) else headers[index]), 1)
                for index, (key, value) in enumerate(zip(keys, values, strict=True))
            ]
        (batch, first), _ = found[0]
        (end, last), count = found[-1]
        self._added += sum(map(len, filter(None, values)))
        if self._added >= WAKING_BYTES:
            self._added = 0
            client._sender.wakeup()
        return _future(batch, first), _future(end, last + count - 1)

    def _add(self, partition: TopicPartition, count: int, data: memoryview) -> tuple[ProducerBatch, int]:
        """A batch of its own."""
        config = self._accumulator.config
        records = MemoryRecordsBuilder(2, config["compression_attrs"], config["batch_size"])
        _extend(records, count, data)
        batch = ProducerBatch(partition, records)
        self._accumulator._appends_in_progress.increment()
        try:
            with self._accumulator._tp_lock(partition):
                self._append(partition, batch)
        finally:
            self._accumulator._appends_in_progress.decrement()
        return batch, 0

    def _add_one(
        self, partition: TopicPartition, key: bytes | None, value: bytes | None, headers: Headers
    ) -> tuple[ProducerBatch, int]:
        """At the end of the batch that waits to be sent, if it is there and has room."""
        accumulator = self._accumulator
        accumulator._appends_in_progress.increment()
        try:
            with accumulator._tp_lock(partition):
                waiting = accumulator._batches[partition]
                batch = waiting[-1] if waiting else None
                if batch is None or batch.records._closed or not _has_room(batch.records, key, value):
                    config = accumulator.config
                    batch = ProducerBatch(
                        partition, MemoryRecordsBuilder(2, config["compression_attrs"], config["batch_size"])
                    )
                    self._append(partition, batch)
                at = batch.record_count
                _extend(batch.records, 1, record(at, key, value, headers))
        finally:
            accumulator._appends_in_progress.decrement()
        return batch, at

    def _append(self, partition: TopicPartition, batch: ProducerBatch) -> None:
        if self._accumulator._closed:
            raise IllegalStateError("the producer was closed meanwhile")
        self._accumulator._batches[partition].append(batch)
        self._accumulator._incomplete.add(batch)


def _has_room(records: MemoryRecordsBuilder, key: bytes | None, value: bytes | None) -> bool:
    more = (0 if key is None else len(key)) + (0 if value is None else len(value))
    return bool(records.size_in_bytes() + more <= BLOCK_BYTES)


def _extend(records: MemoryRecordsBuilder, count: int, data: bytes | memoryview) -> None:
    """Add messages to a record batch that is not closed; it compresses them and writes its header when it is."""
    builder = records._builder
    builder._buffer += data
    if builder._first_timestamp is None:
        builder._first_timestamp = builder._max_timestamp = int(time() * 1_000)
    records._next_offset += count
    builder._num_records = records._next_offset
    builder._last_offset = records._next_offset - 1


def _future(batch: ProducerBatch, index: int) -> FutureRecordMetadata:
    return FutureRecordMetadata(batch.produce_future, index, None, None, -1, -1, -1)
