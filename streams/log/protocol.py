"""What a log is: topics of partitions of messages, read by position, written in fenced transactions.

Two logs keep this contract, `embedded` and `kafka`; one suite in tests/streams/log tests both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from catalog.errors import HeadwaterError
from streams.message import Fetched, Headers


@dataclass(frozen=True, slots=True)
class Topic:
    """A stream's place in a log. `retention` is in microseconds of append time, None for ever;
    `compact` keeps only the latest message of each key (a None value removes the key)."""

    name: str
    partitions: int
    retention: int | None = None
    compact: bool = False


class Placed(NamedTuple):
    """Where one `append` put its messages: offsets `first` to `last`, both included. Messages of other tasks may lie
    between them."""

    topic: str
    partition: int
    first: int
    last: int


class LogError(HeadwaterError):
    """The log refused or could not do what was asked."""

    exit_code = 6


class UnknownTopic(LogError):
    """A topic or partition that the log does not hold."""


class TopicMismatch(LogError):
    """A topic exists with other settings than the ones asked for."""


class Fenced(LogError):
    """A newer owner of this task exists; the writer must stop and must not try again."""


class LogBusy(LogError):
    """Another process held the log for longer than the time allowed; nothing was written."""


class LogFull(LogError):
    """The log could not be written (disk full, file not writable); nothing was written."""


class Corrupt(LogError):
    """What lies in the log cannot be read as what it claims to be."""


class Writer(Protocol):
    """The one owner of a task's writes. Opening it (`Log.writer`) fences every earlier owner.

    Appends are buffered or sent, and visible to nobody before `commit`, which makes all of them
    visible at once or raises and leaves none.
    """

    def append(
        self,
        topic: str,
        partition: int,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        headers: Headers | Sequence[Headers],
    ) -> None:
        """Add messages to the open transaction (the first append opens one). `headers` is one tuple for
        all messages or a list with one a message. UnknownTopic if there is no such topic or partition."""

    def flush(self) -> list[Placed]:
        """Fix the offsets of all appends since the last flush of this transaction, one entry an append, in
        order (`last` is `first` - 1 for an append of nothing). Other writers may have to wait until `commit` or
        `abort`. Raises Fenced, LogBusy or LogFull; the transaction is then gone."""

    def commit(self, *, seen: bool = True) -> None:
        """Make everything appended visible and durable, at once. Raises Fenced, LogBusy or LogFull; then
        nothing of it is visible. Without an append since the last commit it does nothing. A log may hide it while an
        older transaction of another task on the same partition is still open. Without `seen` it may return a moment
        before other processes see it; who reads through the same Log does."""

    def abort(self) -> None:
        """Drop the open transaction, if any."""

    def close(self) -> None:
        """Abort, and give the task up."""


class Held(NamedTuple):
    """`owner` may work on `task` until `expires` (microseconds since 1970), and longer if nobody takes over."""

    task: str
    owner: str
    epoch: int
    expires: int


class Leases(Protocol):
    """Which worker has which task. Leases spread the work; what fences is opening a writer."""

    def claim(self, task: str, owner: str, seconds: float) -> bool:
        """Take the task for so many seconds. True if it was free, expired, ours, or its owner is gone."""

    def renew(self, owner: str, seconds: float) -> list[str]:
        """Keep all tasks of the owner for so many seconds more; gives their names."""

    def release(self, task: str, owner: str) -> None:
        """Give the task up."""

    def held(self) -> list[Held]:
        """All leases that have an owner, expired ones too, by task."""

    def announce(self, worker: str, seconds: float) -> None:
        """Say that the worker is there, for so many seconds."""

    def workers(self) -> list[str]:
        """The workers that are there."""


class Log(Protocol):
    def create(self, topics: Iterable[Topic]) -> None:
        """Make the topics that do not exist. TopicMismatch, and nothing made, if one exists otherwise."""

    def topics(self) -> list[Topic]:
        """All topics, by name."""

    def bounds(self, topic: str) -> list[tuple[int, int]]:
        """For each partition its first readable offset and the offset after its last committed message.
        UnknownTopic."""

    def ends(self, places: Iterable[tuple[str, int]]) -> tuple[int, ...]:
        """The offset after the last committed message of each of these (topic, partition); cheap, so that a task can
        ask before it reads whether there is anything to read. UnknownTopic."""

    def read(self, topic: str, partition: int, offset: int, *, max_bytes: int = 4 << 20) -> Fetched:
        """Committed messages from `offset` on, up to about `max_bytes` (at least one message if there is
        one); empty at the end. Never waits, holds nothing open afterwards. An offset before the first readable
        one starts there. UnknownTopic."""

    def last(self, topic: str, partition: int, count: int = 1) -> Fetched:
        """The newest `count` committed messages, oldest first; fewer if there are fewer. UnknownTopic."""

    def writer(self, task: str, owner: str = "") -> Writer:
        """Own the task: earlier writers of it are fenced and their open transactions are gone when this
        returns, so what is read afterwards is final. `owner` is told to whoever asks who holds the task."""

    def version(self) -> int:
        """A number that differs from the one before if anybody committed in between; cheap to get."""

    def wait(self, timeout: float, since: int) -> int:
        """The version, as soon as it is not `since`, or after `timeout` seconds."""

    @property
    def leases(self) -> Leases | None:
        """Who works on which task, where the log keeps that; None where another system assigns tasks."""

    def close(self) -> None: ...


@runtime_checkable
class ShowsPositions(Protocol):
    """A log that other people's tools look into, to see how far each reader is behind."""

    def show_positions(self, reader: str, positions: Mapping[tuple[str, int], int]) -> bool:
        """Note the next offset that `reader` will take of each (topic, partition). For people alone: nobody goes on
        from there. False if the log could not take the note, which does no harm."""


@runtime_checkable
class WakesReaders(Protocol):
    """A log that says by itself when there is more to read."""

    def wait_for_more(self, timeout: float) -> None:
        """Return as soon as one of the partitions that `ends` was asked for within the last seconds ends elsewhere than
        it was told, or after `timeout` seconds. It may return sooner."""


class Reader(NamedTuple):
    """Who reads topics besides our tasks: a consumer group. `state` is the log's own word, `clients` are the names that
    its members give themselves, `topics` those that it reads, `positions` the next offset of each (topic, partition)
    as far as it said so, `assigned` which client has which (topic, partition)."""

    name: str
    state: str
    clients: tuple[str, ...]
    topics: tuple[str, ...]
    positions: Mapping[tuple[str, int], int]
    assigned: Mapping[tuple[str, int], str] = {}


@runtime_checkable
class KnowsReaders(Protocol):
    """A log that others read too, and that knows them."""

    def readers(self) -> list[Reader]:
        """All of them, by name; our operators' too, whose positions `show_positions` noted."""
