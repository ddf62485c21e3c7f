"""The bytes of a model: a JSON manifest, then named Arrow value buffers, then a SHA-256. Reading them runs nothing.

Layout: magic, manifest length (4 bytes, little-endian), manifest, then each array's values at the next multiple of 64
bytes, then the SHA-256 of all that. What an array is (type, shape) stands in the manifest; the loader believes no
size before it has compared it with what is there.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson

from catalog.errors import HeadwaterError

Array = npt.NDArray[Any]

MAGIC: Final = b"HWMODEL\x01"
LARGEST_CONTENT: Final = 64 << 20
LARGEST_MANIFEST: Final = 256 << 10
MOST_ARRAYS: Final = 256
MOST_DIMENSIONS: Final = 3
_ALIGNED: Final = 64
_DIGEST: Final = 32

#: Arrow's names of the types that an array may have, and their little-endian form.
TYPES: Final[Mapping[str, str]] = {
    "double": "<f8",
    "float": "<f4",
    "int64": "<i8",
    "int32": "<i4",
    "uint64": "<u8",
    "uint32": "<u4",
    "uint8": "|u1",
}
_NAMES: Final = {np.dtype(form): name for name, form in TYPES.items()}

_WRITTEN_ELSEWHERE: Final = "It was damaged, or not written by Headwater: publish the model again from its trainer."


class ModelError(HeadwaterError):
    """A model that cannot be written, or content that is refused as a model; nothing of it is used."""

    exit_code = 9


@dataclass(frozen=True, slots=True)
class Artefact:
    """A model as data: the `manifest` (JSON values: classes by name, parameters, versions) and its named arrays."""

    manifest: dict[str, Any]
    arrays: dict[str, Array]


def encode(artefact: Artefact) -> bytes:
    """The artefact as bytes, equal for equal artefacts. ModelError for arrays of other types, or above the limits."""
    described, buffers = [], []
    for name in sorted(artefact.arrays):
        values = artefact.arrays[name]
        kind = _NAMES.get(values.dtype.newbyteorder("<")) if values.dtype.kind in "fiu" else None
        if kind is None:
            raise ModelError(
                f"The array {name!r} has the type {values.dtype}",
                where=_named(artefact.manifest),
                fix=f"A model's arrays are of {', '.join(TYPES)}: anything else could not be read back safely.",
            )
        described.append({"name": name, "type": kind, "shape": list(values.shape)})
        buffers.append(np.ascontiguousarray(values, dtype=TYPES[kind]).tobytes())
    manifest = _json({**artefact.manifest, "arrays": described}, artefact.manifest)
    parts = [MAGIC, len(manifest).to_bytes(4, "little"), manifest]
    size = sum(map(len, parts))
    for buffer in buffers:
        gap = -size % _ALIGNED
        parts += [bytes(gap), buffer]
        size += gap + len(buffer)
    if len(manifest) > LARGEST_MANIFEST or size + _DIGEST > LARGEST_CONTENT:
        raise ModelError(
            f"The model has {size + _DIGEST:,} bytes, its manifest {len(manifest):,}",
            where=_named(artefact.manifest),
            fix=f"At most {LARGEST_CONTENT:,} and {LARGEST_MANIFEST:,} are taken: use fewer features or hash them.",
        )
    body = b"".join(parts)
    return body + hashlib.sha256(body).digest()


def decode(content: bytes, where: str) -> Artefact:
    """What `encode` wrote. ModelError, naming what is wrong at `where`, for anything else."""
    return _Reader(content, where).artefact()


def manifest_text(content: bytes, where: str) -> str:
    """The manifest of encoded content as JSON text, as it stands there. ModelError as for `decode`."""
    return _Reader(content, where).manifest_bytes().decode()


class _Reader:
    def __init__(self, content: bytes, where: str) -> None:
        self._content = content
        self._where = where

    def manifest_bytes(self) -> bytes:
        content = self._content
        if len(content) > LARGEST_CONTENT:
            raise self._refused(f"It has {len(content):,} bytes, and {LARGEST_CONTENT:,} is the limit")
        if content[: len(MAGIC)] != MAGIC:
            raise self._refused(f"It begins with {content[: len(MAGIC)]!r}, which is no model of a version known here")
        start = len(MAGIC) + 4
        if len(content) < start + _DIGEST:
            raise self._refused(f"It ends after {len(content)} bytes")
        if hashlib.sha256(memoryview(content)[:-_DIGEST]).digest() != content[-_DIGEST:]:
            raise self._refused("Its SHA-256 does not match what it holds: it was cut off or altered")
        length = int.from_bytes(content[len(MAGIC) : start], "little")
        if length > min(LARGEST_MANIFEST, len(content) - start - _DIGEST):
            raise self._refused(f"Its manifest claims {length:,} bytes")
        return content[start : start + length]

    def artefact(self) -> Artefact:
        text = self.manifest_bytes()
        try:
            manifest = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise self._refused(f"Its manifest is not JSON ({error})") from error
        if not isinstance(manifest, dict):
            raise self._refused("Its manifest is not an object")
        arrays: dict[str, Array] = {}
        at = len(MAGIC) + 4 + len(text)
        end = len(self._content) - _DIGEST
        for name, kind, shape in self._described(manifest.pop("arrays", None)):
            if name in arrays:
                raise self._refused(f"It has two arrays {name!r}")
            at += -at % _ALIGNED
            dtype = np.dtype(TYPES[kind])
            count = math.prod(shape)
            if count * dtype.itemsize > end - at:
                raise self._refused(f"Its array {name!r} claims the shape {shape}, more than there is")
            values = np.frombuffer(self._content, dtype=dtype, count=count, offset=at).reshape(shape)
            if dtype.kind == "f" and not np.isfinite(values).all():
                raise self._refused(f"Its array {name!r} holds values that are not finite numbers")
            arrays[name] = values
            at += values.nbytes
        if at != end:
            raise self._refused(f"{end - at} bytes are left over behind its arrays")
        return Artefact(manifest, arrays)

    def _described(self, arrays: Any) -> Iterator[tuple[str, str, tuple[int, ...]]]:
        if not isinstance(arrays, list) or len(arrays) > MOST_ARRAYS:
            raise self._refused(f"Its manifest lists no arrays, or more than {MOST_ARRAYS}")
        for one in arrays:
            if not isinstance(one, dict) or set(one) != {"name", "type", "shape"}:
                raise self._refused("An array is not described by name, type and shape")
            name, kind, shape = one["name"], one["type"], one["shape"]
            if not isinstance(name, str) or not isinstance(kind, str) or kind not in TYPES:
                raise self._refused(f"The array {name!r} has the type {kind!r}, which is none of {', '.join(TYPES)}")
            if (
                not isinstance(shape, list)
                or len(shape) > MOST_DIMENSIONS
                or not all(type(size) is int and 0 <= size <= LARGEST_CONTENT for size in shape)
            ):
                raise self._refused(f"The array {name!r} has the shape {shape!r}")
            yield name, kind, tuple(shape)

    def _refused(self, what: str) -> ModelError:
        return ModelError(f"This is no model that can be read. {what}.", where=self._where, fix=_WRITTEN_ELSEWHERE)


def _json(value: Any, manifest: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError as error:
        raise ModelError(
            f"The manifest has a value without a JSON form: {error}",
            where=_named(manifest),
            fix="Use text, numbers, true, false, None, lists and dicts with text keys.",
        ) from error


def _named(manifest: dict[str, Any]) -> str:
    estimator = manifest.get("estimator")
    return str(estimator.get("class", "model")) if isinstance(estimator, dict) else "model"
