"""Rules that need more than one row: uniqueness, jumps in time, null rates, gaps, references to a table.

What they remember is handed to them and lies in the operator's state; none of them keeps anything itself.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from streams.duration import duration_text, parse_duration
from streams.fingerprints import contained, fingerprints, first_seen, remember
from streams.message import BEGINNING, END
from streams.rule import Bools, ContractError, Finding, Memory, MemoryRule, OneField, Rule, StreamRule

if TYPE_CHECKING:
    from streams.stream import Stream

Times = npt.NDArray[np.int64]

#: A group is not expected any more when it has been silent for so many windows: what is remembered stays bounded.
FORGOTTEN: Final = 1_000


def unique(fields: str | Sequence[str], within: str | dt.timedelta | int = "1d") -> Unique:
    """No two rows of one window of event time have the same values here; of several the first is kept.

    Windows are `within` long and begin at 1970: "1d" is a day of UTC. A row without one of the values passes.
    Rows of a window that has passed by more than `within` are not remembered.
    """
    on = (fields,) if isinstance(fields, str) else tuple(fields)
    if not on:
        raise ContractError("unique names no fields", fix='unique("id") or unique(["tenant", "id"])')
    return Unique(on, _length(within, "unique"))


def jump(field: str, at_most: str | dt.timedelta | int) -> Jump:
    """A time lies at most this far beyond the largest one that kept the rule before it.

    It keeps one bad clock out without knowing what time it is. Choose it longer than the longest honest
    silence of the source: what comes after a longer one is quarantined until the rule is changed. The first
    row has nothing to be compared with; `not_after` bounds it.
    """
    return Jump(field, _length(at_most, "jump"))


def null_rate(field: str, at_most: float, over: int = 1000) -> NullRate:
    """Of each `over` consecutive rows of a task, at most this share has no value here."""
    if not 0 <= at_most <= 1 or over < 1:
        raise ContractError(
            f"null_rate({field!r}, {at_most}, {over}) is not a share of a number of rows",
            fix="at_most lies between 0 and 1, over is at least 1.",
        )
    return NullRate(field, at_most, over)


def covered(every: str | dt.timedelta | int, by: str | None = None) -> Covered:
    """Each window of event time of this length has a row, for each value of `by` that was ever seen.

    Judged per task: let `by` be the key, or a part of it. A gap is reported when the clock passes its first
    window, and again with its length when rows come back. What was silent for 1,000 windows is forgotten.
    """
    return Covered(_length(every, "covered"), by)


def references(field: str, table: Stream | str, key: str) -> References:
    """The value is a key of the table (referential integrity). A table given by name is looked up in `tables` of
    the operator."""
    if isinstance(table, str):
        return References(field, table, key)
    return References(field, table.name, key, table)


@dataclass(frozen=True)
class Unique(MemoryRule):
    kind: ClassVar[str] = "unique"
    on: tuple[str, ...]
    within: str = "1d"

    @cached_property
    def name(self) -> str:
        return f"unique({', '.join(self.on)}, within {self.within})"

    @property
    def fields(self) -> tuple[str, ...]:
        return self.on

    def try_on(self, schema: pa.Schema, where: str) -> None:
        nested = [name for name in self.on if pa.types.is_nested(schema.field(name).type)]
        if nested:
            raise ContractError(
                f"The rule {self.name} cannot be judged on nested fields",
                where=where,
                fix=f"Leave {', '.join(nested)} out of it.",
            )

    def failures(self, rows: pa.RecordBatch, times: Times, memory: Memory, clock: int) -> Bools:
        within = parse_duration(self.within)
        columns = [rows.column(name) for name in self.on]
        windows = times // within
        for name in [name for name in memory if (int(name.partition("/")[0]) + 2) * within <= clock]:
            del memory[name]
        judged = np.flatnonzero(_all_valid(columns, rows.num_rows))
        prints = fingerprints([*columns, pa.array(windows)], rows.num_rows).take(judged)
        repeated = ~first_seen(prints)
        here = windows[judged]
        # One round a window: a batch seldom spans more than two.
        for window in np.unique(here).tolist():
            at = np.flatnonzero((here == window) & ~repeated)
            prefix = f"{window}/"
            known = contained(memory, prefix, prints.take(at))
            remember(memory, prefix, prints.take(at[~known]))
            repeated[at[known]] = True
        failed = np.zeros(rows.num_rows, dtype=bool)
        failed[judged] = repeated
        return failed


@dataclass(frozen=True)
class Jump(OneField, MemoryRule):
    kind: ClassVar[str] = "jump"
    field: str
    at_most: str

    def try_on(self, schema: pa.Schema, where: str) -> None:
        if not pa.types.is_timestamp(schema.field(self.field).type):
            raise ContractError(
                f"The rule {self.name} needs a timestamp, not {schema.field(self.field).type}",
                where=where,
                fix="Name a field with times, or cast it in `normalise`.",
            )

    def failures(self, rows: pa.RecordBatch, times: Times, memory: Memory, clock: int) -> Bools:
        largest = memory["largest"].column(0)[0].as_py() if "largest" in memory else None
        column = rows.column(self.field)
        judged = np.flatnonzero(_all_valid([column], rows.num_rows))
        failed = np.zeros(rows.num_rows, dtype=bool)
        if not len(judged):
            return failed
        instants = column.cast(pa.timestamp("us", "UTC"), safe=False).cast(pa.int64())
        seen = pc.fill_null(instants, 0).to_numpy()[judged]
        bad, largest = _jumps(seen, int(seen[0]) if largest is None else largest, parse_duration(self.at_most))
        memory["largest"] = pa.table({"largest": pa.array([largest], pa.int64())})
        failed[judged] = bad
        return failed


@dataclass(frozen=True)
class NullRate(OneField, StreamRule):
    kind: ClassVar[str] = "null_rate"
    field: str
    at_most: float
    over: int = 1000

    def findings(self, rows: pa.RecordBatch, times: Times, memory: Memory, clock: int) -> list[Finding]:
        if not rows.num_rows:
            return []
        counted, nulls = memory["count"].to_pylist()[0].values() if memory else (0, 0)
        missing = rows.column(self.field).is_null().to_numpy(zero_copy_only=False)
        # Nulls since this round began, up to and including each row; `ends` are the rows that complete a round.
        total = nulls + np.cumsum(missing)
        ends = np.arange(self.over - counted - 1, rows.num_rows, self.over)
        in_round = np.diff(total[ends], prepend=0)
        left = int(total[-1] - (total[ends[-1]] if len(ends) else 0))
        memory["count"] = pa.table({"rows": [(counted + rows.num_rows) % self.over], "nulls": [left]})
        return [
            Finding(int(ends[at]), f"{int(in_round[at])} of {self.over} rows have no value")
            for at in np.flatnonzero(in_round > self.at_most * self.over)
        ]


@dataclass(frozen=True)
class Covered(StreamRule):
    kind: ClassVar[str] = "covered"
    every: str
    by: str | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        return () if self.by is None else (self.by,)

    def findings(self, rows: pa.RecordBatch, times: Times, memory: Memory, clock: int) -> list[Finding]:
        """Windows are judged when the clock has passed them, so that rows may come in any order before that."""
        every = parse_duration(self.every)
        seen = memory.get("seen")
        found: list[Finding] = []
        if seen is not None and seen.num_rows:
            # At the end of the stream the last window that any row lies in is the last one that is expected.
            closed = pc.max(seen["window"]).as_py() + 1 if clock == END else clock // every
            found, seen = self._judged(seen, closed, every)
        if rows.num_rows:
            # Late rows could only be held against windows that were judged before they came.
            seen = _distinct([seen, self._pairs(rows, times, every).filter(pc.field("window") >= clock // every)])
        if seen is not None:
            memory["seen"] = seen
        return found

    def _pairs(self, rows: pa.RecordBatch, times: Times, every: int) -> pa.Table:
        group = pa.nulls(rows.num_rows) if self.by is None else rows.column(self.by)
        columns = {"group": group.cast(pa.string()), "window": pa.array(times // every)}
        pairs = pa.table({**columns, "told": pa.array(np.zeros(rows.num_rows, dtype=bool))})
        known = times != BEGINNING
        if self.by is not None:
            known &= group.is_valid().to_numpy(zero_copy_only=False)
        return pairs.filter(pa.array(known))

    def _judged(self, seen: pa.Table, closed: int, every: int) -> tuple[list[Finding], pa.Table]:
        """Gaps before the window `closed`, and of each group its last window before it with all later ones."""
        seen = seen.sort_by([("group", "ascending"), ("window", "ascending")])
        group, windows, told = (column.combine_chunks() for column in seen.columns)
        codes = pc.fill_null(group.dictionary_encode().indices, -1).to_numpy()
        window, was_told = windows.to_numpy(), told.to_numpy(zero_copy_only=False).copy()
        past = window < closed
        same = np.zeros(len(window), dtype=bool)
        same[1:] = codes[1:] == codes[:-1]
        step = np.diff(window, prepend=0)
        found = [
            f"{self._of(group, at)}no row from {_at(window[at - 1] + 1, every)} to {_at(window[at], every)}"
            for at in np.flatnonzero(same & past & (step > 1)).tolist()
        ]
        follows = np.append(same[1:] & past[1:], False)
        last = past & ~follows
        silent = last & (window < closed - 1) & ~was_told
        found += [
            f"{self._of(group, at)}no row since {_at(window[at] + 1, every)}" for at in np.flatnonzero(silent).tolist()
        ]
        was_told[silent] = True
        gone = last & was_told & (window < closed - FORGOTTEN)
        kept = seen.set_column(2, "told", pa.array(was_told)).filter(pa.array((last & ~gone) | ~past))
        return [Finding(-1, value) for value in found], kept

    def _of(self, group: pa.Array, at: int) -> str:
        return "" if self.by is None else f"{self.by}={group[at].as_py()}: "


@dataclass(frozen=True)
class References(OneField, Rule):
    """Judged by an operator that is given the table; `stream` is the table's declaration where it is known."""

    kind: ClassVar[str] = "references"
    field: str
    table: str
    key: str
    stream: Stream | None = dataclasses.field(default=None, compare=False, repr=False)

    def learn(self, keys: pa.Array, memory: Memory) -> None:
        """Take keys of the table into memory. A key stays known when its row is removed from the table."""
        keys = keys.drop_null()
        prints = fingerprints([keys], len(keys))
        new = first_seen(prints) & ~contained(memory, "", prints)
        remember(memory, "", prints.take(new))

    def failures(self, rows: pa.RecordBatch, memory: Memory) -> Bools:
        column = rows.column(self.field)
        known = contained(memory, "", fingerprints([column], len(column)))
        return ~known & _all_valid([column], len(column))


def _length(text: str | dt.timedelta | int, rule: str) -> str:
    length = parse_duration(text)
    if not length:
        raise ContractError(f"{rule} needs a length of time above zero", fix='For example "1h".')
    return duration_text(length)


def _all_valid(columns: Sequence[pa.Array], rows: int) -> Bools:
    valid = np.ones(rows, dtype=bool)
    for column in columns:
        if column.null_count:
            valid &= column.is_valid().to_numpy(zero_copy_only=False)
    return valid


def _jumps(times: Times, largest: int, at_most: int) -> tuple[Bools, int]:
    """Which times lie more than `at_most` above the largest good one before them, and the largest good one after.

    Whether a row is good depends on the good rows before it, so bad rows are taken out in rounds until none is
    left: each round's limits are too high or right, never too low.
    """
    bad = np.zeros(len(times), dtype=bool)
    if (times > np.maximum.accumulate(np.append(largest, times))[:-1] + at_most).any():
        # The good times climb by steps of at most `at_most`: what lies above a wider gap is never reached.
        ladder = np.unique(np.append(times[times > largest], largest))
        gaps = np.flatnonzero(np.diff(ladder) > at_most)
        bad = times > ladder[gaps[0]] if len(gaps) else bad
    while True:
        good = np.where(bad, largest, times)
        reached = np.maximum.accumulate(np.concatenate([[largest], good]))
        found = bad | (times > reached[:-1] + at_most)
        if np.array_equal(found, bad):
            return bad, int(reached[-1])
        bad = found


def _distinct(tables: Sequence[pa.Table | None]) -> pa.Table:
    table = pa.concat_tables([table for table in tables if table is not None])
    distinct = table.group_by(["group", "window"], use_threads=False).aggregate([("told", "max")])
    return distinct.select(["group", "window", "told_max"]).rename_columns(["group", "window", "told"])


def _at(window: int, every: int) -> str:
    moment = dt.datetime.fromtimestamp(0, dt.UTC) + dt.timedelta(microseconds=int(window) * every)
    return moment.isoformat(timespec="auto").replace("+00:00", "Z")
