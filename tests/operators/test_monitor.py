from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import headwater as hw
from headwater.testing.cuts import whole
from headwater.testing.operators import check_operator
from headwater.testing.rehearsal import Emitted, outside, rehearse
from operators.errors import StepFailed, WrongOutput
from operators.monitor import CannotMonitor, WindowTooLarge, monitor
from operators.monitor.segments import SILENT_WINDOWS
from operators.windows import CannotWindow
from streams.parents import Ranges

START = datetime(2024, 3, 1, tzinfo=UTC)
READINGS = hw.Schema(
    pa.schema(
        [
            pa.field("sensor", pa.string(), nullable=False),
            pa.field("at", pa.timestamp("us", "UTC"), nullable=False),
            ("celsius", pa.float64()),
            ("kind", pa.string()),
        ]
    )
)


def readings(partitions: int = 2, lateness: int = 0) -> hw.Stream:
    return hw.Stream("plant.readings", READINGS, key=("sensor",), time="at", partitions=partitions, lateness=lateness)


def at(minute: float) -> datetime:
    return START + timedelta(minutes=minute)


def row(minute: float, celsius: float | None = 1.0, sensor: str = "s", kind: str | None = None) -> dict[str, Any]:
    return {"sensor": sensor, "at": at(minute), "celsius": celsius, "kind": kind}


def batch_of(rows: Sequence[dict[str, Any]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(list(rows), schema=READINGS.arrow)


def emitted(operator: Any, rows: Sequence[dict[str, Any]], *, thoroughly: bool = False) -> list[Emitted]:
    stream = operator.inputs[0].stream
    lanes = {stream.name: outside(stream, batch_of(rows))}
    if thoroughly:
        return check_operator(operator, lanes)
    return rehearse(lambda: operator, lanes, whole)


def of(found: list[Emitted], name: str) -> list[dict[str, Any]]:
    return [row for one in found if one.output.stream == name for row in one.output.rows.to_pylist()]


def values(found: list[Emitted], metric: str | None = None) -> list[tuple[int, str | None, float | None]]:
    """(minute at which the window begins, segment, value)."""
    return [
        ((one["window_start"] - START) // timedelta(minutes=1), one["segment"], one["value"])
        for one in of(found, "plant.m")
        if metric in (None, one["metric"])
    ]


def mean(rows: pa.RecordBatch) -> float | None:
    return pc.mean(rows.column("celsius")).as_py()


def many(count: int, seed: int = 1) -> list[dict[str, Any]]:
    random = np.random.default_rng(seed)
    minutes = np.sort(random.integers(0, 40, count))
    return [
        row(
            int(minute),
            None if random.random() < 0.2 else float(random.integers(0, 9)),
            f"s{random.integers(0, 4)}",
            str(random.choice(["a", "b", "c"])),
        )
        for minute in minutes
    ]


def test_a_function_is_given_each_window() -> None:
    found = emitted(monitor(readings(), mean, window="10m", to="plant.m"), [row(1, 2.0), row(3, 4.0), row(12, 7.0)])
    assert of(found, "plant.m") == [
        {"window_start": at(0), "window_end": at(10), "segment": None, "metric": "mean", "value": 3.0, "rows": 2},
        {"window_start": at(10), "window_end": at(20), "segment": None, "metric": "mean", "value": 7.0, "rows": 1},
    ]


def test_segments_are_measured_apart() -> None:
    rows = [row(1, 2.0, "b"), row(2, 4.0, "a"), row(3, 8.0, "a"), row(11, 1.0, "b")]
    found = emitted(monitor(readings(), mean, window="10m", by="sensor", to="plant.m"), rows)
    assert values(found) == [(0, "a", 6.0), (0, "b", 2.0), (10, "b", 1.0)]


def test_several_columns_make_one_segment_name() -> None:
    rows = [row(1, 2.0, "b", "x"), row(2, 4.0, "b", None)]
    found = emitted(monitor(readings(), mean, window="10m", by=["sensor", "kind"], to="plant.m"), rows)
    assert [(json.loads(name or ""), value) for _, name, value in values(found)] == [
        (["b", "x"], 2.0),
        (["b", None], 4.0),
    ]


def test_a_function_may_give_several_numbers() -> None:
    def spread(rows: pa.RecordBatch) -> dict[str, Any]:
        return pc.min_max(rows.column("celsius")).as_py()

    found = emitted(monitor(readings(), spread, window="10m", to="plant.m"), [row(1, 2.0), row(3, 4.0)])
    assert [(one["metric"], one["value"]) for one in of(found, "plant.m")] == [("min", 2.0), ("max", 4.0)]


def test_a_function_sees_only_what_it_reads() -> None:
    operator = monitor(
        readings(), lambda rows: len(rows.schema), window="10m", to="plant.m", reads=["celsius"], by="kind"
    )
    assert [value for _, _, value in values(emitted(operator, [row(1)]))] == [1.0]


@pytest.mark.parametrize(
    ("metrics", "by"),
    [
        ([mean], "kind"),
        ([hw.metrics.volume(), hw.metrics.freshness(), hw.metrics.top_k_churn("kind", 2)], "sensor"),
        ([hw.metrics.rank_correlation("celsius", "at"), hw.metrics.null_rate("celsius")], ()),
        ([lambda rows, window: window.latest - window.start + window.before.num_rows], ()),
    ],
)
def test_metrics_do_not_depend_on_batches_and_survive_restarts(metrics: list[Any], by: Any) -> None:
    operator = monitor(readings(), metrics, window="7m", by=by, to="plant.m", alarm="> 0.5")
    rows = many(60)
    rows[40]["at"] = at(2)
    emitted(operator, rows, thoroughly=True)


def test_rows_come_in_event_time_order() -> None:
    seen: list[list[Any]] = []

    def remember(rows: pa.RecordBatch) -> float:
        seen.append(rows.column("celsius").to_pylist())
        return 0.0

    rows = [row(3, 1.0), row(2, 2.0), row(1, 3.0)]
    emitted(monitor(readings(lateness=600_000_000), remember, window="10m", to="plant.m"), rows)
    assert seen == [[3.0, 2.0, 1.0]]


def test_late_rows_go_to_their_own_stream() -> None:
    found = emitted(monitor(readings(1), mean, window="10m", to="plant.m"), [row(1), row(12), row(2, 9.0), row(11)])
    assert [(one["at"], one["celsius"]) for one in of(found, "plant.m.late")] == [(at(2), 9.0)]
    assert [one["rows"] for one in of(found, "plant.m")] == [1, 2]


def test_lateness_keeps_windows_open() -> None:
    rows = [row(1), row(12), row(2, 9.0), row(30)]
    found = emitted(monitor(readings(1), mean, window="10m", to="plant.m", lateness="5m"), rows)
    assert [one["rows"] for one in of(found, "plant.m")] == [2, 1, 1]
    assert of(found, "plant.m.late") == []


def test_volume_of_windows_without_rows_is_zero() -> None:
    operator = monitor(readings(), hw.metrics.volume(), window="10m", to="plant.m")
    assert values(emitted(operator, [row(1), row(2), row(35)])) == [
        (0, None, 2),
        (10, None, 0),
        (20, None, 0),
        (30, None, 1),
    ]


def test_a_silent_segment_has_volume_zero() -> None:
    operator = monitor(readings(), hw.metrics.volume(), window="10m", to="plant.m", by="sensor")
    rows = [row(1, sensor="a"), row(2, sensor="b"), row(11, sensor="b")]
    assert values(emitted(operator, rows)) == [(0, "a", 1), (0, "b", 1), (10, "a", 0), (10, "b", 1)]


def test_a_segment_is_forgotten_when_it_was_silent_for_long() -> None:
    operator = monitor(readings(), hw.metrics.volume(), window="1m", to="plant.m", by="sensor")
    found = emitted(operator, [row(0, sensor="a"), *(row(minute, sensor="b") for minute in range(1, 300))])
    assert len([one for one in values(found) if one[1] == "a"]) == 1 + SILENT_WINDOWS


def test_a_very_long_silence_is_told_for_a_while() -> None:
    operator = monitor(readings(), hw.metrics.volume(), window="1m", to="plant.m")
    found = values(emitted(operator, [row(0), row(10_000_000)]))
    assert len(found) == 1 + SILENT_WINDOWS + 1
    assert found[-1] == (10_000_000, None, 1)


def test_freshness_is_the_age_of_the_newest_row() -> None:
    operator = monitor(readings(), hw.metrics.freshness(), window="10m", to="plant.m")
    assert values(emitted(operator, [row(1), row(4), row(35)])) == [
        (0, None, 360.0), (10, None, 960.0), (20, None, 1560.0), (30, None, 300.0)
    ]  # fmt: skip


def test_null_rate() -> None:
    operator = monitor(readings(), hw.metrics.null_rate("celsius"), window="10m", to="plant.m")
    assert values(emitted(operator, [row(1, None), row(2), row(3), row(4)])) == [(0, None, 0.25)]


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([(1, 10), (2, 20), (3, 90)], 1.0),
        ([(1, 3), (2, 2), (3, 1), (4, None)], -1.0),
        ([(1, 1), (2, 2), (2, 2), (3, 0)], -1 / 3),
        ([(1, 5), (2, 5)], None),
        ([(1, 5)], None),
        ([(math.nan, 5), (1, 2)], None),
    ],
)
def test_rank_correlation(pairs: list[tuple[float, float | None]], expected: float | None) -> None:
    schema = pa.schema([("at", pa.timestamp("us", "UTC")), ("a", pa.float64()), ("b", pa.float64())])
    stream = hw.Stream("plant.readings", hw.Schema(schema), time="at", partitions=1)
    rows = pa.RecordBatch.from_pylist([{"at": START, "a": a, "b": b} for a, b in pairs], schema=schema)
    operator = monitor(stream, hw.metrics.rank_correlation("a", "b"), window="10m", to="plant.m")
    [(_, _, value)] = values(rehearse(lambda: operator, {stream.name: outside(stream, rows)}, whole))
    assert value == (None if expected is None else pytest.approx(expected))


def test_churn_is_against_the_last_window_with_rows() -> None:
    operator = monitor(readings(), hw.metrics.top_k_churn("kind", 2), window="10m", to="plant.m")
    kinds = {1: "aabbc", 11: "abbcc", 41: "zzyyb"}
    rows = [row(minute, kind=kind) for minute, some in kinds.items() for kind in some]
    assert values(emitted(operator, rows)) == [(0, None, None), (10, None, 0.5), (40, None, 1.0)]


def test_what_is_compared_descends_from_both_windows() -> None:
    operator = monitor(readings(1), hw.metrics.top_k_churn("kind"), window="10m", to="plant.m")
    found = emitted(operator, [row(1, kind="a"), row(2, kind="a"), row(11, kind="b")])
    parents = [part for one in found for part in one.output.parents]
    assert [[(span.first, span.end) for span in part.ranges] for part in parents if isinstance(part, Ranges)] == [
        [(0, 2)], [(0, 2), (2, 3)]
    ]  # fmt: skip


def test_alarms_say_since_when_and_how_much() -> None:
    operator = monitor(readings(), hw.metrics.null_rate("celsius"), window="10m", to="plant.m", alarm="> 0.4")
    rows = [row(1), row(11, None), row(21, None), row(22), row(31), row(41, None)]
    alarms = of(emitted(operator, rows), "plant.m.alarms")
    assert [(one["at"], one["since"], one["size"]) for one in alarms] == [
        (at(20), at(10), 1.0),
        (at(30), at(10), 0.5),
        (at(50), at(40), 1.0),
    ]
    assert {(one["source"], one["kind"], one["column"], one["threshold"]) for one in alarms} == {
        ("plant.m", "null_rate", "celsius", 0.4)
    }
    assert json.loads(alarms[1]["evidence"]) == {
        "metric": "null_rate(celsius)",
        "condition": "> 0.4",
        "rows": 2,
        "window": ["2024-03-01T00:20:00Z", "2024-03-01T00:30:00Z"],
        "windows": 2,
    }


def test_alarms_by_metric_name() -> None:
    metrics = [hw.metrics.volume(), mean]
    operator = monitor(
        readings(), metrics, window="10m", to="plant.m", by="sensor", alarm={"volume": "< 1 or > 2", "mean": 5}
    )
    rows = [row(1, 9.0, "a"), row(1, 1.0, "b"), row(11, 1.0, "b"), row(12, 1.0, "b"), row(13, 1.0, "b")]
    alarms = of(emitted(operator, rows), "plant.m.alarms")
    assert [(one["kind"], one["column"], one["size"], one["threshold"]) for one in alarms] == [
        ("mean", "a", 9.0, 5.0),
        ("volume", "a", 0.0, 1.0),
        ("volume", "b", 3.0, 2.0),
    ]


def test_an_alarm_for_what_is_not_measured_is_refused() -> None:
    operator = monitor(readings(), mean, window="10m", to="plant.m", alarm={"median": 5})
    with pytest.raises(WrongOutput, match="'median', which is not measured"):
        emitted(operator, [row(1)])


def test_a_window_with_too_many_rows_is_refused() -> None:
    operator = monitor(readings(), mean, window="10m", to="plant.m", limit=3)
    emitted(operator, [row(1), row(2), row(3), row(14)])
    with pytest.raises(WindowTooLarge, match="more than 3 rows"):
        emitted(operator, [row(1), row(2), row(3), row(4)])


@pytest.mark.parametrize("answer", ["warm", [1.0], {"a": "b"}, {1: 2.0}])
def test_answers_that_are_no_numbers_are_refused(answer: Any) -> None:
    with pytest.raises(WrongOutput):
        emitted(monitor(readings(), lambda rows: answer, window="10m", to="plant.m"), [row(1)])


def test_two_functions_do_not_measure_the_same() -> None:
    with pytest.raises(WrongOutput, match="Two functions measure 'mean'"):
        emitted(monitor(readings(), [mean, mean], window="10m", to="plant.m"), [row(1)])


def test_a_function_that_raises_is_named_with_its_window() -> None:
    def broken(rows: pa.RecordBatch) -> float:
        raise ValueError("no such sensor")

    with pytest.raises(StepFailed, match="no such sensor") as caught:
        emitted(monitor(readings(), broken, window="10m", to="plant.m", by="sensor"), [row(1)])
    assert caught.value.where == "plant.m, broken, window from 2024-03-01 00:00:00Z, segment 's'"


def test_what_cannot_be_told_is_null() -> None:
    found = emitted(monitor(readings(), lambda rows: math.nan, window="10m", to="plant.m", alarm=0), [row(1)])
    assert values(found) == [(0, None, None)]
    assert of(found, "plant.m.alarms") == []


@pytest.mark.parametrize("alarm", ["0.2", "> x", "== 3", "> 1 and < 3", ""])
def test_a_condition_that_cannot_be_read_is_refused(alarm: str) -> None:
    with pytest.raises(CannotMonitor, match="no condition for an alarm"):
        monitor(readings(), mean, window="10m", to="plant.m", alarm=alarm)


def test_a_monitor_needs_windows_and_functions() -> None:
    with pytest.raises(CannotMonitor):
        monitor(readings(), [], window="10m", to="plant.m")
    with pytest.raises(CannotWindow):
        monitor(readings(), mean, window=0, to="plant.m")
    with pytest.raises(hw.HeadwaterError, match="no column 'humidity'"):
        monitor(readings(), hw.metrics.null_rate("humidity"), window="10m", to="plant.m")


def test_its_version_follows_the_function() -> None:
    def median(rows: pa.RecordBatch) -> float | None:
        return pc.quantile(rows.column("celsius"))[0].as_py()

    versions = {
        monitor(readings(), function, window="10m", to="plant.m").version
        for function in (mean, median, hw.metrics.volume(), hw.metrics.freshness())
    }
    assert len(versions) == 4


@pytest.mark.parametrize("workers", [1, 2])
def test_a_pipeline_monitors_and_raises_alarms(tmp_path: Path, workers: int) -> None:
    p = hw.Pipeline("plant", partitions=2)
    stream = p.stream("readings", READINGS, key="sensor", time="at")
    p.source(stream, batch_of(many(300)), chunk=20)
    p.monitor(stream, hw.metrics.null_rate("celsius"), window="10m", by="kind", to="nulls", alarm=0.15)
    with hw.connect(tmp_path) as hub:
        hub.run(p, until="caught-up", workers=workers)
        rows = hub.read("plant.nulls").to_arrow().to_pylist()
        alarms = hub.read("plant.nulls.alarms").to_arrow().to_pylist()
    table = pa.Table.from_batches([batch_of(many(300))]).to_pylist()
    assert len(rows) == 12
    for one in rows:
        own = [
            other["celsius"] is None
            for other in table
            if one["window_start"] <= other["at"] < one["window_end"] and other["kind"] == one["segment"]
        ]
        assert (one["rows"], one["value"]) == (len(own), sum(own) / len(own))
    assert len(alarms) == sum(one["value"] > 0.15 for one in rows) > 0
