"""The Arrow types that a stream can carry, their canonical form, and their names as text."""

from __future__ import annotations

import re
from typing import Any, Final

import orjson
import pyarrow as pa

from catalog.errors import HeadwaterError

DESCRIPTION: Final = b"description"


class SchemaError(HeadwaterError):
    """A schema that a stream cannot have, or rows that do not fit theirs."""

    exit_code = 2


def type_text(kind: pa.DataType) -> str:
    """A type's name: `int64`, `timestamp[us, UTC]`, `list<string not null>`, `struct<a: int64, b: date32>`.

    `parse_type` reads it back. SchemaError if a stream cannot carry the type.
    """
    if is_list(kind):
        size = f", {kind.list_size}" if pa.types.is_fixed_size_list(kind) else ""
        return f"{list_word(kind)}<{_with_nullability(kind.value_field)}{size}>"
    if pa.types.is_struct(kind):
        return f"struct<{', '.join(f'{_name_text(f.name)}: {_with_nullability(f)}' for f in kind)}>"
    return _leaf_text(canonical_type(kind, ""))


def parse_type(text: str) -> pa.DataType:
    """The type that `type_text` named. SchemaError that shows where the text stops making sense."""
    reader = _Reader(text)
    kind = reader.type()
    reader.end()
    return canonical_type(kind, "")


def canonical_field(field: pa.Field, path: str) -> pa.Field:
    """The field with its canonical type and, of its metadata, only the description."""
    kept = {key: value for key, value in (field.metadata or {}).items() if key == DESCRIPTION}
    return pa.field(field.name, canonical_type(field.type, path), field.nullable, kept or None)


def canonical_type(kind: pa.DataType, path: str) -> pa.DataType:
    """The type with every timestamp in UTC and list items named `item`. SchemaError names `path` and says
    what to declare instead, if a stream cannot carry the type."""
    if is_list(kind):
        return _list_of(kind, canonical_field(kind.value_field.with_name("item"), f"{path}[]"))
    if pa.types.is_struct(kind):
        if not kind.num_fields:
            raise _refused(kind, path, "A struct needs at least one field.")
        return pa.struct(canonical_fields(kind, f"{path}."))
    if pa.types.is_timestamp(kind):
        if kind.tz is None:
            fix = f'Say what the times mean: pa.timestamp("{kind.unit}", "UTC"), and convert them to UTC.'
            raise _refused(kind, path, fix, "has no time zone")
        return pa.timestamp(kind.unit, "UTC")
    if not _is_carried(kind):
        raise _refused(kind, path, _instead(kind))
    return kind


def canonical_fields(fields: Any, prefix: str) -> list[pa.Field]:
    """The fields of a schema or struct in canonical form; SchemaError for a name that is empty or used twice."""
    found: dict[str, pa.Field] = {}
    for field in fields:
        path = prefix + field.name
        if not field.name:
            raise SchemaError("A field has no name", where=prefix.rstrip(".") or "schema", fix="Name every field.")
        if field.name in found:
            raise SchemaError("Two fields have the same name", where=f"field {path!r}", fix="Rename one of them.")
        found[field.name] = canonical_field(field, path)
    return list(found.values())


def is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def is_nested(kind: pa.DataType) -> bool:
    return is_list(kind) or bool(pa.types.is_struct(kind))


def nullable_throughout(field: pa.Field) -> bool:
    """True if neither the field nor any field inside it is required."""
    if not field.nullable:
        return False
    if is_list(field.type):
        return nullable_throughout(field.type.value_field)
    return not pa.types.is_struct(field.type) or all(map(nullable_throughout, field.type))


def list_word(kind: pa.DataType) -> str:
    if pa.types.is_fixed_size_list(kind):
        return "fixed_size_list"
    return "large_list" if pa.types.is_large_list(kind) else "list"


def list_type(word: str, item: pa.Field, size: int) -> pa.DataType:
    if word == "fixed_size_list":
        return pa.list_(item, size)
    return pa.large_list(item) if word == "large_list" else pa.list_(item)


_SIMPLE: Final = {
    "bool": pa.bool_(),
    "int8": pa.int8(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "uint8": pa.uint8(),
    "uint16": pa.uint16(),
    "uint32": pa.uint32(),
    "uint64": pa.uint64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "string": pa.string(),
    "large_string": pa.large_string(),
    "binary": pa.binary(),
    "large_binary": pa.large_binary(),
    "date32": pa.date32(),
}
_SIMPLE_TEXT: Final = {kind: text for text, kind in _SIMPLE.items()}
_IN_UNITS: Final = {"timestamp": pa.timestamp, "time32": pa.time32, "time64": pa.time64, "duration": pa.duration}


def _is_carried(kind: pa.DataType) -> bool:
    return (
        kind in _SIMPLE_TEXT
        or pa.types.is_time(kind)
        or pa.types.is_duration(kind)
        or pa.types.is_decimal128(kind)
        or pa.types.is_decimal256(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def _instead(kind: pa.DataType) -> str:
    if pa.types.is_dictionary(kind):
        return f"Declare {kind.value_type}, the type of the values: codecs find repeated values themselves."
    if isinstance(kind, pa.BaseExtensionType):
        return f"Declare {kind.storage_type}, the type that it is stored as."
    if pa.types.is_map(kind):
        return "Declare a list of structs with a key and a value."
    if pa.types.is_float16(kind):
        return "Declare float32."
    if pa.types.is_date64(kind):
        return "Declare date32."
    if pa.types.is_decimal(kind):
        return "Declare decimal128."
    if pa.types.is_string_view(kind):
        return "Declare string."
    if pa.types.is_binary_view(kind):
        return "Declare binary."
    if pa.types.is_union(kind):
        return "Declare one field for each kind of value."
    return f"Declare one of {', '.join(_SIMPLE)}, timestamp, time, duration, decimal, list or struct."


def _refused(kind: pa.DataType, path: str, fix: str, why: str = "cannot be carried by a stream") -> SchemaError:
    return SchemaError(f"Type {kind} {why}", where=f"field {path!r}" if path else None, fix=fix)


def _list_of(kind: pa.DataType, item: pa.Field) -> pa.DataType:
    return list_type(list_word(kind), item, kind.list_size if pa.types.is_fixed_size_list(kind) else 0)


def _leaf_text(kind: pa.DataType) -> str:
    if kind in _SIMPLE_TEXT:
        return _SIMPLE_TEXT[kind]
    if pa.types.is_timestamp(kind):
        return f"timestamp[{kind.unit}, UTC]"
    if pa.types.is_duration(kind):
        return f"duration[{kind.unit}]"
    if pa.types.is_time(kind):
        return f"time{kind.bit_width}[{kind.unit}]"
    if pa.types.is_decimal(kind):
        return f"decimal{kind.bit_width}({kind.precision}, {kind.scale})"
    return f"fixed_size_binary({kind.byte_width})"


def _with_nullability(field: pa.Field) -> str:
    return type_text(field.type) + ("" if field.nullable else " not null")


def _name_text(name: str) -> str:
    return name if _WORD.fullmatch(name) else orjson.dumps(name).decode()


_WORD: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_NUMBER: Final = re.compile(r"-?\d+", re.ASCII)
_SPACE: Final = re.compile(r"\s*")


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def type(self) -> pa.DataType:
        start = self.at
        word = self._take(_WORD, "a type")
        if word in _SIMPLE:
            return _SIMPLE[word]
        try:
            return self._with_parameters(word, start)
        except (ValueError, KeyError, pa.ArrowException) as error:
            raise self._wrong(str(error), start) from error

    def end(self) -> None:
        self._skip()
        if self.at < len(self.text):
            raise self._wrong("nothing more was expected", self.at)

    def _with_parameters(self, word: str, start: int) -> pa.DataType:
        if word in _IN_UNITS:
            self._expect("[")
            unit = self._take(_WORD, "a unit")
            if word == "timestamp":
                self._expect(",")
                self._expect("UTC")
                self._expect("]")
                return pa.timestamp(unit, "UTC")
            self._expect("]")
            return _IN_UNITS[word](unit)
        if word in ("decimal128", "decimal256"):
            self._expect("(")
            precision = self._number()
            self._expect(",")
            scale = self._number()
            self._expect(")")
            return (pa.decimal128 if word == "decimal128" else pa.decimal256)(precision, scale)
        if word == "fixed_size_binary":
            self._expect("(")
            width = self._number()
            self._expect(")")
            return pa.binary(width)
        if word in ("list", "large_list", "fixed_size_list"):
            self._expect("<")
            item = self._field("item")
            size = 0
            if word == "fixed_size_list":
                self._expect(",")
                size = self._number()
            self._expect(">")
            return list_type(word, item, size)
        if word == "struct":
            return self._struct()
        raise self._wrong(f"there is no {word!r}", start)

    def _struct(self) -> pa.DataType:
        self._expect("<")
        fields = []
        while True:
            self._skip()
            quoted = self.text[self.at : self.at + 1] == '"'
            name = orjson.loads(self._take(_QUOTED, "a name")) if quoted else self._take(_WORD, "a name")
            self._expect(":")
            fields.append(self._field(name))
            if not self._accept(","):
                break
        self._expect(">")
        return pa.struct(fields)

    def _field(self, name: str) -> pa.Field:
        kind = self.type()
        required = self._accept("not")
        if required:
            self._expect("null")
        return pa.field(name, kind, not required)

    def _number(self) -> int:
        return int(self._take(_NUMBER, "a number"))

    def _take(self, pattern: re.Pattern[str], expected: str) -> str:
        self._skip()
        found = pattern.match(self.text, self.at)
        if not found:
            raise self._wrong(f"{expected} was expected", self.at)
        self.at = found.end()
        return found.group()

    def _accept(self, token: str) -> bool:
        self._skip()
        if not self.text.startswith(token, self.at):
            return False
        self.at += len(token)
        return True

    def _expect(self, token: str) -> None:
        if not self._accept(token):
            raise self._wrong(f"{token!r} was expected", self.at)

    def _skip(self) -> None:
        found = _SPACE.match(self.text, self.at)
        self.at = found.end() if found else self.at

    def _wrong(self, why: str, at: int) -> SchemaError:
        return SchemaError(
            f"{self.text!r} is not a type: {why}",
            where=f"character {at + 1}",
            fix="Types are written as int64, timestamp[us, UTC], decimal128(10, 2), list<string> or struct<a: int64>.",
        )
