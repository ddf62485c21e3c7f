from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import headwater as hw
from operators.alarms import SCHEMA
from tests.headwater.plant import Plant

UTC = pa.timestamp("us", "UTC")
DAY = dt.timedelta(days=1)
START = dt.datetime(2024, 6, 1, tzinfo=dt.UTC)


def readings(days: int = 6, rows: int = 1000) -> pa.Table:
    """From the fourth day on it is warmer, and errors are more."""
    random = np.random.default_rng(0)
    n = days * rows
    warm = np.arange(n) >= 3 * rows
    at = np.arange(n) * (86_400_000_000 // rows) + int(START.timestamp() * 1e6)
    return pa.table(
        {
            "sensor": [f"s{number % 7}" for number in range(n)],
            "at": pa.array(at).cast(UTC),
            "celsius": random.normal(20, 5, n) + warm * 4,
            "error": (random.random(n) < np.where(warm, 0.4, 0.1)).astype(float),
        }
    )


def pipeline() -> hw.Pipeline:
    p = hw.Pipeline("plant", owner="plant-team")
    data = readings()
    scores = p.stream("scores", data.schema, key="sensor", time="at", partitions=2)
    p.source(scores, data, chunk=250)
    p.drift(scores, watch=["celsius"], error="error", to="drift")
    p.drift(scores, watch=["celsius"], window="2d", to="slow", tags=["mine"])
    return p


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alarms") / "ws"
    with hw.connect(folder) as hub:
        hub.run(pipeline(), until="caught-up")
    return folder


@pytest.fixture
def hub(workspace: Path) -> Iterator[hw.Hub]:
    with hw.connect(workspace) as hub:
        yield hub


def test_alarms_of_all_streams_come_in_event_time(hub: hw.Hub) -> None:
    found = hub.alarms()
    assert [(one.source, one.kind, one.column) for one in found] == [
        ("plant.drift", "concept", "error"),
        ("plant.drift", "data", "celsius"),
        ("plant.slow", "data", "celsius"),
    ]
    concept, data, _ = found
    assert START + 3 * DAY < concept.at < START + 3.2 * DAY
    assert concept.since is not None
    assert abs(concept.since - (START + 3 * DAY)) < dt.timedelta(hours=1)
    assert data.at == START + 4 * DAY
    assert data.evidence["measure"] == "distribution"


def test_alarms_are_chosen_by_kind_source_column_and_time(hub: hw.Hub) -> None:
    assert len(hub.alarms(kind="data")) == 2
    assert len(hub.alarms(source="plant.slow")) == 1
    assert len(hub.alarms(column="error")) == 1
    assert len(hub.alarms(since=START + 4 * DAY)) == 2
    assert len(hub.alarms(until="2024-06-05")) == 1
    assert len(hub.alarms(since="2030-01-01")) == 0


def test_alarms_lead_to_the_rows_that_they_were_raised_for(hub: hw.Hub) -> None:
    trace = hub.trace(hub.alarms(kind="data")[0].address)
    assert {row.stream for row in trace} == {"plant.drift.alarms", "plant.scores"}
    spans = trace[trace.root].descents
    assert len(spans) == 2  # the window and the reference


def test_alarms_show_themselves(hub: hw.Hub) -> None:
    found = hub.alarms()
    assert "concept in error" in repr(found)
    assert "<td>celsius</td>" in found._repr_html_()
    table = found.to_arrow()
    assert table.schema.equals(SCHEMA.arrow)
    assert table.num_rows == 3
    assert len(found[1:]) == 2


def test_alarm_streams_can_be_found_by_their_tag(hub: hw.Hub) -> None:
    assert [one.name for one in hub.catalog.streams(tag="alarms")] == ["plant.drift.alarms"]


def test_the_command_lists_them(workspace: Path) -> None:
    call = Plant(workspace.parent)
    listed = call("alarms", "--workspace", str(workspace), "--kind", "data", "--since", "2024-06-01").table()
    assert [(row["source"], row["column"]) for row in listed] == [("plant.drift", "celsius"), ("plant.slow", "celsius")]
    as_json = call("alarms", "--workspace", str(workspace), "--json", "--source", "plant.drift").json
    assert as_json[0]["evidence"]["rows_since"] > 0
    assert as_json[0]["address"].startswith("plant.drift.alarms 0:")


def test_the_command_says_if_there_are_none(workspace: Path) -> None:
    assert "no alarms" in Plant(workspace.parent)("alarms", "--workspace", str(workspace), "--kind", "none").out


def test_drift_is_the_same_with_more_workers(workspace: Path, tmp_path: Path) -> None:
    with hw.connect(tmp_path / "ws") as other, hw.connect(workspace) as hub:
        other.run(pipeline(), until="caught-up", workers=2)
        for name in ("plant.drift", "plant.drift.alarms", "plant.slow"):
            assert other.read(name).to_arrow().equals(hub.read(name).to_arrow())
