"""What can be measured of a window without writing a function: `hw.metrics`.

Any function of a batch that gives a number, or a dict of numbers by name, is a metric too.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["Metric", "Window", "freshness", "null_rate", "rank_correlation", "top_k_churn", "volume"]


@dataclass(frozen=True, slots=True)
class Window:
    """The window that a metric is taken of, from `start` up to, not including, `end` (microseconds since 1970), in one
    `segment` (None without `by`).

    `times` are the event times of its rows, ascending, int64 of shape (n,). `latest` is the latest event time of the
    segment so far, `before` the segment's rows of the last window that had any.
    """

    start: int
    end: int
    segment: str | None
    times: npt.NDArray[np.int64]
    latest: int
    before: pa.RecordBatch

    @property
    def started_at(self) -> datetime:
        return _datetime(self.start)

    @property
    def ended_at(self) -> datetime:
        return _datetime(self.end)


@dataclass(frozen=True)
class Metric:
    """A function of a window's rows (in the columns `reads`; None: all that the monitor reads) and, if it `compares` or
    asks for it, of the `Window`.

    `silent`: it is also taken of windows without rows. `compares`: it looks at the window before. `kind` and `column`
    are what its alarms say.
    """

    name: str
    function: Callable[..., Any] = field(compare=False)
    reads: tuple[str, ...] | None = None
    kind: str = ""
    column: str | None = None
    takes_window: bool = False
    compares: bool = False
    silent: bool = False

    @classmethod
    def of(cls, function: Metric | Callable[..., Any]) -> Metric:
        """A metric of a plain function: of a batch, or of a batch and its `Window`."""
        if isinstance(function, Metric):
            return function
        name = getattr(function, "__name__", type(function).__name__)
        two = _parameters(function) > 1
        return cls("value" if name == "<lambda>" else name, function, takes_window=two, compares=two)


def volume() -> Metric:
    """How many rows there are; 0 for a window without any."""
    return Metric("volume", lambda rows: rows.num_rows, (), "volume", silent=True)


def freshness() -> Metric:
    """How old the newest row is when the window ends, in seconds. It grows from window to window while none come."""
    return Metric("freshness", _age, (), "freshness", takes_window=True, silent=True)


def null_rate(column: str) -> Metric:
    """The share of rows without a value in `column`."""
    return Metric(f"null_rate({column})", lambda rows: _null_rate(rows, column), (column,), "null_rate", column)


def rank_correlation(a: str, b: str) -> Metric:
    """Spearman's rank correlation of two columns of numbers or times, from -1 to 1, over rows that have both; equal
    values share their mean rank. None for fewer than two rows, or if one column is constant."""
    name = f"rank_correlation({a}, {b})"
    return Metric(name, lambda rows: _rank_correlation(rows, a, b), (a, b), "rank_correlation", f"{a}, {b}")


def top_k_churn(column: str, k: int = 10) -> Metric:
    """The share of the k most frequent values that were not among those of the window before: 0 if they are the same,
    1 if all are new. None if there was no window before, or there are no values."""
    return Metric(
        f"top_{k}_churn({column})",
        lambda rows, window: _churn(rows.column(column), window.before.column(column), k),
        (column,),
        "churn",
        column,
        takes_window=True,
        compares=True,
    )


def _parameters(function: Callable[..., Any]) -> int:
    """How many positional arguments must or may be given."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 1
    return sum(one.kind in kinds and one.default is inspect.Parameter.empty for one in parameters)


def _age(rows: pa.RecordBatch, window: Window) -> float:
    return (window.end - window.latest) / 1e6


def _null_rate(rows: pa.RecordBatch, column: str) -> float | None:
    return rows.column(column).null_count / rows.num_rows if rows.num_rows else None


def _rank_correlation(rows: pa.RecordBatch, a: str, b: str) -> float | None:
    one, other = _numbers(rows.column(a)), _numbers(rows.column(b))
    both = ~(np.isnan(one) | np.isnan(other))
    if np.count_nonzero(both) < 2:
        return None
    ranks = [_ranks(values[both]) for values in (one, other)]
    apart = [values - values.mean() for values in ranks]
    scale = float(np.sqrt(np.dot(apart[0], apart[0]) * np.dot(apart[1], apart[1])))
    return None if not scale else min(1.0, max(-1.0, float(np.dot(apart[0], apart[1])) / scale))


def _numbers(column: pa.Array) -> npt.NDArray[np.float64]:
    if pa.types.is_temporal(column.type):
        column = column.cast(pa.int64() if column.type.bit_width == 64 else pa.int32())
    return pc.fill_null(column.cast(pa.float64(), safe=False), np.nan).to_numpy(zero_copy_only=False)


def _ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[which]


def _churn(column: pa.Array, before: pa.Array, k: int) -> float | None:
    now, then = _most_frequent(column, k), _most_frequent(before, k)
    return len(now - then) / len(now) if now and then else None


def _most_frequent(column: pa.Array, k: int) -> set[str]:
    """The k most frequent values; of equally frequent ones the first in the order of their texts."""
    counted = pc.value_counts(column.drop_null())
    texts, counts = counted.field("values").cast(pa.string()), counted.field("counts")
    table = pa.table({"count": counts, "text": texts})
    return set(table.sort_by([("count", "descending"), ("text", "ascending")])["text"][:k].to_pylist())


def _datetime(microseconds: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=microseconds)
