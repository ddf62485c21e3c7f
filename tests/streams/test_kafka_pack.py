"""Messages packed by us are what Kafka's own reader finds in a record batch."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("kafka")

from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder
from kafka.record.util import calc_crc32c

from streams.log.kafka import pack
from streams.log.kafka.batches import _extend
from streams.log.kafka.decode import decode
from streams.log.protocol import Corrupt

texts = st.one_of(st.none(), st.binary(max_size=200))
names = st.text("abc-", min_size=1, max_size=70)
headers = st.lists(st.tuples(names, st.binary(max_size=80)), max_size=3).map(tuple)


def batches_of(keys, values, each):
    found = []
    for count, data in pack.packed(keys, values, each):
        records = MemoryRecordsBuilder(2, 0, 1 << 20)
        _extend(records, count, data)
        records.set_producer_state(7, 1, 0, True)
        records.close()
        found.append((count, bytes(records.buffer())))
    return found


def read(batches):
    """Keys, values and headers as kafka-python reads them, and the offset deltas."""
    found = []
    for count, data in batches:
        batch = MemoryRecords(data).next_batch()
        assert batch.validate_crc()
        records = list(batch)
        assert [record.offset for record in records] == list(range(count))
        found += [(record.key, record.value, tuple(record.headers)) for record in records]
    return found


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(texts, texts, st.integers(0, 2)), min_size=1, max_size=300), st.lists(headers, min_size=3))
def test_packed_messages_are_read_as_they_were_given(messages, choices) -> None:
    keys = [key for key, _, _ in messages]
    values = [value for _, value, _ in messages]
    each = [choices[which] for _, _, which in messages]
    assert read(batches_of(keys, values, each)) == list(zip(keys, values, each, strict=True))


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(texts, texts, headers, st.integers(0, 2**41), st.integers(1, 300)), min_size=1, max_size=60),
    st.integers(0, 400),
)
def test_our_decoder_reads_what_the_client_writes(messages, start) -> None:
    builder = MemoryRecordsBuilder(2, 0, 1 << 20)
    wanted, offset = [], -1
    for key, value, own, time, step in messages:
        offset += step
        builder._builder.append(offset, time, key, value, list(own))
        wanted.append((1_000 + offset, 1_000 * time, key, value, own))
    builder.close()
    data = bytearray(builder.buffer())
    data[:8] = (1_000).to_bytes(8, "big")
    found = decode(bytes(data), 1_000 + start, (), "t 0")
    columns = (found.offsets, found.timestamps, found.keys, found.values, found.headers)
    assert list(zip(*columns, strict=True)) == [one for one in wanted if one[0] >= 1_000 + start]
    assert found.next == max(1_000 + start, 1_001 + offset)


def test_a_batch_that_says_nonsense_is_corrupt() -> None:
    ((_, data),) = batches_of([None] * 20, [b"x" * 90] * 20, ())
    wrong = bytearray(data)
    wrong[68] = 0x7F
    wrong[17:21] = calc_crc32c(bytes(wrong[21:])).to_bytes(4, "big")
    with pytest.raises(Corrupt, match="offset 0"):
        decode(bytes(wrong), 0, (), "t 0")


def test_one_tuple_of_headers_counts_for_all() -> None:
    own = (("hw-run", b"r1"),)
    assert read(batches_of([None, b"k"], [b"1", b""], own)) == [(None, b"1", own), (b"k", b"", own)]


@given(st.lists(st.tuples(texts, texts, headers), min_size=1, max_size=200))
def test_messages_added_one_by_one_are_read_as_they_were_given(messages) -> None:
    records = MemoryRecordsBuilder(2, 0, 1 << 20)
    for at, (key, value, own) in enumerate(messages):
        _extend(records, 1, pack.record(at, key, value, own))
    records.close()
    assert read([(len(messages), bytes(records.buffer()))]) == messages


def test_many_messages_are_cut_into_blocks_in_their_order() -> None:
    values = [b"%06d" % number + b"x" * (number % 700) for number in range(20_000)]
    batches = batches_of([None] * len(values), values, ())
    assert len(batches) > 5
    assert all(len(data) < pack.BLOCK_BYTES + pack.LARGEST_PACKED for _, data in batches)
    assert [value for _, value, _ in read(batches)] == values


def test_our_decoder_reads_what_was_packed() -> None:
    own = (("a", b"1"),)
    values = [b"v%d" % number for number in range(1_000)]
    ((_, data),) = batches_of([b"k"] * 1_000, values, own)
    found = decode(data, 0, (), "t 0")
    assert (found.values, set(found.keys), set(found.headers)) == (values, {b"k"}, {own})
