"""Canonical key bytes of rows, and the partition that they lead to: Kafka's default partitioner, vectorised."""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from streams.quoting import offsets_and_data, quoted
from streams.types import SchemaError


class BadKey(SchemaError):
    """A key that is null, absent, or of a type that has no canonical text."""


def key_bytes(rows: pa.RecordBatch, key: Sequence[str], *, where: str | None = None) -> pa.BinaryArray:
    """The canonical key of each row.

    A single field gives its text as UTF-8: strings as they are, binary as it is, integers and whole decimals in ASCII
    digits, `true` and `false`, dates as `2013-01-31`, timestamps as `2013-01-31T23:59:59.000000Z` whatever their unit
    (nine digits for nanoseconds). Several fields give a compact JSON array of these texts (binary in hexadecimal):
    `["UA","1545"]`. The text does not change when a field's type is widened within its kind.

    BadKey names `where`, field and row for a null, and says which types can be keys.
    """
    if not key:
        raise BadKey("No key is given", where=where, fix="Name at least one field.")
    columns = [_column(rows, name, where) for name in key]
    if len(columns) == 1:
        return _bytes(columns[0])
    pieces: list[Any] = ["["]
    for column in columns:
        pieces += [quoted(_text(column)), ","]
    pieces[-1] = "]"
    return pc.binary_join_element_wise(*pieces, "").cast(pa.binary())


def partitions_of(
    rows: pa.RecordBatch, key: Sequence[str], partitions: int, *, where: str | None = None
) -> npt.NDArray[np.int32]:
    """The partition of each row, int32 of shape (n,): `(murmur2(key bytes) & 0x7fffffff) % partitions`."""
    if len(key) == 1:
        distinct = _column(rows, key[0], where).dictionary_encode()
        keys = _bytes(distinct.dictionary)
    else:
        distinct = key_bytes(rows, key, where=where).dictionary_encode()
        keys = distinct.dictionary
    places = ((_murmur2(keys) & 0x7FFFFFFF) % np.uint32(partitions)).astype(np.int32)
    return places[distinct.indices.to_numpy()]


def split(
    rows: pa.RecordBatch, key: Sequence[str], partitions: int, *, where: str | None = None
) -> list[tuple[int, npt.NDArray[np.int64]]]:
    """Each partition that occurs, ascending, with the indices of its rows in their order."""
    places = partitions_of(rows, key, partitions, where=where)
    if not len(places):
        return []
    order = np.argsort(places, kind="stable")
    starts = np.flatnonzero(np.diff(places[order], prepend=-1))
    return [(int(places[indices[0]]), indices) for indices in np.split(order, starts[1:])]


def murmur2(key: bytes) -> int:
    """Kafka's murmur2 (Austin Appleby's MurmurHash2, seed 0x9747b28c) of one key, as a signed 32-bit integer."""
    return int(_murmur2(pa.array([key], pa.binary())).view(np.int32)[0])


_SEED: Final = np.uint32(0x9747B28C)
_MIX: Final = np.uint32(0x5BD1E995)
_SHIFT: Final = np.uint32(24)


def _murmur2(keys: pa.BinaryArray) -> npt.NDArray[np.uint32]:
    """Hashes of all keys, those of one length together: shape (n,)."""
    hashes = np.empty(len(keys), dtype=np.uint32)
    if not len(keys):
        return hashes
    offsets, data = offsets_and_data(keys)
    lengths = np.diff(offsets)
    order = np.argsort(lengths, kind="stable")
    starts = np.flatnonzero(np.diff(lengths[order], prepend=-1))
    for which in np.split(order, starts[1:]):
        length = int(lengths[which[0]])
        hashes[which] = _hash_equal_lengths(data, offsets[which], length)
    return hashes


def _hash_equal_lengths(data: npt.NDArray[np.uint8], starts: npt.NDArray[Any], length: int) -> npt.NDArray[np.uint32]:
    padded = -(-length // 4) * 4
    grid = np.zeros((len(starts), padded), dtype=np.uint8)
    grid[:, :length] = data[starts[:, None] + np.arange(length)]
    words = grid.view("<u4")
    hashed = np.full(len(starts), _SEED ^ np.uint32(length), dtype=np.uint32)
    for at in range(length // 4):
        word = words[:, at] * _MIX
        word ^= word >> _SHIFT
        hashed *= _MIX
        hashed ^= word * _MIX
    if length % 4:
        hashed ^= words[:, -1]
        hashed *= _MIX
    hashed ^= hashed >> np.uint32(13)
    hashed *= _MIX
    hashed ^= hashed >> np.uint32(15)
    return hashed


def _column(rows: pa.RecordBatch, name: str, where: str | None) -> pa.Array:
    at = rows.schema.get_field_index(name)
    place = f"{where}, field {name!r}" if where else f"field {name!r}"
    if at < 0:
        raise BadKey(
            "The key names a field that the rows lack", where=place, fix=f"Rows have {', '.join(rows.schema.names)}."
        )
    column = rows.column(at)
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise BadKey(
            "A key is null",
            where=f"{place}, row {row}",
            fix="Every row of a keyed stream needs its key: fill it in, leave the row out, or choose another key.",
        )
    if not _can_be_key(column.type):
        raise BadKey(
            f"{column.type} cannot be a key",
            where=place,
            fix="Keys are strings, integers, whole decimals, booleans, binary, dates or timestamps.",
        )
    return column


def _can_be_key(kind: pa.DataType) -> bool:
    return (
        any(is_kind(kind) for is_kind in (*_TEXTS, *_BINARIES, pa.types.is_integer, pa.types.is_boolean))
        or bool(pa.types.is_date32(kind))
        or (pa.types.is_timestamp(kind) and kind.tz is not None)
        or (pa.types.is_decimal(kind) and kind.scale == 0)
    )


_TEXTS: Final = (pa.types.is_string, pa.types.is_large_string)
_BINARIES: Final = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)


def _bytes(column: pa.Array) -> pa.BinaryArray:
    if any(is_kind(column.type) for is_kind in _BINARIES):
        return column.cast(pa.binary())
    return _text(column).cast(pa.binary())


def _text(column: pa.Array) -> pa.StringArray:
    kind = column.type
    if pa.types.is_timestamp(kind):
        if kind.unit != "ns":
            column = column.cast(pa.timestamp("us", "UTC"))
        # Arrow writes naive timestamps twenty times faster than those with a zone.
        naive = column.view(pa.int64()).view(pa.timestamp(column.type.unit))
        return pc.binary_join_element_wise(pc.replace_substring(naive.cast(pa.string()), " ", "T"), "Z", "")
    if any(is_kind(kind) for is_kind in _BINARIES):
        return _hexadecimal(column.cast(pa.binary()))
    return column.cast(pa.string())


def _hexadecimal(column: pa.BinaryArray) -> pa.StringArray:
    offsets, data = offsets_and_data(column)
    digits = binascii.hexlify(data[offsets[0] : offsets[-1]].data)
    points = (offsets - offsets[0]) * 2
    return pa.StringArray.from_buffers(len(column), pa.py_buffer(points), pa.py_buffer(digits))
