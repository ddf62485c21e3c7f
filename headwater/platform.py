"""The platform's own streams: progress and state of operators, the catalog's changes; and the catalog kept in step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import orjson
import pyarrow as pa

from catalog import Catalog, CatalogError, PipelineSpec
from catalog.errors import HeadwaterError
from operators.execution.plan import Node, PlanError
from operators.execution.progress import progress_topic, snapshot_topic, state_topic
from operators.pipeline import Pipeline
from streams.log import Corrupt, Log, Topic, TopicMismatch
from streams.publish import PublishError
from streams.register import spec_of
from streams.schema import Schema
from streams.stream import Stream

CHANGES = "headwater.catalog"

PROGRESS = pa.schema(
    [
        pa.field("operator", pa.string(), nullable=False),
        pa.field("task", pa.int64(), nullable=False),
        pa.field("version", pa.string(), nullable=False),
        pa.field("run", pa.string(), nullable=False),
        pa.field("engine", pa.string(), nullable=False),
        pa.field("seq", pa.int64(), nullable=False),
        pa.field("at", pa.int64(), nullable=False),
        pa.field("watermark", pa.int64(), nullable=False),
        pa.field("clock", pa.int64(), nullable=False),
        pa.field("ended", pa.bool_(), nullable=False),
    ]
)
_STATE = pa.schema([pa.field("name", pa.string(), nullable=False), pa.field("value", pa.binary())])


class CatalogBehind(CatalogError):
    """What was done is in the log; the catalog could not follow and does not show it yet."""


def progress_stream(node: Node) -> Stream:
    return Stream(
        progress_topic(node.name),
        Schema(PROGRESS),
        codec="json",
        partitions=node.tasks,
        role="progress",
        description=f"What each transaction of {node.name} took and made.",
    )


def state_stream(node: Node) -> Stream:
    return Stream(
        state_topic(node.name),
        Schema(_STATE),
        partitions=node.tasks,
        role="state",
        description=f"The memory of {node.name}, one partition a task.",
    )


def snapshot_stream(node: Node) -> Stream:
    return replace(
        state_stream(node),
        name=snapshot_topic(node.name),
        description=f"The memory of {node.name} now and then, for replays.",
    )


def own_streams(pipeline: Pipeline) -> list[Stream]:
    """The streams that the platform keeps for a pipeline's operators and sources."""
    found = []
    for node in pipeline.nodes.values():
        found.append(progress_stream(node))
        if node.operator is not None:
            found += [state_stream(node), snapshot_stream(node)]
    return [replace(stream, owner=pipeline.owner) for stream in found]


def complete(pipeline: Pipeline) -> PipelineSpec:
    """The pipeline as the catalog takes it, with the platform's own streams."""
    spec = pipeline.spec()
    own = tuple(spec_of(stream, pipeline=pipeline.name) for stream in own_streams(pipeline))
    return replace(spec, streams=spec.streams + own)


def topic_of(stream: Stream) -> Topic:
    return Topic(
        stream.name,
        stream.partitions,
        retention=stream.retention,
        compact=stream.kind == "table" or (stream.role == "state" and not stream.name.endswith(".snapshots")),
    )


def alike(topic: Topic, wanted: Topic) -> bool:
    """True if a topic is as it should be; logs keep times of retention in whole milliseconds, rounded up."""
    return replace(topic, retention=_milliseconds(topic)) == replace(wanted, retention=_milliseconds(wanted))


def _milliseconds(topic: Topic) -> int | None:
    return None if topic.retention is None else -(-topic.retention // 1000)


def create_topics(log: Log, streams: Iterable[Stream]) -> None:
    """Make the topics that do not exist. TopicMismatch, and nothing made, if one exists otherwise. The topic of an
    adopted stream is left as it is, and has to have the partitions that the stream says."""
    wanted = list(streams)
    there = {topic.name: topic for topic in log.topics()} if any(stream.adopted for stream in wanted) else {}
    for stream in wanted:
        found = there.get(stream.name)
        if stream.adopted and found is not None and found.partitions != stream.partitions:
            raise TopicMismatch(
                f"The topic has {found.partitions} partitions, the stream says {stream.partitions}",
                where=stream.name,
                fix="Say in the contract what the topic has; topics of others are never changed.",
            )
    log.create(topic_of(stream) for stream in wanted if not (stream.adopted and stream.name in there))


def streams_of(pipeline: Pipeline) -> list[Stream]:
    """A pipeline's streams and those that the platform keeps for it."""
    return [*pipeline.streams.values(), *own_streams(pipeline)]


def foreign_writers(catalog: Catalog, pipeline: Pipeline) -> dict[str, tuple[str, int, bool]]:
    """Who writes the streams that the pipeline reads and does not write itself: operator, tasks, keeps_partition."""
    written = {stream.name for node in pipeline.nodes.values() for stream in node.outputs}
    read = {given.stream.name for node in pipeline.nodes.values() for given in node.inputs}
    found = {}
    for name in sorted(read - written):
        writer = catalog.writer_of(name) if catalog.has_stream(name) else None
        if writer is not None:
            params = catalog.operator(writer).spec.params
            found[name] = (writer, int(params["tasks"]), bool(params["keeps_partition"]))
    return found


def refuse_second_writers(catalog: Catalog, pipeline: Pipeline) -> None:
    """PlanError if the pipeline writes a stream that an operator of another pipeline writes."""
    for node in pipeline.nodes.values():
        for stream in node.outputs:
            writer = catalog.writer_of(stream.name) if catalog.has_stream(stream.name) else None
            if writer in (None, node.name):
                continue
            owner = catalog.operator(writer).spec.pipeline
            if owner != pipeline.name:
                raise PlanError(
                    f"{writer} of the pipeline {owner} writes this stream, and {node.name} would too",
                    where=stream.name,
                    fix="A stream has one writer: give the output another name, or take the other out of its pipeline.",
                )


@contextmanager
def following(catalog: Catalog, log: Log) -> Iterator[None]:
    """What is done meanwhile is brought to the catalog at the end, however it ended. CatalogBehind if only that failed;
    an error before it is the one that is told, with a note."""
    try:
        yield
    except BaseException as error:
        try:
            pump(catalog, log)
            follow(catalog, log)
        except HeadwaterError as problem:
            error.add_note(f"The catalog does not show this run yet: {problem}")
        raise
    try:
        pump(catalog, log)
        follow(catalog, log)
    except HeadwaterError as problem:
        raise CatalogBehind(
            f"The run is complete, but the catalog does not show it yet: {problem.what}",
            where=problem.where,
            fix=f"{problem.fix or ''} The next run brings it up to date, as does hub.sync().".strip(),
        ) from problem


def refuse_written(catalog: Catalog, stream: Stream) -> None:
    """PublishError if the stream is not for services to publish to: rows of a second writer have no place in the order
    that the first one's watermarks promise."""
    if stream.registry:
        raise PublishError(
            "Its messages carry the ids of another registry's schemas",
            where=stream.name,
            fix=f"Publish to it with whatever writes it, by the registry at {stream.registry}.",
        )
    writer = catalog.writer_of(stream.name)
    if writer is None and stream.role not in ("progress", "state", "platform"):
        return
    kind = "source" if writer and writer.endswith(".source") else "operator"
    raise PublishError(
        f"The stream is written by the {kind} {writer}" if writer else "The stream is written by the platform itself",
        where=stream.name,
        fix="Publish to a stream that it reads, or to a new one.",
    )


def pump(catalog: Catalog, log: Log) -> None:
    """Append the catalog's waiting changes to the stream `headwater.catalog`, each once. CatalogError if the stream
    has changes that the catalog lacks: it is then not this log's catalog, or an old copy of it."""
    waiting = catalog.outbox(1000)
    if not waiting:
        return
    log.create([Topic(CHANGES, 1)])
    writer = log.writer(f"{CHANGES}/0")
    try:
        while waiting:
            known = last_change(log)
            if known > catalog.last_change():
                raise CatalogError(
                    f"The log has {known} changes of its catalog, this catalog has {catalog.last_change()}",
                    where=CHANGES,
                    fix="It is an old copy or another log's catalog. `headwater catalog rebuild` makes it anew from "
                    "the log; register what was registered here meanwhile again.",
                )
            fresh = [(id, change) for id, change in waiting if id > known]
            if fresh:
                values = [orjson.dumps({"id": id, "change": change}) for id, change in fresh]
                writer.append(CHANGES, 0, [None] * len(values), values, ())
                writer.commit()
            catalog.outbox_done([id for id, _ in waiting])
            waiting = catalog.outbox(1000)
    finally:
        writer.close()


def last_change(log: Log) -> int:
    """The number of the newest change in the stream `headwater.catalog`; 0 if it has none."""
    newest = log.last(CHANGES, 0)
    return int(_json(newest.values[-1], CHANGES, 0, newest.offsets[-1])["id"]) if len(newest) else 0


def follow(catalog: Catalog, log: Log) -> int:
    """Bring the catalog's runs, ranges and observed lineage up to date with the progress streams; how many rows."""
    applied = 0
    for record in catalog.streams(roles=["progress"], limit=100_000):
        topic = record.spec.name
        known = catalog.progress_position(topic)
        rows = []
        for partition, (_, end) in enumerate(log.bounds(topic)):
            position = known.get(partition, -1) + 1
            while position < end:
                fetched = log.read(topic, partition, position)
                if not len(fetched):
                    break
                rows += [
                    (partition, offset, _json(value, topic, partition, offset))
                    for offset, value in zip(fetched.offsets, fetched.values, strict=True)
                ]
                position = fetched.next
        if rows:
            applied += catalog.apply_progress(topic, rows)
    return applied


def rebuild(catalog: Catalog, log: Log) -> int:
    """Make an empty catalog anew from the log, or bring one that was made so up to date; gives the number of changes
    and progress rows applied."""
    log.create([Topic(CHANGES, 1)])
    before = catalog.last_change()
    changes = []
    position = 0
    while len(fetched := log.read(CHANGES, 0, position)):
        changes += [
            _json(value, CHANGES, 0, offset)["change"]
            for offset, value in zip(fetched.offsets, fetched.values, strict=True)
        ]
        position = fetched.next
    catalog.apply_changes(changes)
    return catalog.last_change() - before + follow(catalog, log)


def _json(value: bytes | None, topic: str, partition: int, offset: int) -> dict[str, Any]:
    try:
        found: dict[str, Any] = orjson.loads(value or b"")
    except ValueError as error:
        raise Corrupt(
            f"A message of the platform's own is damaged ({error})",
            where=f"{topic} {partition}:{offset}",
            fix="Restore the log from a copy; what comes before it is in the catalog.",
        ) from error
    return found
