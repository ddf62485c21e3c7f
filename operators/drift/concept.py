"""Concept drift: a detector on the error stream that is fed whole arrays, and says since when errors have been more.

It keeps the error sums of a few hundred past rows, thinner the further back, and compares every window that ends now
with everything before it since the last change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

#: Errors are summed as whole numbers of this part, so that sums do not depend on how rows come.
UNIT: Final = 2**20
#: Rows between false alarms, at least, on average.
QUIET: Final = 300_000
#: A change is looked for only behind so many rows.
FEWEST: Final = 30
#: At level 0 every row is looked at, at level n every 16 * 8**(n-1)-th, with windows of 16 to 128 such steps.
STEPS: Final = (1, *(16 * 8**level for level in range(6)))
LAGS: Final = (
    (8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256),
    *((23, 32, 45, 64, 91, 128) for _ in range(6)),
)
_SMALLEST_CHUNK, _LARGEST_CHUNK = 64, 8192
#: So many rows at a time stay within the processor's cache.
_PIECE: Final = 8192


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the error rate: found at row number `row` (from 1), whose event time is `at`; the rate was `before`
    and is `after` since row `changed`, at the event time `since`. `p_value` is about how often chance does that within
    as many rows as came since the change before."""

    row: int
    at: int
    changed: int
    since: int
    before: float
    after: float
    window: int
    p_value: float

    @property
    def size(self) -> float:
        return self.after - self.before


@dataclass(slots=True)
class Memory:
    """What the detector remembers: rows seen, where the present segment starts and the error sum there, and of each
    level the latest positions, error sums up to there and event times."""

    seen: int
    start: int
    start_sum: int
    positions: list[Ints]
    sums: list[Ints]
    times: list[Ints]

    @classmethod
    def new(cls) -> Memory:
        def nothing() -> list[Ints]:
            return [np.zeros(1, dtype=np.int64) for _ in STEPS]

        return cls(0, 0, 0, nothing(), nothing(), nothing())

    @classmethod
    def from_table(cls, table: pa.Table) -> Memory:
        """What `to_table` wrote."""
        level = table.column("level").to_numpy()
        columns = [table.column(name).to_numpy() for name in ("position", "sum", "time")]
        parts = [[np.array(column[level == number]) for number in range(len(STEPS))] for column in columns]
        seen, start, start_sum = (int(column[level == -1][0]) for column in columns)
        return cls(seen, start, start_sum, *parts)

    def to_table(self) -> pa.Table:
        lengths = [1, *map(len, self.positions)]
        return pa.table(
            {
                "level": np.repeat(np.arange(-1, len(STEPS), dtype=np.int64), lengths),
                "position": np.concatenate([[self.seen], *self.positions]),
                "sum": np.concatenate([[self.start], *self.sums]),
                "time": np.concatenate([[self.start_sum], *self.times]),
            }
        )


class ErrorDetector:
    """Watches the mean of errors between 0 and 1, given in order of event time in pieces of any size.

    For windows of 8 rows to 8 million, and each row at which one may end, it holds the likelihood of two rates, one
    inside and one before it since the last change, against that of a single rate (a generalised likelihood ratio;
    Lorden 1971, Siegmund and Venkatraman 1995). A change is reported if the ratio exceeds `quiet` and the rates differ
    by at least `effect`. On errors whose rate does not change, false alarms are then at least `quiet` rows apart on
    average.
    Fewer errors than before also start a new segment, in silence: a learner that gets better is then held to what it
    has become.
    """

    def __init__(self, *, quiet: float = QUIET, effect: float = 0.01) -> None:
        self.quiet = quiet
        self.effect = effect

    def feed(self, errors: Floats, times: Ints, memory: Memory) -> list[Change]:
        """The increases found in these rows; `memory` is brought up to date. `errors` in 0…1, shapes (n,)."""
        found: list[Change] = []
        for first in range(0, len(errors), _PIECE):
            piece = slice(first, first + _PIECE)
            found += self._feed(errors[piece], times[piece], memory)
        return found

    def _feed(self, errors: Floats, times: Ints, memory: Memory) -> list[Change]:
        whole = np.rint(np.clip(errors, 0.0, 1.0) * UNIT).astype(np.int64)
        total = int(memory.sums[0][-1])
        sums = total + np.cumsum(whole)
        lanes = _extended(memory, sums, times)
        found = []
        at, end = memory.seen, memory.seen + len(errors)
        while at < end:
            size = min(max((at - memory.start) // 4, _SMALLEST_CHUNK), _LARGEST_CHUNK)
            upto = min(end, at + size)
            hit = self._first_hit(lanes, memory, at, upto)
            if hit is None:
                at = upto
                continue
            change, position, position_sum = self._change_at(lanes, memory, hit)
            at = hit
            if change.size > 0:
                found.append(change)
                position, position_sum = hit, lanes[0].sum_at(hit)
            memory.start, memory.start_sum = position, position_sum
        memory.seen = end
        _remember(memory, lanes)
        return found

    def _first_hit(self, lanes: Sequence[_Lane], memory: Memory, first: int, end: int) -> int | None:
        """The first position in (first, end] at which some window differs from all before it."""
        spans = [span for lane in lanes for span in lane.spans(memory.start, first, end)]
        if not spans:
            return None
        windows = np.array([span.window for span in spans], dtype=np.float64)
        highest = np.array([span.highest for span in spans]) / UNIT
        lowest = np.array([span.lowest for span in spans]) / UNIT
        low_rate, high_rate = np.array([span.rates(memory.start_sum) for span in spans]).T
        rows_first = np.array([span.fewest for span in spans], dtype=np.float64)
        rows_last = np.array([span.most for span in spans], dtype=np.float64)
        # The ratio grows with the distance of the rates and with the rows before: these bound it over the whole span.
        bar = self._bar(rows_first, windows)
        up = (highest / windows - low_rate >= self.effect) & (_ratio(low_rate, rows_last, highest, windows) >= bar)
        down = (high_rate - lowest / windows >= self.effect) & (_ratio(high_rate, rows_last, lowest, windows) >= bar)
        earliest: int | None = None
        for number in np.flatnonzero(up | down).tolist():
            span = spans[number]
            rows = span.rows.astype(np.float64)
            rate_before = (span.before - memory.start_sum) / UNIT / rows
            inside = span.inside / UNIT
            apart = np.abs(inside / span.window - rate_before) >= self.effect
            hits = np.flatnonzero(
                apart & (_ratio(rate_before, rows, inside, float(span.window)) >= self._bar(rows, float(span.window)))
            )
            if len(hits):
                here = memory.start + span.fewest + int(hits[0]) * span.step + span.window
                earliest = here if earliest is None else min(earliest, here)
        return earliest

    def _change_at(self, lanes: Sequence[_Lane], memory: Memory, hit: int) -> tuple[Change, int, int]:
        """The likeliest split of the rows up to `hit`, and the sum there."""
        total = lanes[0].sum_at(hit)
        positions, sums, times = (
            np.concatenate(parts) for parts in zip(*(lane.kept(hit) for lane in lanes), strict=True)
        )
        wanted = (positions >= memory.start + FEWEST) & (positions <= hit - LAGS[0][0])
        positions, sums, times = positions[wanted], sums[wanted], times[wanted]
        rows = (positions - memory.start).astype(np.float64)
        window = (hit - positions).astype(np.float64)
        before = (sums - memory.start_sum) / UNIT / rows
        inside = (total - sums) / UNIT
        over = _ratio(before, rows, inside, window) - self._bar(rows, window)
        over[np.abs(inside / window - before) < self.effect] = -np.inf
        best = int(np.argmax(over))
        changed = int(positions[best])
        change = Change(
            row=hit,
            at=lanes[0].time_at(hit),
            changed=changed + 1,
            since=lanes[0].time_at(changed + 1) if hit - changed < LAGS[0][-1] else int(times[best]),
            before=float(before[best]),
            after=float(inside[best] / window[best]),
            window=int(window[best]),
            p_value=float(min(np.exp(-over[best]) * (hit - memory.start) / self.quiet, 1.0)),
        )
        return change, changed, int(sums[best])

    def _bar(self, before: Floats, window: Floats | float) -> Floats:
        """What the logarithm of the likelihood ratio has to reach; somewhat more where there are few rows before."""
        return np.log(self.quiet) + 0.5 * np.log1p(window / before)


@dataclass(frozen=True, slots=True)
class _Span:
    """All windows of one length that end within a stretch of positions: error sums up to where each begins and inside,
    and the fewest and most rows between the segment's start and there."""

    window: int
    step: int
    before: Ints
    inside: Ints
    fewest: int
    most: int
    highest: int
    lowest: int

    @property
    def rows(self) -> Ints:
        return np.arange(self.fewest, self.most + 1, self.step, dtype=np.int64)

    def rates(self, start_sum: int) -> tuple[float, float]:
        """Bounds of the error rate before these windows; close ones for long windows, where it matters more."""
        if self.step > 1:
            rates = (self.before - start_sum) / (self.rows * float(UNIT))
            return float(rates.min()), float(rates.max())
        low = (int(self.before[0]) - start_sum) / UNIT / self.most
        return low, min((int(self.before[-1]) - start_sum) / UNIT / self.fewest, 1.0)


@dataclass(frozen=True, slots=True)
class _Lane:
    """One level: positions `step` apart, without a gap, with sums and times."""

    step: int
    lags: tuple[int, ...]
    positions: Ints
    sums: Ints
    times: Ints

    def spans(self, start: int, first: int, end: int) -> list[_Span]:
        """The windows that end in (first, end] and have enough rows since `start` before them."""
        found: list[_Span] = []
        base = int(self.positions[0])
        last = end // self.step
        if last == first // self.step:
            return found
        for lag in self.lags:
            window = lag * self.step
            earliest = max(first + 1, start + FEWEST + window, base + window)
            begin = -(-earliest // self.step)
            if begin > last:
                continue
            low, high = begin - base // self.step, last - base // self.step + 1
            before = self.sums[low - lag : high - lag]
            inside = self.sums[low:high] - before
            fewest, most = ((ending - lag) * self.step - start for ending in (begin, last))
            highest, lowest = int(inside.max()), int(inside.min())
            found.append(_Span(window, self.step, before, inside, fewest, most, highest, lowest))
        return found

    def sum_at(self, position: int) -> int:
        return int(self.sums[(position - int(self.positions[0])) // self.step])

    def time_at(self, position: int) -> int:
        return int(self.times[(position - int(self.positions[0])) // self.step])

    def kept(self, hit: int) -> tuple[Ints, Ints, Ints]:
        """What this level would remember at that position."""
        high = int(np.searchsorted(self.positions, hit, side="right"))
        part = slice(max(high - self.lags[-1] - 1, 0), high)
        return self.positions[part], self.sums[part], self.times[part]


def _extended(memory: Memory, sums: Ints, times: Ints) -> list[_Lane]:
    lanes = []
    for level, step in enumerate(STEPS):
        known = memory.positions[level], memory.sums[level], memory.times[level]
        first = -(-(memory.seen + 1) // step) * step
        new = slice(first - memory.seen - 1, None, step)
        here = sums[new]
        if not len(here):
            lanes.append(_Lane(step, LAGS[level], *known))
            continue
        positions = first + step * np.arange(len(here), dtype=np.int64)
        parts = (np.concatenate(pair) for pair in zip(known, (positions, here, times[new]), strict=True))
        lanes.append(_Lane(step, LAGS[level], *parts))
    return lanes


def _remember(memory: Memory, lanes: Sequence[_Lane]) -> None:
    for level, lane in enumerate(lanes):
        if lane.positions is memory.positions[level]:
            continue
        kept = slice(-lane.lags[-1] - 1, None)
        memory.positions[level] = lane.positions[kept].copy()
        memory.sums[level] = lane.sums[kept].copy()
        memory.times[level] = lane.times[kept].copy()


def _ratio(before: Floats, rows: Floats, inside: Floats, window: Floats | float) -> Floats:
    """The logarithm of the likelihood of two rates against that of one: `rows` rows at the rate `before`, `window` rows
    with `inside` errors."""
    after = inside / window
    both = (before * rows + inside) / (rows + window)
    return rows * _divergence(before, both) + window * _divergence(after, both)


def _divergence(one: Floats, other: Floats) -> Floats:
    """Kullback and Leibler's, between two coins."""
    return _part(one, other) + _part(1.0 - one, 1.0 - other)


def _part(one: Floats, other: Floats) -> Floats:
    held = np.maximum(one, 1e-300)
    return np.where(one > 0.0, one * np.log(held / np.maximum(other, 1e-300)), 0.0)
