"""The writer of a Kafka log: one transactional id a task."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple, Protocol

from streams.log.kafka.topics import Topics
from streams.log.kafka.unseen import Unseen
from streams.log.kafka.wire import Place, Wire
from streams.log.protocol import Fenced, LogError, Placed
from streams.message import Headers

#: Appends are sent to the broker when so many bytes wait.
SENT_AT_ONCE: Final = 8 << 20


class Transactions(Protocol):
    """What a client does for one transactional id."""

    transactional_id: str

    def begin(self, soon: Iterable[Place]) -> None: ...

    def send(
        self,
        place: Place,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        headers: Sequence[Headers] | Headers,
    ) -> None: ...

    def flush(self) -> list[tuple[int, int] | None]: ...

    def commit(self) -> list[tuple[int, int] | None]: ...

    def abort(self) -> None: ...

    def close(self) -> None: ...


class _Append(NamedTuple):
    topic: str
    place: Place
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    headers: Headers | Sequence[Headers]


class KafkaWriter:
    """The one owner of a task's writes; `Writer` in streams/log/protocol.py is its contract. Appends wait in memory
    until `flush` or `commit`, or until they are many: while a transaction is open, readers of its partitions wait.

    `committed` is called after each commit.
    """

    def __init__(
        self,
        task: str,
        producer: Transactions,
        topics: Topics,
        wire: Wire,
        unseen: Unseen,
        committed: Callable[[], None],
    ) -> None:
        self.task = task
        self._producer = producer
        self._topics = topics
        self._wire = wire
        self._unseen = unseen
        self._committed = committed
        self._pid = os.getpid()
        self._open = False
        self._fenced = False
        self._replaced = False
        self._broken = False
        self._closed = False
        self._waiting: list[_Append] = []
        self._bytes = 0
        self._sent: list[_Append] = []
        self._ends: dict[Place, int] = {}
        #: The partitions of this transaction, and those that it and the one before began to write to behind a flush.
        self._used: set[Place] = set()
        self._soon: set[Place] = set()

    def append(
        self,
        topic: str,
        partition: int,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        headers: Headers | Sequence[Headers],
    ) -> None:
        """Add messages to the open transaction (the first append opens one). `headers` is one tuple for all messages
        or a list with one a message. UnknownTopic; LogError if the lengths differ, if a compact topic's message has no
        key, or for what is not bytes."""
        self._check()
        settings = self._topics.get(topic, partition)
        _refuse_unfit(topic, partition, keys, values, headers)
        if settings.compact and None in keys:
            raise LogError("A message of a compact topic has no key", where=topic, fix="Give every message a key.")
        place = Place(self._topics.name(topic), partition)
        each = headers if isinstance(headers, tuple) else list(headers)
        self._waiting.append(_Append(topic, place, list(keys), list(values), each))
        self._bytes += sum(map(len, filter(None, values)))
        if self._bytes >= SENT_AT_ONCE and not self._replaced:
            self._send()

    def flush(self) -> list[Placed]:
        """Fix the offsets of all appends since the last flush of this transaction, one entry an append, in order.
        Messages of other writers may lie between the first and the last of an append. Raises Fenced, LogBusy or
        LogError; the transaction is then gone."""
        self._check()
        if self._replaced and self._waiting:
            self._fenced = True
            raise self._fencing()
        if self._waiting:
            self._send()
        sent, self._sent = self._sent, []
        if not sent:
            return []
        with self._ending_on_error():
            spans = self._producer.flush()
        return self._placed(sent, spans)

    def _placed(self, sent: list[_Append], spans: list[tuple[int, int] | None]) -> list[Placed]:
        placed = []
        for one, span in zip(sent, spans, strict=True):
            place = one.place
            if span is None:
                first = self._ends[place] if place in self._ends else self._wire.ends([place])[place]
                placed.append(Placed(one.topic, place.partition, first, first - 1))
            else:
                placed.append(Placed(one.topic, place.partition, *span))
                self._ends[place] = span[1] + 1
        return placed

    def commit(self, *, seen: bool = True) -> None:
        """Make everything appended visible and durable, at once. Raises Fenced, LogBusy or LogError; then nothing of it
        is visible. Without an append since the last commit it does nothing. Without `seen` it returns before others
        may see it; this log's own next read of what was written to waits for it."""
        self._check()
        if self._replaced and (self._waiting or self._open):
            self._fenced = True
            raise self._fencing()
        if self._waiting:
            self._send()
        if not self._open:
            return
        sent, self._sent = self._sent, []
        with self._ending_on_error():
            # The client ends the transaction once all of it is delivered.
            spans = self._producer.commit()
        self._placed(sent, spans)
        self._open = False
        self._soon &= self._used
        self._unseen.add(self._producer.transactional_id, self._ends)
        self._ends = {}
        if seen:
            self._unseen.wait()
        self._committed()

    def abort(self) -> None:
        """Drop the open transaction, if any."""
        self._waiting = []
        self._bytes = 0
        self._sent = []
        self._ends = {}
        if (
            self._open
            and not (self._fenced or self._replaced or self._broken or self._closed)
            and self._pid == os.getpid()
        ):
            self._open = False
            try:
                self._producer.abort()
            except LogError as error:
                # What was to be dropped is dropped all the same: by the next owner, or by its time-out.
                self._fail(error)

    def close(self) -> None:
        """Abort, and give the task up."""
        if not self._closed:
            self.abort()
            self._closed = True
            if self._pid == os.getpid():
                self._producer.close()

    def replace(self) -> None:
        """A newer writer of the task was opened in this process: be fenced at the next flush, unasked."""
        if not self._closed:
            self._replaced = True
            self._producer.close()

    def __enter__(self) -> KafkaWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._bytes = 0
        with self._ending_on_error():
            places = {one.place for one in waiting}
            if not self._open:
                # What was written behind the first flush before will be again: named at once, it costs nothing then.
                self._producer.begin(self._soon - places)
                self._open = True
                self._used = places
            else:
                self._soon |= places - self._used
                self._used |= places
            for one in waiting:
                self._producer.send(one.place, one.keys, one.values, one.headers)
        self._sent += waiting

    def _check(self) -> None:
        if self._fenced:
            raise self._fencing()
        if self._closed or self._broken:
            raise LogError(
                "The writer was closed" if self._closed else "The writer met an error that it cannot go on after",
                where=self.task,
                fix="Open a new one.",
            )
        if self._pid != os.getpid():
            raise LogError(
                f"The writer belongs to process {self._pid}, of which this one is a fork",
                where=self.task,
                fix="Open a writer in the process that writes.",
            )

    def _fencing(self) -> Fenced:
        return Fenced(
            "A newer owner of the task exists, or its transaction ran out of time; nothing was written",
            where=self.task,
            fix="Stop this task; its owner goes on from the last commit. If there is no other, a step or the broker "
            "takes longer than transaction_timeout in the log's address.",
        )

    def _fail(self, error: LogError) -> None:
        self._fenced |= isinstance(error, Fenced)
        self._broken = True
        self._open = False
        self._producer.close()

    @contextmanager
    def _ending_on_error(self) -> Iterator[None]:
        try:
            yield
        except Fenced as error:
            self._fail(error)
            raise self._fencing() from error
        except LogError as error:
            self._fail(error)
            raise
        except BaseException:
            self.abort()
            raise


def _refuse_unfit(
    topic: str,
    partition: int,
    keys: Sequence[bytes | None],
    values: Sequence[bytes | None],
    headers: Headers | Sequence[Headers],
) -> None:
    count = len(values)
    one_for_all = isinstance(headers, tuple)
    if len(keys) != count or not (one_for_all or len(headers) == count):
        raise LogError(
            f"{len(keys)} keys, {count} values and {1 if one_for_all else len(headers)} headers do not go together",
            where=f"{topic} {partition}",
            fix="Give one key and one value a message, and headers once or one a message.",
        )
    if not set(map(type, keys)) | set(map(type, values)) <= {bytes, type(None)}:
        raise LogError("A key or value is not bytes", where=topic, fix="Encode it before it is appended.")
    each = [headers] if isinstance(headers, tuple) else {id(one): one for one in headers}.values()
    if not all(name.isascii() and type(value) is bytes for one in each for name, value in one):
        raise LogError("A header cannot be written", where=topic, fix="Give ASCII names and bytes as values.")
