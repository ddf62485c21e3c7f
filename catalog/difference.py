"""What a declaration would change in the catalog, said in words for people and for continuous integration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from catalog.specs import EntitySpec, OperatorSpec, StreamSpec, to_dict

Action = Literal["add", "change", "remove"]
What = Literal["entity", "stream", "field", "contract", "operator", "pipeline"]


@dataclass(frozen=True)
class Difference:
    action: Action
    what: What
    name: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.action} {self.what} {self.name}" + (f": {self.detail}" if self.detail else "")


def of_entity(addition: EntitySpec, *, known: bool) -> Difference:
    said = [f"synonyms {', '.join(addition.synonyms)}"] if addition.synonyms else []
    said += ["description"] if addition.description and known else []
    return Difference("change" if known else "add", "entity", addition.name, "; ".join(said))


def of_stream(old: StreamSpec | None, new: StreamSpec) -> list[Difference]:
    """Nothing if both declare the same."""
    if old is None:
        return [
            Difference("add", "stream", new.name, f"{new.kind}, {len(new.fields)} fields, owner {new.owner or '-'}")
        ]
    before, after = to_dict(old), to_dict(new)
    found = [
        Difference("change", "stream", new.name, f"{name}: {_shown(before[name])} -> {_shown(after[name])}")
        for name in after
        if name not in ("fields", "schema", "fingerprint", "contract") and before[name] != after[name]
    ]
    fields = list(_of_fields(new.name, before["fields"], after["fields"]))
    if old.fingerprint != new.fingerprint and not fields:
        found.append(Difference("change", "stream", new.name, "schema"))
    if before["contract"] != after["contract"]:
        action: Action = "add" if old.contract is None else "remove" if new.contract is None else "change"
        found.append(Difference(action, "contract", new.name))
    return found + fields


def of_operator(old: OperatorSpec | None, new: OperatorSpec) -> list[Difference]:
    """Nothing if both declare the same."""
    if old is None:
        inputs = ", ".join(one.stream for one in new.inputs) or "-"
        outputs = ", ".join(one.stream for one in new.outputs) or "-"
        return [Difference("add", "operator", new.name, f"{new.kind}: {inputs} -> {outputs}")]
    before, after = to_dict(old), to_dict(new)
    said = []
    for name in after:
        if before[name] == after[name]:
            continue
        if name in ("inputs", "outputs"):
            was, now = {one["stream"] for one in before[name]}, {one["stream"] for one in after[name]}
            moved = [f"+{one}" for one in sorted(now - was)] + [f"-{one}" for one in sorted(was - now)]
            said.append(f"{name} {' '.join(moved) or 'read or derived otherwise'}")
        elif name == "params":
            said.append("params")
        else:
            said.append(f"{name} {_shown(before[name])} -> {_shown(after[name])}")
    return [Difference("change", "operator", new.name, "; ".join(said))] if said else []


def _of_fields(stream: str, before: list[dict[str, Any]], after: list[dict[str, Any]]) -> Iterator[Difference]:
    old: Mapping[str, dict[str, Any]] = {one["name"]: one for one in before}
    new: Mapping[str, dict[str, Any]] = {one["name"]: one for one in after}
    for name, one in new.items():
        if name not in old:
            yield Difference("add", "field", f"{stream}.{name}", one["type"])
        elif one != old[name]:
            changed = [
                f"{key}: {_shown(old[name][key])} -> {_shown(one[key])}" for key in one if one[key] != old[name][key]
            ]
            yield Difference("change", "field", f"{stream}.{name}", "; ".join(changed))
    for name in old.keys() - new.keys():
        yield Difference("remove", "field", f"{stream}.{name}")
    if old.keys() == new.keys() and list(old) != list(new):
        yield Difference("change", "stream", stream, "order of fields")


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(str(item) for item in value) or "-"
    return "-" if value in (None, "") else str(value)
