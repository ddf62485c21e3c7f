"""Rules that hold or fail for each row by itself: ranges, sets, patterns, cross-field conditions, a user's own."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from streams.duration import duration_text, parse_duration
from streams.expression import computed
from streams.function_source import source_hash
from streams.rule import ContractError, OneField, RowRule, jsonable, scalar, value_set

Exclusive = Literal["", "low", "high", "both"]
Check = Callable[[pa.RecordBatch], Any]

_COMPARISONS: Final[dict[str, Any]] = {
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
    "==": pc.equal,
    "!=": pc.not_equal,
}


def not_null(field: str) -> NotNull:
    """The field has a value in every row."""
    return NotNull(field)


def between(field: str, low: Any = None, high: Any = None, *, exclusive: Exclusive = "") -> Between:
    """The value lies between the bounds, both included unless `exclusive` says otherwise; None leaves a side open.

    Numbers, dates, UTC times, text. NaN lies between nothing.
    """
    if low is None and high is None:
        raise ContractError(f"between({field!r}) has no bound", fix="Give low, high or both.")
    return Between(field, _bound(low), _bound(high), exclusive)


def not_after(field: str, bound: Any) -> Between:
    """The value is not above the bound: an absolute limit on times that a broken clock would exceed."""
    return between(field, high=bound)


def one_of(field: str, values: Iterable[Any]) -> OneOf:
    """The value is one of these."""
    return OneOf(field, _values(values))


def none_of(field: str, values: Iterable[Any]) -> NoneOf:
    """The value is none of these (spellings of "missing", codes taken out of use)."""
    return NoneOf(field, _values(values))


def matches(field: str, regex: str, *, whole: bool = True) -> Matches:
    """The text matches the regular expression (RE2 syntax), from its first to its last character; with
    `whole=False` somewhere in it."""
    try:
        pc.match_substring_regex(pa.array([""]), pattern=regex)
    except pa.ArrowInvalid as error:
        raise ContractError(
            f"{regex!r} is not a regular expression", where=f"matches({field!r})", fix=f"Use RE2 syntax: {error}"
        ) from error
    return Matches(field, regex, whole)


def length(field: str, low: int | None = None, high: int | None = None) -> Length:
    """The text has at least `low` and at most `high` characters; for lists, items; for binary, bytes."""
    if low is None and high is None:
        raise ContractError(f"length({field!r}) has no bound", fix="Give low, high or both.")
    return Length(field, low, high)


def finite(field: str) -> Finite:
    """The number is neither NaN nor infinite."""
    return Finite(field)


def compare(left: str, op: str, right: str) -> Compare:
    """Two fields of a row stand in this order: `compare("arrived", ">=", "departed")`."""
    op = op.replace(" ", "")
    if op not in _COMPARISONS:
        raise ContractError(f"{op!r} is not a comparison", fix=f"Use one of {', '.join(_COMPARISONS)}.")
    return Compare(left, op, right)


def sums(total: str, parts: Sequence[str], tolerance: float = 0.0) -> Sums:
    """The parts add up to the total, give or take `tolerance`."""
    if isinstance(parts, str) or not parts:
        raise ContractError("sums needs the names of its parts", fix='sums("total", ["net", "tax"])')
    return Sums(total, tuple(parts), tolerance)


def not_future(field: str, at_most: str | dt.timedelta | int = "1h") -> NotFuture:
    """An event time lies at most this far beyond the moment at which its row is published.

    It is judged where rows come in (`contract.future_rows`, with the publisher's clock, or with the append time of
    the message). `clean` has no clock and lets it be; use `not_after` or `jump` for streams that others write.
    """
    return NotFuture(field, duration_text(parse_duration(at_most)))


def condition(name: str, check: Check | pc.Expression, fields: Sequence[str]) -> Condition:
    """A rule of your own: `check` takes a RecordBatch of these fields and returns a boolean for each row, true
    where the row is as it should be (null counts as true). Or an Arrow expression over the fields."""
    if isinstance(fields, str):
        fields = [fields]
    if not fields:
        raise ContractError(f"The condition {name!r} names no fields", fix="Say which fields it looks at.")
    return Condition(name, tuple(fields), source_hash(check), check)


@dataclass(frozen=True)
class NotNull(OneField, RowRule):
    kind: ClassVar[str] = "not_null"
    field: str

    def failures(self, rows: pa.RecordBatch) -> pa.BooleanArray:
        return rows.column(self.field).is_null()


@dataclass(frozen=True)
class Between(OneField, RowRule):
    kind: ClassVar[str] = "between"
    field: str
    low: Any = None
    high: Any = None
    exclusive: Exclusive = ""

    def failures(self, rows: pa.RecordBatch) -> pa.BooleanArray:
        column = rows.column(self.field)
        kept = None
        if self.low is not None:
            above = pc.greater if self.exclusive in ("low", "both") else pc.greater_equal
            kept = above(column, scalar(self.low, column.type))
        if self.high is not None:
            below = pc.less if self.exclusive in ("high", "both") else pc.less_equal
            under = below(column, scalar(self.high, column.type))
            kept = under if kept is None else pc.and_(kept, under)
        return pc.invert(kept)


@dataclass(frozen=True)
class OneOf(OneField, RowRule):
    kind: ClassVar[str] = "one_of"
    field: str
    values: tuple[Any, ...]

    def failures(self, rows: pa.RecordBatch) -> pa.BooleanArray:
        return pc.and_(pc.invert(_is_one_of(rows.column(self.field), self.values)), rows.column(self.field).is_valid())


@dataclass(frozen=True)
class NoneOf(OneField, RowRule):
    kind: ClassVar[str] = "none_of"
    field: str
    values: tuple[Any, ...]

    def failures(self, rows: pa.RecordBatch) -> pa.BooleanArray:
        return _is_one_of(rows.column(self.field), self.values)


@dataclass(frozen=True)
class Matches(OneField, RowRule):
    kind: ClassVar[str] = "matches"
    field: str
    regex: str
    whole: bool = True

    @cached_property
    def name(self) -> str:
        return f"matches({self.field}, {self.regex})"

    def failures(self, rows: pa.RecordBatch) -> pa.BooleanArray:
        pattern = rf"\A(?:{self.regex})\z" if self.whole else self.regex
        return pc.invert(pc.match_substring_regex(rows.column(self.field), pattern=pattern))


@dataclass(frozen=True)
class Length(OneField, RowRule):
    kind: ClassVar[str] = "length"
    field: str
    low: int | None = None
    high: int | None = None

    def failures(self, rows: pa.RecordBatch) -> pa.BooleanArray:
        column = rows.column(self.field)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            measured = pc.utf8_length(column)
        elif pa.types.is_nested(column.type):
            measured = pc.list_value_length(column)
        else:
            measured = pc.binary_length(column)
        lengths = pa.RecordBatch.from_arrays([measured], [self.field])
        return Between(self.field, self.low, self.high).failures(lengths)


@dataclass(frozen=True)
class Finite(OneField, RowRule):
    kind: ClassVar[str] = "finite"
    field: str

    def failures(self, rows: pa.RecordBatch) -> pa.BooleanArray:
        return pc.invert(pc.is_finite(rows.column(self.field)))


@dataclass(frozen=True)
class Compare(RowRule):
    kind: ClassVar[str] = "compare"
    left: str
    op: str
    right: str

    @property
    def fields(self) -> tuple[str, ...]:
        return (self.left, self.right)

    def failures(self, rows: pa.RecordBatch) -> pa.BooleanArray:
        return pc.invert(_COMPARISONS[self.op](rows.column(self.left), rows.column(self.right)))


@dataclass(frozen=True)
class Sums(RowRule):
    kind: ClassVar[str] = "sums"
    total: str
    parts: tuple[str, ...]
    tolerance: float = 0.0

    @property
    def fields(self) -> tuple[str, ...]:
        return (self.total, *self.parts)

    def failures(self, rows: pa.RecordBatch) -> pa.BooleanArray:
        missing = _signed(rows.column(self.total))
        for part in self.parts:
            missing = pc.subtract(missing, _signed(rows.column(part)))
        return pc.invert(pc.less_equal(pc.abs(missing), pa.scalar(self.tolerance)))


@dataclass(frozen=True)
class NotFuture(OneField, RowRule):
    kind: ClassVar[str] = "not_future"
    field: str
    at_most: str = "1h"

    def failures(self, rows: pa.RecordBatch) -> pa.BooleanArray:
        """None: without a clock no row is in the future."""
        if not pa.types.is_timestamp(rows.column(self.field).type):
            raise pa.ArrowTypeError("not_future needs a timestamp")
        return pa.array(np.zeros(rows.num_rows, dtype=bool))

    def failures_at(self, rows: pa.RecordBatch, now: int) -> pa.BooleanArray:
        """True where the time lies beyond `now` (microseconds since 1970) by more than `at_most`."""
        column = rows.column(self.field)
        limit = pc.cast(pa.scalar(now + parse_duration(self.at_most), pa.timestamp("us", "UTC")), column.type)
        return pc.greater(column, limit)


@dataclass(frozen=True)
class Condition(RowRule):
    """`source` is the hash of the function's source; without its function (read back from JSON) it cannot be
    judged, only shown and compared."""

    kind: ClassVar[str] = "condition"
    label: str
    on: tuple[str, ...]
    source: str
    check_rows: Check | pc.Expression | None = field(default=None, compare=False, repr=False)

    @cached_property
    def name(self) -> str:
        return self.label

    @property
    def fields(self) -> tuple[str, ...]:
        return self.on

    def try_on(self, schema: pa.Schema, where: str) -> None:
        if self.check_rows is not None:
            super().try_on(schema, where)

    def failures(self, rows: pa.RecordBatch) -> pa.BooleanArray:
        chosen = rows.select(list(self.on))
        if self.check_rows is None:
            raise ContractError(
                f"The function of the condition {self.label!r} is not known here",
                fix="A file holds only its name: declare the condition in Python, in `expect`.",
            )
        try:
            if isinstance(self.check_rows, pc.Expression):
                kept = computed(self.check_rows, chosen)
            else:
                kept = self.check_rows(chosen)
            verdict = _as_booleans(kept)
        except (MemoryError, OSError):
            raise
        except Exception as error:
            raise ContractError(
                f"The condition {self.label!r} raised {type(error).__name__}: {error}",
                where=f"{rows.num_rows} rows of {', '.join(self.on)}",
                fix="Make it work on whole columns of any length, nulls included.",
            ) from error
        if len(verdict) != rows.num_rows:
            raise ContractError(
                f"The condition {self.label!r} returned {len(verdict)} values for {rows.num_rows} rows",
                fix="Return one boolean for each row.",
            )
        return pc.invert(verdict)


def _bound(value: Any) -> Any:
    if isinstance(value, dt.datetime) and value.tzinfo is None:
        raise ContractError(f"{value!r} has no time zone", fix="Give it one, for example tzinfo=datetime.UTC.")
    return jsonable(value)


def _values(values: Iterable[Any]) -> tuple[Any, ...]:
    found = tuple(_bound(value) for value in ([values] if isinstance(values, str) else values) if value is not None)
    if not found:
        raise ContractError("A set of values is empty", fix="Name at least one value.")
    return found


def _is_one_of(column: pa.Array, values: tuple[Any, ...]) -> pa.BooleanArray:
    """True where a value is in the set; false where the column is null."""
    return pc.is_in(column, value_set=value_set(values, column.type))


def _signed(column: pa.Array) -> pa.Array:
    return column.cast(pa.int64()) if pa.types.is_unsigned_integer(column.type) else column


def _as_booleans(kept: Any) -> pa.BooleanArray:
    if isinstance(kept, pa.ChunkedArray):
        kept = kept.combine_chunks()
    verdict = kept if isinstance(kept, pa.Array) else pa.array(kept)
    if not pa.types.is_boolean(verdict.type) and len(verdict):
        raise TypeError(f"it returned {verdict.type} instead of booleans")
    return pc.cast(verdict, pa.bool_())
