"""Segments of a stream: rows with equal values in the columns `by`, each named by the text of these values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from operators.execution.state import State

Integers = npt.NDArray[np.int64]

#: A segment without rows is reported for so many windows, and then forgotten until rows come again.
SILENT_WINDOWS: Final = 100
_SCHEMA: Final = pa.schema([("segment", pa.string()), ("window", pa.int64()), ("latest", pa.int64())])


def segment_names(columns: Sequence[pa.Array], rows: int) -> tuple[list[str | None], Integers]:
    """The names of the segments that occur, in order (none first), and for each row which one it is in.

    One column gives the text of its value, several a JSON array of these texts; no column gives one segment, None.
    """
    if not columns:
        return [None], np.zeros(rows, dtype=np.int64)
    codes = np.zeros(rows, dtype=np.int64)
    texts: list[list[str | None]] = []
    for column in columns:
        encoded = column.cast(pa.string()).dictionary_encode("encode")
        texts.append(encoded.dictionary.to_pylist())
        codes = codes * len(texts[-1]) + encoded.indices.to_numpy(zero_copy_only=False)
    distinct, which = np.unique(codes, return_inverse=True)
    # A loop over segments, not over rows.
    names = [_name(int(code), texts) for code in distinct]
    order = sorted(range(len(names)), key=lambda at: (names[at] is not None, names[at] or ""))
    places = np.empty(len(order), dtype=np.int64)
    places[order] = np.arange(len(order))
    return [names[at] for at in order], places[which]


def _name(code: int, texts: Sequence[Sequence[str | None]]) -> str | None:
    parts: list[str | None] = []
    for some in reversed(texts):
        code, at = divmod(code, len(some))
        parts.append(some[at])
    return parts[0] if len(parts) == 1 else orjson.dumps(parts[::-1]).decode()


@dataclass(frozen=True, slots=True)
class Seen:
    """A segment's last window with rows, and its latest event time."""

    window: int
    latest: int


@dataclass(frozen=True)
class KnownSegments:
    """The segments that had rows not long ago, in a task's state."""

    name: str = "segments"

    def all(self, state: State) -> dict[str | None, Seen]:
        """In their order."""
        return state.derived("known segments", (self.name,), lambda: _seen(state.table(self.name)))

    def update(self, state: State, window: int, latest: dict[str | None, int]) -> None:
        """`latest` event times of the segments that had rows in this window, which is now told; those that were silent
        for too long are forgotten."""
        known = {segment: seen for segment, seen in self.all(state).items() if seen.window > window - SILENT_WINDOWS}
        for segment, at in latest.items():
            known[segment] = Seen(window, max(at, known[segment].latest) if segment in known else at)
        ordered = sorted(known, key=lambda segment: (segment is not None, segment or ""))
        columns: list[Any] = [ordered, [known[one].window for one in ordered], [known[one].latest for one in ordered]]
        state[self.name] = pa.Table.from_arrays(
            [pa.array(values, kind.type) for values, kind in zip(columns, _SCHEMA, strict=True)], schema=_SCHEMA
        )


def _seen(table: pa.Table | None) -> dict[str | None, Seen]:
    if table is None:
        return {}
    segments, windows, latest = (column.to_pylist() for column in table.columns)
    return {one: Seen(window, at) for one, window, at in zip(segments, windows, latest, strict=True)}
