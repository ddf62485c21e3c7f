"""What a contract expects, as rules: the metrics, options and relations of the standard that have a meaning for rows
or windows of a stream. Everything else (row counts, SQL, other tools' checks) is kept in the document, not judged."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from catalog.errors import HeadwaterError
from streams.contract import rule_from_dict
from streams.odcs.document import PREFIX, Document, Place, custom, mappings_at
from streams.rule import ContractError, Rule
from streams.rules import (
    Between,
    Length,
    Matches,
    NoneOf,
    NotNull,
    OneOf,
    between,
    length,
    matches,
    none_of,
    not_null,
    one_of,
)
from streams.window_rules import NullRate, References, Unique, null_rate, references, unique

ENGINE: Final = "headwater"
DEFAULT_WITHIN: Final = "1d"
DEFAULT_OVER: Final = 1000
_LOW: Final = {"minimum": False, "exclusiveMinimum": True}
_HIGH: Final = {"maximum": False, "exclusiveMaximum": True}
_LENGTHS: Final = (("minLength", "maxLength"), ("minItems", "maxItems"))


@dataclass(frozen=True)
class Located:
    """Rules and where the document states them: an entry of a list (`holder[key]` holds `entry`), or keys of a
    mapping that state them together."""

    rules: tuple[Rule, ...]
    place: Place
    holder: Document
    key: str
    entry: Document | None = None
    options: tuple[str, ...] = ()

    def remove(self) -> None:
        """Take what states the rules out of the document."""
        kept: list[Any] | dict[str, Any] = []
        if self.entry is not None:
            kept = [entry for entry in self.holder[self.key] if entry is not self.entry]
        elif self.options:
            kept = {name: value for name, value in self.holder[self.key].items() if name not in self.options}
        if kept:
            self.holder[self.key] = kept
        else:
            self.holder.pop(self.key)


def rules_of_property(described: Document, place: Place, *, windows: bool) -> list[Located]:
    """The rules that a property states. With `windows` false, what needs an event time is not interpreted."""
    name = described["name"]
    with _placed(place.at("logicalTypeOptions")):
        found = _rules_of_options(described, name, place)
    if described.get("unique") is True and windows:
        with _placed(place.at("unique")):
            rule = unique(name, custom(described, "within", DEFAULT_WITHIN))
        found.append(Located((rule,), place.at("unique"), described, "unique"))
    values = [entry.get("value") for entry, _ in mappings_at(described, "enum", place)]
    if any(value is not None for value in values):
        found.append(Located((one_of(name, values),), place.at("enum"), described, "enum"))
    for relation, where in mappings_at(described, "relationships", place):
        target = relation.get("to")
        if relation.get("type", "foreignKey") == "foreignKey" and _is_short(target):
            table, _, key = str(target).rpartition(".")
            found.append(Located((references(name, table, key),), where, described, "relationships", relation))
    return found + rules_of_quality(described, name, place, windows=windows)


def rules_of_quality(holder: Document, field: str | None, place: Place, *, windows: bool) -> list[Located]:
    """The rules that the `quality` entries of a property (or, with field None, of the object) state."""
    found = []
    for entry, where in mappings_at(holder, "quality", place):
        with _placed(where):
            rules = _rules_of_entry(entry, field, where, windows)
        if rules:
            found.append(Located(tuple(rules), where, holder, "quality", entry))
    return found


def state(rule: Rule, object_: Document, properties: Mapping[str, Document]) -> None:
    """Write one rule into the document, in the standard's own words where it has them."""
    holder = properties[rule.fields[0]] if rule.fields else object_
    if isinstance(rule, References) and _is_short(f"{rule.table}.{rule.key}"):
        holder.setdefault("relationships", []).append({"type": "foreignKey", "to": f"{rule.table}.{rule.key}"})
        return
    if isinstance(rule, Between | Length) and _state_options(rule, holder):
        return
    if isinstance(rule, Unique) and len(rule.on) > 1:
        holder = object_
    holder.setdefault("quality", []).append(_entry_of(rule))


def _rules_of_options(described: Document, name: str, place: Place) -> list[Located]:
    options = described.get("logicalTypeOptions") or {}
    found: list[tuple[Rule, list[str]]] = []
    low = next((key for key in _LOW if options.get(key) is not None), None)
    high = next((key for key in _HIGH if options.get(key) is not None), None)
    if low or high:
        sides = [side for side, key in (("low", low), ("high", high)) if key and (_LOW | _HIGH)[key]]
        exclusive: Any = "both" if len(sides) == 2 else "".join(sides)
        bounds = (options.get(low) if low else None, options.get(high) if high else None)
        found.append((between(name, *bounds, exclusive=exclusive), [key for key in (low, high) if key]))
    for shortest, longest in _LENGTHS:
        if options.get(shortest) is not None or options.get(longest) is not None:
            found.append((length(name, options.get(shortest), options.get(longest)), [shortest, longest]))
    if options.get("pattern") is not None:
        found.append((_pattern_rule(name, options["pattern"]), ["pattern"]))
    where = place.at("logicalTypeOptions")
    return [
        Located((rule,), where.at(keys[0]), described, "logicalTypeOptions", options=tuple(keys))
        for rule, keys in found
    ]


def _rules_of_entry(entry: Document, field: str | None, place: Place, windows: bool) -> list[Rule]:
    if entry.get("type") == "custom" and entry.get("engine") == ENGINE:
        implementation = entry.get("implementation")
        if not isinstance(implementation, dict):
            raise place.at("implementation").error("The rule is not a mapping", "Write it as `to_dict` of a rule does.")
        return [rule_from_dict(implementation, str(place))]
    metric = entry.get("metric")
    arguments = entry.get("arguments") or {}
    for name, value in arguments.items() if isinstance(arguments, dict) else [("arguments", arguments)]:
        if not isinstance(value, str if name == "pattern" else list):
            raise place.at("arguments").error(
                f"{name} is {value!r}", "Write lists of values or names, and a pattern as text."
            )
    if metric == "duplicateValues":
        on = arguments.get("properties") or ([field] if field else [])
        within = custom(entry, "within", DEFAULT_WITHIN)
        return [unique(on, within)] if on and windows and _is_zero(entry) else []
    if field is None:
        return []
    if metric == "nullValues":
        return [not_null(field)] if _is_zero(entry) else _null_rate(entry, field)
    if metric == "missingValues" and _is_zero(entry) and "missingValues" in arguments:
        values = arguments["missingValues"]
        rules: list[Rule] = [not_null(field)] if None in values else []
        return rules + ([none_of(field, values)] if any(value is not None for value in values) else [])
    if metric == "invalidValues" and _is_zero(entry):
        rules = [one_of(field, arguments["validValues"])] if arguments.get("validValues") else []
        return rules + ([_pattern_rule(field, arguments["pattern"])] if arguments.get("pattern") else [])
    return []


def _entry_of(rule: Rule) -> Document:
    zero = {"mustBe": 0}
    if isinstance(rule, NotNull):
        return {"metric": "nullValues", **zero}
    if isinstance(rule, OneOf):
        return {"metric": "invalidValues", "arguments": {"validValues": list(rule.values)}, **zero}
    if isinstance(rule, NoneOf):
        return {"metric": "missingValues", "arguments": {"missingValues": list(rule.values)}, **zero}
    if isinstance(rule, Matches):
        pattern = f"^(?:{rule.regex})$" if rule.whole else rule.regex
        if _pattern_rule(rule.field, pattern) == rule:
            return {"metric": "invalidValues", "arguments": {"pattern": pattern}, **zero}
    if isinstance(rule, Unique):
        arguments = {"arguments": {"properties": list(rule.on)}} if len(rule.on) > 1 else {}
        return {"metric": "duplicateValues", **arguments, **zero, **_custom("within", rule.within, DEFAULT_WITHIN)}
    if isinstance(rule, NullRate):
        percent = float(Decimal(repr(rule.at_most)) * 100)
        limit = {"mustBeLessOrEqualTo": percent, "unit": "percent"}
        if percent:
            return {"metric": "nullValues", **limit, **_custom("over", rule.over, DEFAULT_OVER)}
    return {"type": "custom", "name": rule.name, "engine": ENGINE, "implementation": rule.to_dict()}


def _custom(name: str, value: Any, default: Any) -> Document:
    return {} if value == default else {"customProperties": [{"property": PREFIX + name, "value": value}]}


def _state_options(rule: Between | Length, described: Document) -> bool:
    """True if the bounds could be written as options of the logical type."""
    logical, options = described["logicalType"], described.get("logicalTypeOptions") or {}
    if isinstance(rule, Length):
        low, high = _LENGTHS[0] if logical == "string" else _LENGTHS[1]
        if logical not in ("string", "array") or described.get("physicalType"):
            return False
    else:
        low = "exclusiveMinimum" if rule.exclusive in ("low", "both") else "minimum"
        high = "exclusiveMaximum" if rule.exclusive in ("high", "both") else "maximum"
        expected: Any = int | float if logical in ("integer", "number") else str
        given = [bound for bound in (rule.low, rule.high) if bound is not None]
        if logical not in ("integer", "number", "date", "timestamp", "time"):
            return False
        if not all(isinstance(bound, expected) for bound in given) or (
            rule.low is None and rule.exclusive in ("low", "both")
        ):
            return False
        if rule.high is None and rule.exclusive in ("high", "both"):
            return False
    if set(options) & {*_LOW, *_HIGH} or set(options) & {low, high}:
        return False
    bounds = {low: rule.low, high: rule.high}
    described["logicalTypeOptions"] = options | {key: bound for key, bound in bounds.items() if bound is not None}
    return True


@contextmanager
def _placed(place: Place) -> Iterator[None]:
    """Errors of rules say where in the document the rule is stated."""
    try:
        yield
    except HeadwaterError as error:
        if str(error.where).startswith(str(place)):
            raise
        raise place.error(error.what, error.fix or "Mend it there.") from error


def _is_zero(entry: Document) -> bool:
    """The metric must be nought: of rows or, what is the same then, of percent."""
    below = entry.get("mustBeLessThan")
    rows = entry.get("unit", "rows") == "rows"
    return (
        entry.get("mustBe") == 0
        or entry.get("mustBeLessOrEqualTo") == 0
        or (rows and isinstance(below, int | float) and 0 < below <= 1)
    )


def _null_rate(entry: Document, field: str) -> list[Rule]:
    if entry.get("unit") != "percent":
        return []
    over = custom(entry, "over", DEFAULT_OVER)
    if isinstance(entry.get("mustBeLessOrEqualTo"), int | float):
        return [null_rate(field, float(Decimal(repr(entry["mustBeLessOrEqualTo"])) / 100), over)]
    if isinstance(entry.get("mustBeLessThan"), int | float):
        fewest = math.ceil(Decimal(repr(entry["mustBeLessThan"])) / 100 * over)
        return [null_rate(field, max(fewest - 1, 0) / over, over)]
    return []


def _pattern_rule(field: str, pattern: str) -> Rule:
    """A pattern of the standard may match anywhere, unless it is anchored."""
    if pattern.startswith("^(?:") and pattern.endswith(")$"):
        try:
            return matches(field, pattern[4:-2])
        except ContractError:
            pass  # The brackets at both ends do not belong together: it is two anchored halves.
    return matches(field, pattern, whole=False)


def _is_short(reference: Any) -> bool:
    """`table.field`, not a path into another document."""
    if not isinstance(reference, str) or "/" in reference or "#" in reference:
        return False
    parts: Sequence[str] = reference.split(".")
    return len(parts) > 1 and all(part.replace("-", "_").isidentifier() for part in parts)
