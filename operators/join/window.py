"""Window join: rows of two streams with one key whose event times lie within a span of each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from operators.execution.state import State
from operators.execution.together import Step
from operators.join.columns import UTC_TIME, Left, Right, described, joined_stream, lineage
from operators.join.held import MANY, Held
from operators.join.keys import Mask, Positions
from operators.join.late import Late, bound_of
from operators.join.open_rows import OpenRows
from operators.join.rows import (
    Times,
    addresses_of,
    chosen_columns,
    column_of,
    kept,
    kept_schema,
    own_columns,
    taken,
    times_of,
)
from operators.join.together import (
    Waiting,
    bounds_if_in_time,
    by_input,
    counts_before,
    cut_by_time,
    one_by_one,
    releases,
)
from operators.operator import Batch, Derived, Input, Output
from operators.versions import version_of
from streams.message import BEGINNING, END
from streams.parents import NO_PARENT
from streams.stream import Stream

_CLOCK = "clock"
_MATCHED = "left matched"
_NONE: Positions = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Pairs by position, right -1 where a left row found none; `known` is the event time at which that is known."""

    left: Positions
    right: Positions
    known: Times


class WindowJoin:
    """See `operators.join.join`, how="window".

    Rows wait until the clock has passed them, so that pairs are found among complete sets and in one order. Left
    rows then stay until `after` has passed since, right rows until `before` has.
    """

    kind = "join"
    row_wise = False
    keeps_key = True

    def __init__(
        self,
        name: str,
        to: str,
        left: Left,
        right: Right,
        *,
        before: int,
        after: int,
        inner: bool,
        first_only: bool,
        time_name: str,
        lateness: int,
        tick: int | None,
        version: str,
    ) -> None:
        self.name = name
        self.tick = tick
        self._left = left
        self._right = right
        self._before = before
        self._after = after
        self._inner = inner
        self._first_only = first_only
        self._time_name = time_name
        self._lateness = lateness
        self._left_schema = kept_schema(left.schema)
        self._right_schema = kept_schema(right.schema)
        self._left_wanted = chosen_columns(self._left_schema, left.fields)
        self._right_wanted = chosen_columns(self._right_schema, [own for own, _ in right.fields])
        self._left_key, self._right_key = right.left_key, right.key
        self._left_held = Held("left held", self._left_schema, self._left_key)
        self._right_held = Held("right held", self._right_schema, self._right_key)
        self._left_open = OpenRows("left", self._left_schema, self._left_key)
        self._right_open = OpenRows("right", self._right_schema, self._right_key)
        described_as = {"description": "When the pair was known: the later time of both; without one the window's end."}
        when = pa.field(time_name, UTC_TIME, nullable=False, metadata=described_as)
        self._output = joined_stream(to, left, [right], optional=not inner, extra=[when], time=time_name)
        self._late = Late(to, left, [right])
        self.params: dict[str, Any] = {
            "how": "window",
            "left": left.stream.name,
            "left_fields": list(left.fields),
            "right": described(right),
            "before": before,
            "after": after,
            "kind": "inner" if inner else "left",
            "many": "one" if first_only else "all",
            "time_name": time_name,
            "lateness": lateness,
            "tick": tick,
        }
        self.version = version_of(f"window join 2, {version}", self.params)

    @property
    def inputs(self) -> tuple[Input, ...]:
        return (
            Input(self._left.stream, "partitioned", self._left.reads),
            Input(self._right.stream, "partitioned", self._right.reads),
        )

    @property
    def outputs(self) -> tuple[Stream, ...]:
        return self._output, self._late.stream

    def step(self, batch: Batch, state: State) -> Iterable[Output]:
        bound = bound_of(batch.clock, self._lateness)
        outputs = list(self._release(state, bound)) if self._releases(batch, state) else []
        self._keep_clock(state, bound)
        if not batch.rows.num_rows:
            return outputs
        late = batch.times < bound
        in_time = None
        if late.any():
            outputs.append(self._late.output(batch, late))
            in_time = ~late
        if batch.input == self._left.stream.name:
            self._left_held.push(state, kept(batch, self._left_schema, in_time))
        else:
            self._right_held.push(state, kept(batch, self._right_schema, in_time))
        return outputs

    def _releases(self, batch: Batch, state: State) -> bool:
        """Pairs are made when right rows come: doing it with each left batch as well would only cut them finer."""
        return batch.is_tick or batch.input == self._right.stream.name or self._left_held.count(state) >= MANY

    def steps(self, batches: Sequence[Batch], state: State) -> Iterable[Step]:
        """The same as one step after the other."""
        bounds = bounds_if_in_time(batches, self._lateness) if len(batches) > 1 else None
        if bounds is None:
            return one_by_one(self, batches, state)
        left = Waiting(self._left_held.times(state), batches, self._left.stream.name)
        right = Waiting(self._right_held.times(state), batches, self._right.stream.name)
        left_open, right_open = self._left_open.open_times(state), self._right_open.open_times(state)
        # Open rows have left the waiting room; everything that waits is later.
        start = int(max([BEGINNING, *left_open[-1:] + 1, *right_open[-1:] + 1]))
        reached, last = releases(batches, bounds, self._right.stream.name, [left], start)
        left_times = np.append(left_open, left.released(int(reached[-1])))
        right_times = np.append(right_open, right.released(int(reached[-1])))
        left_closed = counts_before(left_times, reached, self._after)
        right_closed = counts_before(right_times, reached, self._before)
        if _clears(left_times, left_closed, reached) or _clears(right_times, right_closed, reached):
            return one_by_one(self, batches, state)
        left_came = counts_before(left_times, reached)
        holds = []
        for at, (bound, held, right_held) in enumerate(
            zip(bounds.tolist(), left.earliest(reached), right.earliest(reached), strict=True)
        ):
            is_open = left_closed[at] < left_came[at]
            hold = min(held, bound) if self._lateness else held
            if is_open and not self._inner:
                hold = min(hold, int(left_times[left_closed[at]]) + self._after)
            holds.append(min(hold, right_held) if is_open or hold < END else hold)
        outputs: list[Output] = []
        self._push(state, batches[: max(last, 0)])
        if last >= 0:
            outputs += self.step(batches[last], state)
        self._push(state, batches[last + 1 :])
        self._keep_clock(state, int(bounds[-1]))
        return list(zip(cut_by_time(outputs, self._time_name, reached), holds, strict=True))

    def _push(self, state: State, batches: Sequence[Batch]) -> None:
        """Let rows that are in time wait."""
        for batch in by_input(batches):
            if batch.input == self._left.stream.name:
                self._left_held.push(state, kept(batch, self._left_schema))
            else:
                self._right_held.push(state, kept(batch, self._right_schema))

    def _keep_clock(self, state: State, bound: int) -> None:
        if self._lateness and bound < END:
            state[_CLOCK] = b"%d" % bound
        elif _CLOCK in state:
            del state[_CLOCK]

    def holds(self, state: State) -> int:
        known = state.raw(_CLOCK)
        earliest = END if known is None else int(known)
        earliest = min(earliest, self._left_held.earliest(state))
        first, end = self._left_open.span(state)
        if first < end and not self._inner:
            earliest = min(earliest, int(self._left_open.times(state, np.array([first]))[0]) + self._after)
        if first < end or earliest < END:
            earliest = min(earliest, self._right_held.earliest(state))
        return earliest

    def derives(self) -> dict[str, tuple[Derived, ...]]:
        sources = tuple(
            (stream.name, stream.time) for stream in (self._left.stream, self._right.stream) if stream.time is not None
        )
        when = Derived(self._time_name, sources)
        return {
            self._output.name: (*lineage(self._left, [self._right]), when),
            self._late.stream.name: self._late.derives(),
        }

    def _release(self, state: State, bound: int) -> Iterable[Output]:
        first_open, _ = self._left_open.span(state)
        matched = self._matched(state)
        left_rows = self._left_held.release(state, bound)
        right_rows = self._right_held.release(state, bound)
        pairs: list[_Pairs] = []
        if right_rows is not None:
            self._right_open.add(state, right_rows)
            pairs.append(self._with_earlier_left(state, right_rows))
        if left_rows is not None:
            self._left_open.add(state, left_rows)
            pairs.append(self._with_right(state, left_rows))
            matched = np.append(matched, np.zeros(left_rows.num_rows, dtype=bool))
        found = _together(pairs)
        if self._first_only:
            found = _first_of_each(found, ~matched[found.left - first_open])
        matched[found.left - first_open] = True
        closed = self._left_open.up_to(state, bound_of(bound, self._after))
        if not self._inner:
            alone = np.flatnonzero(~matched[: closed - first_open]) + first_open
            deadlines = self._left_open.times(state, alone) + self._after
            found = _together([found, _Pairs(alone, np.full(len(alone), NO_PARENT), deadlines)])
        if len(found.left):
            yield self._joined(state, found)
        self._left_open.close(state, closed)
        self._right_open.close(state, self._right_open.up_to(state, bound_of(bound, self._before)))
        self._set_matched(state, matched[closed - first_open :])

    def _joined(self, state: State, pairs: _Pairs) -> Output:
        """In the order of (the time at which a pair is known, left row, right row)."""
        order = np.lexsort((pairs.right, pairs.left, pairs.known))
        left_table, left_first = self._left_open.rows(state)
        right_table, right_first = self._right_open.rows(state)
        left = taken(left_table.select(self._left_wanted), pairs.left[order] - left_first)
        found = pairs.right[order]
        right = taken(right_table.select(self._right_wanted), np.where(found < 0, NO_PARENT, found - right_first))
        columns = [*own_columns(left).columns, *own_columns(right).columns]
        columns.append(pa.array(pairs.known[order]).cast(UTC_TIME))
        parents = addresses_of(left, self._left.stream.name), addresses_of(right, self._right.stream.name)
        rows = pa.RecordBatch.from_arrays(columns, schema=self._output.schema.arrow)
        return Output(self._output.name, rows, parents)

    def _matched(self, state: State) -> Mask:
        """Which of the open left rows have been in a pair."""
        first, end = self._left_open.span(state)
        packed = np.frombuffer(state.raw(_MATCHED) or b"", dtype=np.uint8)
        if not len(packed):
            return np.zeros(end - first, dtype=bool)
        return np.unpackbits(packed, count=end - first).view(bool)

    def _set_matched(self, state: State, matched: Mask) -> None:
        if self._inner and not self._first_only:
            return
        packed = np.packbits(matched).tobytes() if matched.any() else None
        if packed == state.raw(_MATCHED):
            return
        if packed is None:
            del state[_MATCHED]
        else:
            state[_MATCHED] = packed

    def _with_earlier_left(self, state: State, rows: Any) -> _Pairs:
        """New right rows with the left rows that were there before them."""
        times = times_of(rows)
        columns = [column_of(rows, self._right_schema, name) for name in self._right_key]
        which, left = self._left_open.between(state, columns, times - self._after, times + self._before)
        _, end = self._right_open.span(state)
        return _Pairs(left, which + (end - rows.num_rows), times[which])

    def _with_right(self, state: State, rows: Any) -> _Pairs:
        """New left rows with all right rows."""
        times = times_of(rows)
        columns = [column_of(rows, self._left_schema, name) for name in self._left_key]
        which, right = self._right_open.between(state, columns, times - self._before, times + self._after)
        _, end = self._left_open.span(state)
        known = np.maximum(times[which], self._right_open.times(state, right))
        return _Pairs(which + (end - rows.num_rows), right, known)


def _clears(times: Times, closed: Positions, reached: Times) -> bool:
    """True if one of several batches, but not the last, would find no row open and start its segments anew: then
    they would lie otherwise in the state than after one step for all."""
    came = counts_before(times, reached)
    cleared = (closed == came) & (came > 0)
    return bool(cleared[:-1].any() and not cleared[-1])


def _together(pairs: Sequence[_Pairs]) -> _Pairs:
    return _Pairs(
        np.concatenate([_NONE, *(some.left for some in pairs)]),
        np.concatenate([_NONE, *(some.right for some in pairs)]),
        np.concatenate([_NONE, *(some.known for some in pairs)]),
    )


def _first_of_each(pairs: _Pairs, wanted: Mask) -> _Pairs:
    """For each left row the pair with the earliest right row, among the wanted pairs."""
    chosen = np.flatnonzero(wanted)
    chosen = chosen[np.lexsort((pairs.right[chosen], pairs.left[chosen]))]
    chosen = chosen[np.diff(pairs.left[chosen], prepend=NO_PARENT) != 0]
    return _Pairs(pairs.left[chosen], pairs.right[chosen], pairs.known[chosen])
