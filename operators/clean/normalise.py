"""Steps that bring a column into its normal form before it is judged: text, missing values, units, types."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from typing import Any, ClassVar, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from catalog.errors import HeadwaterError
from streams.rule import Bools, jsonable, value_set
from streams.rules import none_of
from streams.schema import parse_type, type_text

TextStep = Literal["trim", "upper", "lower", "collapse", "nfc"]


class CleanError(HeadwaterError):
    """A clean step that cannot be made as declared."""

    exit_code = 2


def trim() -> Text:
    """Without white space at either end."""
    return Text("trim")


def upper() -> Text:
    return Text("upper")


def lower() -> Text:
    return Text("lower")


def collapse() -> Text:
    """Each run of white space as one blank, none at the ends."""
    return Text("collapse")


def nfc() -> Text:
    """Unicode in composed form, so that equal-looking texts are equal."""
    return Text("nfc")


def missing(*values: Any) -> Missing:
    """These values mean "no value": they become null (`missing("", "NA", -999)`)."""
    if not values:
        raise CleanError("missing() names no values", fix='For example missing("", "NA").')
    return Missing(tuple(jsonable(value) for value in values))


def nan_missing() -> NanMissing:
    """NaN means "no value"."""
    return NanMissing()


def replace(values: Mapping[Any, Any]) -> Replace:
    """Each value that is a key of the mapping becomes what it maps to; others stay."""
    if not values:
        raise CleanError("replace() maps nothing", fix='For example replace({"Frankfurt/M.": "Frankfurt"}).')
    return Replace(tuple((jsonable(old), jsonable(new)) for old, new in values.items()))


def scale(factor: float, offset: float = 0.0) -> Scale:
    """value * factor + offset, for units: Fahrenheit to Celsius is `scale(5 / 9, -160 / 9)`. Integers become
    float64."""
    return Scale(factor, offset)


def cast(to: pa.DataType | str, *, zone: str | None = None) -> Cast:
    """Another type, such as "float64" or "timestamp[us, UTC]". A row whose value cannot be one is quarantined
    under the rule `cast(field, type)`. Text with times must say its offset (`2013-01-01T05:00:00Z`) unless `zone`
    names the zone of all of it."""
    return Cast(type_text(parse_type(to) if isinstance(to, str) else to), zone)


class Normaliser:
    """One step on one column. Steps are frozen dataclasses."""

    kind: ClassVar[str]

    def apply(self, column: pa.Array) -> pa.Array:
        """The column after the step; as long, nulls stay null."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        values = {
            each.name: jsonable(getattr(self, each.name))
            for each in dataclass_fields(self)  # type: ignore[arg-type]
        }
        return {"step": self.kind, **values}


@dataclass(frozen=True)
class Text(Normaliser):
    kind: ClassVar[str] = "text"
    form: TextStep

    def apply(self, column: pa.Array) -> pa.Array:
        if self.form == "nfc":
            return _composed(column)
        if self.form == "collapse":
            return pc.utf8_trim_whitespace(pc.replace_substring_regex(column, pattern=r"\s+", replacement=" "))
        return _TEXT[self.form](column)


def _composed(column: pa.Array) -> pa.Array:
    """In normal form C. By unicodedata, since Arrow's own utf8_normalize leaves text as it is in some versions."""
    if pc.all(pc.string_is_ascii(column)).as_py() is not False:
        return column
    texts = [None if text is None else unicodedata.normalize("NFC", text) for text in column.to_pylist()]
    return pa.array(texts, column.type)


@dataclass(frozen=True)
class Missing(Normaliser):
    kind: ClassVar[str] = "missing"
    values: tuple[Any, ...]

    def apply(self, column: pa.Array) -> pa.Array:
        found = none_of("column", self.values).failures(pa.RecordBatch.from_arrays([column], ["column"]))
        return pc.if_else(found, pa.scalar(None, column.type), column)


@dataclass(frozen=True)
class NanMissing(Normaliser):
    kind: ClassVar[str] = "nan_missing"

    def apply(self, column: pa.Array) -> pa.Array:
        return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)


@dataclass(frozen=True)
class Replace(Normaliser):
    kind: ClassVar[str] = "replace"
    values: tuple[tuple[Any, Any], ...]

    def apply(self, column: pa.Array) -> pa.Array:
        old = value_set(tuple(value for value, _ in self.values), column.type)
        new = value_set(tuple(value for _, value in self.values), column.type)
        at = pc.index_in(column, value_set=old, skip_nulls=True)
        return pc.if_else(at.is_valid(), new.take(at), column)


@dataclass(frozen=True)
class Scale(Normaliser):
    kind: ClassVar[str] = "scale"
    factor: float
    offset: float = 0.0

    def apply(self, column: pa.Array) -> pa.Array:
        if pa.types.is_integer(column.type):
            column = column.cast(pa.float64(), safe=False)
        kind = column.type
        if not pa.types.is_floating(kind):
            raise pa.ArrowNotImplementedError(f"scale of {kind}")
        return pc.add(pc.multiply(column, pa.scalar(self.factor, kind)), pa.scalar(self.offset, kind))


@dataclass(frozen=True)
class Cast(Normaliser):
    kind: ClassVar[str] = "cast"
    to: str
    zone: str | None = None

    def apply(self, column: pa.Array) -> pa.Array:
        """pa.ArrowInvalid if a value cannot be cast."""
        to = parse_type(self.to)
        if self.zone is not None and pa.types.is_timestamp(to):
            local = column.cast(pa.timestamp(to.unit))
            return pc.assume_timezone(local, self.zone).cast(to)
        return column.cast(to)

    def convert(self, column: pa.Array) -> tuple[pa.Array, Bools | None]:
        """The cast column, null where a value cannot be cast, and which these are (None: none)."""
        try:
            return self.apply(column), None
        except pa.ArrowInvalid:
            failed = _implausible(column, parse_type(self.to), self.zone)
            empty_there = pc.if_else(pa.array(failed), pa.scalar(None, column.type), column)
            parts = _cast_parts(self.apply, empty_there, 0, failed)
            return pa.concat_arrays(parts), failed


Steps = tuple[Normaliser, ...]


def steps_of(declared: Normaliser | Sequence[Normaliser]) -> Steps:
    return (declared,) if isinstance(declared, Normaliser) else tuple(declared)


def normalised(column: pa.Array, steps: Steps) -> tuple[pa.Array, list[tuple[Cast, Bools]]]:
    """The column after all steps, and for each cast that failed somewhere the rows where it did."""
    failures = []
    for step in steps:
        if isinstance(step, Cast):
            column, failed = step.convert(column)
            if failed is not None:
                failures.append((step, failed))
        else:
            column = step.apply(column)
    return column, failures


def type_after(field: pa.Field, steps: Steps, where: str) -> pa.DataType:
    """The type of a column after its steps. CleanError if a step cannot be applied to it."""
    column = pa.array([], field.type)
    for step in steps:
        try:
            column = step.apply(column)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError, pa.ArrowKeyError) as error:
            raise CleanError(
                f"The step {step} cannot be applied to {field.name!r}, which is {column.type} there",
                where=where,
                fix=f"Change the step or the order of steps: {error}",
            ) from error
    return column.type


_TEXT: Final[dict[str, Callable[[pa.Array], pa.Array]]] = {
    "trim": pc.utf8_trim_whitespace,
    "upper": pc.utf8_upper,
    "lower": pc.utf8_lower,
}
_INTEGER: Final = r"\A[+-]?\d+\z"
_NUMBER: Final = r"\A[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\z|\A[+-]?(?i:inf|infinity|nan)\z"
_TIME: Final = r"\A\d{4}-\d{2}-\d{2}([T ]\d{2}(:?\d{2}(:?\d{2}(\.\d{1,9})?)?)?)?"
_OFFSET: Final = r"(Z|[+-]\d{2}(:?\d{2})?)\z"


def _implausible(column: pa.Array, to: pa.DataType, zone: str | None) -> Bools:
    """Which values surely cannot be cast; it finds the many, `_cast_parts` then finds the few that are left."""
    pattern = None
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        if pa.types.is_integer(to):
            pattern = _INTEGER
        elif pa.types.is_floating(to):
            pattern = _NUMBER
        elif pa.types.is_timestamp(to):
            pattern = _TIME + (r"\z" if zone else _OFFSET)
    if pattern is not None:
        kept = pc.match_substring_regex(column, pattern=pattern)
    elif pa.types.is_floating(column.type) and pa.types.is_integer(to):
        kept = pc.equal(pc.floor(column), column)
    else:
        return np.zeros(len(column), dtype=bool)
    return pc.invert(pc.fill_null(kept, True)).to_numpy(zero_copy_only=False).copy()


def _cast_parts(apply: Callable[[pa.Array], pa.Array], column: pa.Array, start: int, failed: Bools) -> list[pa.Array]:
    """Cast halves, and halves of halves that fail, down to single values; marks these in `failed`."""
    try:
        return [apply(column)]
    except pa.ArrowInvalid:
        if len(column) == 1:
            failed[start] = True
            return [apply(pa.nulls(1, column.type))]
        half = len(column) // 2
        return _cast_parts(apply, column[:half], start, failed) + _cast_parts(
            apply, column[half:], start + half, failed
        )
