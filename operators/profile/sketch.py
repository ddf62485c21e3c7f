"""A column's profile as bytes: a head in JSON, then arrays packed into as few bytes as their numbers need.

Equal profiles have equal bytes, in every version of the libraries.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final, get_args

import numpy as np
import orjson
import pyarrow as pa

from operators.profile.bins import Bins
from operators.profile.column import ColumnProfile
from operators.profile.errors import SketchError
from operators.profile.numbers import Numbers
from operators.profile.theta import Theta
from operators.profile.top import Counted, Top
from operators.profile.values import Kind
from streams.quoting import offsets_and_data

_FORM: Final = 1
_START: Final = b"hwp1"


def encode(profile: ColumnProfile) -> bytes:
    """The profile as bytes, for `decode`."""
    blobs: list[bytes] = []
    head = {
        "form": _FORM,
        "type": profile.type,
        "kind": profile.kind,
        "rows": profile.rows,
        "nulls": profile.nulls,
        "nan": profile.nan,
        "infinite": profile.infinite,
        "numbers": _numbers(profile.numbers, blobs),
        "lengths": _numbers(profile.lengths, blobs),
        "distinct": _theta(profile.distinct, blobs),
        "top": _top(profile.top, blobs),
    }
    text = orjson.dumps(head)
    return b"".join([_START, struct.pack("<I", len(text)), text, *blobs])


def decode(data: bytes, where: str | None = None) -> ColumnProfile:
    """What `encode` wrote. SketchError if it is something else, damaged or cut."""
    try:
        if data[:4] != _START:
            raise ValueError("it does not begin as one")
        end = 8 + int(struct.unpack_from("<I", data, 4)[0])
        head = orjson.loads(data[8:end])
        if head["form"] != _FORM or head["kind"] not in get_args(Kind):
            raise ValueError(f"its form is {head['form']}, its kind {head['kind']}")
        read = _Reader(data, end)
        return ColumnProfile(
            str(head["type"]),
            head["kind"],
            int(head["rows"]),
            int(head["nulls"]),
            int(head["nan"]),
            int(head["infinite"]),
            _optional(head["numbers"], read.numbers),
            _optional(head["lengths"], read.numbers),
            _optional(head["distinct"], read.theta),
            _optional(head["top"], read.top),
        )
    except (
        ValueError,
        KeyError,
        TypeError,
        IndexError,
        OverflowError,
        struct.error,
        SketchError,
        pa.ArrowException,
    ) as error:
        raise SketchError(
            f"This is no sketch of a column: {error}",
            where=where,
            fix="It was written by a newer version of Headwater, or damaged: profile the stream anew.",
        ) from error


def _optional(described: Any, read: Callable[[Any], Any]) -> Any:
    return None if described is None else read(described)


def _numbers(numbers: Numbers | None, blobs: list[bytes]) -> dict[str, Any] | None:
    if numbers is None:
        return None
    bins = numbers.bins
    return {
        "count": numbers.count,
        "total": _integer(numbers.total),
        "squares": _integer(numbers.squares),
        "low": numbers.low.hex(),
        "high": numbers.high.hex(),
        "whole": numbers.whole,
        "doubles": bins.doubles,
        "shift": bins.shift,
        "first": int(bins.keys[0]) if len(bins.keys) else 0,
        "keys": _packed(np.diff(bins.keys), blobs),
        "counts": _packed(bins.counts, blobs),
    }


def _theta(theta: Theta | None, blobs: list[bytes]) -> dict[str, Any] | None:
    if theta is None:
        return None
    blobs.append(theta.to_bytes())
    return {"size": theta.size, "bytes": len(blobs[-1])}


def _top(top: Top | None, blobs: list[bytes]) -> dict[str, Any] | None:
    if top is None:
        return None
    values = None if top.values is None else _counted(top.values, blobs)
    return {"values": values, "sample": _counted(top.sample, blobs), "bound": top.bound}


def _counted(counted: Counted, blobs: list[bytes]) -> dict[str, Any]:
    offsets, letters = offsets_and_data(counted.texts)
    described = {
        "hashes": _packed(counted.hashes, blobs),
        "counts": _packed(counted.counts, blobs),
        "lengths": _packed(np.diff(offsets), blobs),
    }
    blobs.append(letters[offsets[0] : offsets[-1]].tobytes())
    return described


def _integer(value: int) -> str:
    """A large whole number without the zero bits at its end."""
    zeros = (value & -value).bit_length() - 1 if value else 0
    return f"{value >> zeros:x}.{zeros}"


def _packed(values: Any, blobs: list[bytes]) -> list[int]:
    """Numbers from 0 up, in the fewest bytes for the largest."""
    largest = int(values.max()) if len(values) else 0
    item = next(size for size in (1, 2, 4, 8) if largest < 1 << (8 * size))
    blobs.append(values.astype(f"<u{item}").tobytes())
    return [len(values), item]


class _Reader:
    """Reads the arrays behind the head in the order in which they were written."""

    def __init__(self, data: bytes, start: int) -> None:
        self._data = data
        self._at = start

    def numbers(self, described: dict[str, Any]) -> Numbers:
        steps, counts = self._unpacked(described["keys"]), self._unpacked(described["counts"])
        keys = np.cumsum(np.concatenate([[described["first"]], steps])) if len(counts) else counts
        if len(keys) != len(counts) or not 0 <= int(described["shift"]) < 64:
            raise ValueError("its bins and their counts do not fit")
        bins = Bins(bool(described["doubles"]), int(described["shift"]), keys, counts)
        return Numbers(
            int(described["count"]),
            _read_integer(described["total"]),
            _read_integer(described["squares"]),
            float.fromhex(described["low"]),
            float.fromhex(described["high"]),
            bool(described["whole"]),
            bins,
        )

    def theta(self, described: dict[str, Any]) -> Theta:
        return Theta.from_bytes(self._taken(int(described["bytes"])), int(described["size"]))

    def top(self, described: dict[str, Any]) -> Top:
        values = _optional(described["values"], self._counted)
        return Top(values, self._counted(described["sample"]), int(described["bound"]))

    def _counted(self, described: dict[str, Any]) -> Counted:
        hashes = self._unpacked(described["hashes"]).view(np.uint64)
        counts, lengths = self._unpacked(described["counts"]), self._unpacked(described["lengths"])
        ends = np.concatenate([[0], np.cumsum(lengths)])
        letters = self._taken(int(ends[-1]))
        buffers = [None, pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(letters)]
        texts = pa.Array.from_buffers(pa.string(), len(lengths), buffers)
        texts.validate(full=True)
        if not len(hashes) == len(counts) == len(texts):
            raise ValueError("its values and their counts do not fit")
        return Counted(hashes, counts, texts)

    def _unpacked(self, described: list[int]) -> Any:
        count, item = described
        if item not in (1, 2, 4, 8):
            raise ValueError(f"items of {item} bytes")
        return np.frombuffer(self._taken(count * item), dtype=f"<u{item}").astype(np.int64)

    def _taken(self, length: int) -> bytes:
        taken = self._data[self._at : self._at + length]
        if length < 0 or len(taken) < length:
            raise ValueError("it is cut")
        self._at += length
        return taken


def _read_integer(text: str) -> int:
    digits, _, zeros = text.partition(".")
    if int(zeros) > 8192:
        raise ValueError("a sum is too large")
    return int(digits, 16) << int(zeros)
