"""What a profile's stream looks like: a row for each window and column, with figures to read and a sketch to merge."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from operators.operator import Derived
from operators.profile.column import ColumnProfile
from operators.profile.numbers import Numbers
from operators.profile.sketch import encode
from operators.windows import UTC_TIME
from streams.message import END
from streams.schema import Schema
from streams.stream import Stream

TAG: Final = "profile"
#: So many of the most frequent values are written out; the sketch has more.
TOP: Final = 10
SHARES: Final = {"p5": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95}

_TOP_TYPE: Final = pa.list_(pa.struct([("value", pa.string()), ("count", pa.float64())]))
_FIELDS: Final[tuple[tuple[str, Any, bool, str], ...]] = (
    ("window_start", UTC_TIME, False, "The first event time of the window."),
    ("window_end", UTC_TIME, False, "The end of the window, not in it: when all this was known."),
    ("column", pa.string(), False, "The column."),
    ("type", pa.string(), False, "Its type."),
    ("kind", pa.string(), False, "number, flag, time, text, binary, list or other."),
    ("rows", pa.int64(), False, "Rows of the window."),
    ("nulls", pa.int64(), False, "Of them those without a value."),
    ("nan", pa.int64(), False, "Values that are not a number."),
    ("infinite", pa.int64(), False, "Values that are infinite."),
    ("distinct", pa.float64(), True, "Different values: exact up to 1,024 (of keys 4,096), estimated beyond."),
    ("min", pa.float64(), True, "The smallest finite number."),
    ("max", pa.float64(), True, "The largest."),
    ("mean", pa.float64(), True, "The mean of the finite numbers."),
    ("std", pa.float64(), True, "Their sample standard deviation."),
    *((name, pa.float64(), True, f"{share:.0%} of the numbers are not above this.") for name, share in SHARES.items()),
    ("relative_error", pa.float64(), True, "By what share of itself a quantile may be off."),
    ("earliest", UTC_TIME, True, "The earliest time."),
    ("latest", UTC_TIME, True, "The latest."),
    ("length_min", pa.int64(), True, "The shortest text, binary or list: letters, bytes, items."),
    ("length_mean", pa.float64(), True, "Their mean length."),
    ("length_max", pa.int64(), True, "The longest."),
    ("top", _TOP_TYPE, True, "The most frequent values and how often each came."),
    ("top_exact", pa.bool_(), True, "True if the counts are exact, false if they are estimated from a sample."),
    ("sketch", pa.binary(), False, "Everything that is needed to merge it with others; read it with hw.read_sketch."),
)  # fmt: skip

SCHEMA: Final = Schema(pa.schema([pa.field(name, kind, nullable) for name, kind, nullable, _ in _FIELDS])).described(
    {name: text for name, _, _, text in _FIELDS}
)


def profile_stream(to: str, source: Stream) -> Stream:
    """The stream `to` of profiles of `source`: one partition, in event time."""
    return Stream(
        to,
        SCHEMA,
        time="window_end",
        partitions=1,
        description=f"Profiles of {source.name}: what its columns hold, window by window",
        tags=(TAG,),
    )


def profile_rows(start: int, end: int, profiles: Mapping[str, ColumnProfile]) -> pa.RecordBatch:
    """Rows of a profile's stream: the columns of one window (microseconds)."""
    rows = [_row(start, end, name, profile) for name, profile in profiles.items()]
    return pa.RecordBatch.from_pylist(rows, schema=SCHEMA.arrow)


def profile_derives(source: str, columns: Sequence[str], time: str) -> tuple[Derived, ...]:
    """Field lineage: each figure from the columns, the windows from the event time."""
    sources = tuple((source, name) for name in columns)
    told = {"window_start": ((source, time),), "window_end": ((source, time),), "column": (), "type": (), "kind": ()}
    return tuple(Derived(name, told.get(name, sources), coarse=name not in told) for name in SCHEMA.names)


def _row(start: int, end: int, name: str, profile: ColumnProfile) -> dict[str, Any]:
    numbers = profile.numbers if profile.numbers is not None and profile.numbers.count else None
    lengths = profile.lengths if profile.lengths is not None and profile.lengths.count else None
    top = profile.top
    row: dict[str, Any] = {
        "window_start": start,
        "window_end": end,
        "column": name,
        "type": profile.type,
        "kind": profile.kind,
        "rows": profile.rows,
        "nulls": profile.nulls,
        "nan": profile.nan,
        "infinite": profile.infinite,
        "distinct": None if profile.distinct is None else profile.distinct.estimate,
        "top": None if top is None else [{"value": value, "count": count} for value, count in top.most(TOP)],
        "top_exact": None if top is None else top.exact,
        "sketch": encode(profile),
    }
    if numbers is not None and profile.kind == "time":
        row |= {"earliest": _instant(numbers.low), "latest": _instant(numbers.high)}
    elif numbers is not None:
        row |= _figures(numbers)
    if lengths is not None:
        row |= {"length_min": int(lengths.low), "length_mean": lengths.mean, "length_max": int(lengths.high)}
    return row


def _instant(microseconds: float) -> int:
    # The nearest double to the last instants is beyond them.
    return min(int(microseconds), END)


def _figures(numbers: Numbers) -> dict[str, float | None]:
    quantiles = numbers.quantiles(*SHARES.values()).tolist()
    return {
        "min": numbers.low,
        "max": numbers.high,
        "mean": numbers.mean,
        "std": None if math.isnan(numbers.deviation) else numbers.deviation,
        **dict(zip(SHARES, quantiles, strict=True)),
        "relative_error": numbers.bins.relative_error,
    }
