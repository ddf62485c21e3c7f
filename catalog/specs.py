"""What callers tell the catalog: frozen descriptions of streams, operators and the rest, and their JSON form."""

from __future__ import annotations

import json
import types
import typing
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import lru_cache
from typing import Any, Literal, TypeVar, cast

from catalog.errors import CatalogError

Kind = Literal["stream", "table"]
Codec = Literal["arrow", "avro", "json"]
Role = Literal["data", "quarantine", "late", "retry", "model", "progress", "state", "platform"]
Mode = Literal["partitioned", "gathered", "broadcast"]
S = TypeVar("S")


@dataclass(frozen=True)
class FieldSpec:
    """One field of a stream. `type` is an Arrow type as text; `entity` is what the field identifies."""

    name: str
    type: str
    nullable: bool = True
    description: str = ""
    entity: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class ContractSpec:
    """What a stream's producer promises. `document` is the text of an ODCS file, verbatim."""

    rules: tuple[dict[str, Any], ...] = ()
    document: str | None = None


@dataclass(frozen=True)
class StreamSpec:
    """A stream as declared. `schema` is opaque canonical text and `fingerprint` its identity; `lateness` and
    `retention` are in microseconds, `retention` None keeps rows for ever. Partition count, key, kind and codec
    are fixed for life."""

    name: str
    fields: tuple[FieldSpec, ...]
    schema: str
    fingerprint: str
    kind: Kind = "stream"
    role: Role = "data"
    codec: Codec = "arrow"
    partitions: int = 4
    key: tuple[str, ...] = ()
    time: str | None = None
    lateness: int = 0
    retention: int | None = None
    owner: str = ""
    description: str = ""
    contract: ContractSpec | None = None
    tags: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    pipeline: str | None = None


@dataclass(frozen=True)
class InputSpec:
    """How an operator takes a stream; `delay` (microseconds of event time) and `later` mark feedback."""

    stream: str
    mode: Mode = "partitioned"
    reads: tuple[str, ...] = ()
    delay: int = 0
    later: bool = False


@dataclass(frozen=True)
class FieldLink:
    """The (stream, field) pairs that an output field depends on; `coarse` if nobody said which of all read they are."""

    field: str
    sources: tuple[tuple[str, str], ...] = ()
    coarse: bool = False


@dataclass(frozen=True)
class OutputSpec:
    stream: str
    fields: tuple[FieldLink, ...] = ()


@dataclass(frozen=True)
class OperatorSpec:
    name: str
    kind: str
    version: str
    state_version: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    inputs: tuple[InputSpec, ...] = ()
    outputs: tuple[OutputSpec, ...] = ()
    description: str = ""
    pipeline: str | None = None

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams it reads, then those it writes, each once."""
        read = [one.stream for one in self.inputs]
        return tuple(dict.fromkeys(read + [one.stream for one in self.outputs]))


@dataclass(frozen=True)
class EntitySpec:
    """A word of the glossary: what fields identify, and the other words that people say for it."""

    name: str
    synonyms: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True)
class PipelineSpec:
    """Streams and operators registered together. A stream without an owner gets the pipeline's."""

    name: str
    owner: str = ""
    description: str = ""
    streams: tuple[StreamSpec, ...] = ()
    operators: tuple[OperatorSpec, ...] = ()
    entities: tuple[EntitySpec, ...] = ()


@dataclass(frozen=True)
class DatasetSpec:
    """A catalog query frozen to a manifest. `expires` is when retention takes the first row (microseconds since
    1970), None for never; `kept` says that the rows were copied."""

    name: str
    query: dict[str, Any]
    manifest: dict[str, Any]
    digest: str
    streams: tuple[str, ...] = ()
    expires: int | None = None
    kept: bool = False


def to_dict(spec: Any) -> dict[str, Any]:
    """A spec as JSON values. CatalogError if a value in it (params, rules, query) has no JSON form."""
    return cast("dict[str, Any]", json.loads(canonical(spec)))


def canonical(spec: Any) -> str:
    """A spec as JSON text that is equal for equal specs. CatalogError as for `to_dict`."""
    try:
        return json.dumps(_plain(spec), sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise CatalogError(
            f"A value has no JSON form: {error}",
            where=f"{type(spec).__name__} {getattr(spec, 'name', '')}".strip(),
            fix="Use text, finite numbers, true, false, None, lists and dicts with text keys.",
        ) from error


def from_dict(cls: type[S], data: dict[str, Any]) -> S:
    """The spec that `to_dict` wrote. Names that `cls` does not have are ignored, so that newer writers can be read."""
    types_ = _types(cast("Any", cls))
    known = {}
    for part in fields(cls):  # type: ignore[arg-type]
        if part.name in data:
            known[part.name] = _typed(types_[part.name], data[part.name])
        elif part.default is MISSING and part.default_factory is MISSING:
            raise CatalogError(
                f"{cls.__name__} needs {part.name!r}",
                where=str(data.get("name", "")) or None,
                fix="It was written by another version, or damaged.",
            )
    return cls(**known)


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {part.name: _plain(getattr(value, part.name)) for part in fields(value)}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"the key {key!r} is not text")
        return {key: _plain(item) for key, item in value.items()}
    return value


@lru_cache(maxsize=64)
def _types(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _typed(annotation: Any, value: Any) -> Any:
    if value is None:
        return None
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        return _typed(next(one for one in arguments if one is not type(None)), value)
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_typed(arguments[0], item) for item in value)
        return tuple(_typed(one, item) for one, item in zip(arguments, value, strict=True))
    if is_dataclass(annotation):
        return from_dict(cast("type[Any]", annotation), value)
    return value
