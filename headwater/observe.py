"""What lies in the log beside what the catalog says: topics, readers and messages that nobody declared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

from headwater import platform
from headwater.status import SHOWN_ROLES, operator_statuses, records
from operators.execution.progress import progress_topic
from operators.execution.selection import pipeline_of
from streams.log import Topic
from streams.log.protocol import KnowsReaders, Reader
from streams.message import PRODUCER, Headers, header
from streams.read import PartitionReader
from streams.register import stream_of
from streams.stream import Stream

if TYPE_CHECKING:
    from headwater.connection import Connection

#: So many of the newest messages of each partition are looked at; of those that hold many rows, fewer.
MESSAGES: Final = 200
BATCHES: Final = 20
UNNAMED: Final = "unnamed"

#: Headers by which programs that know nothing of us say who they are.
_NAMING: Final = ("ce_source", "source", "client-id", "client_id", "client.id", "app", "application", "service")


@dataclass(frozen=True)
class LooseTopic:
    """A topic that no stream is registered for."""

    topic: str
    partitions: int
    messages: int


@dataclass(frozen=True)
class Differing:
    """A topic that is otherwise than its stream says."""

    stream: str
    topic: Topic
    wanted: Topic


@dataclass(frozen=True)
class UndeclaredReader:
    """A consumer group that is no operator and no service that the catalog knows. `lag`: offsets between where it
    stands and the ends of the partitions in which it said so; None if it never did."""

    group: str
    state: str
    clients: tuple[str, ...]
    topics: tuple[str, ...]
    lag: int | None


@dataclass(frozen=True)
class Unattributed:
    """Messages without our headers, of the `of` newest of a stream. `client` is what they say of who wrote them."""

    stream: str
    client: str
    messages: int
    of: int


@dataclass(frozen=True)
class Mismatch:
    """Messages, of the `of` newest of a stream, that do not follow a schema that the catalog holds; the first of them,
    and what is wrong with it."""

    stream: str
    messages: int
    of: int
    first: str
    why: str


@dataclass(frozen=True)
class Lag:
    """Messages of its inputs that an operator has not taken, and how many of its tasks somebody works on."""

    operator: str
    lag: int
    running: int
    tasks: int


@dataclass(frozen=True)
class Observation:
    """What was seen. All but `lags` stand out: nobody declared them."""

    unregistered: tuple[LooseTopic, ...]
    missing: tuple[str, ...]
    differing: tuple[Differing, ...]
    readers: tuple[UndeclaredReader, ...]
    unattributed: tuple[Unattributed, ...]
    mismatches: tuple[Mismatch, ...]
    lags: tuple[Lag, ...]

    @property
    def clean(self) -> bool:
        """True if nothing stands out."""
        return not any(getattr(self, field.name) for field in fields(self) if field.name != "lags")


def observe(hub: Connection) -> Observation:
    """Compare the log with the catalog. It reads the newest messages of each stream, and changes nothing."""
    topics = {topic.name: topic for topic in hub.log.topics()}
    streams = {record.name: stream_of(record.spec) for record in records(hub.catalog, None)}
    unattributed: list[Unattributed] = []
    mismatches: list[Mismatch] = []
    for name in sorted(streams.keys() & topics.keys()):
        if streams[name].role in SHOWN_ROLES:
            looked_at = _looked_at(hub, streams[name], topics[name])
            unattributed += looked_at[0]
            mismatches += looked_at[1]
    return Observation(
        tuple(_loose(hub, topics[name]) for name in sorted(topics.keys() - streams.keys() - {platform.CHANGES})),
        tuple(sorted(streams.keys() - topics.keys())),
        tuple(
            one
            for name in sorted(streams.keys() & topics.keys())
            if (one := _differing(streams[name], topics[name])) is not None
        ),
        tuple(_undeclared(hub)),
        tuple(unattributed),
        tuple(mismatches),
        tuple(_lags(hub, topics.keys())),
    )


def _lags(hub: Connection, topics: Collection[str]) -> Iterator[Lag]:
    """Of operators, those whose topics are there."""
    whole = [
        record.name
        for record in hub.catalog.operators()
        if {progress_topic(record.name), *(one.stream for one in record.spec.inputs)} <= set(topics)
    ]
    for one in operator_statuses(hub, whole):
        if one.lag is not None:
            yield Lag(one.operator, one.lag, one.running, len(one.tasks))


def _loose(hub: Connection, topic: Topic) -> LooseTopic:
    bounds = hub.log.bounds(topic.name)
    return LooseTopic(topic.name, topic.partitions, sum(end - first for first, end in bounds))


def _differing(stream: Stream, topic: Topic) -> Differing | None:
    wanted = platform.topic_of(stream)
    same = topic.partitions == wanted.partitions if stream.adopted else platform.alike(topic, wanted)
    return None if same else Differing(stream.name, topic, wanted)


def _undeclared(hub: Connection) -> Iterator[UndeclaredReader]:
    if not isinstance(hub.log, KnowsReaders):
        return
    declared = hub.catalog.operators()
    # The workers of a pipeline, or of some of its operators, may be a group.
    operators = {one.name for one in declared}
    pipelines = {one.spec.pipeline for one in declared}
    for reader in hub.log.readers():
        read = [topic for topic in reader.topics if hub.catalog.has_stream(topic)]
        services = {name for topic in read for name in hub.catalog.stream(topic).consumers}
        if reader.name not in operators | services and pipeline_of(reader.name) not in pipelines:
            yield UndeclaredReader(reader.name, reader.state, reader.clients, reader.topics, _lag(hub, reader))


def _lag(hub: Connection, reader: Reader) -> int | None:
    if not reader.positions:
        return None
    places = sorted(reader.positions)
    ends = hub.log.ends(places)
    return sum(max(end - reader.positions[place], 0) for place, end in zip(places, ends, strict=True))


def _looked_at(hub: Connection, stream: Stream, topic: Topic) -> tuple[list[Unattributed], list[Mismatch]]:
    """What the newest messages say of who wrote them, and whether they can be read."""
    clients: Counter[str] = Counter()
    wrong = seen = 0
    first: tuple[str, str] | None = None
    for partition in range(topic.partitions):
        newest = hub.log.last(stream.name, partition, MESSAGES if stream.row_coded else BATCHES)
        if not len(newest):
            continue
        seen += len(newest)
        clients.update(_client(headers) for headers in newest.headers if header(headers, PRODUCER) is None)
        if partition >= stream.partitions:
            continue
        reader = PartitionReader(hub.log, stream, partition, hub.schema, position=newest.offsets[0], outside=True)
        while batches := reader.fetch(until=newest.next):
            for batch in batches:
                if batch.failure is not None:
                    wrong += sum(batch.first <= offset < batch.end for offset in newest.offsets)
                    first = first or (batch.failure.where or "", batch.failure.what)
    # Who writes to the topic of an adopted stream knows nothing of our headers.
    loose = [] if stream.adopted else [Unattributed(stream.name, *one, seen) for one in clients.most_common()]
    return loose, [] if first is None else [Mismatch(stream.name, wrong, seen, *first)]


def _client(headers: Headers) -> str:
    for name in _NAMING:
        value = header(headers, name)
        if value:
            return value.decode(errors="replace")
    return UNNAMED
