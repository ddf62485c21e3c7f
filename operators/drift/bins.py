"""Fixed bins of a column: learnt from the reference or given, then only counted into, so that counts add up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from catalog.errors import HeadwaterError

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

NUMERIC_BINS: Final = 20
CATEGORIES: Final = 30


class DriftError(HeadwaterError):
    """A drift operator that cannot be declared so."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Bins:
    """The bins of one column. Numeric: bin i holds the values of which i `edges` are not larger. Categorical: one bin a
    category, and one for all others. Behind them comes one for missing values: nulls, and NaN."""

    edges: tuple[float, ...] | None = None
    categories: tuple[str, ...] = ()

    @property
    def numeric(self) -> bool:
        return self.edges is not None

    @property
    def size(self) -> int:
        """How many bins there are, without the one for missing values."""
        return len(self.categories if self.edges is None else self.edges) + 1

    def codes(self, column: pa.Array) -> Ints:
        """The bin of each value, `size` for a missing one; shape (n,)."""
        if self.edges is None:
            texts = as_texts(column)
            found = pc.index_in(texts, value_set=pa.array(self.categories, pa.string()))
            codes = pc.fill_null(found, len(self.categories)).to_numpy(zero_copy_only=False).astype(np.int64)
            if texts.null_count:
                codes[texts.is_null().to_numpy(zero_copy_only=False)] = self.size
            return codes
        values, missing = as_floats(column)
        codes = np.searchsorted(np.array(self.edges, dtype=np.float64), values, side="right")
        if missing is not None:
            codes[missing] = self.size
        return codes

    def labels(self) -> list[str]:
        """What the bins hold, in words."""
        if self.edges is None:
            return [*self.categories, "other"]
        shown = [f"{edge:.6g}" for edge in self.edges]
        if not shown:
            return ["all"]
        return [f"< {shown[0]}", *(f"{a} to {b}" for a, b in pairwise(shown)), f">= {shown[-1]}"]

    def to_json(self) -> dict[str, Any]:
        if self.edges is None:
            return {"categories": list(self.categories)}
        return {"edges": list(self.edges)}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Bins:
        if "edges" in found:
            return cls(tuple(map(float, found["edges"])))
        return cls(None, tuple(found["categories"]))


def is_numeric(kind: pa.DataType) -> bool:
    """True for what is binned by size: numbers, times of day and instants, lengths of time. Booleans are categories."""
    return (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_temporal(kind)
    )


def refuse_unbinned(name: str, kind: pa.DataType, where: str) -> None:
    """DriftError for a column that has no bins."""
    if is_numeric(kind) or pa.types.is_boolean(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return
    raise DriftError(
        f"The column {name!r} is {kind}, which cannot be compared",
        where=where,
        fix="Watch numbers, times, texts and booleans; make one of them with a map.",
    )


def learnt_bins(column: pa.Array, *, bins: int = NUMERIC_BINS, categories: int = CATEGORIES) -> Bins:
    """The bins of a column as it was in the reference.

    Numeric: about `bins` with equally many values each; or, if there are no more different values than that, one a
    value, and one below and above all. Categorical: the `categories` most frequent values, ties by text.
    """
    if not is_numeric(column.type):
        counted = pc.value_counts(as_texts(column).drop_null())
        counts = counted.field("counts").to_numpy(zero_copy_only=False)
        texts = np.array(counted.field("values").to_pylist(), dtype=object)
        order = sorted(range(len(texts)), key=lambda at: (-int(counts[at]), texts[at]))[:categories]
        return Bins(None, tuple(sorted(texts[at] for at in order)))
    values, missing = as_floats(column)
    values = np.sort(values if missing is None else values[~missing])
    if not len(values):
        return Bins(())
    distinct = values[np.append(True, values[1:] != values[:-1])]
    if len(distinct) <= bins:
        return Bins((*map(float, distinct), float(np.nextafter(distinct[-1], np.inf))))
    ranks = (np.arange(1, bins) * len(values)) // bins
    edges = np.unique(values[ranks])
    return Bins(tuple(map(float, edges[edges > values[0]])))


def given_bins(name: str, given: Sequence[Any], kind: pa.DataType, where: str) -> Bins:
    """The bins that a user gave: increasing edges of a numeric column, or the categories of another."""
    values = list(given)
    if not is_numeric(kind):
        return Bins(None, tuple(sorted({_text(value) for value in values})))
    try:
        edges = tuple(map(float, values))
    except (TypeError, ValueError) as error:
        raise DriftError(f"bins of {name!r} are not numbers: {values}", where=where, fix="Give edges.") from error
    if not edges or not all(one < other for one, other in pairwise(edges)):
        raise DriftError(f"bins of {name!r} do not increase: {values}", where=where, fix="Give increasing edges.")
    return Bins(edges)


def counted(codes: Ints, size: int, groups: Ints, groups_count: int) -> Ints:
    """How many rows of each group fall into each bin; shape (groups_count, size)."""
    return np.bincount(groups * size + codes, minlength=groups_count * size).reshape(groups_count, size)


def as_floats(column: pa.Array) -> tuple[Floats, npt.NDArray[np.bool_] | None]:
    """The values as floats, missing ones as NaN, and where they are missing (None: nowhere)."""
    kind = column.type
    if pa.types.is_temporal(kind):
        column = column.cast(pa.int32() if kind.bit_width == 32 else pa.int64())
    if not pa.types.is_floating(column.type):
        column = column.cast(pa.float64(), safe=False)
    values = column.to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
    missing = np.isnan(values)
    return values, missing if missing.any() else None


def as_texts(column: pa.Array) -> pa.Array:
    """The values as text; a number that is whole is written without a fraction."""
    if pa.types.is_floating(column.type) and pc.all(pc.equal(pc.floor(column), column)).as_py() is not False:
        column = pc.if_else(pc.is_nan(column), None, column).cast(pa.int64(), safe=False)
    return column.cast(pa.string())


def _text(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
