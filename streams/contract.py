"""What a stream's producer promises: its rules, their JSON, their version, and the check at the publishing edge.

The rules are in `rules` and `window_rules`, the file format in `odcs`; `clean` enforces them on what has come in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from streams.duration import parse_duration
from streams.rule import ContractError, Finding, MemoryRule, RowRule, Rule, StreamRule
from streams.rules import (
    Between,
    Compare,
    Condition,
    Finite,
    Length,
    Matches,
    NoneOf,
    NotFuture,
    NotNull,
    OneOf,
    Sums,
    between,
    compare,
    condition,
    finite,
    length,
    matches,
    none_of,
    not_after,
    not_future,
    not_null,
    one_of,
    sums,
)
from streams.window_rules import (
    Covered,
    Jump,
    NullRate,
    References,
    Unique,
    covered,
    jump,
    null_rate,
    references,
    unique,
)

if TYPE_CHECKING:
    from streams.stream import Stream

__all__ = [
    "ContractError",
    "Finding",
    "MemoryRule",
    "RowRule",
    "Rule",
    "StreamRule",
    "between",
    "check_not_future",
    "check_rules",
    "compare",
    "condition",
    "contract_version",
    "covered",
    "finite",
    "future_rows",
    "jump",
    "largest_lead",
    "length",
    "matches",
    "none_of",
    "not_after",
    "not_future",
    "not_null",
    "null_rate",
    "one_of",
    "references",
    "rule_from_dict",
    "sums",
    "unique",
]

_KINDS: Final[dict[str, Callable[..., Rule]]] = {
    kind.kind: kind
    for kind in (
        Between,
        Compare,
        Condition,
        Covered,
        Finite,
        Jump,
        Length,
        Matches,
        NoneOf,
        NotFuture,
        NotNull,
        NullRate,
        OneOf,
        References,
        Sums,
        Unique,
    )
}


def rule_from_dict(described: Mapping[str, Any], where: str | None = None) -> Rule:
    """The rule whose `to_dict` this is. ContractError if it is not one. A `condition` comes back without its
    function: it can be shown and compared, not judged."""
    values = dict(described)
    name = values.pop("rule", None)
    if name not in _KINDS:
        raise ContractError(f"{name!r} is not a rule", where=where, fix=f"Rules are {', '.join(_KINDS)}.")
    lists = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    try:
        return _KINDS[name](**lists)
    except TypeError as error:
        raise ContractError(
            f"The rule {name!r} does not have these parameters: {error}",
            where=where,
            fix="Compare it with what `to_dict` of such a rule gives.",
        ) from error


#: The lead of an event time over the time of day (microseconds) that is taken for a broken clock.
LARGEST_LEAD: Final = 24 * 3600 * 1_000_000


def contract_version(rules: Iterable[Rule]) -> str:
    """12 hexadecimal digits that change whenever a rule does; the order of rules counts, since the first rule that
    a row breaks is the one that it is quarantined for."""
    text = orjson.dumps([rule.to_dict() for rule in rules], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()[:12]


def check_rules(stream: Stream, rules: Iterable[Rule] | None = None) -> None:
    """ContractError if one of the rules (default: the stream's own) cannot be judged on the stream's rows."""
    for rule in stream.expect if rules is None else rules:
        rule.check(stream.schema.arrow, stream.name)
        if isinstance(rule, Unique | Covered) and stream.time is None:
            raise ContractError(
                f"The rule {rule.name} needs an event time, and the stream has none",
                where=stream.name,
                fix='Declare the field with the event time: time="at".',
            )


def future_rows(stream: Stream, rows: pa.RecordBatch, now: int) -> pa.BooleanArray | None:
    """True where a row breaks one of the stream's `not_future` rules at `now` (microseconds since 1970): the
    publisher's clock, or the append time of the message that carries the rows. None if no row does."""
    broken = None
    for rule in stream.expect:
        if isinstance(rule, NotFuture):
            found = pc.fill_null(rule.failures_at(rows, now), False)
            if found.true_count:
                broken = found if broken is None else pc.or_(broken, found)
    return broken


def check_not_future(stream: Stream, rows: pa.RecordBatch, now: int) -> None:
    """ContractError, naming the first such row, if a row breaks one of the stream's `not_future` rules at `now`."""
    for rule in stream.expect:
        if not isinstance(rule, NotFuture):
            continue
        found = pc.fill_null(rule.failures_at(rows, now), False)
        if found.true_count:
            row = pc.index(found, True).as_py()
            raise ContractError(
                f"{found.true_count} of {rows.num_rows} rows break {rule.name}: "
                f"row {row} has {rows.column(rule.field)[row].as_py()}",
                where=stream.name,
                fix="Set the clock of the source right, or widen the rule; nothing was published.",
            )


def largest_lead(stream: Stream) -> int:
    """How far (microseconds) beyond the time of day an event time of this stream may lie to be published, or to move a
    watermark: what its `not_future` rule says, a day without one."""
    found = [
        parse_duration(rule.at_most)
        for rule in stream.expect
        if isinstance(rule, NotFuture) and rule.field == stream.time
    ]
    return min(found, default=LARGEST_LEAD)
