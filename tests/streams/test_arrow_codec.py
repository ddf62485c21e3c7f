from __future__ import annotations

import contextlib
import zlib
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.codecs import Undecodable, codec
from streams.log.protocol import Corrupt
from streams.schema import Schema

SCHEMA = Schema(
    pa.schema([pa.field("id", pa.int64(), False), ("name", pa.string()), ("tags", pa.list_(pa.large_string()))])
)


def rows(count: int) -> pa.RecordBatch:
    columns = {"id": range(count), "name": ["é" * (n % 5) for n in range(count)], "tags": [["a", None]] * count}
    return pa.RecordBatch.from_pydict({name: list(values) for name, values in columns.items()}, schema=SCHEMA.arrow)


def test_a_slice_is_written_without_the_rest() -> None:
    writer = codec("arrow", SCHEMA, 1)
    whole = rows(1000)
    (sliced,) = writer.encode(whole.slice(500, 3))
    (alone,) = writer.encode(rows(1000).take(pa.array([500, 501, 502])))
    # Arrow pads each of the eight buffers to 64 bytes.
    assert len(sliced) <= len(alone) + 8 * 64
    assert len(sliced) < len(writer.encode(whole)[0]) / 20
    assert writer.decode([sliced]).equals(whole.slice(500, 3))


def test_decoded_columns_are_views_of_the_value() -> None:
    writer = codec("arrow", SCHEMA, 1)
    (value,) = writer.encode(rows(100))
    start = pa.py_buffer(value).address
    address = writer.decode([value]).column("id").buffers()[1].address
    assert start < address < start + len(value)
    assert address % 8 == 0


def test_every_single_changed_byte_is_noticed() -> None:
    reader = codec("arrow", SCHEMA, 1)
    (value,) = reader.encode(rows(3))
    for at in range(len(value)):
        changed = value[:at] + bytes([value[at] ^ 0x10]) + value[at + 1 :]
        with pytest.raises(Undecodable):
            reader.decode([changed])


def test_a_message_of_another_schema_is_not_misread() -> None:
    other = Schema(pa.schema([pa.field("id", pa.float64(), False), *list(SCHEMA.arrow)[1:]]))
    (value,) = codec("arrow", SCHEMA, 1).encode(rows(3))
    with pytest.raises(Undecodable, match="for this schema"):
        codec("arrow", other, 1).decode([value])


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_bytes_forged_with_a_right_checksum_do_not_crash(data: Any) -> None:
    reader = codec("arrow", SCHEMA, 1)
    (value,) = reader.encode(rows(4))
    body = bytearray(value[8:])
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    body = body[: data.draw(st.integers(0, len(body)))] if data.draw(st.booleans()) else body
    forged = value[:4] + zlib.crc32(body, int(SCHEMA.fingerprint[:8], 16)).to_bytes(4, "big") + bytes(body)
    with contextlib.suppress(Undecodable):
        reader.decode([forged]).validate(full=True)


def test_one_value_is_decoded_at_a_time() -> None:
    reader = codec("arrow", SCHEMA, 1)
    value = reader.encode(rows(1))
    for values in [], value * 2:
        with pytest.raises(Corrupt, match="one value at a time"):
            reader.decode(values)
