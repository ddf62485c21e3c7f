"""Monitors a stream: metrics of each window and segment, and alarms where they pass a threshold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson
import pyarrow as pa

from operators.alarms import alarm_rows, alarm_stream, alarms_derive
from operators.errors import WrongOutput
from operators.execution.state import State
from operators.join.columns import Left
from operators.join.late import Late
from operators.monitor.condition import AlarmCondition
from operators.monitor.errors import WindowTooLarge
from operators.monitor.held import HeldRows, SegmentRows
from operators.monitor.measure import measured
from operators.monitor.metrics import Metric, Window
from operators.monitor.raising import Raising
from operators.monitor.segments import KnownSegments
from operators.monitor.stream import Measurement, metric_rows, monitor_derives, monitor_stream
from operators.operator import Batch, Derived, Input, Output
from operators.versions import version_of
from operators.windows import OpenWindows, Windows, holds_until
from streams.parents import OffsetRange, Ranges
from streams.stream import Stream

_BEFORE_RANGES: Final = "before ranges"
_TOLD: Final = "told"


class MonitorOperator:
    """See `operators.monitor.monitor`."""

    kind = "monitor"
    row_wise = False
    keeps_key = False

    def __init__(
        self,
        name: str,
        source: Stream,
        to: str,
        windows: Windows,
        metrics: tuple[Metric, ...],
        reads: tuple[str, ...],
        by: tuple[str, ...],
        conditions: Mapping[str | None, AlarmCondition],
        limit: int,
        version: str,
    ) -> None:
        self.name = name
        self.tick = windows.length
        self._source = source
        self._windows = windows
        self._metrics = metrics
        self._by = by
        self._limit = limit
        own = {column for metric in metrics for column in metric.reads or ()}
        names = [column for column in source.schema.names if column in {*reads, *own, *by}]
        self._reads = tuple(column for column in names if column in reads)
        columns = tuple(names or [name for name in source.schema.names if name == source.time])
        self.inputs = (Input(source, "gathered", columns),)
        self._compares = any(metric.compares for metric in metrics)
        self._silent = any(metric.silent for metric in metrics)
        self._remembers = self._silent or any(metric.takes_window for metric in metrics)
        self._held = HeldRows(pa.schema([source.schema.arrow.field(column) for column in columns]), by)
        self._open = OpenWindows()
        self._known = KnownSegments()
        self._raising = Raising(name, dict(conditions))
        self._output = monitor_stream(to, source, metrics)
        self._alarms = alarm_stream(to)
        self._late = Late(to, Left(source, columns, columns), [])
        self.outputs = (self._output, self._alarms, self._late.stream)
        self.params: dict[str, Any] = {
            "source": source.name,
            "metrics": [metric.name for metric in metrics],
            "reads": list(self._reads),
            "by": list(by),
            "window": windows.length,
            "lateness": windows.lateness,
            "alarm": {metric or "": condition.text for metric, condition in conditions.items()},
            "limit": limit,
        }
        functions = [metric.function for metric in metrics if not metric.kind]
        self.version = version_of(f"monitor 1, {version}", self.params, *functions)

    def step(self, batch: Batch, state: State) -> Iterable[Output]:
        yield from self._close(state, self._windows.first_open(batch.clock), is_tick=batch.is_tick)
        if not batch.rows.num_rows:
            return
        late, batch = self._windows.in_time(batch, self._late)
        yield from late
        if batch.rows.num_rows:
            self._take(batch, state)

    def holds(self, state: State) -> int:
        told = state.raw(_TOLD) if self._known.all(state) else None
        firsts = [self._open.first(state), None if told is None else int(told)]
        return holds_until(self._windows, min((one for one in firsts if one is not None), default=None))

    def derives(self) -> dict[str, tuple[Derived, ...]]:
        reads = self.inputs[0].reads
        return {
            self._output.name: monitor_derives(self._source, reads, self._by),
            self._alarms.name: alarms_derive(fields=[(self._source.name, column) for column in reads]),
            self._late.stream.name: self._late.derives(),
        }

    def _take(self, batch: Batch, state: State) -> None:
        windows = self._windows.of_times(batch.times)
        self._open.add(state, windows, batch)
        for window in self._held.add(state, windows, batch):
            if self._open.rows(state, window) > self._limit:
                raise WindowTooLarge(
                    f"A window has more than {self._limit:,} rows, and a monitor holds them until it closes.",
                    where=f"{self.name}, {self._source.name}",
                    fix="Choose a shorter window, filter the rows first, or raise limit=; "
                    "a profile (p.profile) holds no rows.",
                )

    def _close(self, state: State, first_open: int, *, is_tick: bool) -> Iterable[Output]:
        known = self._open.known(state)
        for window in known[known < first_open].tolist():
            yield from self._tell_silent(state, window)
            _, ranges = self._open.close(state, window, self._source.name)
            before = self._held.before(state)
            segments = self._held.take(state, window, keep=self._compares)
            yield from self._tell(state, window, segments, before, ranges)
        if not is_tick:
            # Windows without rows are told once later rows show that time has passed, never at the end of a stream.
            yield from self._tell_silent(state, first_open)

    def _tell_silent(self, state: State, until: int) -> Iterable[Output]:
        """What is to be told of the windows without rows before the window `until`."""
        told = state.raw(_TOLD)
        if told is None or int(told) >= until:
            return
        window = int(told)
        while window < until and self._known.all(state):
            yield from self._tell(state, window, {}, {}, Ranges(()))
            window += 1
        state[_TOLD] = b"%d" % until

    def _tell(
        self,
        state: State,
        window: int,
        segments: Mapping[str | None, SegmentRows],
        before: Mapping[str | None, SegmentRows],
        ranges: Ranges,
    ) -> Iterable[Output]:
        found = self._measured(state, window, segments, before)
        if self._remembers:
            self._known.update(state, window, {name: int(one.times[-1]) for name, one in segments.items()})
        if self._silent:
            state[_TOLD] = b"%d" % (window + 1)
        parents = (self._with_before(state, ranges),) if self._compares and segments else (ranges,)
        end = self._windows.end(window)
        start = end - self._windows.length
        if found:
            yield Output(self._output.name, metric_rows(start, end, found), parents)
        alarms = self._raising.raised(state, start, end, found)
        if alarms:
            yield Output(self._alarms.name, alarm_rows(alarms), parents)

    def _measured(
        self,
        state: State,
        window: int,
        segments: Mapping[str | None, SegmentRows],
        before: Mapping[str | None, SegmentRows],
    ) -> list[Measurement]:
        end = self._windows.end(window)
        nothing, known = self._held.nothing, self._known.all(state)
        found: list[Measurement] = []
        for name in sorted({*segments, *(known if self._silent else ())}, key=lambda one: (one is not None, one or "")):
            held = segments.get(name, nothing)
            times = [int(held.times[-1])] if len(held.times) else []
            latest = max([*times, *([known[name].latest] if name in known else [])])
            what = Window(end - self._windows.length, end, name, held.times, latest, before.get(name, nothing).rows)
            for metric in self._metrics:
                if not (len(held.times) or metric.silent):
                    continue
                reads = self._reads if metric.reads is None else metric.reads
                answer = measured(self.name, self._source, metric, held.rows.select(list(reads)), what)
                found += [Measurement(name, metric, label, value, len(held.times)) for label, value in answer.items()]
        labels = [(one.segment, one.label) for one in found]
        twice = next((label for label in labels if labels.count(label) > 1), None) if len(self._metrics) > 1 else None
        if twice is not None:
            raise WrongOutput(
                f"Two functions measure {twice[1]!r}.", where=self.name, fix="Name their numbers: {'name': number}."
            )
        return found

    def _with_before(self, state: State, ranges: Ranges) -> Ranges:
        """With the ranges of the window before, which was looked at too; these are kept for the next one."""
        kept = orjson.loads(state.raw(_BEFORE_RANGES) or b"[]")
        state[_BEFORE_RANGES] = orjson.dumps([[one.partition, one.first, one.end] for one in ranges.ranges])
        return Ranges((*(OffsetRange(self._source.name, *one) for one in kept), *ranges.ranges))
