from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import headwater as hw
from headwater.testing.cuts import whole
from headwater.testing.operators import check_operator
from headwater.testing.rehearsal import outside, rehearse
from operators.profile import CannotProfile, profile, read_sketch
from operators.profile import operator as profile_operator
from operators.profile.sketch import encode
from operators.windows import CannotWindow
from streams.parents import Ranges

START = datetime(2024, 3, 1, tzinfo=UTC)
READINGS = hw.Schema(
    pa.schema(
        [
            pa.field("sensor", pa.string(), nullable=False),
            pa.field("at", pa.timestamp("us", "UTC"), nullable=False),
            ("celsius", pa.float64()),
            ("tags", pa.list_(pa.string())),
        ]
    )
)


def readings(partitions: int = 2, lateness: int = 0) -> hw.Stream:
    return hw.Stream("plant.readings", READINGS, key=("sensor",), time="at", partitions=partitions, lateness=lateness)


def rows_of(count: int, *, hours: float = 60, seed: int = 1) -> pa.RecordBatch:
    random = np.random.default_rng(seed)
    at = np.sort(random.integers(0, int(hours * 3600), count))
    celsius = random.normal(20, 5, count)
    return pa.RecordBatch.from_arrays(
        [
            pa.array([f"s{number}" for number in random.integers(0, 7, count)]),
            pa.array([START + timedelta(seconds=int(second)) for second in at], pa.timestamp("us", "UTC")),
            pa.array(celsius, mask=random.random(count) < 0.1),
            pa.array([["x"] * int(number) for number in random.integers(0, 3, count)], pa.list_(pa.string())),
        ],
        schema=READINGS.arrow,
    )


def made(operator: Any, rows: pa.RecordBatch) -> list[dict[str, Any]]:
    """What the operator writes to its main output when all rows come in one piece."""
    stream = operator.inputs[0].stream
    emitted = rehearse(lambda: operator, {stream.name: outside(stream, rows)}, whole)
    return [row for one in emitted if one.output.stream == operator.name for row in one.output.rows.to_pylist()]


def test_profiles_do_not_depend_on_batches_and_survive_restarts() -> None:
    check_operator(profile(readings(), to="plant.profile"), {"plant.readings": outside(readings(), rows_of(90))})


def test_each_window_has_one_row_for_each_column() -> None:
    rows = rows_of(120)
    found = made(profile(readings(), to="plant.profile"), rows)
    assert [(row["window_start"], row["column"]) for row in found] == [
        (START + timedelta(days=day), column) for day in range(3) for column in READINGS.names
    ]
    table = pa.Table.from_batches([rows]).to_pylist()
    for row in found:
        own = [one for one in table if row["window_start"] <= one["at"] < row["window_end"]]
        assert row["rows"] == len(own)
        assert row["nulls"] == sum(one[row["column"]] is None for one in own)


def test_figures_are_those_of_the_rows() -> None:
    rows = rows_of(150)
    by_column = {row["column"]: row for row in made(profile(readings(), to="plant.profile", window="30d"), rows)}
    celsius = rows.column("celsius").drop_null().to_numpy()
    row = by_column["celsius"]
    assert (row["min"], row["max"]) == (celsius.min(), celsius.max())
    assert row["mean"] == pytest.approx(celsius.mean())
    assert row["std"] == pytest.approx(celsius.std(ddof=1))
    assert row["p50"] == pytest.approx(np.quantile(celsius, 0.5, method="inverted_cdf"), rel=row["relative_error"])
    sensors = rows.column("sensor").to_pylist()
    assert by_column["sensor"]["distinct"] == 7
    assert by_column["sensor"]["top"][0]["count"] == max(map(sensors.count, set(sensors)))
    assert (by_column["sensor"]["length_min"], by_column["sensor"]["length_max"]) == (2, 2)
    assert by_column["at"]["earliest"] == rows.column("at")[0].as_py()
    assert by_column["at"]["latest"] == rows.column("at")[-1].as_py()
    assert (by_column["tags"]["length_max"], by_column["tags"]["distinct"]) == (2, None)


def test_windows_merge_to_the_profile_of_all_rows() -> None:
    rows = rows_of(2000)
    by_day = [row for row in made(profile(readings(), to="plant.profile"), rows) if row["column"] == "celsius"]
    [at_once] = made(profile(readings(), to="plant.profile", window="30d", columns=["celsius"]), rows)
    merged = read_sketch(by_day[0]["sketch"])
    for row in by_day[1:]:
        merged = merged.merge(read_sketch(row["sketch"]))
    assert encode(merged) == at_once["sketch"]


def test_profiles_do_not_depend_on_when_rows_are_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of(600)
    waited = made(profile(readings(), to="plant.profile"), rows)
    monkeypatch.setattr(profile_operator, "FOLD_ROWS", 7)
    assert made(profile(readings(), to="plant.profile"), rows) == waited


def test_a_row_is_late_once_its_window_is_closed() -> None:
    at = [0, 23, 25, 1, 26, 24]
    rows = pa.RecordBatch.from_pylist(
        [{"sensor": "s", "at": START + timedelta(hours=hour), "celsius": float(hour)} for hour in at],
        schema=READINGS.arrow,
    )
    operator = profile(readings(partitions=1), to="plant.profile", columns=["celsius"])
    emitted = check_operator(operator, {"plant.readings": outside(readings(partitions=1), rows)})
    late = [row for one in emitted if one.output.stream == "plant.profile.late" for row in one.output.rows.to_pylist()]
    assert [(row["late_input"], row["celsius"]) for row in late] == [("plant.readings", 1.0)]
    assert [row["rows"] for row in made(operator, rows)] == [2, 3]


def test_lateness_keeps_a_window_open() -> None:
    at = [0, 23, 25, 1, 50]
    rows = pa.RecordBatch.from_pylist(
        [{"sensor": "s", "at": START + timedelta(hours=hour)} for hour in at], schema=READINGS.arrow
    )
    found = made(profile(readings(partitions=1), to="plant.profile", columns=["at"], lateness="2h"), rows)
    assert [row["rows"] for row in found] == [3, 1, 1]


def test_a_window_descends_from_the_messages_of_its_rows() -> None:
    rows = rows_of(100, hours=40)
    operator = profile(readings(partitions=1), to="plant.profile", columns=["celsius"])
    emitted = check_operator(operator, {"plant.readings": outside(readings(partitions=1), rows)})
    spans = []
    for one in emitted:
        [part] = one.output.parents
        assert isinstance(part, Ranges)
        spans += [(span.partition, span.first, span.end) for span in part.ranges]
    first_day = sum(at < START + timedelta(days=1) for at in rows.column("at").to_pylist())
    assert spans == [(0, 0, first_day), (0, first_day, 100)]


def test_a_stream_without_event_time_has_no_windows() -> None:
    with pytest.raises(CannotWindow, match="no event time"):
        profile(hw.Stream("plant.sites", READINGS), to="plant.profile")


@pytest.mark.parametrize("columns", [[], ["celsius", "celsius"]])
def test_columns_are_profiled_once(columns: list[str]) -> None:
    with pytest.raises(CannotProfile):
        profile(readings(), to="plant.profile", columns=columns)


def test_a_pipeline_profiles_and_the_hub_merges(tmp_path: Path) -> None:
    p = hw.Pipeline("plant", partitions=2)
    stream = p.stream("readings", READINGS, key="sensor", time="at")
    rows = rows_of(500)
    p.source(stream, rows, chunk=60)
    p.profile(stream, columns=["sensor", "celsius"])
    with hw.connect(tmp_path) as hub:
        hub.run(p, until="caught-up")
        assert len(hub.read("plant.readings.profile")) == 6
        found = hub.profile("plant.readings")
        assert found is not None
        assert (found.windows, found.rows) == (3, 500)
        assert found.columns["sensor"].distinct.estimate == 7
        assert found.columns["celsius"].nulls == rows.column("celsius").null_count
        assert found.start == START
        assert hub.profile("plant.readings.profile") is None
