"""The inputs of one task: readers that feed its merge, within bounds of memory, and the positions to go on from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from operators.execution.merge import Channel, ChannelId, Merge
from operators.execution.plan import Node, Plan
from operators.execution.progress import Progress, ProgressReader, progress_topic, task_of
from operators.operator import Input
from streams.keys import partitions_of
from streams.log.protocol import Corrupt, Log
from streams.message import BEGINNING, END
from streams.read import Arrived, OnGap, PartitionReader
from streams.schema import Schema

#: A reader stops fetching ahead when so many bytes of one partition wait for their turn.
LARGEST_QUEUE = 16 << 20


class Misplaced(Corrupt):
    """Rows that lie in another partition than the one of their key."""


class _Feed:
    """One partition of one input: its reader, its channels, and the progress of its writers."""

    def __init__(
        self, reader: PartitionReader, given: Input, channels: list[Channel], writers: list[ProgressReader]
    ) -> None:
        self.reader = reader
        self.given = given
        self.channels = {channel.id.writer: channel for channel in channels}
        self.writers = writers

    def wants_more(self) -> bool:
        waiting = 0
        for channel in self.channels.values():
            if not channel.queue:
                return True
            waiting += sum(batch.size for batch in channel.queue)
        return waiting < LARGEST_QUEUE


class Inputs:
    """Feeds the merge of one task, from the positions of its last progress row."""

    def __init__(
        self,
        node: Node,
        number: int,
        plan: Plan,
        log: Log,
        schemas: Callable[[int], Schema],
        last: Progress | None,
        on_gap: OnGap = "stop",
    ) -> None:
        self._plan = plan
        self._node = node
        self._log = log
        self._schemas = schemas
        self._on_gap = on_gap
        self._feeds: list[_Feed] = []
        stored = {ChannelId(*entry[:3]): entry[3:] for entry in last.positions} if last else {}
        followers: dict[str, ProgressReader] = {}
        channels: list[Channel] = []
        for index, given in enumerate(node.inputs):
            partitions = [number] if given.mode == "partitioned" else range(given.stream.partitions)
            for partition in partitions:
                feed = self._feed(index, given, partition, stored, followers)
                self._feeds.append(feed)
                channels.extend(feed.channels.values())
        self.merge = Merge(channels)
        if last is not None:
            self.merge.clock = last.clock
        self._bases = [channel for channel in channels if channel.feedback]
        read = [(feed.given.stream.name, feed.reader.partition) for feed in self._feeds]
        followed = [(progress_topic(operator), task) for operator, task in map(task_of, followers)]
        self._places = tuple(dict.fromkeys([*read, *followed]))
        self._ends: tuple[int, ...] = ()

    def _feed(
        self,
        index: int,
        given: Input,
        partition: int,
        stored: dict[ChannelId, list[Any]],
        followers: dict[str, ProgressReader],
    ) -> _Feed:
        writers = self._plan.writers(given.stream.name, partition)
        names = set(writers or [""]) | {id.writer for id in stored if id[:2] == (index, partition)}
        channels = []
        for writer in sorted(names):
            id = ChannelId(index, partition, writer)
            channel = Channel(id, delay=given.delay, feedback=self._plan.is_feedback(self._node.name, given))
            if id in stored:
                channel.position, channel.key = stored[id][0], stored[id][1]
                channel.outside = (stored[id][2], stored[id][3])
            if writers is not None and writer not in writers:
                channel.watermark = END
            channels.append(channel)
        follow = []
        for writer in writers or ():
            if writer not in followers:
                followers[writer] = ProgressReader(self._log, *task_of(writer))
            follow.append(followers[writer])
        outside = writers is None
        reader = PartitionReader(
            self._log,
            given.stream,
            partition,
            self._schemas,
            position=min(channel.position for channel in channels),
            columns=columns_of(given, outside=outside),
            outside=outside,
            watermark=channels[0].outside[0] if outside else BEGINNING,
            seen=channels[0].outside[1] if outside else BEGINNING,
            resumed=all(channel.id in stored for channel in channels),
            on_gap=self._on_gap,
        )
        if outside and given.stream.time is not None:
            channels[0].watermark = channels[0].outside[0]
        return _Feed(reader, given, channels, follow)

    def unchanged(self) -> bool:
        """True if nothing was written since the last call to what is read here, nor to its writers' progress."""
        ends = self._log.ends(self._places)
        same = ends == self._ends and not self._lacks_base()
        self._ends = ends
        return same

    def _lacks_base(self) -> bool:
        return any(channel.reach == BEGINNING and not channel.queue for channel in self._bases)

    def poll(self) -> bool:
        """Look for new batches and watermarks; True if there were any."""
        found = False
        told: dict[int, Progress | None] = {}
        for feed in self._feeds:
            if feed.wants_more():
                found |= self._fetch(feed)
            found |= self._follow(feed, told)
        for channel in self._bases:
            if channel.reach == BEGINNING and not channel.queue:
                base = self._base()
                if base is not None:
                    self.merge.advance(channel.id, base)
                    found = True
        return found

    def _fetch(self, feed: _Feed) -> bool:
        batches = feed.reader.fetch()
        for batch in batches:
            channel = feed.channels.get(batch.writer)
            if channel is None:
                index = self._node.inputs.index(feed.given)
                channel = Channel(
                    ChannelId(index, batch.partition, batch.writer), delay=feed.given.delay, watermark=END
                )
                feed.channels[batch.writer] = channel
                self.merge.channels[channel.id] = channel
            if batch.first < channel.position:
                continue
            self.merge.add(channel.id, batch)
            if feed.reader.outside:
                self.merge.advance(channel.id, batch.watermark)
        return bool(batches)

    def _follow(self, feed: _Feed, told: dict[int, Progress | None]) -> bool:
        """Move watermarks: from the progress of the writers, as far as what they wrote has been read."""
        stream = feed.given.stream
        if feed.reader.outside:
            channel = next(iter(feed.channels.values()))
            if stream.time is None and feed.reader.at_end and channel.watermark < END:
                self.merge.advance(channel.id, END)
                return True
            return False
        moved = False
        for follower in feed.writers:
            if id(follower) not in told:
                told[id(follower)] = follower.poll()
            progress = told[id(follower)]
            if progress is None or (stream.time is None and progress.watermark < END):
                continue
            if feed.reader.position < progress.end_in(stream.name, feed.reader.partition):
                continue
            channel = feed.channels[f"{progress.operator}/{progress.task}"]
            before = channel.watermark
            self.merge.advance(channel.id, progress.watermark)
            moved |= channel.watermark > before
        return moved

    def _base(self) -> int | None:
        """The earliest event time with which the inputs from outside the cycle begin; None while it is not known."""
        earliest = END
        for stream in self._plan.outside_of_cycle(self._node.name):
            for partition in range(stream.partitions):
                reader = PartitionReader(
                    self._log,
                    stream,
                    partition,
                    self._schemas,
                    outside=self._plan.writers(stream.name, partition) is None,
                )
                # Asked before looking: what has ended by then has all its messages there.
                ended = self._ended(stream.name, partition)
                first = reader.fetch(max_bytes=1)
                if first:
                    earliest = min(earliest, first[0].bound)
                elif not ended:
                    return None
        return earliest

    def loop_is_alone(self) -> bool:
        """True for a task of a loop into which nothing will come from outside any more: what it waits for, the loop
        itself would have to make."""
        outside = self._plan.outside_of_cycle(self._node.name)
        return bool(outside) and all(
            self._ended(stream.name, partition) for stream in outside for partition in range(stream.partitions)
        )

    def _ended(self, stream: str, partition: int) -> bool:
        writers = self._plan.writers(stream, partition)
        if writers is None:
            return False
        told = [ProgressReader(self._log, *task_of(writer)).poll() for writer in writers]
        return all(progress is not None and progress.ended for progress in told)

    def gaps(self) -> list[list[Any]]:
        """Ranges that were passed over since the last call, as they had gone from the log: [input, partition, "",
        first, end]."""
        found = []
        for feed in self._feeds:
            index = self._node.inputs.index(feed.given)
            found += [[index, feed.reader.partition, "", first, end] for first, end in feed.reader.gaps]
            feed.reader.gaps.clear()
        return found

    def positions(self) -> list[list[Any]]:
        """For every channel the offset of its first message that is not yet taken, and where it stands."""
        found = []
        for feed in self._feeds:
            for channel in feed.channels.values():
                position = channel.queue[0].first if channel.queue else max(feed.reader.position, channel.position)
                found.append([*channel.id, position, channel.key, *channel.outside])
        return found

    def untaken(self, *, whole: bool) -> dict[tuple[str, int], int]:
        """The offset of the first message that is not yet taken, of each (stream, partition); of inputs that all tasks
        read only if `whole`."""
        found: dict[tuple[str, int], int] = {}
        for index, partition, _, position, *_ in self.positions():
            given = self._node.inputs[index]
            if whole or given.mode == "partitioned":
                place = (given.stream.name, partition)
                found[place] = min(position, found.get(place, position))
        return found


def columns_of(given: Input, *, outside: bool) -> list[str]:
    """The columns that are read of an input: those that the step is handed, and the key where rows of an outside stream
    may lie in another partition than theirs."""
    columns = list(given.reads)
    if outside and given.mode == "partitioned":
        columns += [name for name in given.stream.key if name not in columns]
    return columns


def misplaced(given: Input, batch: Arrived) -> Misplaced | None:
    """What is wrong if rows of an outside stream lie in another partition than the one of their key."""
    stream = given.stream
    if batch.writer or given.mode != "partitioned" or not stream.key or not batch.rows.num_rows:
        return None
    belongs = partitions_of(batch.rows, stream.key, stream.partitions)
    wrong = np.flatnonzero(belongs != batch.partition)
    if not len(wrong):
        return None
    row = int(wrong[0])
    key = {name: batch.rows.column(name)[row].as_py() for name in stream.key}
    return Misplaced(
        f"{len(wrong)} rows lie in partition {batch.partition}, the first (key {key}) belongs to {belongs[row]}",
        where=f"{stream.name} {batch.partition}:{batch.first}",
        fix="Publish with Kafka's default partitioner (murmur2 over the key bytes), or read the stream through "
        "hw.repartition. The rows stay in the log.",
    )
