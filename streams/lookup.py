"""Looking up the latest row of a key in a table, from a view that follows the table as it is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from catalog.errors import HeadwaterError
from streams.keys import key_bytes, murmur2
from streams.log.protocol import Log
from streams.message import RowAddress
from streams.read import PartitionReader
from streams.rows import Row
from streams.schema import Schema
from streams.stream import Stream


class LookupFailed(HeadwaterError):
    """A key that does not fit the table."""

    exit_code = 2


class TableView:
    """The latest row of every key of a table. Each `get` first reads what was appended since the last one."""

    def __init__(self, log: Log, stream: Stream, schemas: Callable[[int], Schema]) -> None:
        self._stream = stream
        self._readers = [PartitionReader(log, stream, number, schemas) for number in range(stream.partitions)]
        self._latest: list[dict[bytes, tuple[pa.RecordBatch, int, RowAddress]]] = [{} for _ in self._readers]
        self._key_type = pa.schema([stream.schema.arrow.field(name) for name in stream.key])

    def get(self, key: Any) -> Row | None:
        """The latest row of `key` (a value, or a dict or tuple for several key fields), or None."""
        wanted = self._encoded(key)
        partition = (murmur2(wanted) & 0x7FFFFFFF) % self._stream.partitions
        self._follow(partition)
        found = self._latest[partition].get(wanted)
        if found is None:
            return None
        rows, index, address = found
        return Row(address, rows.slice(index, 1).to_pylist()[0])

    def _encoded(self, key: Any) -> bytes:
        names = self._stream.key
        if isinstance(key, Mapping):
            values = [key.get(name) for name in names]
        elif isinstance(key, tuple):
            values = list(key)
        else:
            values = [key]
        try:
            arrays = [pa.array([value], field.type) for value, field in zip(values, self._key_type, strict=True)]
        except (pa.ArrowException, ValueError, TypeError) as error:
            raise LookupFailed(
                f"{key!r} is not a key of this table", where=self._stream.name, fix=f"Its key is {', '.join(names)}."
            ) from error
        encoded: bytes = key_bytes(pa.RecordBatch.from_arrays(arrays, schema=self._key_type), names)[0].as_py()
        return encoded

    def _follow(self, partition: int) -> None:
        latest = self._latest[partition]
        while batches := self._readers[partition].fetch():
            for batch in batches:
                if batch.failure is not None:
                    raise batch.failure
                keys = key_bytes(batch.rows, self._stream.key).to_pylist()
                # The view is a map from key to row: filling it is a loop over rows by nature.
                for index, (one, address) in enumerate(zip(keys, batch.addresses, strict=True)):
                    latest[one] = (batch.rows, index, address)
