"""The profile of a stream as it stands: the newest windows of its profile stream, put together."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from operators.profile import ColumnProfile, read_sketch
from operators.profile.stream import profile_rows
from streams.message import END
from streams.rows import read_rows

if TYPE_CHECKING:
    from headwater.connection import Connection

#: So many windows are put together unless something else is asked for.
WINDOWS: Final = 400
_BARS: Final = " ▁▂▃▄▅▆▇█"
_PARTS: Final = 16


@dataclass(frozen=True)
class StreamProfile:
    """What the columns of `stream` held from `start` to `end` (event times): `windows` of its profile `made_by` the
    stream of that name, put together. `columns` are the merged profiles by name."""

    stream: str
    made_by: str
    start: datetime
    end: datetime
    windows: int
    columns: Mapping[str, ColumnProfile]

    @property
    def rows(self) -> int:
        return max(column.rows for column in self.columns.values())

    def to_arrow(self) -> pa.Table:
        """The figures, in the schema of profile streams: a row for each column."""
        start, end = (int(at.timestamp()) * 1_000_000 + at.microsecond for at in (self.start, self.end))
        return pa.Table.from_batches([profile_rows(start, end, self.columns)])

    def to_pandas(self) -> Any:
        """The figures as a pandas DataFrame (needs pandas)."""
        return self.to_arrow().drop_columns(["sketch"]).to_pandas()

    def figures(self) -> list[dict[str, Any]]:
        """The figures of each column, for JSON: those that it has, without its sketch."""
        left_out = ("sketch", "window_start", "window_end")
        return [
            {name: value for name, value in row.items() if name not in left_out and value is not None}
            for row in self.to_arrow().to_pylist()
        ]

    def shown(self) -> list[tuple[str, ...]]:
        """For people, a line for each column: its name, nulls, distinct values, range and middle, and a picture of how
        its values are spread (numbers, times, lengths) or the most frequent ones."""
        return [(name, *_shown(column)) for name, column in self.columns.items()]

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{name}</th>" for name in SHOWN)
        body = ""
        for row in self.shown():
            cells = [f"<td>{html.escape(cell)}</td>" for cell in row[:-1]]
            body += f"<tr>{''.join(cells)}<td style='white-space:pre;text-align:left'>{html.escape(row[-1])}</td></tr>"
        return f"<p><b>{html.escape(self.stream)}</b>, {self.covers()}</p><table><tr>{head}</tr>{body}</table>"

    def __repr__(self) -> str:
        return f"StreamProfile({self.stream!r}, {self.covers()})"

    def covers(self) -> str:
        """How many rows of which time."""
        span = f"{self.start:%Y-%m-%d %H:%M}Z to {self.end:%Y-%m-%d %H:%M}Z"
        return f"{self.rows:,} rows from {span} in {self.windows:,} windows"


#: What the cells of `StreamProfile.shown` are.
SHOWN: Final = ("column", "nulls", "distinct", "from", "middle", "to", "values")


def stream_profile(hub: Connection, name: str, *, windows: int = WINDOWS) -> StreamProfile | None:
    """The newest `windows` of the profile of a stream, put together; None if no operator profiles it, or none of its
    windows is closed yet. NotRegistered for an unknown stream."""
    made_by = profile_of(hub, name)
    if made_by is None:
        return None
    [producer] = hub.catalog.stream(made_by).producers
    count = len(hub.catalog.operator(producer).spec.params["columns"])
    table = read_rows(hub.log, hub.readable(made_by), hub.schema, last=windows * count).table
    if not table.num_rows:
        return None
    columns: dict[str, ColumnProfile] = {}
    for column, sketch in zip(table["column"].to_pylist(), table["sketch"].to_pylist(), strict=True):
        found = read_sketch(sketch, made_by)
        columns[column] = columns[column].merge(found) if column in columns else found
    starts, ends = table["window_start"].to_pylist(), table["window_end"].to_pylist()
    return StreamProfile(name, made_by, min(starts), max(ends), len(set(starts)), columns)


def profile_of(hub: Connection, name: str) -> str | None:
    """The stream with the profiles of a stream, the widest if there are several; None if nobody makes them."""
    operators = {record.name: record.spec for record in hub.catalog.operators()}
    consumers = [operators[one] for one in hub.catalog.stream(name).consumers if one in operators]
    profiles = [spec for spec in consumers if spec.kind == "profile"]
    widest = max(profiles, key=lambda spec: (len(spec.params["columns"]), spec.name), default=None)
    return None if widest is None else widest.outputs[0].stream


def _shown(profile: ColumnProfile) -> tuple[str, ...]:
    nulls = f"{profile.null_rate:.1%}" if profile.nulls else "0"
    distinct = ""
    if profile.distinct is not None:
        distinct = f"{'' if profile.distinct.exact else '~'}{_short(profile.distinct.estimate)}"
    numbers, top = profile.numbers, profile.top
    if profile.kind in ("number", "time") and numbers is not None and numbers.count:
        low, middle, high = numbers.low, float(numbers.quantiles(0.5)[0]), numbers.high
        text = _moment if profile.kind == "time" else _short
        return nulls, distinct, text(low), text(middle), text(high), spread(profile)
    words = ["", "", ""]
    if profile.lengths is not None and profile.lengths.count:
        unit = {"text": "letters", "binary": "bytes"}.get(profile.kind, "items")
        low, high = int(profile.lengths.low), int(profile.lengths.high)
        words = [f"{low}", "", f"{high} {unit}"] if low < high else ["", "", f"{high} {unit}"]
    most = [] if top is None else top.most(4)
    valid = profile.rows - profile.nulls
    about = "" if top is None or top.exact else "~"
    return nulls, distinct, *words, ", ".join(f"{value} {about}{count / valid:.0%}" for value, count in most)


def spread(profile: ColumnProfile) -> str:
    """The histogram of a column's values as a line of bars, from its 1 % to its 99 % quantile; empty if it has none."""
    numbers = profile.numbers if profile.numbers is not None else profile.lengths
    if numbers is None or not numbers.count:
        return ""
    low, high = numbers.quantiles(0.01, 0.99).tolist()
    if numbers.low == numbers.high:
        return _BARS[-1]
    if low == high:
        low, high = numbers.low, numbers.high
    counts = numbers.bins.even(low, high, _PARTS)
    heights = np.ceil(counts / counts.max() * (len(_BARS) - 1)).astype(int)
    return "".join(_BARS[height] for height in heights)


def _short(value: float) -> str:
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"


def _moment(microseconds: float) -> str:
    return str(np.datetime64(min(int(microseconds), END), "us").astype("datetime64[m]")).replace("T", " ")
