"""Blocks: how messages share rows of the embedded log."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.log.block import Block, pack, unpack, unpack_keys
from streams.log.embedded import EmbeddedLog
from streams.log.protocol import Topic
from streams.message import Headers, pack_headers

entry = st.none() | st.binary(max_size=3) | st.integers(4_000, 12_000).map(bytes)
header = st.sampled_from([(), (("a", b"1"),), (("a", b"2"), ("b", b""))])


@settings(deadline=None)
@given(messages=st.lists(st.tuples(entry, entry, header), max_size=40))
def test_messages_come_out_of_blocks_as_they_went_in(
    messages: list[tuple[bytes | None, bytes | None, Headers]],
) -> None:
    keys, values, headers = ([message[column] for message in messages] for column in range(3))
    found = []
    for block in pack(keys, values, headers):
        some_keys, some_values = unpack(block)
        assert len(some_keys) == len(some_values) == block.messages
        known = unpack_keys(block.messages, block.lengths, block.key or b"", block.value is None)
        if block.messages > 1:
            assert known == (some_keys, [value is None for value in some_values])
        found += [(key, value, block.headers) for key, value in zip(some_keys, some_values, strict=True)]
    assert found == [(key, value, pack_headers(one)) for key, value, one in messages]


def test_small_messages_share_a_block_up_to_its_limit() -> None:
    blocks = pack([None] * 1_000, [bytes(100)] * 1_000, ())
    assert len(blocks) < 10
    assert all(len(block.value or b"") < 17_000 for block in blocks)


def test_large_messages_lie_alone() -> None:
    blocks = pack([None] * 3, [bytes(16_000)] * 3, ())
    assert [(block.messages, block.lengths) for block in blocks] == [(1, None)] * 3


def test_messages_with_other_headers_lie_in_another_block() -> None:
    blocks = pack([None] * 4, [b"x"] * 4, [(), (), (), (("last", b"4"),)])
    assert [block.messages for block in blocks] == [3, 1]


def test_no_messages_make_no_block() -> None:
    assert pack([], [], ()) == []
    assert pack([], [], []) == []


def test_lengths_that_do_not_fit_the_data_are_an_error() -> None:
    with pytest.raises(struct.error):
        unpack(Block(2, b"", struct.pack("<4i", -1, -1, 3, 4), b"", b"short"))


def test_a_read_may_start_and_end_inside_a_block(tmp_path: Path) -> None:
    with EmbeddedLog(tmp_path / "log.db") as log:
        log.create([Topic("t", 1)])
        writer = log.writer("task/0")
        writer.append("t", 0, [None] * 100, [b"%05d" % number for number in range(100)], ())
        writer.commit()
        fetched = log.read("t", 0, 40, max_bytes=15)
        assert (fetched.offsets, fetched.next) == ((40, 41, 42), 43)
        assert log.last("t", 0, 2).values == (b"00098", b"00099")
