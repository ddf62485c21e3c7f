"""How a monitor is declared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import pyarrow as pa

from operators.function import refuse_unknown
from operators.monitor.condition import AlarmCondition
from operators.monitor.errors import CannotMonitor
from operators.monitor.metrics import Metric
from operators.monitor.operator import MonitorOperator
from operators.windows import Windows
from streams.duration import Duration
from streams.stream import Stream

#: A window may have so many rows unless the monitor says otherwise.
LIMIT: Final = 2_000_000

#: A condition for all metrics, or one by metric name.
Alarms: TypeAlias = str | float | Mapping[str, str | float] | None
#: A function of a batch (and of its `Window`) that gives a number or a dict of numbers.
Function: TypeAlias = Metric | Callable[..., Any]


def monitor(
    source: Stream,
    function: Function | Sequence[Function],
    *,
    window: Duration,
    to: str,
    by: str | Sequence[str] = (),
    reads: Sequence[str] | None = None,
    alarm: Alarms = None,
    lateness: Duration = 0,
    limit: int = LIMIT,
    name: str | None = None,
    version: str = "1",
) -> MonitorOperator:
    """An operator that writes to `to` what functions give for the rows of each window of event time and each segment.

    A function is given a RecordBatch with the columns `reads` (all without it), in event-time order, rows of one time
    in an order of their content; it gives a number, None, or a dict of them by name. One that takes two arguments is
    given the `Window` too. `by` are the columns whose values are the segments. `alarm` is a condition for all metrics
    or one by metric name (`"> 0.2"`, `"< 10 or > 500"`, or the largest good number); alarms go to `<to>.alarms`.

    A window closes when the clock has passed its end by `lateness`; rows that come for it later go to `<to>.late`. Its
    rows are held until then, at most `limit` of them: WindowTooLarge for more. CannotMonitor or CannotWindow for what
    cannot be declared.
    """
    where = name or to
    windows = Windows.of(source, window, lateness, where)
    given = [function] if isinstance(function, Metric) or callable(function) else list(function)
    metrics = tuple(Metric.of(one) for one in given)
    if not metrics:
        raise CannotMonitor("There is nothing to measure.", where=where, fix="Give a function, or hw.metrics.volume().")
    by = (by,) if isinstance(by, str) else tuple(by)
    own = [column for metric in metrics for column in metric.reads or ()]
    if reads is None:
        reads = source.schema.names if any(metric.reads is None for metric in metrics) else ()
    wanted = {*reads, *own, *by}
    refuse_unknown(source, sorted(wanted), where)
    nested = [column for column in by if pa.types.is_nested(source.schema.arrow.field(column).type)]
    if nested:
        raise CannotMonitor(f"The column {nested[0]!r} has no single value to go by.", where=where, fix="Flatten it.")
    if limit < 1:
        raise CannotMonitor(f"A window cannot hold {limit} rows.", where=where, fix="limit= is at least 1.")
    given_alarms = alarm if isinstance(alarm, Mapping) else {} if alarm is None else {None: alarm}
    alarms = {metric: AlarmCondition.of(text, where) for metric, text in given_alarms.items()}
    return MonitorOperator(where, source, to, windows, metrics, tuple(reads), by, alarms, limit, version)
