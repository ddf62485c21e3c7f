"""What JSON messages of other people's making look like: fields, how often each is there, and what contradicts."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
import pyarrow as pa

from streams.types import DESCRIPTION

#: A field that is in every message is declared as required if at least so many were looked at.
ENOUGH: Final = 100
#: A field with up to so many texts may say which kind of event a message is.
EVENT_KINDS: Final = 20

_TIMESTAMP: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:?\d\d)")
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")
_LEAVES: Final[Mapping[str, pa.DataType]] = {
    "boolean": pa.bool_(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "timestamp": pa.timestamp("us", "UTC"),
    "date": pa.date32(),
    "text": pa.string(),
}
_EVENT_NAMES: Final = ("type", "event", "event_type", "eventType", "kind", "action")
_SHOWN: Final = 40


@dataclass(frozen=True)
class Conflict:
    """Values of another type than the field's: how many, and one of them."""

    kind: str
    count: int
    example: str


@dataclass(frozen=True)
class FoundField:
    """A field by its path (`customer.address.city`, `lines[].sku`). It is there in `present` of `of` objects that could
    have it, null in `nulls` of these. `type` is None if nothing tells it: such a field is left out."""

    path: str
    type: pa.DataType | None
    present: int
    of: int
    nulls: int
    required: bool
    conflicts: tuple[Conflict, ...]
    example: str


@dataclass(frozen=True)
class Events:
    """Several kinds of events in one topic: `field` says which, with how many messages and the fields of it alone."""

    field: str
    kinds: Mapping[str, tuple[int, tuple[str, ...]]]


@dataclass(frozen=True)
class Inferred:
    """What was found in `messages` messages, of which `not_objects` are no JSON objects."""

    schema: pa.Schema
    fields: tuple[FoundField, ...]
    messages: int
    not_objects: int
    events: Events | None

    @property
    def conflicts(self) -> int:
        return sum(conflict.count for one in self.fields for conflict in one.conflicts)


def infer(values: Sequence[bytes]) -> Inferred:
    """The schema that most of these messages follow, and how far each field goes along with it.

    Whole numbers beside fractions are numbers; texts are timestamps (ISO 8601 with an offset) or dates if all of a
    field are; where types contradict, the one that most have counts and the others are told as conflicts.
    """
    root = _Node()
    objects: list[dict[str, Any]] = []
    # Of a sample: what a message holds is not known before it was looked at.
    for value in values:
        try:
            read = orjson.loads(value)
        except orjson.JSONDecodeError:
            continue
        if isinstance(read, dict):
            root.see(read)
            objects.append(read)
    enough = len(objects) >= ENOUGH
    found = tuple(_found(root, "", enough))
    return Inferred(
        pa.schema(root.fields(enough)), found, len(values), len(values) - len(objects), _events(root, objects)
    )


@dataclass
class _Node:
    """What was seen in one place."""

    kinds: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    children: dict[str, _Node] = field(default_factory=dict)
    items: _Node | None = None

    def see(self, value: Any) -> None:
        kind = _kind(value)
        self.kinds[kind] += 1
        if kind not in self.examples:
            self.examples[kind] = _shown(value)
        if kind == "object":
            for name, inner in value.items():
                self.children.setdefault(name, _Node()).see(inner)
        elif kind == "array":
            self.items = self.items or _Node()
            for inner in value:
                self.items.see(inner)

    @property
    def seen(self) -> int:
        return self.kinds.total()

    def settled(self) -> Counter[str]:
        """How often each kind was seen, null aside; those that one type holds together."""
        kinds = Counter({kind: count for kind, count in self.kinds.items() if kind != "null"})
        if kinds["number"]:
            kinds["number"] += kinds.pop("integer", 0)
        texts = [kind for kind in ("timestamp", "date", "text") if kinds[kind]]
        if len(texts) > 1:
            kinds["text"] = sum(kinds.pop(kind) for kind in texts)
        return +kinds

    def main(self) -> str | None:
        """The kind that most values have."""
        kinds = self.settled()
        return min(kinds, key=lambda kind: (-kinds[kind], kind)) if kinds else None

    def type(self, enough: bool) -> pa.DataType | None:
        kind = self.main()
        if kind == "object":
            fields = self.fields(enough)
            return pa.struct(fields) if fields else None
        if kind == "array":
            inner = self.items.type(enough) if self.items is not None else None
            return pa.list_(inner if inner is not None else pa.string())
        return _LEAVES.get(kind) if kind is not None else None

    def fields(self, enough: bool) -> list[pa.Field]:
        """The fields of objects seen here."""
        of = self.kinds["object"]
        made = []
        for name, child in self.children.items():
            kind = child.type(enough)
            if kind is not None:
                said = child.said(of)
                about = {DESCRIPTION: said.encode()} if said else None
                made.append(pa.field(name, kind, not child.required(of, enough), about))
        return made

    def required(self, of: int, enough: bool) -> bool:
        return enough and self.seen == of and not self.kinds["null"] and not self.conflicts()

    def conflicts(self) -> tuple[Conflict, ...]:
        kinds = self.settled()
        main = self.main()
        return tuple(
            Conflict(kind, count, self.examples.get(kind, "")) for kind, count in kinds.most_common() if kind != main
        )

    def said(self, of: int) -> str:
        """What a reader of the contract should know of the field."""
        parts = []
        if self.seen < of:
            parts.append(f"In {self.seen / of:.1%} of the messages looked at.")
        for one in self.conflicts():
            parts.append(f"In {one.count:,} of {self.seen:,} a value of another type ({one.kind}), like {one.example}.")
        return " ".join(parts)


def _found(node: _Node, path: str, enough: bool) -> Iterator[FoundField]:
    for name, child in node.children.items():
        yield from _with_inner(child, f"{path}{name}", node.kinds["object"], enough)


def _with_inner(node: _Node, path: str, of: int, enough: bool) -> Iterator[FoundField]:
    main = node.main()
    yield FoundField(
        path,
        node.type(enough),
        node.seen,
        of,
        node.kinds["null"],
        node.required(of, enough),
        node.conflicts(),
        node.examples.get(main or "null", ""),
    )
    yield from _found(node, f"{path}.", enough)
    if node.items is not None and node.items.seen:
        inner = node.items
        if inner.main() == "object":
            yield from _found(inner, f"{path}[].", enough)
        elif inner.conflicts():
            yield from _with_inner(inner, f"{path}[]", inner.seen, enough)


def _events(root: _Node, objects: Sequence[dict[str, Any]]) -> Events | None:
    """The field that says which kind of event a message is, if one explains best why some fields are there at times."""
    partial = [name for name, child in root.children.items() if child.seen < len(objects)]
    if not partial:
        return None
    best: tuple[int, bool, str] | None = None
    for name, child in root.children.items():
        if child.seen < len(objects) or set(child.kinds) != {"text"}:
            continue
        counts = Counter(one[name] for one in objects)
        if not 2 <= len(counts) <= EVENT_KINDS:
            continue
        explained = sum(_explains(counts, name, other, objects) for other in partial)
        rank = (explained, name in _EVENT_NAMES, name)
        if explained and (best is None or rank > best):
            best = rank
    if best is None or 2 * best[0] < len(partial):
        return None
    chosen = best[2]
    having: dict[str, set[str]] = defaultdict(set)
    for one in objects:
        for other in partial:
            if other in one:
                having[other].add(one[chosen])
    return Events(
        chosen,
        {
            kind: (count, tuple(sorted(other for other in partial if having[other] == {kind})))
            for kind, count in Counter(one[chosen] for one in objects).most_common()
        },
    )


def _explains(counts: Counter[str], name: str, other: str, objects: Sequence[dict[str, Any]]) -> bool:
    """True if the field `other` is in all messages of a kind, or in none."""
    there = Counter(one[name] for one in objects if other in one)
    return all(there[kind] in (0, count) for kind, count in counts.items())


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer" if -(1 << 63) <= value < 1 << 63 else "integer beyond 64 bits"
        case float():
            return "number"
        case str() if _TIMESTAMP.fullmatch(value):
            return "timestamp"
        case str() if _DATE.fullmatch(value):
            return "date"
        case str():
            return "text"
        case list():
            return "array"
    return "object"


def _shown(value: Any) -> str:
    text = orjson.dumps(value).decode() if not isinstance(value, int) else str(value).lower()
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
