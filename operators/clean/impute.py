"""Values for nulls, from statistics of the rows before: each null is filled from what its task saw earlier, row by
row, so that cutting the rows into other batches changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from operators.clean.normalise import CleanError
from streams.rule import Memory, jsonable, scalar

Floats = npt.NDArray[np.float64]


def constant(value: Any) -> Constant:
    """Always this value."""
    return Constant(jsonable(value))


def mean(default: float | None = None) -> Mean:
    """The mean of all earlier values (finite ones); `default`, or null, before the first."""
    return Mean(default)


def median(over: int = 1000, every: int = 100, default: float | None = None) -> Median:
    """The median of the `over` latest earlier values (finite ones), taken anew after each `every` of them, and
    at 1, 2, 4, 8 … values in the beginning."""
    if over < 1 or every < 1:
        raise CleanError(f"median(over={over}, every={every}) counts nothing", fix="Both are at least 1.")
    return Median(over, every, default)


def mode(default: Any = None) -> Mode:
    """The most frequent earlier value; of equally frequent ones the one that came to its count first."""
    return Mode(jsonable(default))


def last_value(by: str | Sequence[str] = (), default: Any = None) -> LastValue:
    """The latest earlier value with the same values of `by` (a null there counts as a value)."""
    return LastValue((by,) if isinstance(by, str) else tuple(by), jsonable(default))


class Imputer:
    """One way to fill a column's nulls. Imputers are frozen dataclasses; what they learn is in `memory`."""

    kind: ClassVar[str]
    numeric: ClassVar[bool] = False

    @property
    def reads(self) -> tuple[str, ...]:
        """The other columns that decide the value."""
        return ()

    @property
    def remembers(self) -> bool:
        return True

    @property
    def always_fills(self) -> bool:
        """True if no null is left, not even before the first value."""
        return getattr(self, "default", None) is not None

    def fill(self, field: str, rows: pa.RecordBatch, memory: Memory) -> pa.Array:
        """The column with nulls filled where something is known; learns the column's own values."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        values = {
            each.name: jsonable(getattr(self, each.name))
            for each in dataclass_fields(self)  # type: ignore[arg-type]
        }
        return {"impute": self.kind, **values}

    def check(self, field: str, schema: pa.Schema, where: str) -> None:
        """CleanError if the imputer cannot fill this field."""
        kind = schema.field(field).type
        if self.numeric and not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            raise CleanError(
                f"{self.kind} needs numbers, and {field!r} is {kind}",
                where=where,
                fix="Use mode, last_value or constant, or cast the field first.",
            )
        for name in self.reads:
            if name not in schema.names:
                raise CleanError(f"{self.kind} of {field!r} goes by {name!r}, which does not exist", where=where)
        nested = [name for name in (field, *self.reads) if pa.types.is_nested(schema.field(name).type)]
        if nested:
            raise CleanError(
                f"{self.kind} cannot use the nested field {nested[0]!r}", where=where, fix="Flatten it with p.map."
            )
        try:
            self.fill(field, pa.RecordBatch.from_arrays([pa.array([], f.type) for f in schema], schema=schema), {})
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
            raise CleanError(
                f"{self.kind} cannot fill {field!r}, which is {kind}", where=where, fix=f"Change its value: {error}"
            ) from error


@dataclass(frozen=True)
class Constant(Imputer):
    kind: ClassVar[str] = "constant"
    value: Any

    @property
    def remembers(self) -> bool:
        return False

    @property
    def always_fills(self) -> bool:
        return True

    def fill(self, field: str, rows: pa.RecordBatch, memory: Memory) -> pa.Array:
        column = rows.column(field)
        return pc.fill_null(column, scalar(self.value, column.type))


@dataclass(frozen=True)
class Mean(Imputer):
    kind: ClassVar[str] = "mean"
    numeric: ClassVar[bool] = True
    default: float | None = None

    def fill(self, field: str, rows: pa.RecordBatch, memory: Memory) -> pa.Array:
        column = rows.column(field)
        values, usable = _numbers(column)
        count, total = memory["mean"].to_pylist()[0].values() if "mean" in memory else (0, 0.0)
        counts = count + np.cumsum(usable)
        # Added up one by one from the total so far: the same bits however the rows are cut.
        totals = np.cumsum(np.concatenate([[total], np.where(usable, values, 0.0)]))[1:]
        if not len(counts):
            return _default(column, self.default)
        memory["mean"] = pa.table({"count": [int(counts[-1])], "total": [float(totals[-1])]})
        nulls = np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False) & (counts > 0))
        return _default(_with_numbers(column, nulls, totals[nulls] / counts[nulls]), self.default)


@dataclass(frozen=True)
class Median(Imputer):
    kind: ClassVar[str] = "median"
    numeric: ClassVar[bool] = True
    over: int = 1000
    every: int = 100
    default: float | None = None

    def fill(self, field: str, rows: pa.RecordBatch, memory: Memory) -> pa.Array:
        column = rows.column(field)
        values, usable = _numbers(column)
        known = memory["median"].column(0).to_numpy() if "median" in memory else np.zeros(0)
        count = memory["counted"].column(0)[0].as_py() if "counted" in memory else 0
        recent = np.concatenate([known, values[usable]])
        first = count - len(known)
        counts = count + np.cumsum(usable)
        nulls = np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False) & (counts > 0))
        taken = self._taken_at(counts[nulls])
        # One round for each count at which the median is taken anew, not for each row.
        at, which = np.unique(taken, return_inverse=True)
        medians = [np.median(recent[max(end - self.over - first, 0) : end - first]) for end in at.tolist()]
        if usable.any():
            memory["median"] = pa.table({"value": recent[-(self.over + self.every) :]})
            memory["counted"] = pa.table({"count": [int(counts[-1])]})
        return _default(_with_numbers(column, nulls, np.asarray(medians)[which] if len(at) else None), self.default)

    def _taken_at(self, counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """How many values the median in force had seen when it was taken."""
        early = 2 ** np.floor(np.log2(np.maximum(counts, 1))).astype(np.int64)
        return np.where(counts < self.every, early, counts // self.every * self.every)


@dataclass(frozen=True)
class Mode(Imputer):
    kind: ClassVar[str] = "mode"
    default: Any = None

    def fill(self, field: str, rows: pa.RecordBatch, memory: Memory) -> pa.Array:
        column = rows.column(field)
        seen = memory.get("mode")
        known = 0 if seen is None else seen.num_rows
        parts = [column] if seen is None else [seen["value"].combine_chunks(), column]
        coded = pa.concat_arrays(parts).dictionary_encode()
        codes = pc.fill_null(coded.indices, -1).to_numpy()[known:].astype(np.int64)
        counted = np.zeros(len(coded.dictionary) + 1, dtype=np.int64)
        if seen is not None:
            counted[:known] = seen["count"].to_numpy()
        leader = int(np.flatnonzero(seen["leads"].to_numpy())[0]) if seen is not None else -1
        counts = np.where(codes < 0, 0, counted[codes] + _occurrence(codes))
        best = np.maximum.accumulate(np.concatenate([[counted[leader] if leader >= 0 else 0], counts]))
        overtakes = np.flatnonzero(counts > best[:-1])
        leaders = np.full(len(codes) + 1, -1, dtype=np.int64)
        leaders[overtakes + 1] = overtakes
        leaders = np.maximum.accumulate(leaders)
        led_by = np.where(leaders < 0, leader, codes[leaders])[:-1] if len(codes) else leaders[:-1]
        if (codes >= 0).any():
            counted[:-1] += np.bincount(codes[codes >= 0], minlength=len(coded.dictionary))
            leads = np.zeros(len(coded.dictionary), dtype=bool)
            leads[codes[leaders[-1]] if leaders[-1] >= 0 else leader] = True
            memory["mode"] = pa.table({"value": coded.dictionary, "count": counted[:-1], "leads": leads})
        filler = coded.dictionary.take(pa.array(led_by, mask=led_by < 0))
        return _default(pc.coalesce(column, filler), self.default)


@dataclass(frozen=True)
class LastValue(Imputer):
    kind: ClassVar[str] = "last_value"
    by: tuple[str, ...] = ()
    default: Any = None

    @property
    def reads(self) -> tuple[str, ...]:
        return self.by

    def fill(self, field: str, rows: pa.RecordBatch, memory: Memory) -> pa.Array:
        column = rows.column(field)
        now = pa.table(
            [*(rows.column(name) for name in self.by), column], names=[*map(str, range(len(self.by))), "value"]
        )
        seen = memory.get("last")
        before = 0 if seen is None else seen.num_rows
        joined = (now if seen is None else pa.concat_tables([seen, now])).combine_chunks()
        if not joined.num_rows:
            return column
        groups = _groups([joined.column(at) for at in range(len(self.by))], joined.num_rows)
        order = np.argsort(groups, kind="stable")
        valid = joined["value"].is_valid().to_numpy()[order]
        starts = np.flatnonzero(np.append(True, np.diff(groups[order]) != 0))
        first = np.repeat(starts, np.diff(np.append(starts, len(order))))
        latest = np.maximum.accumulate(np.where(valid, np.arange(len(order)), -1))
        source = np.empty(len(order), dtype=np.int64)
        source[order] = np.where(latest >= first, order[latest], -1)
        ends = source[order[np.append(starts[1:], len(order)) - 1]]
        memory["last"] = joined.take(np.sort(ends[ends >= 0]))
        wanted = source[before:]
        filler = joined["value"].take(pa.array(wanted, mask=wanted < 0)).combine_chunks()
        return _default(pc.coalesce(column, filler), self.default)


def _numbers(column: pa.Array) -> tuple[Floats, npt.NDArray[np.bool_]]:
    values = pc.fill_null(column.cast(pa.float64(), safe=False), np.nan).to_numpy()
    return values, np.isfinite(values)


def _with_numbers(column: pa.Array, rows: npt.NDArray[np.int64], values: Floats | None) -> pa.Array:
    """The column with these values at these rows, rounded if it holds integers."""
    if values is None or not len(rows):
        return column
    filler = np.zeros(len(column))
    filler[rows] = np.rint(values) if pa.types.is_integer(column.type) else values
    mask = np.ones(len(column), dtype=bool)
    mask[rows] = False
    return pc.coalesce(column, pa.array(filler, mask=mask).cast(column.type))


def _default(column: pa.Array, default: Any) -> pa.Array:
    return column if default is None else pc.fill_null(column, scalar(default, column.type))


def _occurrence(codes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Which occurrence of its code each entry is, from 1."""
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(codes[order]) != 0)) if len(codes) else np.zeros(0, dtype=np.int64)
    found = np.empty(len(codes), dtype=np.int64)
    found[order] = np.arange(len(codes)) - np.repeat(starts, np.diff(np.append(starts, len(codes)))) + 1
    return found


def _groups(columns: Sequence[pa.ChunkedArray], rows: int) -> npt.NDArray[np.int64]:
    """The same number for rows with the same values."""
    groups = np.zeros(rows, dtype=np.int64)
    for column in columns:
        codes = column.combine_chunks().dictionary_encode(null_encoding="encode").indices.to_numpy().astype(np.int64)
        _, groups = np.unique(groups * (int(codes.max(initial=0)) + 1) + codes, return_inverse=True)
    return groups
