"""From a declared stream to a contract file, changing in a given document only what does not say the same already."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable
from typing import Any, Final

from streams.duration import duration_text
from streams.odcs.document import Document, Place, custom, dump_document, set_custom
from streams.odcs.quality import state
from streams.odcs.read import Reading, reading
from streams.odcs.types import describe, described_anew
from streams.rule import Rule
from streams.stream import Stream

API_VERSION: Final = "v3.1.0"


def write_contract(stream: Stream, document: Document | None = None) -> str:
    """The stream's contract as a file of the standard.

    With the `document` that it was read from, everything in it that we do not interpret is kept, and nothing is
    rewritten that already says what the stream is. Comments and layout of the original text are not part of a document.
    """
    whole = copy.deepcopy(document) if document is not None else _bare(stream)
    _write_fields(stream, whole)
    for name, write in _SETTINGS.items():
        if getattr(_read(whole), name) != getattr(stream, name):
            write(whole, stream)
    _write_rules(stream, reading(whole, _PLACE, stream.kind, check=False))
    if _read(whole).expect != stream.expect:
        set_custom(whole["schema"][0], "order", [rule.name for rule in stream.expect])
    return dump_document(whole)


def _read(whole: Document) -> Stream:
    return reading(whole, _PLACE, check=False).stream


def _bare(stream: Stream) -> Document:
    return {
        "apiVersion": API_VERSION,
        "kind": "DataContract",
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"headwater:{stream.name}")),
        "name": stream.name,
        "version": "1.0.0",
        "status": "active",
        "schema": [{"name": stream.name, "logicalType": "object", "physicalType": _physical(stream)}],
    }


def _physical(stream: Stream) -> str:
    return "table" if stream.kind == "table" else "topic"


def _write_fields(stream: Stream, whole: Document) -> None:
    described = whole["schema"][0]
    described["name"] = stream.name
    there = {entry["name"]: entry for entry in described.get("properties") or ()}
    properties = []
    for field in stream.schema.arrow:
        entry = there.get(field.name)
        if entry is None:
            entry = described_anew(field)
        else:
            describe(field, entry)
        properties.append(entry)
    described["properties"] = properties
    for setting in ("key", "time", "addresses"):
        names = custom(described, setting)
        if names is not None and not set([names] if isinstance(names, str) else names) <= set(
            stream.schema.arrow.names
        ):
            set_custom(described, setting, None)
    if stream.kind == "table" and stream.key:
        for position, name in enumerate(stream.key, start=1):
            entry = next(entry for entry in properties if entry["name"] == name)
            if entry.get("primaryKey") is not True:
                entry.update(primaryKey=True, primaryKeyPosition=position)


def _write_rules(stream: Stream, there: Reading) -> None:
    kept: set[Rule] = set()
    for located in there.located:
        if all(rule in stream.expect for rule in located.rules):
            kept.update(located.rules)
        else:
            located.remove()
    for rule in stream.expect:
        if rule not in kept:
            state(rule, there.object, there.properties)


def _setting(name: str, value: Callable[[Stream], Any]) -> Callable[[Document, Stream], None]:
    return lambda whole, stream: set_custom(whole["schema"][0], name, value(stream))


def _write_entities(whole: Document, stream: Stream) -> None:
    for entry in whole["schema"][0]["properties"]:
        set_custom(entry, "entity", stream.entities.get(entry["name"]))


def _write_owner(whole: Document, stream: Stream) -> None:
    team = whole.setdefault("team", {})
    if isinstance(team, dict):
        team["name"] = stream.owner
    if isinstance(team, list) or _read(whole).owner != stream.owner:
        set_custom(whole["schema"][0], "owner", stream.owner)


def _write_description(whole: Document, stream: Stream) -> None:
    whole["schema"][0]["description"] = stream.description


def _write_tags(whole: Document, stream: Stream) -> None:
    whole["schema"][0]["tags"] = list(stream.tags)


_PLACE: Final = Place("the contract")
_SETTINGS: Final[dict[str, Callable[[Document, Stream], None]]] = {
    "kind": _setting("kind", lambda stream: stream.kind),
    "key": _setting("key", lambda stream: list(stream.key)),
    "time": _setting("time", lambda stream: stream.time),
    "codec": _setting("codec", lambda stream: stream.codec),
    "partitions": _setting("partitions", lambda stream: stream.partitions),
    "lateness": _setting("lateness", lambda stream: duration_text(stream.lateness)),
    "retention": _setting(
        "retention", lambda stream: None if stream.retention is None else duration_text(stream.retention)
    ),
    "addresses": _setting("addresses", lambda stream: list(stream.addresses)),
    "role": _setting("role", lambda stream: stream.role),
    "entities": _write_entities,
    "owner": _write_owner,
    "description": _write_description,
    "tags": _write_tags,
}
