"""How one schema version may follow another, and how rows of one version are read through another."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from streams.fit import Fitting, is_castable
from streams.schema import Schema
from streams.types import is_list, list_word, type_text


def differences(old: Schema, new: Schema) -> list[str]:
    """Why `new` cannot be the next version of `old`, one reason a field; empty if it can.

    A version may add nullable fields, drop fields, widen types (see `widens`) and make required fields nullable,
    at any depth. Order and descriptions do not matter.
    """
    return _fields_apart(old.arrow, new.arrow, "")


def widens(old: pa.DataType, new: pa.DataType) -> bool:
    """True if every value of `old` is a value of `new`, so that nothing is lost and equal values stay equal.

    A date does not widen to a timestamp (a day is not an instant), nor any timestamp to nanoseconds (they end in 2262).
    Compares types without fields; for nested ones see `differences`.
    """
    if old == new:
        return True
    if pa.types.is_integer(old):
        return _integer_widens(old, new)
    if pa.types.is_floating(old) and pa.types.is_floating(new):
        return bool(new.bit_width >= old.bit_width)
    if pa.types.is_decimal(old) and pa.types.is_decimal(new):
        return bool(new.scale >= old.scale and new.precision - new.scale >= old.precision - old.scale)
    if pa.types.is_string(old):
        return bool(pa.types.is_large_string(new))
    if pa.types.is_binary(old):
        return bool(pa.types.is_large_binary(new))
    if pa.types.is_fixed_size_binary(old):
        return bool(pa.types.is_binary(new) or pa.types.is_large_binary(new))
    if pa.types.is_time(old) and pa.types.is_time(new):
        return _UNITS.index(new.unit) >= _UNITS.index(old.unit)
    for is_kind in (pa.types.is_timestamp, pa.types.is_duration):
        if is_kind(old) and is_kind(new):
            return _UNITS.index(old.unit) < _UNITS.index(new.unit) < _UNITS.index("ns")
    return False


def project(rows: pa.RecordBatch, reader: pa.Schema) -> pa.RecordBatch:
    """Rows of any compatible version, older or newer, as the reader's schema has them, in its column order.

    Fields that the rows lack are null, even where the reader calls them required: such fields, and those that the rows
    call nullable, are nullable in the result. Fields that the reader lacks are left out. Wider values are narrowed;
    SchemaError with field, row and value if one does not fit, or if two types are unrelated. Floats are rounded to the
    reader's width. Rows that already fit are returned as they are.
    """
    if rows.schema.equals(reader):
        return rows
    fitting = Fitting(where=None, strict=False)
    positions = {name: at for at, name in enumerate(rows.schema.names)}
    columns, fields = [], []
    for wanted in reader:
        at = positions.get(wanted.name)
        if at is None:
            column, nullable = pa.nulls(rows.num_rows, wanted.type), True
        else:
            column = fitting.column(rows.column(at), wanted, wanted.name, lambda row: row)
            nullable = wanted.nullable or rows.schema.field(at).nullable
        columns.append(column)
        fields.append(pa.field(wanted.name, column.type, nullable, wanted.metadata))
    if not columns:
        return rows.select([])
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))


_UNITS: Final = ("s", "ms", "us", "ns")
#: Decimal digits that hold every integer of a width, by sign and bits.
_DIGITS: Final = {8: 3, 16: 5, 32: 10, 64: 19}
#: Bits of the integers that a float holds exactly.
_EXACT_BITS: Final = {32: 24, 64: 53}


def _integer_widens(old: pa.DataType, new: pa.DataType) -> bool:
    signed = pa.types.is_signed_integer(old)
    bits = old.bit_width - signed
    if pa.types.is_integer(new):
        new_signed = pa.types.is_signed_integer(new)
        return bool(new.bit_width - new_signed >= bits and (new_signed or not signed))
    if pa.types.is_floating(new):
        return bool(_EXACT_BITS.get(new.bit_width, 0) >= bits)
    if pa.types.is_decimal(new):
        digits = _DIGITS[old.bit_width] + (old.bit_width == 64 and not signed)
        return bool(new.precision - new.scale >= digits)
    return False


def _fields_apart(old: pa.Schema | pa.StructType, new: pa.Schema | pa.StructType, prefix: str) -> list[str]:
    reasons = []
    before = {field.name: field for field in old}
    for field in new:
        path = prefix + field.name
        if field.name in before:
            reasons += _field_apart(before[field.name], field, path)
        elif not field.nullable:
            reasons.append(f"field {path!r} is new and required: old rows do not have it; make it nullable")
    return reasons


def _field_apart(old: pa.Field, new: pa.Field, path: str) -> list[str]:
    reasons = []
    if old.nullable and not new.nullable:
        reasons.append(f"field {path!r} becomes required: old rows may have nulls there; keep it nullable")
    return reasons + _types_apart(old.type, new.type, path)


def _types_apart(old: pa.DataType, new: pa.DataType, path: str) -> list[str]:
    if is_list(old) and is_list(new):
        apart = _field_apart(old.value_field, new.value_field, f"{path}[]")
        return apart if _list_widens(old, new) else [_change(old, new, path, "lists of another length"), *apart]
    if pa.types.is_struct(old) and pa.types.is_struct(new):
        return _fields_apart(old, new, f"{path}.")
    if widens(old, new):
        return []
    why = "which does not hold all old values" if is_castable(old, new) else "which is another kind of value"
    return [_change(old, new, path, why)]


def _list_widens(old: pa.DataType, new: pa.DataType) -> bool:
    if pa.types.is_fixed_size_list(new):
        return bool(pa.types.is_fixed_size_list(old) and old.list_size == new.list_size)
    return list_word(new) == "large_list" or list_word(old) != "large_list"


def _change(old: pa.DataType, new: pa.DataType, path: str, why: str) -> str:
    return f"field {path!r} changes from {type_text(old)} to {type_text(new)}, {why}; add a new field instead"
