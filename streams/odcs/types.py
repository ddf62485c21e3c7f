"""A property of a contract as an Arrow field, and back."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa

from streams.odcs.document import Document, Place, mappings_at, text_at
from streams.schema import SchemaError, parse_type, type_text

_LOGICAL: Final = {
    "string": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", "UTC"),
    "time": pa.time64("us"),
}
_NESTED: Final = ("object", "array")
_FORMATS: Final = {
    "i8": pa.int8(),
    "i16": pa.int16(),
    "i32": pa.int32(),
    "i64": pa.int64(),
    "u8": pa.uint8(),
    "u16": pa.uint16(),
    "u32": pa.uint32(),
    "u64": pa.uint64(),
    "f32": pa.float32(),
    "f64": pa.float64(),
}
_FORMAT_OF: Final = {kind: text for text, kind in _FORMATS.items()}


def field_of(described: Document, place: Place, default: str | None = None) -> pa.Field:
    """The Arrow field that a property declares. ContractError names the key that says nothing to us.

    A `physicalType` in our own words (`int32`, `timestamp[ms, UTC]`, `list<string>`) decides if it agrees with the
    logical type; others (VARCHAR(20)) are kept and mean nothing here.
    """
    name = text_at(described, "name", place, default)
    required = described.get("required", False)
    if not isinstance(required, bool):
        raise place.at("required").error(f"{required!r} is neither true nor false", "Write true or false.")
    description = described.get("description")
    metadata = {b"description": str(description).encode()} if description else None
    return pa.field(name, _type_of(described, place), not required, metadata)


def logical_type(kind: pa.DataType) -> str:
    """The standard's word for an Arrow type."""
    if pa.types.is_struct(kind):
        return "object"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return "array"
    if pa.types.is_integer(kind) or pa.types.is_duration(kind):
        return "integer"
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "number"
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_date(kind):
        return "date"
    if pa.types.is_timestamp(kind):
        return "timestamp"
    return "time" if pa.types.is_time(kind) else "string"


def describe(field: pa.Field, described: Document) -> None:
    """Make a property declare this field; what says so already, and what means nothing to us, stays as it is."""
    before = _declared(described)
    if before is None or not before.type.equals(field.type):
        _describe_type(field.type, described)
    if before is None or before.nullable != field.nullable:
        described["required"] = not field.nullable
        if field.nullable:
            del described["required"]
    description = (field.metadata or {}).get(b"description", b"").decode()
    if description != (described.get("description") or ""):
        described["description"] = description


def described_anew(field: pa.Field) -> Document:
    described: Document = {"name": field.name}
    describe(field, described)
    return described


def _declared(described: Document) -> pa.Field | None:
    return field_of(described, Place(""), "item") if "logicalType" in described or "physicalType" in described else None


def _describe_type(kind: pa.DataType, described: Document) -> None:
    described["logicalType"] = logical_type(kind)
    described.pop("physicalType", None)
    options = {
        key: value for key, value in (described.pop("logicalTypeOptions", None) or {}).items() if key != "format"
    }
    children = {child["name"]: child for child in described.pop("properties", None) or ()}
    items = described.pop("items", None)
    if kind in _FORMAT_OF and kind not in _LOGICAL.values():
        options["format"] = _FORMAT_OF[kind]
    elif pa.types.is_struct(kind):
        described["properties"] = [children.get(child.name, {"name": child.name}) for child in kind]
        for child, entry in zip(kind, described["properties"], strict=True):
            describe(child, entry)
    elif pa.types.is_list(kind):
        described["items"] = items or {"name": "item"}
        describe(kind.value_field, described["items"])
    elif kind not in _LOGICAL.values():
        described["physicalType"] = type_text(kind)
    if options:
        described["logicalTypeOptions"] = options


def _type_of(described: Document, place: Place) -> pa.DataType:
    physical = _physical(described.get("physicalType"))
    if described.get("logicalType") is None and physical is not None:
        return physical
    logical = text_at(described, "logicalType", place)
    if physical is not None and logical_type(physical) == logical:
        return physical
    options = described.get("logicalTypeOptions") or {}
    if not isinstance(options, dict):
        raise place.at("logicalTypeOptions").error(f"{options!r} is not a mapping", "Write `key: value` lines.")
    if logical == "object":
        children = [field_of(child, where) for child, where in mappings_at(described, "properties", place)]
        if not children:
            raise place.error("An object without properties says nothing about its fields", "Add its properties.")
        return pa.struct(children)
    if logical == "array":
        items = described.get("items")
        if not isinstance(items, dict):
            raise place.error("An array does not say what it holds", "Add `items` with a logicalType.")
        return pa.list_(field_of(items, place.at("items"), "item").with_name("item"))
    if logical not in _LOGICAL:
        raise place.at("logicalType").error(
            f"The logical type {logical!r} is not known here", f"Use one of {', '.join((*_LOGICAL, *_NESTED))}."
        )
    kind = _LOGICAL[logical]
    sized = _FORMATS.get(str(options.get("format")))
    if logical in ("integer", "number") and "format" in options:
        if sized is None or logical_type(sized) != logical:
            raise (
                place.at("logicalTypeOptions")
                .at("format")
                .error(
                    f"The format {options['format']!r} of a {logical} is not known here",
                    f"Use one of {', '.join(_FORMATS)}.",
                )
            )
        kind = sized
    return kind


def _physical(text: Any) -> pa.DataType | None:
    if not isinstance(text, str):
        return None
    try:
        return parse_type(text)
    except SchemaError:
        return None
