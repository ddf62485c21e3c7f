"""Files published as a service would publish their rows: each content once, all of it or nothing, resumed if killed.

What was published is a table like any other, `headwater.files`, written in the same transactions as the rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from streams.append import Appender
from streams.keys import split
from streams.log.protocol import Writer
from streams.publish import CHUNK, check_rows
from streams.schema import Schema
from streams.sources import Source, SourceError
from streams.stream import Stream

if TYPE_CHECKING:
    from headwater.hub import Hub

#: Which files were published to which stream, and how far.
FILES: Final = Stream(
    "headwater.files",
    Schema(
        pa.schema(
            [
                pa.field("stream", pa.string(), nullable=False),
                pa.field("sha256", pa.string(), nullable=False),
                pa.field("file", pa.string(), nullable=False),
                pa.field("rows", pa.int64(), nullable=False),
                pa.field("complete", pa.bool_(), nullable=False),
                pa.field("at", pa.timestamp("us", "UTC"), nullable=False),
                pa.field("service", pa.string(), nullable=False),
            ]
        )
    ),
    key=("stream", "sha256"),
    kind="table",
    codec="json",
    partitions=1,
    role="platform",
    owner="headwater",
    description="Files that were published to streams: their content's SHA-256 and how many of their rows are there.",
)
#: Batches of one transaction.
BATCHES: Final = 20


@dataclass(frozen=True)
class PublishedFile:
    """What publishing a file came to: `rows` were written now, `before` were there already from an earlier,
    interrupted or complete, call. `at`: when the last of them were written (microseconds since 1970)."""

    stream: str
    file: str
    sha256: str
    rows: int
    before: int
    at: int


def publish_file(
    hub: Hub, name: str, path: str | Path, *, again: bool = False, watch: Callable[[int], None] | None = None
) -> PublishedFile:
    """Publish the rows of a file (.csv, .jsonl, .ndjson, .parquet) to a stream.

    All rows are checked before the first is written. A file is known by its content: published again it
    adds nothing, and after an interruption it goes on where it was, unless `again` says that its rows are to
    come once more. `watch` is told the number of rows written so far. Raises NotRegistered, PublishError, SourceError
    or SchemaError, and nothing is written.
    """
    stream, schema_id = hub.publishable(name)
    place = Path(path)
    source = Source(place.name, stream, place, CHUNK)
    sha256 = _digest(place)
    rows = 0
    for batch in source.batches(0):
        check_rows(batch, stream, now=hub.clock(), where=f"{place.name} from row {rows}")
        rows += batch.num_rows
    if not hub.catalog.has_stream(FILES.name):
        hub.register_stream(FILES)
    # Opening the writer ends another call that publishes this very file; what it has committed is then final.
    writer = hub.log.writer(f"{stream.name}.file/{sha256[:16]}")
    try:
        known = hub.lookup(FILES.name, {"stream": stream.name, "sha256": sha256})
        if known is not None and (known["complete"] and not again):
            return PublishedFile(stream.name, str(place), sha256, 0, known["rows"], _microseconds(known["at"]))
        cursor = 0 if known is None or known["complete"] else known["rows"]
        hub.catalog.observe("writes", hub.config.service, stream.name)
        writing = _Writing(hub, writer, stream, schema_id, place, sha256)
        for published in writing.publish(source, cursor, rows):
            if watch is not None:
                watch(published)
        return PublishedFile(stream.name, str(place), sha256, rows - cursor, cursor, writing.at)
    finally:
        writer.close()


class _Writing:
    """The transactions of one file."""

    def __init__(self, hub: Hub, writer: Writer, stream: Stream, schema_id: int, place: Path, sha256: str) -> None:
        producer = f"service:{hub.config.service}"
        self.at = hub.clock()
        self._clock = hub.clock
        self._writer = writer
        self._stream = stream
        self._appender = Appender(writer, stream, schema_id, producer=producer)
        self._record = Appender(writer, FILES, hub.catalog.stream(FILES.name).schema_id, producer=producer)
        self._row = {"stream": stream.name, "sha256": sha256, "file": str(place), "service": hub.config.service}

    def publish(self, source: Source, cursor: int, rows: int) -> Iterator[int]:
        """Commits from row `cursor` on; gives the rows that are durable, after each transaction."""
        waiting = 0
        for batch in source.batches(cursor):
            self._append(batch, cursor // source.chunk)
            cursor += batch.num_rows
            waiting += 1
            if waiting == BATCHES and cursor < rows:
                self._commit(cursor, complete=False)
                waiting = 0
                yield cursor
        self._commit(cursor, complete=True)
        yield cursor

    def _append(self, batch: pa.RecordBatch, number: int) -> None:
        if not self._stream.key:
            self._appender.append(number % self._stream.partitions, batch)
            return
        for partition, indices in split(batch, self._stream.key, self._stream.partitions):
            self._appender.append(partition, batch.take(pa.array(indices)))

    def _commit(self, rows: int, *, complete: bool) -> None:
        self.at = self._clock()
        row = {**self._row, "rows": rows, "complete": complete, "at": self.at}
        self._record.append(0, pa.RecordBatch.from_pylist([row], schema=FILES.schema.arrow))
        self._writer.commit()


def _digest(place: Path) -> str:
    try:
        with place.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SourceError(
            f"The file cannot be read: {error.strerror}", where=str(place), fix="Check the path."
        ) from error


def _microseconds(at: Any) -> int:
    return round(at.timestamp() * 1_000_000)
