"""The drift operator: gathers a stream, counts windows of event time against a reference, and raises alarms."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from operators.alarms import CONCEPT, Alarm, alarm_rows, alarm_stream, alarms_derive
from operators.drift.concept import UNIT, Change, ErrorDetector, Memory
from operators.drift.judge import SCHEMA, Finding, judge, moment_text, rows_of
from operators.drift.memory import Held, Windows, earliest_of, earliest_window, ranges_in
from operators.drift.plan import Plan
from operators.drift.reference import Reference, count, errors_of, learn
from operators.execution.state import State
from operators.operator import Batch, Derived, Input, Output
from operators.versions import version_of
from streams.message import BEGINNING, END
from streams.stream import Stream

Ints = npt.NDArray[np.int64]

_REFERENCE: Final = "reference"
_GATHERED: Final = "reference so far"
_DETECTOR: Final = "detector"
_STANDING: Final = "standing"
_CHANGES: Final = "changes"
_LATE: Final = "late"
_WAITING: Final = "waiting errors"
#: An alarm that goes on is raised again when it is so many times as large.
_LARGER: Final = 2.0


class Drift:
    """See `operators.drift.declare.drift`.

    Windows are closed, and errors taken in order of event time, when the clock has passed them, and what errors show is
    told at the next multiple of `every`; so neither the cutting of batches nor the order of their arrival decides what
    comes out, and time is never held back by a row, only by what is still to be said. A row behind the clock still
    counts for a window that is open; otherwise it is only counted as late, which the next window's `detail` says.
    """

    kind = "drift"
    row_wise = False
    keeps_key = False

    def __init__(self, plan: Plan, version: str = "1") -> None:
        self.plan = plan
        self._known = None if plan.known is None else learn(plan, plan.known, BEGINNING, BEGINNING)
        self._detector = ErrorDetector(quiet=plan.quiet, effect=plan.thresholds.error / plan.error_bound)
        self._held = Held("held")
        self._main = Stream(
            plan.to,
            SCHEMA,
            time="at",
            partitions=1,
            description=f"Drift of {plan.source.name}: each window's columns against the reference",
        )
        self._alarms = alarm_stream(plan.to)
        self.params: dict[str, Any] = dict(plan.params)
        if self._known is not None:
            self.params["reference"]["digest"] = hashlib.sha256(self._known.to_bytes()).hexdigest()[:16]
        self.version = version_of(version, {"form": 1, **self.params})

    def __repr__(self) -> str:
        return f"drift({self.plan.source.name!r}, to={self.name!r}, watch={list(self.plan.watch)})"

    @property
    def name(self) -> str:
        return self.plan.to

    @property
    def inputs(self) -> tuple[Input, ...]:
        return (Input(self.plan.source, "gathered", self.plan.reads),)

    @property
    def outputs(self) -> tuple[Stream, ...]:
        return self._main, self._alarms

    @property
    def tick(self) -> int | None:
        return self.plan.every

    def derives(self) -> dict[str, tuple[Derived, ...]]:
        source = self.plan.source
        fields = [*self.plan.reads, *([source.time] if source.time else [])]
        pairs = tuple((source.name, name) for name in dict.fromkeys(fields))
        fixed = ("kind", "column", "measure", "threshold")
        main = tuple(Derived(name, () if name in fixed else pairs) for name in SCHEMA.names)
        return {self._main.name: main, self._alarms.name: alarms_derive(fields=pairs)}

    def holds(self, state: State) -> int:
        start = earliest_window(state)
        # One less than its end, so that the tick at its end closes it.
        closes = END if start is None else start + self.plan.window - 1
        waits = earliest_of(state.table(_WAITING))
        return min(closes, waits if waits == END else self._told_at(waits) - 1)

    def _told_at(self, time: int) -> int:
        """When it is told what errors at that time have shown: at the next multiple of `every`."""
        return (time // self.plan.every + 1) * self.plan.every

    def step(self, batch: Batch, state: State) -> Iterable[Output]:
        outputs = list(self._advance(state, batch.clock))
        if batch.rows.num_rows:
            self._take(batch, state)
        return outputs

    def _take(self, batch: Batch, state: State) -> None:
        plan = self.plan
        # Rows without an event time have BEGINNING: they are in no window.
        timed = batch.times > BEGINNING
        starts = np.where(timed, batch.times - batch.times % plan.window, 0)
        open_still = timed & (starts > max(batch.clock, BEGINNING + plan.window) - plan.window)
        columns = {name: batch.rows.column(name) for name in plan.reads}
        errors_late = 0
        if plan.error is not None:
            errors_late = self._wait(batch, columns[plan.error], state)
        missed = max(int((~open_still).sum()), errors_late)
        if missed:
            state[_LATE] = b"%d" % (int(state.raw(_LATE) or b"0") + missed)
        if not open_still.any():
            return
        addresses = batch.addresses
        if not open_still.all():
            chosen = np.flatnonzero(open_still)
            starts, addresses = starts[chosen], addresses.take(chosen)
            columns = {name: column.take(pa.array(chosen)) for name, column in columns.items()}
        windows = Windows(state)
        windows.came(starts, addresses)
        reference = self._reference(state)
        if reference is None:
            rows = pa.table({"start": starts, **{f"column {name}": column for name, column in columns.items()}})
            self._held.push(state, rows)
        else:
            different, groups = np.unique(starts, return_inverse=True)
            windows.add(different.tolist(), count(reference, plan, columns, groups, len(different)))
        windows.keep(state)

    def _wait(self, batch: Batch, column: pa.Array, state: State) -> int:
        """Let the errors wait that the clock has not passed; how many it has."""
        errors, known = errors_of(self.plan, column)
        in_time = known & (batch.times >= batch.clock)
        if in_time.any():
            whole = np.rint(errors[in_time] * UNIT).astype(np.int64)
            new = pa.table({"time": batch.times[in_time], "error": whole})
            waiting = state.table(_WAITING)
            state[_WAITING] = new if waiting is None else pa.concat_tables([waiting, new]).combine_chunks()
        return int((known & ~in_time).sum())

    def _advance(self, state: State, clock: int) -> Iterable[Output]:
        """Everything that is complete at this clock, in order of event time."""
        earliest = earliest_window(state)
        if earliest is None or earliest + self.plan.window > clock:
            yield from self._concept(state, clock, None)
            return
        windows = Windows(state)
        while (start := windows.first()) is not None and start + self.plan.window <= clock:
            yield from self._concept(state, start + self.plan.window, windows)
            yield from self._close(state, windows, start)
        yield from self._concept(state, clock, windows)
        windows.keep(state)

    def _concept(self, state: State, clock: int, windows: Windows | None) -> Iterable[Output]:
        """Feed the errors before `clock` to the detector, as far as a multiple of `every`."""
        clock = clock if clock == END else clock - clock % self.plan.every
        held = state.table(_WAITING)
        if held is None or not held.num_rows:
            return
        times = held.column("time").to_numpy()
        ready = times < clock
        if not ready.any():
            return
        state[_WAITING] = held.filter(pa.array(~ready))
        errors = held.column("error").to_numpy()[ready]
        # Errors at one instant are taken in order of size, since their order of arrival is no fact.
        order = np.lexsort((errors, times[ready]))
        stored = state.table(_DETECTOR)
        memory = Memory.new() if stored is None else Memory.from_table(stored)
        found = self._detector.feed(errors[order] / UNIT, times[ready][order], memory)
        state[_DETECTOR] = memory.to_table()
        if not found:
            return
        seen = [*_listed(state, _CHANGES), *(change.at for change in found)]
        state[_CHANGES] = orjson.dumps(seen)
        windows = windows or Windows(state)
        for change in found:
            start = change.at - change.at % self.plan.window
            parents = ranges_in(self.plan.source.name, windows.places(start))
            yield Output(self._alarms.name, alarm_rows([self._changed(change)]), parents)

    def _changed(self, change: Change) -> Alarm:
        bound = self.plan.error_bound
        return Alarm(
            source=self.name, at=self._told_at(change.at), kind=CONCEPT, column=self.plan.error,
            size=change.size * bound, threshold=self.plan.thresholds.error, p_value=change.p_value, since=change.since,
            evidence={
                "mean_error_before": change.before * bound, "mean_error_since": change.after * bound,
                "rows_since": change.window, "row": change.row, "row_at": moment_text(change.at),
            },
        )  # fmt: skip

    def _close(self, state: State, windows: Windows, start: int) -> Iterable[Output]:
        """Judge a window that is complete, or make it part of the reference."""
        end = start + self.plan.window
        reference = self._reference(state)
        if reference is None:
            self._gather(state, windows, start)
            return
        flat, rows, places = windows.counts[start], windows.rows[start], windows.places(start)
        changes = _listed(state, _CHANGES)
        if changes:
            state[_CHANGES] = orjson.dumps([at for at in changes if at >= end])
        findings = judge(self.plan, reference, flat, changed=any(start <= at < end for at in changes))
        if late := int(state.raw(_LATE) or b"0"):
            findings = [replace(one, detail={**one.detail, "late_rows": late}) for one in findings]
            del state[_LATE]
        parents = ranges_in(self.plan.source.name, places, reference.ranges)
        yield Output(self._main.name, rows_of(findings, start, end), parents)
        alarms = self._raised(state, findings, start, end, reference)
        if alarms:
            yield Output(self._alarms.name, alarm_rows(alarms), parents)
        windows.drop(start)
        if self.plan.previous and rows >= self.plan.min_rows:
            state[_REFERENCE] = reference.renewed(flat, start, end, rows, places).to_bytes()

    def _raised(self, state: State, findings: list[Finding], start: int, end: int, reference: Reference) -> list[Alarm]:
        """One alarm when something begins to stand out, and another when it has stopped or doubled since."""
        standing: dict[str, dict[str, Any]] = orjson.loads(state.raw(_STANDING) or b"{}")
        alarms = []
        now: dict[str, dict[str, Any]] = {}
        for one in findings:
            if one.kind == CONCEPT or one.p_value is None:
                if one.subject in standing:
                    now[one.subject] = standing[one.subject]
                continue
            if one.p_value > self.plan.fdr:
                continue
            before = standing.get(one.subject, {"since": start, "raised": 0.0})
            assert one.effect is not None
            raise_it = one.alarm and (not before["raised"] or one.effect >= _LARGER * before["raised"])
            raised = one.effect if raise_it else before["raised"] if one.alarm else 0.0
            now[one.subject] = {"since": before["since"], "raised": raised}
            if raise_it:
                alarms.append(self._stands_out(one, before["since"], start, end, reference))
        state[_STANDING] = orjson.dumps(now, option=orjson.OPT_SORT_KEYS)
        return alarms

    def _stands_out(self, one: Finding, since: int, start: int, end: int, reference: Reference) -> Alarm:
        assert one.effect is not None
        evidence = {
            "measure": one.measure, "value": one.value, "reference": one.reference, "statistic": one.statistic,
            "adjusted_p": one.adjusted_p, "rows": one.rows, "window_start": moment_text(start),
            "reference_rows": reference.rows, **one.detail,
        }  # fmt: skip
        return Alarm(
            source=self.name, at=end, kind=one.kind, column=one.column, size=one.effect, threshold=one.threshold,
            p_value=one.p_value, since=since, evidence=evidence,
        )  # fmt: skip

    def _reference(self, state: State) -> Reference | None:
        if self._known is not None and _REFERENCE not in state:
            return self._known
        stored = state.raw(_REFERENCE)
        return None if stored is None else state.derived("read", [_REFERENCE], lambda: Reference.from_bytes(stored))

    def _gather(self, state: State, windows: Windows, start: int) -> None:
        """A window of the reference is complete; if that is enough, learn from it and count what waited."""
        plan = self.plan
        end = start + plan.window
        so_far = orjson.loads(state.raw(_GATHERED) or b"null") or {"first": start, "rows": 0, "places": []}
        so_far["rows"] += windows.rows[start]
        so_far["places"] = _joined([*map(tuple, so_far["places"]), *windows.places(start)])
        windows.drop(start)
        if so_far["rows"] < plan.reference_rows or end - so_far["first"] < plan.reference_span:
            state[_GATHERED] = orjson.dumps(so_far)
            return
        if _GATHERED in state:
            del state[_GATHERED]
        held = self._held.all(state)
        assert held is not None
        self._held.drop(state)
        names = {f"column {name}": name for name in plan.reads}
        inside = pc.less(held.column("start"), end)
        rows = held.filter(inside).select(list(names)).rename_columns(list(names.values()))
        reference = learn(plan, rows, so_far["first"], end, tuple(so_far["places"]))
        state[_REFERENCE] = reference.to_bytes()
        rest = held.filter(pc.invert(inside)).combine_chunks()
        if rest.num_rows:
            different, groups = np.unique(rest.column("start").to_numpy(), return_inverse=True)
            columns = {own: rest.column(name).chunk(0) for name, own in names.items()}
            windows.add(different.tolist(), count(reference, plan, columns, groups, len(different)))


def _listed(state: State, name: str) -> list[int]:
    return orjson.loads(state.raw(name) or b"[]")


def _joined(places: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """One range a partition that spans all of its ranges."""
    found: dict[int, tuple[int, int]] = {}
    for partition, first, end in places:
        known = found.get(partition, (first, end))
        found[partition] = min(first, known[0]), max(end, known[1])
    return [(partition, *span) for partition, span in sorted(found.items())]
