"""Alarms of a monitor: which metrics are beyond their thresholds, and since when without a break."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pyarrow as pa

from operators.alarms import Alarm
from operators.errors import WrongOutput
from operators.execution.state import State
from operators.monitor.condition import AlarmCondition
from operators.monitor.stream import Measurement

_SINCE: Final = "alarms since"
_SCHEMA: Final = pa.schema([("segment", pa.string()), ("label", pa.string()), ("since", pa.int64())])


@dataclass(frozen=True)
class Raising:
    """Raises an alarm for each window in which a condition holds. `conditions` are by metric name; the one under None
    holds for all metrics that have none of their own."""

    source: str
    conditions: Mapping[str | None, AlarmCondition]

    def raised(self, state: State, start: int, end: int, found: Sequence[Measurement]) -> list[Alarm]:
        """The alarms of one window (microseconds). WrongOutput if a condition is for a metric that nobody measured."""
        if not self.conditions or not found:
            return []
        unknown = {name for name in self.conditions if name is not None} - {one.label for one in found}
        if unknown and any(one.rows for one in found):
            raise WrongOutput(
                f"There is an alarm for {sorted(unknown)[0]!r}, which is not measured.",
                where=self.source,
                fix=f"Measured are {', '.join(sorted({one.label for one in found}))}.",
            )
        since = self._since(state)
        alarms = []
        for one in found:
            condition = self.conditions.get(one.label, self.conditions.get(None))
            threshold = None if condition is None else condition.broken(one.value)
            if threshold is None or one.value is None or condition is None:
                since.pop((one.segment, one.label), None)
                continue
            began = since.setdefault((one.segment, one.label), start)
            alarms.append(self._alarm(one, condition, threshold, began, start, end))
        self._keep(state, since)
        return alarms

    def _alarm(
        self, one: Measurement, condition: AlarmCondition, threshold: float, since: int, start: int, end: int
    ) -> Alarm:
        assert one.value is not None
        evidence: dict[str, Any] = {
            "metric": one.label,
            "condition": condition.text,
            "rows": one.rows,
            "window": [_text(start), _text(end)],
            "windows": (end - since) // (end - start),
        }
        if one.segment is not None:
            evidence["segment"] = one.segment
        return Alarm(
            source=self.source,
            at=end,
            kind=one.metric.kind or one.label,
            size=one.value,
            threshold=threshold,
            column=one.metric.column or one.segment,
            since=since,
            evidence=evidence,
        )

    def _since(self, state: State) -> dict[tuple[str | None, str], int]:
        table = state.table(_SINCE)
        rows = [] if table is None else table.to_pylist()
        return {(row["segment"], row["label"]): row["since"] for row in rows}

    def _keep(self, state: State, since: Mapping[tuple[str | None, str], int]) -> None:
        if since:
            rows = [{"segment": segment, "label": label, "since": at} for (segment, label), at in since.items()]
            rows.sort(key=lambda row: (row["segment"] is not None, row["segment"] or "", row["label"]))
            state[_SINCE] = pa.Table.from_pylist(rows, schema=_SCHEMA)
        elif _SINCE in state:
            del state[_SINCE]


def _text(microseconds: int) -> str:
    at = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=microseconds)
    return at.isoformat().replace("+00:00", "Z")
