"""What a stream's rows look like: an Arrow schema in canonical form, its text for the catalog, its fingerprint.

How versions follow each other is in `evolution`, how data are made to fit in `conform`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, is_dataclass
from functools import cached_property
from typing import Any

import orjson
import pyarrow as pa

from streams.declared import fields_of
from streams.types import (
    DESCRIPTION,
    SchemaError,
    canonical_fields,
    is_list,
    list_type,
    list_word,
    nullable_throughout,
    parse_type,
    type_text,
)

__all__ = ["Schema", "SchemaError", "parse_type", "type_text"]


@dataclass(frozen=True)
class Schema:
    """An Arrow schema that a stream can carry: flat or nested, every timestamp in UTC.

    It is made canonical on construction: timestamps of other zones become UTC (the same instants), list items are
    called `item`, and of all metadata only fields' `description` stays. Two schemas are equal if their fields
    are, descriptions aside. SchemaError for a naive timestamp, a dictionary, extension, union or map type, an
    empty or repeated name, or no field at all.
    """

    arrow: pa.Schema

    def __post_init__(self) -> None:
        if not len(self.arrow):
            raise SchemaError("There are no fields", where="schema", fix="Declare at least one field.")
        object.__setattr__(self, "arrow", pa.schema(canonical_fields(self.arrow, "")))

    @classmethod
    def of(cls, declared: type | pa.Schema | Schema) -> Schema:
        """The schema that a dataclass, a `pa.Schema` or another Schema declares.

        A dataclass's fields may be str, int, float, bool, bytes, datetime (`timestamp[us, UTC]`), date, time,
        timedelta, Decimal (`decimal128(38, 9)`), list[X], another dataclass, and `Annotated[X, ...]` with an Arrow
        type, a description or both. Fields are required unless they are `X | None`.
        """
        if isinstance(declared, Schema):
            return declared
        if isinstance(declared, pa.Schema):
            return cls(declared)
        if isinstance(declared, type) and is_dataclass(declared):
            return cls(pa.schema(fields_of(declared)))
        raise SchemaError(
            "This does not declare a schema",
            where=repr(declared),
            fix="Give a dataclass (the class itself) or a pa.schema.",
        )

    @classmethod
    def parse(cls, text: str) -> Schema:
        """The schema whose `text` this is. SchemaError if it is not one."""
        try:
            return cls(pa.schema([_field_from(described) for described in orjson.loads(text)["fields"]]))
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise SchemaError(
                f"This is not the text of a schema: {error!r}",
                where=repr(text[:60]),
                fix="Take it from `Schema.text`; it was damaged or cut.",
            ) from error

    @cached_property
    def text(self) -> str:
        """Canonical JSON: names, types, nullability and descriptions; equal schemas with equal descriptions have
        equal texts, in every version of Headwater and Arrow."""
        return orjson.dumps({"fields": [_described(field) for field in self.arrow]}).decode()

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the text without descriptions."""
        bare = {"fields": [_described(field, descriptions=False) for field in self.arrow]}
        return hashlib.sha256(orjson.dumps(bare)).hexdigest()

    @cached_property
    def guarded(self) -> tuple[tuple[int, pa.Field, bool], ...]:
        """The fields that are required or have required fields inside: position, field, and whether they are nested."""
        return tuple(
            (at, field, pa.types.is_nested(field.type))
            for at, field in enumerate(self.arrow)
            if not nullable_throughout(field)
        )

    @property
    def names(self) -> list[str]:
        return list(self.arrow.names)

    def select(self, names: Iterable[str]) -> Schema:
        """The schema of these fields, in this order. SchemaError for a name that it does not have."""
        chosen = list(names)
        for name in chosen:
            if name not in self.arrow.names:
                raise SchemaError(
                    "There is no such field", where=f"field {name!r}", fix=f"There are {', '.join(self.names)}."
                )
        return Schema(pa.schema([self.arrow.field(name) for name in chosen]))

    def described(self, descriptions: Mapping[str, str]) -> Schema:
        """The same schema with these descriptions by field name. SchemaError for a name that it does not have."""
        self.select(descriptions)
        return Schema(
            pa.schema(
                [
                    field.with_metadata({DESCRIPTION: descriptions[field.name].encode()})
                    if field.name in descriptions
                    else field
                    for field in self.arrow
                ]
            )
        )


def _described(field: pa.Field, *, descriptions: bool = True) -> dict[str, Any]:
    return {"name": field.name, **_described_field(field, descriptions)}


def _described_field(field: pa.Field, descriptions: bool) -> dict[str, Any]:
    kind = field.type
    found: dict[str, Any] = {"nullable": field.nullable}
    if is_list(kind):
        found["type"] = list_word(kind)
        found["item"] = _described_field(kind.value_field, descriptions)
        if pa.types.is_fixed_size_list(kind):
            found["size"] = kind.list_size
    elif pa.types.is_struct(kind):
        found["type"] = "struct"
        found["fields"] = [_described(child, descriptions=descriptions) for child in kind]
    else:
        found["type"] = type_text(kind)
    if descriptions and field.metadata:
        found["description"] = field.metadata[DESCRIPTION].decode()
    return found


def _field_from(described: dict[str, Any], name: str | None = None) -> pa.Field:
    word = described["type"]
    if word == "struct":
        kind = pa.struct([_field_from(child) for child in described["fields"]])
    elif "item" in described:
        kind = list_type(word, _field_from(described["item"], "item"), described.get("size", 0))
    else:
        kind = parse_type(word)
    metadata = {DESCRIPTION: described["description"].encode()} if "description" in described else None
    return pa.field(name or described["name"], kind, described["nullable"], metadata)
