"""Table and as-of joins: each left row meets the newest right row of its key at its own event time.

A right side without event time is known from the start, and left rows go through at once. Against one with
event time, left rows wait until the clock has passed them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa

from operators.execution.state import State
from operators.execution.together import Step, as_one, cut_into
from operators.join.columns import Left, Right, described, joined_stream, lineage
from operators.join.held import MANY, Held
from operators.join.keys import Positions
from operators.join.late import Late, bound_of
from operators.join.latest import Arrived, Latest
from operators.join.rows import addresses_of, chosen_columns, kept, kept_schema, own_columns, taken, times_of
from operators.join.together import Waiting, bounds_if_in_time, by_input, cut_by_time, one_by_one, releases
from operators.operator import Batch, Derived, Input, Output
from operators.versions import version_of
from streams.message import BEGINNING, END
from streams.parents import NO_PARENT, Addresses
from streams.stream import Stream

_CLOCK = "clock"


class Side:
    """One right side's memory: rows that wait for the clock and the newest row of each key."""

    def __init__(self, right: Right, tolerance: int | None = None, allow_exact: bool = True) -> None:
        self.right = right
        self.tolerance = tolerance
        self.allow_exact = allow_exact
        self.stream = right.stream.name
        self.waits = right.stream.time is not None
        self.left_key = right.left_key
        self.schema = kept_schema(right.schema)
        self.held = Held(f"right {right.name} held", self.schema, right.stream.key or right.key)
        self.wanted = chosen_columns(self.schema, [own for own, _ in right.fields])
        self.latest = Latest(f"right {right.name}", self.schema, right.key, keep=tolerance)

    def supersede(self, state: State, rows: Any) -> None:
        """Let rows that came late take effect now, where nothing newer of their key has."""
        latest = self.latest
        rows = taken(rows, np.argsort(times_of(rows), kind="stable"))
        found = latest.find(state, latest.key_columns(rows))
        known = taken(found.rows, found.positions)
        newest = known.column(0).fill_null(-(2**63)).to_numpy()
        latest.add(state, latest.arrived(rows.filter(pa.array(times_of(rows) >= newest))))

    def match(self, state: State, columns: Sequence[Any], times: Any, newer: Arrived | None) -> Any:
        """For each left row the address and fields of the right row, or nulls."""
        latest = self.latest
        if newer is None:
            found = latest.find(state, columns)
        else:
            found = latest.find_between(state, columns, times, newer, allow_exact=self.allow_exact)
        rows = taken(found.rows.select(self.wanted), found.positions)
        if self.tolerance is None:
            return rows
        met = rows.column(0).is_valid().to_numpy(zero_copy_only=False)
        too_old = met & (times - rows.column(0).fill_null(0).to_numpy() > self.tolerance)
        return taken(rows, np.where(too_old, NO_PARENT, np.arange(len(too_old)))) if too_old.any() else rows


class LookupJoin:
    """See `operators.join.join`, how="table" and how="asof"."""

    kind = "join"
    row_wise = False
    keeps_key = True

    def __init__(
        self,
        name: str,
        to: str,
        left: Left,
        sides: Sequence[Side],
        *,
        how: str,
        inner: bool,
        lateness: int,
        tick: int | None,
        version: str,
    ) -> None:
        self.name = name
        self.tick = tick
        self._left = left
        self._sides = tuple(sides)
        self._inner = inner
        self._lateness = lateness
        self._waits = any(side.waits for side in sides)
        self._schema = kept_schema(left.schema)
        self._held = Held("left held", self._schema, left.stream.key)
        rights = [side.right for side in sides]
        self._output = joined_stream(to, left, rights, optional=not inner, time=left.stream.time)
        beside = [right for right in rights if right.mode == "partitioned"]
        self._late = Late(to, left, beside) if self._waits else None
        self.params: dict[str, Any] = {
            "how": how,
            "left": left.stream.name,
            "left_fields": list(left.fields),
            "right": {right.name: described(right) for right in rights},
            "kind": "inner" if inner else "left",
            "tolerance": [side.tolerance for side in sides],
            "allow_exact": [side.allow_exact for side in sides],
            "lateness": lateness,
            "tick": tick,
        }
        self.version = version_of(f"lookup join 2, {version}", self.params)

    @property
    def inputs(self) -> tuple[Input, ...]:
        streams: dict[str, Input] = {self._left.stream.name: Input(self._left.stream, "partitioned", self._left.reads)}
        for side in self._sides:
            right = side.right
            known = streams.get(right.stream.name)
            wanted = {*right.reads, *(known.reads if known else ())}
            reads = tuple(name for name in right.stream.schema.arrow.names if name in wanted)
            streams[right.stream.name] = Input(right.stream, right.mode, reads)
        return tuple(streams.values())

    @property
    def outputs(self) -> tuple[Stream, ...]:
        return (self._output,) if self._late is None else (self._output, self._late.stream)

    def step(self, batch: Batch, state: State) -> Iterable[Output]:
        outputs: list[Output] = []
        if self._waits:
            bound = bound_of(batch.clock, self._lateness)
            if self._releases(batch, bound, state):
                self._release(state, bound, outputs)
            self._keep_clock(state, bound)
        if not batch.rows.num_rows:
            return outputs
        if batch.input == self._left.stream.name:
            self._take_left(batch, state, outputs)
        else:
            self._take_right(batch, state, outputs)
        return outputs

    def steps(self, batches: Sequence[Batch], state: State) -> Iterable[Step]:
        """The same as one step after the other."""
        immediate = {side.stream for side in self._sides if not side.waits}
        for changes, some in groupby(batches, lambda batch: batch.input in immediate):
            run = list(some)
            if changes or len(run) == 1:
                yield from one_by_one(self, run, state)
            elif self._waits:
                yield from self._steps_waiting(run, state)
            else:
                yield from self._steps_at_once(run, state)

    def holds(self, state: State) -> int:
        earliest = self._held.earliest(state)
        known = state.raw(_CLOCK)
        return earliest if known is None else min(earliest, int(known))

    def derives(self) -> dict[str, tuple[Derived, ...]]:
        found = {self._output.name: lineage(self._left, [side.right for side in self._sides])}
        if self._late is not None:
            found[self._late.stream.name] = self._late.derives()
        return found

    def _releases(self, batch: Batch, bound: int, state: State) -> bool:
        """Left rows leave when more of them come: leaving with each right batch as well would only cut them finer.
        Late right rows count for what is still here, so whatever may leave does so before them."""
        if batch.is_tick or batch.input == self._left.stream.name or bool((batch.times < bound).any()):
            return True
        return any(side.waits and side.held.count(state) >= MANY for side in self._sides)

    def _steps_at_once(self, batches: Sequence[Batch], state: State) -> Iterable[Step]:
        """Left rows that wait for nothing."""
        whole = as_one(batches)
        chosen, outputs = self._met(state, whole.rows, whole.times, whole.addresses, {})
        ends = np.cumsum([batch.rows.num_rows for batch in batches])
        pieces: list[list[Output]] = [[] for _ in batches]
        for output in outputs:
            cut_into(pieces, output, (ends if chosen is None else np.searchsorted(chosen, ends)).tolist())
        return [(piece, END) for piece in pieces]

    def _steps_waiting(self, batches: Sequence[Batch], state: State) -> Iterable[Step]:
        bounds = bounds_if_in_time(batches, self._lateness)
        if bounds is None or self._left.stream.time is None:
            return one_by_one(self, batches, state)
        name = self._left.stream.name
        waiting = [Waiting(side.held.times(state), batches, side.stream) for side in self._sides if side.waits]
        reached, last = releases(batches, bounds, name, waiting, BEGINNING)
        holds = Waiting(self._held.times(state), batches, name).earliest(reached)
        if self._lateness:
            holds = [min(hold, bound) for hold, bound in zip(holds, bounds.tolist(), strict=True)]
        outputs: list[Output] = []
        self._push(state, batches[: max(last, 0)])
        if last >= 0:
            outputs += self.step(batches[last], state)
        self._push(state, batches[last + 1 :])
        self._keep_clock(state, int(bounds[-1]))
        return list(zip(cut_by_time(outputs, self._left.stream.time, reached), holds, strict=True))

    def _push(self, state: State, batches: Sequence[Batch]) -> None:
        """Let rows that are in time wait."""
        for batch in by_input(batches):
            if batch.input == self._left.stream.name:
                self._held.push(state, kept(batch, self._schema))
            for side in self._sides:
                if side.stream == batch.input:
                    side.held.push(state, kept(batch, side.schema))

    def _keep_clock(self, state: State, bound: int) -> None:
        if self._lateness and bound < END:
            state[_CLOCK] = b"%d" % bound
        elif _CLOCK in state:
            del state[_CLOCK]

    def _take_left(self, batch: Batch, state: State, outputs: list[Output]) -> None:
        if not self._waits:
            outputs.extend(self._joined(state, batch.rows, batch.times, batch.addresses, {}))
            return
        in_time = self._in_time(batch, outputs)
        self._held.push(state, kept(batch, self._schema, in_time))

    def _take_right(self, batch: Batch, state: State, outputs: list[Output]) -> None:
        for side in self._sides:
            if side.stream != batch.input:
                continue
            if not side.waits:
                side.latest.add(state, side.latest.arrived(kept(batch, side.schema)))
            elif side.right.mode == "broadcast":
                late = batch.times < bound_of(batch.clock, self._lateness)
                if late.any():
                    side.supersede(state, kept(batch, side.schema, late))
                side.held.push(state, kept(batch, side.schema, ~late if late.any() else None))
            else:
                in_time = self._in_time(batch, outputs)
                side.held.push(state, kept(batch, side.schema, in_time))

    def _in_time(self, batch: Batch, outputs: list[Output]) -> Any | None:
        """Which rows the clock has not passed (None: all); the others go to the side stream."""
        late = batch.times < bound_of(batch.clock, self._lateness)
        if not late.any():
            return None
        assert self._late is not None, "only a join that waits has late rows"
        outputs.append(self._late.output(batch, late))
        return ~late

    def _release(self, state: State, bound: int, outputs: list[Output]) -> None:
        newer: dict[str, Arrived] = {}
        for side in self._sides:
            rows = side.held.release(state, bound) if side.waits else None
            if rows is not None:
                newer[side.right.name] = side.latest.arrived(rows)
        ripe = self._held.release(state, bound)
        if ripe is not None:
            addresses = addresses_of(ripe, self._left.stream.name)
            outputs.extend(self._joined(state, own_columns(ripe), times_of(ripe), addresses, newer))
        for side in self._sides:
            if side.right.name in newer:
                side.latest.add(state, newer[side.right.name])

    def _joined(
        self, state: State, rows: Any, times: Any, addresses: Addresses, newer: dict[str, Arrived]
    ) -> Iterable[Output]:
        return self._met(state, rows, times, addresses, newer)[1]

    def _met(
        self, state: State, rows: Any, times: Any, addresses: Addresses, newer: dict[str, Arrived]
    ) -> tuple[Positions | None, list[Output]]:
        """Which of the rows come out (None: all), and the output."""
        chosen = None
        columns = [rows.column(name) for name in self._left.fields]
        parents = [addresses]
        for side in self._sides:
            keys = [rows.column(name) for name in side.left_key]
            match = side.match(state, keys, times, newer.get(side.right.name))
            columns += own_columns(match).columns
            parents.append(addresses_of(match, side.stream))
        if self._inner:
            present = np.logical_and.reduce([part.offset != NO_PARENT for part in parents[1:]])
            if not present.all():
                chosen = np.flatnonzero(present)
                columns = [column.take(pa.array(chosen)) for column in columns]
                parents = [part.take(chosen) for part in parents]
        if not len(parents[0]):
            return chosen, []
        joined = pa.RecordBatch.from_arrays(columns, schema=self._output.schema.arrow)
        return chosen, [Output(self._output.name, joined, tuple(parents))]
