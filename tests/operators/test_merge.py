"""The strict merge gives one order, however batches and watermarks arrive."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from operators.execution.merge import Channel, ChannelId, Merge
from streams.message import BEGINNING, END
from streams.parents import Addresses
from streams.read import Arrived

bounds = st.lists(st.integers(0, 30), max_size=8).map(sorted)


def arrived(id: ChannelId, number: int, bound: int) -> Arrived:
    return Arrived(
        f"input{id.input}",
        id.partition,
        id.writer,
        number,
        number + 1,
        pa.record_batch({"n": pa.array([number])}),
        Addresses.of_message("s", id.partition, number, 1),
        np.array([bound]),
        bound,
        BEGINNING,
        BEGINNING,
    )


def merged(
    channels: dict[ChannelId, list[int]],
    delays: dict[ChannelId, int],
    feedback: set[ChannelId],
    seed: int,
    every: int | None,
) -> list[tuple[Any, ...]]:
    """Deliver batches and watermarks in a random order of arrival, and take whatever may be taken at random moments."""
    rng = random.Random(seed)
    merge = Merge(Channel(id, delay=delays.get(id, 0), feedback=id in feedback) for id in channels)
    left = {id: list(enumerate(found)) for id, found in channels.items()}
    open_channels = set(channels)
    order: list[tuple[Any, ...]] = []
    tick = None if every is None else every

    def take() -> None:
        nonlocal tick
        while (taken := merge.next(tick)) is not None:
            if taken.batch is None:
                order.append(("tick", taken.clock))
                tick = None if tick is None or tick >= 40 else tick + (every or 1)
            else:
                assert taken.channel is not None
                order.append((taken.channel.id, taken.batch.first, taken.clock))

    while open_channels:
        id = rng.choice(sorted(open_channels))
        if left[id] and rng.random() < 0.7:
            number, bound = left[id].pop(0)
            merge.add(id, arrived(id, number, bound))
        elif left[id]:
            merge.advance(id, rng.randint(-1, left[id][0][1]))
        elif rng.random() < 0.5:
            merge.advance(id, rng.randint(30, 60))
        else:
            merge.advance(id, END)
            open_channels.discard(id)
        if rng.random() < 0.5:
            take()
    take()
    return order


@given(st.lists(bounds, min_size=1, max_size=4), st.integers(0, 10_000), st.sampled_from([None, 5, 7]))
def test_arrival_does_not_change_the_order(found: list[list[int]], seed: int, every: int | None) -> None:
    channels = {ChannelId(n % 2, n, f"w{n}"): one for n, one in enumerate(found)}
    first = merged(channels, {}, set(), seed, every)
    assert merged(channels, {}, set(), seed + 1, every) == first
    taken = [one for one in first if one[0] != "tick"]
    assert len(taken) == sum(map(len, found))
    clocks = [one[-1] for one in first]
    assert clocks == sorted(clocks)


@given(bounds, bounds, bounds, st.integers(1, 9), st.integers(0, 10_000), st.sampled_from([None, 6]))
def test_feedback_that_comes_late_or_early_counts_the_same(
    one: list[int], other: list[int], back: list[int], delay: int, seed: int, every: int | None
) -> None:
    loop = ChannelId(2, 0, "loop")
    channels = {ChannelId(0, 0, "a"): one, ChannelId(1, 0, "b"): other, loop: back}
    first = merged(channels, {loop: delay}, {loop}, seed, every)
    assert merged(channels, {loop: delay}, {loop}, seed + 1, every) == first
    last = max([*one, *other], default=-1)
    fed_back = [number for id, number, *_ in first if id == loop]
    assert fed_back == list(range(len(fed_back)))
    assert sum(bound + delay < last for bound in back) <= len(fed_back)
    assert len(fed_back) <= sum(bound + delay <= last for bound in back)


def test_a_batch_waits_for_a_channel_that_could_still_be_earlier() -> None:
    a, b = ChannelId(0, 0, "a"), ChannelId(1, 0, "b")
    merge = Merge([Channel(a), Channel(b)])
    merge.add(a, arrived(a, 0, 10))
    assert merge.next() is None
    assert merge.waiting_for() == [b]
    merge.advance(b, 9)
    assert merge.next() is None
    merge.advance(b, 10)
    taken = merge.next()
    assert taken is not None
    assert taken.clock == 10


def test_forcing_goes_on_without_the_empty_channel() -> None:
    a, b = ChannelId(0, 0, "a"), ChannelId(1, 0, "b")
    merge = Merge([Channel(a), Channel(b)])
    merge.add(a, arrived(a, 0, 10))
    taken = merge.next(force=True)
    assert taken is not None
    assert taken.batch is not None


def test_a_batch_that_was_taken_back_is_next_again() -> None:
    a = ChannelId(0, 0, "a")
    merge = Merge([Channel(a)])
    merge.add(a, arrived(a, 0, 10))
    merge.add(a, arrived(a, 1, 20))
    first = merge.next()
    assert first is not None
    merge.untake(first)
    again = merge.next()
    assert again is not None
    assert again.batch is first.batch
    assert merge.clock == 10
