"""What a monitor's stream looks like: a row for each window, segment and metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from operators.monitor.metrics import Metric
from operators.operator import Derived
from operators.windows import UTC_TIME
from streams.schema import Schema
from streams.stream import Stream

SCHEMA: Final = Schema(
    pa.schema(
        [
            pa.field("window_start", UTC_TIME, nullable=False),
            pa.field("window_end", UTC_TIME, nullable=False),
            pa.field("segment", pa.string()),
            pa.field("metric", pa.string(), nullable=False),
            pa.field("value", pa.float64()),
            pa.field("rows", pa.int64(), nullable=False),
        ]
    )
).described(
    {
        "window_start": "The first event time of the window.",
        "window_end": "The end of the window, not in it: when the metric was known.",
        "segment": "The value of the columns that the monitor goes by; none if it goes by none.",
        "metric": "What was measured.",
        "value": "The number; none if it cannot be told.",
        "rows": "Rows of the segment in the window.",
    }
)


@dataclass(frozen=True, slots=True)
class Measurement:
    """What `metric` gave under the name `label` for a segment of so many rows."""

    segment: str | None
    metric: Metric
    label: str
    value: float | None
    rows: int


def monitor_stream(to: str, source: Stream, metrics: Sequence[Metric]) -> Stream:
    """The stream `to` of metrics of `source`: one partition, in event time."""
    measured = ", ".join(metric.name for metric in metrics)
    return Stream(to, SCHEMA, time="window_end", partitions=1, description=f"Metrics of {source.name}: {measured}")


def metric_rows(start: int, end: int, found: Sequence[Measurement]) -> pa.RecordBatch:
    """Rows of a monitor's stream, of one window (microseconds)."""
    count = len(found)
    columns: list[Any] = [
        pa.array(np.full(count, start), pa.int64()).cast(UTC_TIME),
        pa.array(np.full(count, end), pa.int64()).cast(UTC_TIME),
        pa.array([one.segment for one in found], pa.string()),
        pa.array([one.label for one in found], pa.string()),
        pa.array([one.value for one in found], pa.float64()),
        pa.array([one.rows for one in found], pa.int64()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA.arrow)


def monitor_derives(source: Stream, reads: Sequence[str], by: Sequence[str]) -> tuple[Derived, ...]:
    """Field lineage: windows from the event time, segments from what the monitor goes by, metrics from all it reads."""
    at = ((source.name, source.time),) if source.time is not None else ()
    read = tuple((source.name, column) for column in reads)
    segment = tuple((source.name, column) for column in by)
    told = {"window_start": at, "window_end": at, "segment": segment, "metric": ()}
    return tuple(Derived(name, told.get(name, read), coarse=name not in told) for name in SCHEMA.names)
