"""Reading a stream: from the messages of one partition to batches with addresses, event times and bounds."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from streams.contract import largest_lead
from streams.decoding import Decoder, no_rows, runs
from streams.log.protocol import Corrupt, Log, LogError
from streams.message import (
    BEGINNING,
    END,
    LAST,
    PARENTS,
    PRODUCER,
    TASK,
    WATERMARK,
    Fetched,
    Headers,
    unpack_int,
)
from streams.message import header as header_of
from streams.parents import Addresses, constant
from streams.schema import Schema
from streams.stream import Stream

Times = npt.NDArray[np.int64]

#: Messages of other people's making carry no batch boundaries: they are cut after so many rows at the latest.
LARGEST_FOREIGN_BATCH = 10_000

OnGap = Literal["stop", "skip"]


class RowsGone(LogError):
    """Messages were removed from the log before a reader that was to go on there had read them."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """One batch as it lies in a partition.

    `first` and `end` are the offsets it spans (`end` excluded). `writer` is the task that wrote it, "" for a
    stream written from outside. `bound`: no row of this or a later batch of the same writer is earlier, late rows
    aside; what is earlier is late. `watermark` and `seen` (latest event time so far) are what a reader of an outside
    stream must remember behind this batch. `unattributed` counts messages without our headers, `size` the bytes of the
    messages' values, `earliest` is the least of `times` where it is known.
    """

    stream: str
    partition: int
    writer: str
    first: int
    end: int
    rows: pa.RecordBatch
    addresses: Addresses
    times: Times
    bound: int
    watermark: int
    seen: int
    unattributed: int = 0
    failure: Corrupt | None = None
    parents: bytes | None = None
    headers: Headers = ()
    size: int = 0
    earliest: int | None = None

    @property
    def late(self) -> npt.NDArray[np.bool_] | None:
        if self.bound == BEGINNING or not len(self.times):
            return None
        if (int(self.times.min()) if self.earliest is None else self.earliest) >= self.bound:
            return None
        return self.times < self.bound


def event_times(rows: pa.RecordBatch, time: str | None) -> Times:
    """Event times in microseconds since 1970, shape (n,); BEGINNING where the stream has no event time or the
    row's is null."""
    if time is None:
        return constant(BEGINNING, rows.num_rows, np.int64)
    column = rows.column(rows.schema.get_field_index(time))
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("us"))
    elif column.type.unit != "us":
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    values = column.view(pa.int64()) if column.null_count == 0 else column.view(pa.int64()).fill_null(BEGINNING)
    return values.to_numpy(zero_copy_only=False)


class PartitionReader:
    """Reads one partition of a stream, batch by batch, through the reader's own schema.

    `columns` are the fields to hand out (all by default). `outside` says that the stream is not written by an
    operator or source: then its bounds come from its event times and declared lateness, continued
    from `watermark` and `seen`. Damaged messages come as an `Arrived` with `failure` set and no rows.

    A new reader begins with what is there. One that was there before (`resumed`, or by an earlier `fetch`) raises
    RowsGone if retention was faster than it, or with on_gap="skip" notes in `gaps` the offsets [first, end) that are
    gone. A table may lose older rows of a key: that is no gap.
    """

    def __init__(
        self,
        log: Log,
        stream: Stream,
        partition: int,
        schemas: Callable[[int], Schema],
        *,
        position: int = 0,
        columns: Sequence[str] | None = None,
        outside: bool = False,
        watermark: int = BEGINNING,
        seen: int = BEGINNING,
        resumed: bool = False,
        on_gap: OnGap = "stop",
    ) -> None:
        self.stream = stream
        self.partition = partition
        self.position = position
        self.at_end = False
        self.gaps: list[tuple[int, int]] = []
        self._resumed = resumed
        self._on_gap = on_gap
        self._log = log
        self.outside = outside
        self._watermark = watermark
        self._seen = seen
        self._ceiling = largest_lead(stream)
        self._wanted = stream.schema.arrow.names if columns is None else list(columns)
        read = set(self._wanted) | ({stream.time} if stream.time else set())
        self._decoder = Decoder(
            stream, pa.schema([field for field in stream.schema.arrow if field.name in read]), schemas
        )

    def fetch(self, max_bytes: int = 4 << 20, *, until: int | None = None) -> list[Arrived]:
        """The next batches, about `max_bytes` of them; none at the end. With `until`, only batches that end at or
        before that offset. RowsGone."""
        while True:
            fetched = self._read(max_bytes, until)
            found = self._cut(fetched)
            if found or not len(fetched):
                break
            # What was read ends within a batch: there is more of it, or its end was never written.
            end = self._log.bounds(self.stream.name)[self.partition][1]
            if fetched.next >= (end if until is None else min(end, until)):
                break
            max_bytes *= 2
        self.at_end = not found
        return found

    def _read(self, max_bytes: int, until: int | None) -> Fetched:
        fetched = self._log.read(self.stream.name, self.partition, self.position, max_bytes=max_bytes)
        if (fetched.offsets[0] if len(fetched) else fetched.next) > self.position:
            self._look_at_gap()
        self._resumed = True
        if until is None or not len(fetched) or fetched.offsets[-1] < until:
            return fetched
        count = bisect_left(fetched.offsets, until)
        return Fetched(
            fetched.offsets[:count],
            fetched.timestamps[:count],
            fetched.keys[:count],
            fetched.values[:count],
            fetched.headers[:count],
            until,
        )

    def _look_at_gap(self) -> None:
        first = self._log.bounds(self.stream.name)[self.partition][0]
        if first <= self.position:
            return
        if self._resumed and self.stream.kind != "table":
            if self._on_gap == "stop":
                raise RowsGone(
                    f"The messages at offsets {self.position} to {first - 1} were removed before they were read",
                    where=f"{self.stream.name} {self.partition}",
                    fix="Retention took them: give the stream a longer one. To go on without them, run once with "
                    "on_gap='skip', which is recorded; a subscriber subscribes again.",
                )
            self.gaps.append((self.position, first))
        self.position = first

    def decode(self, fetched: Fetched) -> pa.RecordBatch:
        """The rows of these messages, all columns that are read; one message alone if each holds a batch. Corrupt."""
        return self._decoder.decode(fetched, 0, len(fetched))

    def _cut(self, fetched: Fetched) -> list[Arrived]:
        groups = self._groups(fetched)
        if not groups:
            return []
        whole = self._decoded_at_once(fetched, groups)
        found = [one for start, stop in groups for one in self._arrivals(fetched, start, stop, whole)]
        complete = found[-1].end == fetched.offsets[-1] + 1
        self.position = fetched.next if complete else found[-1].end
        return found

    def _groups(self, fetched: Fetched) -> list[tuple[int, int]]:
        """Index ranges of the messages that make one batch each; an unfinished batch at the end is left out."""
        count = len(fetched)
        if not self.stream.row_coded:
            return [(index, index + 1) for index in range(count)]
        groups = []
        start = 0
        ours = False
        for first, after, headers in runs(fetched.headers):
            attributed = header_of(headers, PRODUCER) is not None
            if first > start and attributed != ours:
                groups.append((start, first))
                start = first
            ours = attributed
            if header_of(headers, LAST) is not None:
                # Each of these messages ends a batch; only the first has others before it.
                groups += [(start, first + 1), *((index, index + 1) for index in range(first + 1, after))]
                start = after
            while not ours and after - start >= LARGEST_FOREIGN_BATCH:
                groups.append((start, start + LARGEST_FOREIGN_BATCH))
                start += LARGEST_FOREIGN_BATCH
        if start < count and not ours:
            groups.append((start, count))
        return groups

    def _decoded_at_once(self, fetched: Fetched, groups: list[tuple[int, int]]) -> pa.RecordBatch | None:
        """The rows of all these batches if one message is one row, as decoding many costs little more than decoding
        one; None if it must be done batch by batch, to find out which of them cannot be decoded."""
        if not self.stream.row_coded or len(groups) == 1:
            return None
        try:
            return self._decoder.decode(fetched, groups[0][0], groups[-1][1])
        except Corrupt:
            return None

    def _arrivals(self, fetched: Fetched, start: int, stop: int, whole: pa.RecordBatch | None) -> list[Arrived]:
        """The batch in these messages. Of messages of other people's making those that cannot be decoded come each by
        itself, so that the others are not lost with them."""
        arrived = self._arrive(fetched, start, stop, whole)
        ours = header_of(fetched.headers[stop - 1], PRODUCER) is not None
        if arrived.failure is None or ours or not self.stream.row_coded or stop - start == 1:
            return [arrived]
        middle = (start + stop) // 2
        return [*self._arrivals(fetched, start, middle, None), *self._arrivals(fetched, middle, stop, None)]

    def _arrive(self, fetched: Fetched, start: int, stop: int, whole: pa.RecordBatch | None) -> Arrived:
        headers = fetched.headers[stop - 1]
        offsets = fetched.offsets[start:stop]
        first, end = offsets[0], offsets[-1] + 1
        failure = None
        try:
            rows = self._decoder.decode(fetched, start, stop) if whole is None else whole.slice(start, stop - start)
            times = event_times(rows, self.stream.time)
        except Corrupt as error:
            failure = Corrupt(
                error.what,
                where=f"{self.stream.name} {self.partition}:{first}"
                + (f" to {end - 1}" if end - first > 1 else "")
                + (f", {error.where}" if error.where else ""),
                fix=f"{error.fix} It stays in the log: restore it from a copy, or read around it (ranges=).".strip(),
            )
            rows = no_rows(self._decoder.schema)
            times = event_times(rows, self.stream.time)
        if self.stream.row_coded:
            addresses = Addresses.of_offsets(self.stream.name, self.partition, offsets if failure is None else [])
        else:
            addresses = Addresses.of_message(self.stream.name, self.partition, first, rows.num_rows)
        task = header_of(headers, TASK)
        earliest = int(times.min()) if len(times) and self.stream.time is not None else None
        bound = self._bound(headers, times, earliest, fetched.timestamps[stop - 1])
        return Arrived(
            self.stream.name,
            self.partition,
            "" if self.outside or task is None else task.decode(),
            first,
            end,
            rows if rows.schema.names == self._wanted else rows.select(self._wanted),
            addresses,
            times,
            bound,
            self._watermark,
            self._seen,
            0 if header_of(headers, PRODUCER) is not None else stop - start,
            failure,
            header_of(headers, PARENTS),
            headers,
            sum(map(len, filter(None, fetched.values[start:stop]))),
            earliest,
        )

    def _bound(self, headers: Headers, times: Times, earliest: int | None, appended: int) -> int:
        if self.stream.time is None:
            return BEGINNING
        if not self.outside:
            stated = header_of(headers, WATERMARK)
            return BEGINNING if stated is None else unpack_int(stated)
        if earliest is None:
            return self._watermark
        latest = int(times.max())
        # A clock that is far ahead must not make everybody else late: what it stamped moves no watermark.
        if earliest == BEGINNING or latest > appended + self._ceiling:
            known = times[(times != BEGINNING) & (times <= appended + self._ceiling)]
            if not len(known):
                return self._watermark
            earliest, latest = int(known.min()), int(known.max())
        self._seen = max(self._seen, latest)
        behind = self._seen - self.stream.lateness
        bound = max(self._watermark, min(earliest, behind))
        self._watermark = max(bound, behind)
        return bound


__all__ = ["BEGINNING", "END", "Arrived", "OnGap", "PartitionReader", "RowsGone", "event_times"]
