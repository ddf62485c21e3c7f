"""The alarm stream: one schema for everything that raises alarms (drift, labels, models, monitors), so that one reader,
and one trainer, can listen to all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
import pyarrow as pa

from operators.operator import Derived
from streams.schema import Schema
from streams.stream import Stream

UTC_TIME: Final = pa.timestamp("us", tz="UTC")

#: Streams of alarms carry this tag. What makes a stream one of alarms is its schema.
TAG: Final = "alarms"

#: What an alarm is about. An operator may have kinds of its own.
DATA: Final = "data"
CONCEPT: Final = "concept"
LABEL: Final = "label"
PERFORMANCE: Final = "performance"
LABELING_FUNCTION: Final = "labeling_function"
BASELINE: Final = "baseline"
FRESHNESS: Final = "freshness"

SCHEMA: Final = Schema(
    pa.schema(
        [
            pa.field("source", pa.string(), nullable=False),
            pa.field("at", UTC_TIME, nullable=False),
            pa.field("kind", pa.string(), nullable=False),
            pa.field("column", pa.string()),
            pa.field("size", pa.float64(), nullable=False),
            pa.field("threshold", pa.float64(), nullable=False),
            pa.field("p_value", pa.float64()),
            pa.field("since", UTC_TIME),
            pa.field("evidence", pa.string(), nullable=False),
        ]
    )
).described(
    {
        "source": "The operator that raised it.",
        "at": "The event time at which it could be known.",
        "kind": "What it is about: data, concept, label, performance, labeling_function, baseline, freshness, …",
        "column": "The column, labelling function, slice or model that it is about.",
        "size": "How large the effect is, in the unit of the threshold.",
        "threshold": "The size from which on an alarm is raised.",
        "p_value": "How often chance alone would have done this, where that is known.",
        "since": "Since when, in event time, as far as it can be told.",
        "evidence": "What else was seen, as JSON.",
    }
)


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm. `at` and `since` are microseconds of event time since 1970 UTC; `evidence` is JSON values by name."""

    source: str
    at: int
    kind: str
    size: float
    threshold: float
    column: str | None = None
    p_value: float | None = None
    since: int | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)


def alarm_stream(to: str, *, owner: str = "", description: str = "") -> Stream:
    """The side stream `<to>.alarms` of the operator that writes `to`: one partition, in event time."""
    return Stream(
        f"{to}.alarms",
        SCHEMA,
        time="at",
        partitions=1,
        owner=owner,
        description=description or f"Alarms raised by {to}",
        tags=(TAG,),
    )


def alarm_rows(alarms: Iterable[Alarm]) -> pa.RecordBatch:
    """The alarms as rows of an alarm stream, in their order. Evidence is written with sorted names; numbers that JSON
    does not have (NaN, infinities) become null."""
    listed = list(alarms)
    columns = [
        pa.array([getattr(one, name) for one in listed], pa.int64()).cast(UTC_TIME)
        if name in ("at", "since")
        else pa.array([_evidence(one) for one in listed], pa.string())
        if name == "evidence"
        else pa.array([getattr(one, name) for one in listed], SCHEMA.arrow.field(name).type)
        for name in SCHEMA.names
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA.arrow)


def is_alarm_stream(stream: Stream) -> bool:
    """True if the rows of the stream are alarms."""
    return stream.schema.fingerprint == SCHEMA.fingerprint


def alarms_derive(*, fields: Iterable[tuple[str, str]]) -> tuple[Derived, ...]:
    """Field lineage of an alarm stream, of which every field follows from the same (stream, field) pairs."""
    sources = tuple(fields)
    return tuple(Derived(name, () if name in ("source", "kind") else sources) for name in SCHEMA.names)


def _evidence(alarm: Alarm) -> str:
    option = orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    return orjson.dumps(dict(alarm.evidence), option=option).decode()
