"""Columns of one type made to fit another, value by value checked: what conforming and projecting have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from streams.nested import list_array, list_lengths
from streams.types import SchemaError, is_list, list_type, list_word, type_text

#: Converts an array without nested values to a type; raises pa.ArrowInvalid where a value cannot be converted.
Cast = Callable[[pa.Array, pa.DataType], pa.Array]
#: From a position in the array at hand to the number of the row it belongs to.
RowOf = Callable[[int], int]


@dataclass(frozen=True, slots=True)
class Fitting:
    """How strictly columns are made to fit.

    `strict`: a struct's field that is not wanted, or is missing though required, is an error, and the result has
    exactly the wanted type. Otherwise fields are dropped, filled with nulls, and declared nullable where nulls may be.
    Errors count rows from `first`.
    """

    where: str | None
    strict: bool
    first: int = 0

    def column(self, column: pa.Array, wanted: pa.Field, path: str, row_of: RowOf) -> pa.Array:
        """The column with the wanted field's type. SchemaError names path, row and value."""
        kind = column.type
        if kind == wanted.type:
            return column
        if isinstance(kind, pa.BaseExtensionType):
            return self.column(column.storage, wanted, path, row_of)
        if pa.types.is_dictionary(kind):
            return self.column(column.dictionary_decode(), wanted, path, row_of)
        if pa.types.is_null(kind):
            return pa.nulls(len(column), wanted.type)
        if is_any_list(kind) and is_list(wanted.type):
            return self._list(column, wanted, path, row_of)
        if pa.types.is_struct(kind) and pa.types.is_struct(wanted.type):
            return self._struct(column, wanted, path, row_of)
        return self._leaf(column, wanted.type, path, row_of)

    def missing(self, wanted: pa.Field, path: str, given: list[str]) -> None:
        """Raise if a field that is not there must be."""
        if self.strict and not wanted.nullable:
            raise self.error(
                "A required field is missing", path, f"Give it a value, or declare it nullable. {_likely(path, given)}"
            )

    def extra(self, path: str, wanted: list[str]) -> None:
        """Raise if a field that nobody wants must not be there."""
        if self.strict:
            raise self.error("The schema has no such field", path, f"Leave it out. {_likely(path, wanted)}")

    def error(self, what: str, path: str, fix: str, row: int | None = None) -> SchemaError:
        place = f"field {path!r}" + ("" if row is None else f", row {self.first + row}")
        return SchemaError(what, where=f"{self.where}, {place}" if self.where else place, fix=fix.strip())

    def _leaf(self, column: pa.Array, to: pa.DataType, path: str, row_of: RowOf) -> pa.Array:
        if pa.types.is_timestamp(column.type) and column.type.tz is None and pa.types.is_timestamp(to):
            raise self.error(
                "The timestamps have no time zone",
                path,
                'Attach the zone that they were taken in, for example pc.assume_timezone(column, "UTC").',
                row_of(_first_value(column)) if len(column) else None,
            )
        if not is_castable(column.type, to):
            raise self.error(
                f"The data are {column.type}, the schema says {type_text(to)}",
                path,
                "Convert the column first: only conversions that keep every value are made for you.",
            )
        try:
            return cast_exactly(column, to)
        except pa.ArrowInvalid as error:
            at = first_failing(column, lambda part: cast_exactly(part, to))
            raise self.error(
                f"{column[at].as_py()!r} does not fit {type_text(to)}",
                path,
                "Correct the value, or declare a wider type.",
                row_of(at),
            ) from error

    def _list(self, column: pa.Array, wanted: pa.Field, path: str, row_of: RowOf) -> pa.Array:
        parents = pc.list_parent_indices(column)
        items = pc.list_flatten(column)
        field = wanted.type.value_field
        items = self.column(items, field, f"{path}[]", lambda at: row_of(parents[at].as_py()))
        nullable = field.nullable or (not self.strict and column.type.value_field.nullable)
        item = pa.field("item", items.type, nullable)
        size = wanted.type.list_size if pa.types.is_fixed_size_list(wanted.type) else 0
        if size:
            self._lengths(column, size, path, row_of)
        return list_array(column, items, list_type(list_word(wanted.type), item, size))

    def _lengths(self, column: pa.Array, size: int, path: str, row_of: RowOf) -> None:
        lengths = list_lengths(column)
        wrong = np.flatnonzero((lengths != size) & column.is_valid().to_numpy(zero_copy_only=False))
        if len(wrong):
            raise self.error(
                f"A list of {lengths[wrong[0]]} does not fit a list of exactly {size}",
                path,
                "Correct the list, or declare a list of any length.",
                row_of(int(wrong[0])),
            )

    def _struct(self, column: pa.Array, wanted: pa.Field, path: str, row_of: RowOf) -> pa.Array:
        given = [field.name for field in column.type]
        names = [field.name for field in wanted.type]
        for name in given:
            if name not in names:
                self.extra(f"{path}.{name}", names)
        children = dict(zip(given, column.flatten(), strict=True))
        columns, fields = [], []
        for field in wanted.type:
            child_path = f"{path}.{field.name}"
            if field.name in children:
                child = self.column(children[field.name], field, child_path, row_of)
                given_nullable = column.type.field(field.name).nullable
            else:
                self.missing(field, child_path, given)
                child = pa.nulls(len(column), field.type)
                given_nullable = True
            columns.append(child)
            fields.append(pa.field(field.name, child.type, field.nullable or (not self.strict and given_nullable)))
        return pa.StructArray.from_arrays(columns, fields=fields, mask=column.is_null())


def first_failing(
    values: Any, attempt: Callable[[Any], object], errors: tuple[type[BaseException], ...] = (pa.ArrowInvalid,)
) -> int:
    """The position of the first value for which `attempt`, given a slice, raises one of the errors, by bisection;
    `attempt` is known to fail on the whole, and to fail on a slice if and only if it fails on one of its values."""
    low, high = 0, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            attempt(values[low:middle])
            low = middle
        except errors:
            high = middle
    return low


def is_castable(given: pa.DataType, to: pa.DataType) -> bool:
    """True if some values of the one type are values of the other, exactly: the rest is checked value by value."""
    if given == to:
        return True
    if pa.types.is_timestamp(given) and pa.types.is_timestamp(to):
        return given.tz is not None
    if pa.types.is_decimal(given) and pa.types.is_floating(to):
        return False
    if pa.types.is_floating(given) and pa.types.is_decimal(to):
        return False
    return any(is_member(given) and is_member(to) for is_member in _FAMILIES)


def cast_exactly(column: pa.Array, to: pa.DataType) -> pa.Array:
    """The column cast to a castable type; pa.ArrowInvalid if a value would change. Floats may round to the nearest
    float of the wanted width, as all arithmetic does, but not to infinity."""
    given = column.type
    if pa.types.is_integer(given) and pa.types.is_decimal(to):
        column = pc.cast(column, pa.decimal256(20 + max(to.scale, 0), max(to.scale, 0)))
    if pa.types.is_decimal(given) and given.bit_width < 128:
        column = pc.cast(column, pa.decimal128(given.precision, given.scale))
    out = pc.cast(column, to, safe=True)
    if pa.types.is_floating(given) and pa.types.is_floating(to):
        grown = pc.and_(pc.is_inf(out), pc.is_finite(column))
        if pc.any(grown).as_py():
            raise pa.ArrowInvalid("a finite float became infinite")
    return out


def is_any_list(kind: pa.DataType) -> bool:
    return is_list(kind) or bool(pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


_FAMILIES: Final[tuple[Callable[[pa.DataType], bool], ...]] = (
    _is_number,
    _is_text,
    _is_bytes,
    pa.types.is_date,
    pa.types.is_time,
    pa.types.is_duration,
)


def _first_value(column: pa.Array) -> int:
    valid = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    return int(valid[0]) if len(valid) else 0


def _likely(path: str, names: list[str]) -> str:
    last = path.rsplit(".", 1)[-1].lower()
    lowered = {name.lower(): name for name in names}
    close = [lowered[name] for name in get_close_matches(last, lowered, n=2)]
    if close:
        return f"Did you mean {' or '.join(map(repr, close))}?"
    return f"There are {', '.join(names)}." if names else ""
