"""Arrow schemas as Avro schemas and back, and columns in the few forms that Avro's binary encoding knows."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Context, Decimal
from typing import Any, Final

import numpy as np
import pyarrow as pa

from streams.quoting import offsets_and_data
from streams.schema import Schema
from streams.types import DESCRIPTION, SchemaError, is_list, type_text


def avro_schema(schema: Schema, name: str) -> dict[str, Any]:
    """The Avro record schema `name` for rows of a schema: nullable fields are unions with null first and default null,
    descriptions are `doc`. SchemaError names the field for what Avro cannot express (`uint64`, a name with other
    characters than letters, digits and underscores)."""
    return _record(schema.arrow, name, "")


def schema_from_avro(avro: Mapping[str, Any]) -> Schema:
    """The schema of the rows that an Avro record schema describes; enums are strings. SchemaError for maps, and unions
    other than with null."""
    if avro.get("type") != "record":
        raise SchemaError("Rows are described by a record", where=str(avro.get("type")), fix="Give a record schema.")
    return Schema(pa.schema(_arrow_fields(avro, "")))


def physical(kind: pa.DataType) -> pa.DataType:
    """The type with the same structs and lists whose values are plain Avro ones: bool, int32, int64, float32,
    float64, string, binary, fixed_size_binary."""
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(physical(field.type)) for field in kind])
    if is_list(kind):
        return pa.list_(kind.value_field.with_type(physical(kind.value_type)))
    return _physical_leaf(kind)


def to_physical(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """A flat column in its physical type. pa.ArrowInvalid for seconds beyond what milliseconds hold."""
    given = column.type
    if given == kind:
        return column
    if pa.types.is_decimal(given):
        return _decimals_to_bytes(column)
    if pa.types.is_temporal(given):
        if _in_seconds(given):
            column = column.cast(_in_milliseconds(given))
        return column.view(kind)
    return column.cast(kind)


def from_physical(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """The inverse of `to_physical`. pa.ArrowInvalid for a value that the type does not hold."""
    if column.type == kind:
        return column
    if pa.types.is_decimal(kind):
        return _decimals_from_bytes(column, kind)
    if pa.types.is_temporal(kind):
        if _in_seconds(kind):
            return column.view(_in_milliseconds(kind)).cast(kind)
        return column.view(kind)
    return column.cast(kind)


def without_logical_types(avro: Any) -> Any:
    """The same encoding, read and written as physical values."""
    if isinstance(avro, dict):
        if "logicalType" in avro and avro["type"] != "fixed":
            return avro["type"]
        dropped = ("doc", "default", "logicalType")
        return {key: without_logical_types(value) for key, value in avro.items() if key not in dropped}
    if isinstance(avro, list):
        return [without_logical_types(value) for value in avro]
    return avro


_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_PLAIN: Final[dict[pa.DataType, str]] = {
    pa.bool_(): "boolean",
    pa.int8(): "int",
    pa.int16(): "int",
    pa.int32(): "int",
    pa.uint8(): "int",
    pa.uint16(): "int",
    pa.uint32(): "long",
    pa.int64(): "long",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.string(): "string",
    pa.large_string(): "string",
    pa.binary(): "bytes",
    pa.large_binary(): "bytes",
}

_PHYSICAL: Final = {
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "string": pa.string(),
    "bytes": pa.binary(),
}

_LOGICAL: Final[dict[tuple[str, str], pa.DataType]] = {
    ("int", "date"): pa.date32(),
    ("int", "time-millis"): pa.time32("ms"),
    ("long", "time-micros"): pa.time64("us"),
    ("long", "timestamp-millis"): pa.timestamp("ms", "UTC"),
    ("long", "timestamp-micros"): pa.timestamp("us", "UTC"),
    ("long", "timestamp-nanos"): pa.timestamp("ns", "UTC"),
}
_LOGICAL_NAMES: Final = {kind: names for names, kind in _LOGICAL.items()}


def _record(fields: Any, name: str, prefix: str) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [_field(field, name, prefix) for field in fields]}


def _field(field: pa.Field, record: str, prefix: str) -> dict[str, Any]:
    path = prefix + field.name
    if not _NAME.fullmatch(field.name):
        raise SchemaError(
            "Avro does not allow this name",
            where=f"field {path!r}",
            fix="Use letters, digits and underscores, or the codec json or arrow.",
        )
    found: dict[str, Any] = {"name": field.name, "type": _avro_type(field, f"{record}_{field.name}", path)}
    if field.nullable:
        found["default"] = None
    if field.metadata:
        found["doc"] = field.metadata[DESCRIPTION].decode()
    return found


def _avro_type(field: pa.Field, name: str, path: str) -> Any:
    kind = field.type
    avro: Any
    if pa.types.is_struct(kind):
        avro = _record(kind, name, f"{path}.")
    elif is_list(kind):
        avro = {"type": "array", "items": _avro_type(kind.value_field, f"{name}_item", f"{path}[]")}
    else:
        avro = _leaf(kind, name, path)
    return ["null", avro] if field.nullable else avro


def _leaf(kind: pa.DataType, name: str, path: str) -> Any:
    if kind in _PLAIN:
        return _PLAIN[kind]
    if pa.types.is_duration(kind):
        return "long"
    if pa.types.is_fixed_size_binary(kind):
        return {"type": "fixed", "name": name, "size": kind.byte_width}
    if pa.types.is_decimal(kind) and 0 <= kind.scale <= kind.precision:
        return {"type": "bytes", "logicalType": "decimal", "precision": kind.precision, "scale": kind.scale}
    if _in_seconds(kind):
        kind = _in_milliseconds(kind)
    if kind in _LOGICAL_NAMES:
        plain, logical = _LOGICAL_NAMES[kind]
        return {"type": plain, "logicalType": logical}
    if pa.types.is_time64(kind):
        return "long"
    raise SchemaError(
        f"Avro has no {type_text(kind)}",
        where=f"field {path!r}",
        fix="Declare int64 or decimal128(20, 0) for large integers, or use the codec json or arrow.",
    )


def _physical_leaf(kind: pa.DataType) -> pa.DataType:
    avro = _leaf(kind, "x", "")
    word = avro["type"] if isinstance(avro, dict) else avro
    return kind if word == "fixed" else _PHYSICAL[word]


def _in_seconds(kind: pa.DataType) -> bool:
    return bool((pa.types.is_timestamp(kind) or pa.types.is_time32(kind)) and kind.unit == "s")


def _in_milliseconds(kind: pa.DataType) -> pa.DataType:
    return pa.timestamp("ms", "UTC") if pa.types.is_timestamp(kind) else pa.time32("ms")


def _arrow_fields(record: Mapping[str, Any], prefix: str) -> list[pa.Field]:
    fields = []
    for field in record["fields"]:
        kind, nullable = _arrow_type(field["type"], prefix + field["name"])
        metadata = {DESCRIPTION: field["doc"].encode()} if field.get("doc") else None
        fields.append(pa.field(field["name"], kind, nullable, metadata))
    return fields


def _arrow_type(avro: Any, path: str) -> tuple[pa.DataType, bool]:
    if isinstance(avro, list):
        others = [branch for branch in avro if branch != "null"]
        if len(others) == 1 and len(avro) == 2:
            return _arrow_type(others[0], path)[0], True
    elif isinstance(avro, str):
        if avro in _PHYSICAL:
            return _PHYSICAL[avro], False
    else:
        known: dict[str, Callable[[], pa.DataType]] = {
            "record": lambda: pa.struct(_arrow_fields(avro, f"{path}.")),
            "array": lambda: pa.list_(_item(avro["items"], path)),
            "fixed": lambda: pa.binary(avro["size"]),
            "enum": pa.string,
        }
        logical = avro.get("logicalType")
        if logical == "decimal" and avro["type"] == "bytes":
            wide = avro["precision"] > 38
            return (pa.decimal256 if wide else pa.decimal128)(avro["precision"], avro.get("scale", 0)), False
        if (avro["type"], logical) in _LOGICAL:
            return _LOGICAL[avro["type"], logical], False
        if avro["type"] in known:
            return known[avro["type"]](), False
        return _arrow_type(avro["type"], path)
    raise SchemaError(
        f"Avro's {avro} has no counterpart in a stream",
        where=f"field {path!r}",
        fix="Use records, arrays, primitive and logical types, and unions of one of them with null.",
    )


def _item(avro: Any, path: str) -> pa.Field:
    kind, nullable = _arrow_type(avro, f"{path}[]")
    return pa.field("item", kind, nullable)


#: Decimals of so many digits fit a 64-bit integer.
_SHORT: Final = 18


def _decimals_to_bytes(column: pa.Array) -> pa.BinaryArray:
    """Big-endian two's complement, as many bytes as the magnitude and a sign bit need."""
    kind = column.type
    if not len(column):
        return pa.array([], pa.binary())
    if kind.precision > _SHORT:
        # Numbers wider than 64 bits are Python's, one by one.
        exact = Context(prec=80)
        unscaled = [None if d is None else int(d.scaleb(kind.scale, exact)) for d in column.to_pylist()]
        return pa.array(
            [None if n is None else n.to_bytes((n.bit_length() + 8) // 8, "big", signed=True) for n in unscaled],
            pa.binary(),
        )
    words = kind.bit_width // 64
    numbers = np.frombuffer(column.buffers()[1], dtype="<i8")[column.offset * words :: words][: len(column)]
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    numbers = np.where(valid, numbers, 0)
    magnitude = np.abs(numbers)
    sizes = np.ones(len(numbers), dtype=np.int32)
    for size in range(1, 8):
        sizes += magnitude >= (1 << (8 * size - 1))
    grid = numbers.astype(">i8").view(np.uint8).reshape(-1, 8)
    sizes[~valid] = 0
    data = grid[np.arange(8) >= 8 - sizes[:, None]]
    return _binary(sizes, data, column)


def _decimals_from_bytes(column: pa.BinaryArray, kind: pa.DataType) -> pa.Array:
    offsets, data = offsets_and_data(column)
    sizes = np.diff(offsets)
    if kind.precision > _SHORT or (len(sizes) and sizes.max() > 8):
        # Numbers wider than 64 bits are Python's, one by one.
        unscaled = [None if raw is None else int.from_bytes(raw, "big", signed=True) for raw in column.to_pylist()]
        exact = Context(prec=80)
        return pa.array([None if n is None else Decimal(n).scaleb(-kind.scale, exact) for n in unscaled], kind)
    padded = np.concatenate((data, np.zeros(8, dtype=np.uint8)))
    words = np.ndarray((len(padded) - 7,), dtype=">i8", buffer=padded, strides=(1,))
    numbers = words[offsets[:-1]].astype(np.int64) >> np.minimum(64 - 8 * sizes, 63)
    numbers[sizes == 0] = 0
    beyond = 10**kind.precision
    if ((numbers >= beyond) | (numbers <= -beyond)).any():
        raise pa.ArrowInvalid(f"a decimal has more than {kind.precision} digits")
    wide = np.repeat((numbers >> 63)[:, None], kind.bit_width // 64, axis=1)
    wide[:, 0] = numbers
    return pa.Array.from_buffers(kind, len(column), [_bitmap(column), pa.py_buffer(np.ascontiguousarray(wide))])


def _binary(sizes: np.ndarray, data: np.ndarray, like: pa.Array) -> pa.BinaryArray:
    offsets = np.zeros(len(sizes) + 1, dtype=np.int32)
    np.cumsum(sizes, out=offsets[1:])
    return pa.Array.from_buffers(
        pa.binary(), len(like), [_bitmap(like), pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(data))]
    )


def _bitmap(like: pa.Array) -> pa.Buffer | None:
    if not like.null_count:
        return None
    return pa.py_buffer(np.packbits(like.is_valid().to_numpy(zero_copy_only=False), bitorder="little"))
