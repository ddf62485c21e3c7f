"""Profiles a stream: what each column holds, window by window, kept so that windows can be put together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa

from operators.execution.state import State
from operators.function import refuse_unknown
from operators.join.columns import Left
from operators.join.late import Late
from operators.operator import Batch, Derived, Input, Output
from operators.profile.column import ColumnProfile
from operators.profile.errors import CannotProfile
from operators.profile.sketch import decode, encode
from operators.profile.stream import profile_derives, profile_rows, profile_stream
from operators.versions import version_of
from operators.windows import OpenWindows, Windows, holds_until
from streams.duration import Duration
from streams.stream import Stream

#: So many rows, or pieces of few rows, wait before they are added to the profiles: up to there the cost of that hardly
#: depends on their number. Until then each commit writes them.
FOLD_ROWS: Final = 32_768
FOLD_PIECES: Final = 64
_PENDING: Final = "pending"
_TIME: Final = "@time"


def profile(
    source: Stream,
    *,
    to: str,
    window: Duration = "1d",
    columns: Sequence[str] | None = None,
    lateness: Duration = 0,
    name: str | None = None,
) -> ProfileOperator:
    """An operator that writes to `to`, for each window of event time and each of the `columns` (all without it), how
    many rows, nulls and different values there were, moments, quantiles, lengths and the most frequent values.

    A window closes when the clock has passed its end by `lateness`, rows that come for it later go to `<to>.late`.
    Profiles of windows can be merged, and are the same however rows were cut. Of key and entity columns more of the
    distinct values is kept. CannotProfile or CannotWindow for what cannot be declared.
    """
    where = name or to
    windows = Windows.of(source, window, lateness, where)
    chosen = tuple(source.schema.names if columns is None else columns)
    refuse_unknown(source, chosen, where)
    if not chosen or len(set(chosen)) < len(chosen):
        raise CannotProfile(
            "Each column is profiled once, and at least one.", where=where, fix="Name them in columns=."
        )
    return ProfileOperator(where, source, to, windows, chosen)


class ProfileOperator:
    """See `profile`."""

    kind = "profile"
    row_wise = False
    keeps_key = False

    def __init__(self, name: str, source: Stream, to: str, windows: Windows, columns: tuple[str, ...]) -> None:
        assert source.time is not None
        self.name = name
        self.tick = windows.length
        self._source = source
        self._windows = windows
        self._open = OpenWindows()
        self._columns = columns
        self._time = source.time
        self._output = profile_stream(to, source)
        reads = tuple(field for field in source.schema.names if field in columns)
        self.inputs = (Input(source, "gathered", reads),)
        self._late = Late(to, Left(source, reads, reads), [])
        self.outputs = (self._output, self._late.stream)
        arrow = source.schema.arrow
        self._nothing = {
            column: ColumnProfile.nothing(
                arrow.field(column).type, key=column in source.key or column in source.entities
            )
            for column in columns
        }
        self.params: dict[str, Any] = {
            "source": source.name,
            "columns": list(columns),
            "window": windows.length,
            "lateness": windows.lateness,
        }
        self.version = version_of("profile 1", self.params)

    def step(self, batch: Batch, state: State) -> Iterable[Output]:
        yield from self._close(state, self._windows.first_open(batch.clock))
        if not batch.rows.num_rows:
            return
        late, batch = self._windows.in_time(batch, self._late)
        yield from late
        if batch.rows.num_rows:
            self._take(batch, state)

    def holds(self, state: State) -> int:
        return holds_until(self._windows, self._open.first(state))

    def derives(self) -> dict[str, tuple[Derived, ...]]:
        return {
            self._output.name: profile_derives(self._source.name, self._columns, self._time),
            self._late.stream.name: self._late.derives(),
        }

    def _take(self, batch: Batch, state: State) -> None:
        self._open.add(state, self._windows.of_times(batch.times), batch)
        # Read by place: a stream may itself have a column of that name.
        columns = [pa.array(np.ascontiguousarray(batch.times)), *batch.rows.columns]
        rows = pa.Table.from_arrays(columns, names=[_TIME, *batch.rows.schema.names])
        waiting = state.table(_PENDING)
        if waiting is not None:
            rows = pa.concat_tables([waiting, rows])
        state[_PENDING] = rows
        if rows.num_rows >= FOLD_ROWS or rows.column(0).num_chunks >= FOLD_PIECES:
            for window, profiles in self._folded(state, None):
                self._keep(state, window, profiles)

    def _close(self, state: State, first_open: int) -> Iterable[Output]:
        first = self._open.first(state)
        if first is None or first >= first_open:
            return
        folded = dict(self._folded(state, first_open))
        known = self._open.known(state)
        for window in known[known < first_open].tolist():
            profiles = folded[window] if window in folded else self._profiles(state, window)
            if _named(window) in state:
                del state[_named(window)]
                self._cache(state).pop(window, None)
            _, ranges = self._open.close(state, window, self._source.name)
            end = self._windows.end(window)
            yield Output(self._output.name, profile_rows(end - self._windows.length, end, profiles), (ranges,))

    def _folded(self, state: State, before: int | None) -> Iterable[tuple[int, dict[str, ColumnProfile]]]:
        """The profiles of the windows before `before` (None: of all) for which rows wait, with these rows; these no
        longer wait."""
        waiting = state.table(_PENDING)
        if waiting is None:
            return
        del state[_PENDING]
        rows = waiting.combine_chunks()
        times = rows.column(0).to_numpy()
        windows = self._windows.of_times(times)
        if (np.diff(windows) < 0).any():
            order = np.argsort(windows, kind="stable")
            rows, times, windows = rows.take(pa.array(order)), times[order], windows[order]
        if before is not None:
            end = int(np.searchsorted(windows, before))
            if end < len(windows):
                state[_PENDING] = rows.slice(end)
            rows, times, windows = rows.slice(0, end), times[:end], windows[:end]
        changes = np.concatenate([[True], windows[1:] != windows[:-1], [True]]) if len(windows) else np.empty(0, bool)
        names = self.inputs[0].reads
        for start, stop in pairwise(np.flatnonzero(changes).tolist()):
            window, part = int(windows[start]), rows.slice(start, stop - start)
            known = self._profiles(state, window)
            yield (
                window,
                {
                    column: known[column].add(part.column(names.index(column) + 1), times[start:stop])
                    for column in self._columns
                },
            )

    def _profiles(self, state: State, window: int) -> dict[str, ColumnProfile]:
        stored = state.table(_named(window))
        if stored is None:
            return self._nothing
        cached = self._cache(state).get(window)
        if cached is not None and cached.stored is stored:
            return cached.profiles
        sketches = stored.column("sketch").to_pylist()
        return {column: decode(sketch, self.name) for column, sketch in zip(self._columns, sketches, strict=True)}

    def _keep(self, state: State, window: int, profiles: dict[str, ColumnProfile]) -> None:
        stored = pa.table({"sketch": pa.array([encode(profiles[column]) for column in self._columns], pa.binary())})
        state[_named(window)] = stored
        self._cache(state)[window] = _Cached(stored, profiles)

    def _cache(self, state: State) -> dict[int, _Cached]:
        return state.derived("profiles", (), _Cache).windows


@dataclass(frozen=True, slots=True)
class _Cached:
    """Profiles, and the state's value that they were written to: good as long as that is still there."""

    stored: pa.Table
    profiles: dict[str, ColumnProfile]


@dataclass(slots=True)
class _Cache:
    windows: dict[int, _Cached] = field(default_factory=dict)


def _named(window: int) -> str:
    return f"window {window}"
