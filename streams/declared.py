"""From a dataclass to Arrow fields: what each Python annotation means in a stream."""

from __future__ import annotations

import datetime as dt
import types
import typing
from dataclasses import fields, is_dataclass
from decimal import Decimal
from typing import Annotated, Any, Final

import pyarrow as pa

from streams.types import DESCRIPTION, SchemaError

_ARROW: Final[dict[Any, pa.DataType]] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    bytes: pa.binary(),
    dt.datetime: pa.timestamp("us", "UTC"),
    dt.date: pa.date32(),
    dt.time: pa.time64("us"),
    dt.timedelta: pa.duration("us"),
    Decimal: pa.decimal128(38, 9),
}


def fields_of(declared: type, path: str = "", within: tuple[type, ...] = ()) -> list[pa.Field]:
    """One Arrow field for each field of the dataclass. SchemaError names the field whose annotation says nothing
    to Arrow."""
    if declared in within:
        raise SchemaError(
            f"{declared.__name__} contains itself",
            where=f"field {path.rstrip('.')!r}",
            fix="A schema has a fixed depth: refer to the other row by its key.",
        )
    try:
        annotations = typing.get_type_hints(declared, include_extras=True)
    except NameError as error:
        raise SchemaError(
            f"An annotation of {declared.__name__} cannot be resolved: {error}",
            fix="Define the dataclass, and what its annotations name, at the top level of a module.",
        ) from error
    return [
        _field(field.name, annotations[field.name], path + field.name, (*within, declared))
        for field in fields(declared)
    ]


def _field(name: str, annotation: Any, path: str, within: tuple[type, ...]) -> pa.Field:
    kind: pa.DataType | None = None
    metadata: dict[bytes, bytes] = {}
    nullable = False
    while True:
        origin = typing.get_origin(annotation)
        if origin is Annotated:
            annotation, *extras = typing.get_args(annotation)
            for extra in extras:
                if isinstance(extra, pa.DataType):
                    kind = kind or extra
                elif isinstance(extra, str):
                    metadata.setdefault(DESCRIPTION, extra.encode())
            continue
        if origin is typing.Union or origin is types.UnionType:
            others = [arg for arg in typing.get_args(annotation) if arg is not type(None)]
            if len(others) == len(typing.get_args(annotation)) or len(others) != 1:
                raise _unknown(annotation, path, "Only X | None is a choice; declare one field for each type.")
            annotation = others[0]
            nullable = True
            continue
        break
    kind = kind or _kind(annotation, path, within)
    return pa.field(name, kind, nullable, metadata or None)


def _kind(annotation: Any, path: str, within: tuple[type, ...]) -> pa.DataType:
    if typing.get_origin(annotation) is list:
        (item,) = typing.get_args(annotation)
        return pa.list_(_field("item", item, f"{path}[]", within))
    if isinstance(annotation, type) and is_dataclass(annotation):
        return pa.struct(fields_of(annotation, f"{path}.", within))
    try:
        return _ARROW[annotation]
    except (KeyError, TypeError):
        known = ", ".join(known.__name__ for known in _ARROW)
        fix = f"Use {known}, list[X], a dataclass, X | None, or name the Arrow type: Annotated[X, pa.int32()]."
        raise _unknown(annotation, path, fix) from None


def _unknown(annotation: Any, path: str, fix: str) -> SchemaError:
    name = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    return SchemaError(f"{name} has no Arrow type", where=f"field {path!r}", fix=fix)
