"""How far operators have come, as `hub.status` tells it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

import headwater as hw
from headwater.status import stream_statuses

START = datetime(2024, 3, 1, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[2]
SCHEMA = pa.schema(
    [
        pa.field("sensor", pa.string(), nullable=False),
        pa.field("at", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("celsius", pa.float64()),
    ]
)


def pipeline() -> hw.Pipeline:
    p = hw.Pipeline("plant", owner="plant-team", partitions=2)
    raw = p.stream("readings", SCHEMA, key="sensor", time="at", expect=[hw.between("celsius", -80, 150)])
    p.clean(raw, to="valid")
    p.source(p.table("sites", pa.schema([pa.field("site", pa.string(), nullable=False)]), key="site"), sites())
    return p


def sites() -> pa.Table:
    return pa.table({"site": ["north", "south"]})


def readings(*minutes: int, celsius: float = 20.0) -> list[dict[str, object]]:
    return [
        {"sensor": f"s{n % 4}", "at": START + timedelta(minutes=minute), "celsius": celsius}
        for minute in minutes
        for n in range(4)
    ]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[hw.Hub]:
    with hw.connect(tmp_path / "workspace") as hub:
        hub.register(pipeline())
        yield hub


def test_before_a_run_everything_lags(hub: hw.Hub) -> None:
    hub.publish("plant.readings", readings(0, 1, 2))
    source, valid = hub.status()
    assert (source.operator, source.lag, source.ended) == ("plant.sites.source", None, False)
    assert (valid.operator, valid.lag, valid.watermark, valid.last_commit) == ("plant.valid", 12, None, None)
    assert [task.task for task in valid.tasks] == ["plant.valid/0", "plant.valid/1"]
    assert sum(task.lag or 0 for task in valid.tasks) == 12


def test_after_a_run_rows_are_counted_and_nothing_lags(hub: hw.Hub) -> None:
    hub.publish("plant.readings", readings(0, 1) + readings(2, celsius=451.0))
    before = hub.clock()
    hub.run(pipeline(), until="caught-up")
    source, valid = hub.status()
    assert (source.rows_in, source.rows_out, source.ended, source.watermark) == (0, 2, True, None)
    assert (valid.lag, valid.rows_in, valid.rows_out, valid.quarantined, valid.late) == (0, 12, 8, 4, 0)
    assert valid.watermark == int((START + timedelta(minutes=2)).timestamp()) * 1_000_000
    assert valid.last_commit is not None
    assert valid.last_commit > before


def test_counts_add_up_over_runs_and_late_rows_are_told(hub: hw.Hub) -> None:
    for minutes in (5, 6), (1,), (7,):
        hub.publish("plant.readings", readings(*minutes))
        hub.run(pipeline(), until="caught-up")
    (valid,) = hub.status(["plant.valid"])
    assert (valid.rows_in, valid.rows_out, valid.late) == (16, 16, 4)


def test_lag_is_what_came_since(hub: hw.Hub) -> None:
    hub.publish("plant.readings", readings(0))
    hub.run(pipeline(), until="caught-up")
    hub.publish("plant.readings", readings(1, 2))
    assert hub.status(["plant.valid"])[0].lag == 8


def test_who_works_on_a_task_is_told_while_it_does(hub: hw.Hub, tmp_path: Path) -> None:
    program = (
        "import sys, headwater as hw\n"
        "hub = hw.connect(sys.argv[1])\n"
        "writer = hub.log.writer('plant.valid/1')\n"
        "print('there', flush=True)\n"
        "sys.stdin.read()\n"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "workspace")],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "there\n"
        (valid,) = hub.status(["plant.valid"])
        assert [task.owner is not None for task in valid.tasks] == [False, True]
        assert f"#{owner.pid}." in str(valid.tasks[1].owner)
        assert valid.running == 1
    finally:
        owner.kill()
        owner.wait()
    assert hub.status(["plant.valid"])[0].running == 0


def test_an_unknown_operator_is_an_error(hub: hw.Hub) -> None:
    with pytest.raises(hw.NotRegistered, match=r"plant\.valid"):
        hub.status(["plant.vald"])


def test_streams_tell_rows_messages_and_when_the_newest_came(hub: hw.Hub) -> None:
    hub.publish("plant.readings", readings(0, 1) + readings(2, celsius=451.0))
    hub.run(pipeline(), until="caught-up")
    hub.sync()
    found = {one.stream: one for one in stream_statuses(hub)}
    assert set(found) == {
        "plant.readings", "plant.sites", "plant.valid", "plant.valid.quarantine",
    }  # fmt: skip
    assert (found["plant.readings"].rows, found["plant.readings"].messages) == (12, 12)
    assert (found["plant.valid"].rows, found["plant.valid.quarantine"].rows) == (8, 4)
    assert found["plant.valid"].messages < 8
    (retry,) = stream_statuses(hub, ["retry"])
    assert (retry.rows, retry.messages, retry.appended_at) == (0, 0, None)
    assert abs(hub.clock() - (found["plant.readings"].appended_at or 0)) < 60_000_000
