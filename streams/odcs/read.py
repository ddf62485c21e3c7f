"""From a contract file to a declared stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import pyarrow as pa

from catalog.specs import Kind, Role
from streams.duration import DurationError, parse_duration
from streams.odcs.document import Document, Place, custom, load_document, mappings_at, text_at
from streams.odcs.quality import Located, rules_of_property, rules_of_quality
from streams.odcs.types import field_of
from streams.rule import ContractError, Rule
from streams.schema import Schema, SchemaError
from streams.stream import Stream
from streams.window_rules import Covered, Unique

CODECS: Final = ("arrow", "avro", "json")


def read_contract(source: str | Path, *, kind: Kind | None = None) -> Stream:
    """The stream that a contract file declares; its first schema object.

    `source` is a Path (or text ending in .yaml, .yml or .json), or the document itself. `kind` overrides the
    document's. ContractError says the file, the path in the document and what to do.
    """
    document, place = load_document(source)
    return reading(document, place, kind).stream


@dataclass(frozen=True)
class Reading:
    """The stream, the rules with the places that state them, and the object and properties that they are in."""

    stream: Stream
    located: tuple[Located, ...]
    object: Document
    properties: dict[str, Document]


def reading(document: Document, place: Place, kind: Kind | None = None, *, check: bool = True) -> Reading:
    """`check` false: do not ask whether the rules fit the schema."""
    objects = mappings_at(document, "schema", place)
    if not objects:
        raise place.error("The contract describes no data", "Add `schema` with one object and its properties.")
    described, where = objects[0]
    name = text_at(described, "name", where)
    properties = mappings_at(described, "properties", where)
    if not properties:
        raise where.error(f"{name!r} has no properties", "Add `properties`, one for each field.")
    fields = [field_of(entry, at) for entry, at in properties]
    try:
        schema = Schema(pa.schema(fields))
    except SchemaError as error:
        raise where.at("properties").error(error.what, error.fix or "Change the property.") from error
    settings = _Settings(document, described, where, schema.arrow)
    time = settings.time()
    kind = kind or settings.kind()
    windows = time is not None and kind == "stream"
    located = [rule for entry, at in properties for rule in rules_of_property(entry, at, windows=windows)]
    located += rules_of_quality(described, None, where, windows=windows)
    if check:
        _check(located, schema.arrow, time)
    entities = {entry["name"]: custom(entry, "entity") for entry, _ in properties if custom(entry, "entity")}
    stream = Stream(
        name,
        schema,
        key=settings.key(kind, [entry for entry, _ in properties]),
        time=time,
        kind=kind,
        codec=settings.codec(kind),
        partitions=settings.partitions(),
        entities=entities,
        expect=_ordered([rule for entry in located for rule in entry.rules], settings.value("order") or ()),
        owner=settings.owner(),
        description=settings.description(),
        lateness=settings.duration("lateness") or 0,
        retention=settings.duration("retention"),
        tags=settings.tags(),
        addresses=settings.names("addresses"),
        role=cast(Role, str(settings.value("role") or "data")),
    )
    return Reading(stream, tuple(located), described, {entry["name"]: entry for entry, _ in properties})


@dataclass(frozen=True)
class _Settings:
    """What the standard has no word for: our custom properties, of the object or of the whole document."""

    document: Document
    object: Document
    place: Place
    schema: pa.Schema

    def value(self, name: str) -> Any:
        return custom(self.object, name, custom(self.document, name))

    def error(self, name: str, what: str, fix: str) -> ContractError:
        return self.place.at(f"customProperties[headwater.{name}]").error(what, fix)

    def names(self, name: str) -> tuple[str, ...]:
        value = self.value(name)
        names = (value,) if isinstance(value, str) else tuple(value or ())
        for field in names:
            if field not in self.schema.names:
                raise self.error(
                    name, f"There is no property {field!r}", f"The properties are {', '.join(self.schema.names)}."
                )
        return names

    def key(self, kind: Kind, properties: Sequence[Document]) -> tuple[str, ...]:
        primary = [entry for entry in properties if entry.get("primaryKey") is True]
        primary.sort(key=lambda entry: entry.get("primaryKeyPosition", -1))
        key = self.names("key") if self.value("key") is not None else tuple(entry["name"] for entry in primary)
        if kind == "table" and not key:
            raise self.place.error(
                "A table needs a key", "Mark it with `primaryKey: true`, or add the custom property headwater.key."
            )
        return key

    def time(self) -> str | None:
        names = self.names("time")
        if not names:
            return None
        kind = self.schema.field(names[0]).type
        if len(names) > 1 or not pa.types.is_timestamp(kind):
            raise self.error(
                "time", f"The event time {', '.join(names)} is not a timestamp but {kind}", "Name one timestamp."
            )
        return names[0]

    def kind(self) -> Kind:
        value: Any = self.value("kind") or ("table" if self.object.get("physicalType") == "table" else "stream")
        if value not in ("stream", "table"):
            raise self.error("kind", f"{value!r} is not a kind of stream", "Write stream or table.")
        return "table" if value == "table" else "stream"

    def codec(self, kind: Kind) -> Any:
        value = self.value("codec")
        if value is None:
            servers = mappings_at(self.document, "servers", self.place)
            formats = [server.get("format") for server, _ in servers if server.get("type") == "kafka"]
            default = "avro" if kind == "table" else "arrow"
            return next((each for each in formats if each in ("avro", "json")), default)
        if value not in CODECS:
            raise self.error("codec", f"{value!r} is not a codec", f"Write one of {', '.join(CODECS)}.")
        return value

    def partitions(self) -> int:
        value = self.value("partitions")
        if value is None:
            return Stream.partitions
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.error("partitions", f"{value!r} is not a number of partitions", "Write a whole number from 1.")
        return value

    def duration(self, name: str) -> int | None:
        value = self.value(name)
        try:
            return None if value is None else parse_duration(value)
        except DurationError as error:
            raise self.error(name, error.what, error.fix or "") from error

    def owner(self) -> str:
        stated = self.value("owner")
        team = self.document.get("team")
        if stated is None and isinstance(team, dict):
            stated = team.get("name")
        elif stated is None and isinstance(team, list):
            owners = [m.get("username") for m in team if isinstance(m, dict) and m.get("role") == "owner"]
            stated = next(iter(owners), None)
        return str(stated or "")

    def tags(self) -> tuple[str, ...]:
        value = self.object.get("tags") or self.document.get("tags") or ()
        return (value,) if isinstance(value, str) else tuple(map(str, value))

    def description(self) -> str:
        described = self.document.get("description")
        purpose = described.get("purpose") if isinstance(described, dict) else described
        return str(self.object.get("description") or purpose or "")


def _check(located: Sequence[Located], schema: pa.Schema, time: str | None) -> None:
    for entry in located:
        for rule in entry.rules:
            try:
                rule.check(schema, str(entry.place))
            except ContractError as error:
                raise entry.place.error(error.what, error.fix or "Mend the rule.") from error
            if time is None and isinstance(rule, Unique | Covered):
                raise entry.place.error(
                    f"The rule {rule.name} needs an event time", "Add the custom property headwater.time to the object."
                )


def _ordered(rules: Sequence[Rule], names: Sequence[str]) -> tuple[Rule, ...]:
    """In the order that the document states, which no list of properties can; the rest behind it."""
    places = {name: number for number, name in enumerate(names)}
    return tuple(sorted(rules, key=lambda rule: places.get(rule.name, len(places))))
