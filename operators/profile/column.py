"""The profile of one column: what is kept of its values, mergeable, and the figures that people read from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa

from operators.profile.bins import Integers
from operators.profile.errors import SketchError
from operators.profile.numbers import Numbers
from operators.profile.theta import Theta
from operators.profile.top import Top
from operators.profile.values import Kind, counted_values, doubles_of, kind_of_type, lengths_of, plain, times_of
from streams.types import type_text

#: Distinct values are estimated from so many hashes: 3.1 % standard error.
DISTINCT: Final = 1024
#: Of keys more are kept, so that streams that could be joined on them are found: 1.6 %.
KEY_DISTINCT: Final = 4096


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """Of one column: how many rows, nulls, NaN and infinities, its finite `numbers` (or times), the `lengths` of its
    texts, binaries or lists, its `distinct` values and its most frequent ones (`top`).

    `profile(A).merge(profile(B))` equals `profile(A and B)`, to the last bit, however rows are cut and ordered.
    """

    type: str
    kind: Kind
    rows: int
    nulls: int
    nan: int
    infinite: int
    numbers: Numbers | None
    lengths: Numbers | None
    distinct: Theta | None
    top: Top | None

    @classmethod
    def nothing(cls, type: pa.DataType, *, key: bool = False) -> ColumnProfile:
        """The profile of a column of this type without rows; of a `key` more distinct values are kept. SchemaError for
        a type that no stream can carry."""
        kind = kind_of_type(type)
        plain_values = kind not in ("list", "other")
        return cls(
            type_text(type),
            kind,
            0,
            0,
            0,
            0,
            Numbers.nothing(times=kind == "time") if kind in ("number", "flag", "time") else None,
            Numbers.nothing() if kind in ("text", "binary", "list") else None,
            Theta.nothing(KEY_DISTINCT if key else DISTINCT) if plain_values else None,
            Top.nothing() if plain_values else None,
        )

    def add(self, column: Any, times: Integers) -> ColumnProfile:
        """With the values of a column, and their rows' event times (int64 microseconds, shape (n,))."""
        column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        values = plain(column)
        nulls = len(column) - len(values)
        if nulls:
            times = times[column.is_valid().to_numpy(zero_copy_only=False)]
        found = replace(self, rows=self.rows + len(column), nulls=self.nulls + nulls)
        if not len(values):
            return found
        if self.numbers is not None:
            found = found._with_numbers(values)
        if self.lengths is not None:
            found = replace(found, lengths=self.lengths.add(lengths_of(values, self.kind)))
        if self.distinct is not None and self.top is not None:
            repeats = self.kind == "text" and 4 * self.distinct.estimate < self.rows
            hashes, top = counted_values(values, times, self.top, repeats=repeats)
            found = replace(found, distinct=self.distinct.add(hashes), top=self.top.merge(top))
        return found

    def merge(self, other: ColumnProfile) -> ColumnProfile:
        """The profile of both together. SketchError for profiles of columns of different kinds."""
        if self.kind != other.kind:
            raise SketchError(
                f"A column of {self.type} and one of {other.type} have no profile together",
                fix="Merge profiles of one column, of versions in which its type is of one kind.",
            )
        parts: dict[str, Any] = {}
        for name in ("numbers", "lengths", "distinct", "top"):
            mine, others = getattr(self, name), getattr(other, name)
            parts[name] = None if mine is None else mine.merge(others)
        return ColumnProfile(
            self.type,
            self.kind,
            self.rows + other.rows,
            self.nulls + other.nulls,
            self.nan + other.nan,
            self.infinite + other.infinite,
            **parts,
        )

    @property
    def null_rate(self) -> float:
        return self.nulls / self.rows if self.rows else float("nan")

    def _with_numbers(self, values: pa.Array) -> ColumnProfile:
        assert self.numbers is not None
        if self.kind == "time":
            return replace(self, numbers=self.numbers.add(times_of(values)))
        doubles = doubles_of(values)
        finite = np.isfinite(doubles)
        if finite.all():
            return replace(self, numbers=self.numbers.add(doubles))
        nan = int(np.count_nonzero(np.isnan(doubles)))
        infinite = len(doubles) - int(np.count_nonzero(finite)) - nan
        numbers = self.numbers.add(doubles[finite])
        return replace(self, numbers=numbers, nan=self.nan + nan, infinite=self.infinite + infinite)
