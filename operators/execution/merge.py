"""The strict merge: one order of batches for a task, fixed by the data and not by when they arrive.

Pure: it is fed batches and watermarks and says which batch comes next, or that it must wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from streams.message import BEGINNING, END
from streams.read import Arrived


class ChannelId(NamedTuple):
    """(input number, partition, writing task); the writer is "" for a stream written from outside."""

    input: int
    partition: int
    writer: str


@dataclass(slots=True)
class Channel:
    """One writer's batches in one partition of one input.

    `key` is the key of the last batch taken, `watermark` a bound on the keys of batches that are still to arrive,
    `position` the offset from which messages count, `outside` the pair (watermark, latest event time) behind the last
    batch taken from an outside stream.
    """

    id: ChannelId
    delay: int = 0
    feedback: bool = False
    key: int = BEGINNING
    watermark: int = BEGINNING
    position: int = 0
    outside: tuple[int, int] = (BEGINNING, BEGINNING)
    queue: deque[Arrived] = field(default_factory=deque)

    def head_key(self) -> int:
        return max(self.key, effect_of(self.queue[0], self.delay, feedback=self.feedback))

    @property
    def reach(self) -> int:
        """The least key that a batch still to arrive could have."""
        return max(self.key, self.watermark)

    @property
    def ended(self) -> bool:
        return not self.queue and self.watermark == END


class Taken(NamedTuple):
    """The next batch of the merge and the task's clock with it; a tick has no batch and no channel."""

    clock: int
    channel: Channel | None = None
    batch: Arrived | None = None
    before: tuple[int, int, tuple[int, int]] = (BEGINNING, BEGINNING, (BEGINNING, BEGINNING))


def effect_of(batch: Arrived, delay: int, *, feedback: bool) -> int:
    """When a batch takes effect, for what the batch itself says: at its bound, so that nothing that comes later is
    earlier; feedback at its earliest event time plus the delay, as nothing may act before that."""
    bound = batch.bound
    if feedback and len(batch.times):
        bound = max(bound, int(batch.times.min()))
    return shifted(bound, delay)


def shifted(time: int, delay: int) -> int:
    """`time + delay`, where the beginning and the end stay what they are."""
    return time if time in (BEGINNING, END) else time + delay


class Merge:
    """Takes batches from channels in the order of (key, input, partition, writer, offset).

    A batch is given out as soon as no channel that is empty could still bring an earlier one.
    """

    def __init__(self, channels: Iterable[Channel]) -> None:
        self.channels: dict[ChannelId, Channel] = {channel.id: channel for channel in channels}
        self.clock = BEGINNING

    def add(self, id: ChannelId, batch: Arrived) -> None:
        self.channels[id].queue.append(batch)

    def advance(self, id: ChannelId, watermark: int) -> None:
        """No batch that is still to arrive on this channel has a key below `watermark` (before its delay)."""
        channel = self.channels[id]
        channel.watermark = max(channel.watermark, shifted(watermark, channel.delay))

    def watermark(self) -> int:
        """No batch that will be taken from now on has a smaller key."""
        ended = self.ended()
        lowest = END
        for channel in self.channels.values():
            if not (ended and channel.feedback):
                lowest = min(lowest, channel.head_key() if channel.queue else channel.reach)
        return max(lowest, self.clock)

    def next(self, tick: int | None = None, *, force: bool = False) -> Taken | None:
        """The next batch, or a tick if `tick` is due before it; None if the order is not settled yet.

        Feedback is taken only ahead of a forward batch: whether more forward batches will come is not known from
        the data, so feedback behind the last of them must not count, whenever it arrives. `force` does not wait for
        empty channels; a forced order depends on when batches arrived.
        """
        ended = self.ended()
        forward = self._first(feedback=False)
        feedback = None if ended else self._first(feedback=True)
        best = forward
        if forward is not None and feedback is not None and feedback < forward:
            best = feedback
        if tick is not None and (best is None or tick <= best[0]):
            if best is None and feedback is not None and feedback[0] < tick:
                return None
            if not force and any(channel.reach < tick for channel in self._empty(ended)):
                return None
            before = (self.clock, BEGINNING, (BEGINNING, BEGINNING))
            self.clock = max(self.clock, tick)
            return Taken(self.clock, before=before)
        if best is None:
            return None
        if not force and any(
            (channel.reach, channel.id) < best and channel.reach < END for channel in self._empty(ended)
        ):
            return None
        key, id = best
        channel = self.channels[id]
        batch = channel.queue.popleft()
        before = (self.clock, channel.key, channel.outside)
        channel.key = key
        channel.outside = (batch.watermark, batch.seen)
        self.clock = max(self.clock, key)
        return Taken(self.clock, channel, batch, before)

    def untake(self, taken: Taken) -> None:
        """Put the batch or tick that was taken last back where it was."""
        if taken.channel is None or taken.batch is None:
            self.clock = taken.before[0]
        else:
            taken.channel.queue.appendleft(taken.batch)
            self.clock, taken.channel.key, taken.channel.outside = taken.before

    def ended(self) -> bool:
        """Every forward channel has ended: nothing but the last tick is left."""
        return all(channel.ended for channel in self.channels.values() if not channel.feedback)

    def waiting_for(self) -> Sequence[ChannelId]:
        """The empty channels that hold up the next batch, most behind first."""
        empty = sorted((channel.reach, channel.id) for channel in self._empty(self.ended()) if channel.reach < END)
        return [id for _, id in empty]

    def _first(self, *, feedback: bool) -> tuple[int, ChannelId] | None:
        heads = [
            (channel.head_key(), channel.id)
            for channel in self.channels.values()
            if channel.queue and channel.feedback == feedback
        ]
        return min(heads) if heads else None

    def _empty(self, ended: bool) -> Iterable[Channel]:
        return (channel for channel in self.channels.values() if not channel.queue and not (ended and channel.feedback))
