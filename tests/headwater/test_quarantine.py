"""Quarantine: what is in it, and rows that come back from it, each once, with their whole history."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import headwater as hw
from headwater.quarantine import QuarantineError
from headwater.replay_quarantine import replay_quarantine
from streams.condition import ConditionError
from streams.log.protocol import Fenced
from streams.message import RowAddress
from streams.parents import decode_parents
from streams.read import PartitionReader
from streams.rule import Rule
from streams.rules import between, one_of
from streams.window_rules import jump, null_rate, unique

ROOT = Path(__file__).resolve().parents[2]
START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


@dataclass
class Reading:
    sensor: str
    site: str
    at: dt.datetime
    celsius: float


def readings(first: int = 0, count: int = 100) -> list[dict[str, object]]:
    """Rows 7, 17, 27 … are too hot, rows 50 to 54 come from a site that is not known, row 57 is both."""
    return [
        {
            "sensor": f"s{n % 5}",
            "site": "z" if 50 <= n < 55 or n == 57 else "ab"[n % 2],
            "at": START + dt.timedelta(minutes=n),
            "celsius": 500.0 if n % 10 == 7 else float(n),
        }
        for n in range(first, first + count)
    ]


HOT = "between(celsius, -80, 150)"
SITE = "one_of(site, [a, b])"


def plant(*rules: Rule) -> hw.Pipeline:
    p = hw.Pipeline("plant", owner="plant-team")
    source = p.stream("readings", Reading, key="sensor", time="at")
    p.clean(source, to="valid", expect=rules or [between("celsius", -80, 150), one_of("site", ["a", "b"])])
    return p


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = tmp_path_factory.mktemp("prepared") / "ws"
    with hw.connect(workspace) as hub:
        p = plant()
        hub.register(p)
        hub.publish("plant.readings", readings())
        hub.run(p, until="caught-up")
    return workspace


@pytest.fixture
def hub(prepared: Path, tmp_path: Path) -> Iterator[hw.Hub]:
    shutil.copytree(prepared, tmp_path / "ws")
    with hw.connect(tmp_path / "ws") as hub:
        yield hub


def minutes(hub: hw.Hub, stream: str) -> list[int]:
    at = hub.read(stream).table["at"].to_pylist()
    return sorted((one - START) // dt.timedelta(minutes=1) for one in at)


def parents_of(hub: hw.Hub, address: RowAddress) -> list[RowAddress]:
    """The parents of one row, from the header of the message in which it lies."""
    reader = PartitionReader(
        hub.log, hub.stream(address.stream), address.partition, hub.schema, position=address.offset
    )
    batch = reader.fetch()[0]
    assert batch.parents is not None
    return [list(part)[address.row] for part in decode_parents(batch.parents)]


def value_at(hub: hw.Hub, address: RowAddress) -> dict[str, object]:
    rows = hub.read(address.stream, ranges={address.partition: (address.offset, address.offset + 1)})
    return dict(next(row for row in rows if row.address == address))


def test_the_summary_counts_rows_by_rule(hub):
    found = hub.quarantine("plant.valid")
    assert [(one.stream, one.rule, one.field, one.rows, one.waiting) for one in found] == [
        ("plant.valid.quarantine", HOT, "celsius", 10, 10),
        ("plant.valid.quarantine", SITE, "site", 6, 6),
    ]
    assert [row["celsius"] for row in found[0].sample] == [500.0] * 3
    assert found.to_arrow()["rows"].to_pylist() == [10, 6]
    assert HOT in repr(found)
    assert "celsius" in found._repr_html_()
    assert repr(hub.quarantine()) == repr(found) == repr(hub.quarantine("plant.valid.quarantine"))


def test_a_rule_that_is_made_right_lets_the_rows_through(hub):
    before = minutes(hub, "plant.valid")
    report = hub.replay_quarantine("plant.valid", rule=HOT)
    assert (report.stream, report.sent, report.left) == ("plant.valid.retry", 10, {})
    hub.run(plant(between("celsius", -80, 600), one_of("site", ["a", "b"])), until="caught-up")
    # Row 57 came from an unknown site as well, and is in quarantine again.
    assert minutes(hub, "plant.valid") == sorted({*before, *range(7, 100, 10)} - {57})
    assert [(one.rule, one.rows, one.waiting) for one in hub.quarantine("plant.valid")] == [(HOT, 10, 0), (SITE, 7, 6)]


def test_the_catalog_knows_both_versions_and_what_each_wrote(hub):
    (first,) = hub.catalog.operator("plant.valid").versions
    hub.replay_quarantine("plant.valid")
    hub.run(plant(between("celsius", -80, 600)), until="caught-up")
    versions = hub.catalog.operator("plant.valid").versions
    assert versions[0].spec.version == first.spec.version
    assert len({one.spec.version for one in versions}) == 2
    assert {one.spec.state_version for one in versions} == {"1"}
    assert [run.version for run in hub.catalog.runs("plant.valid")] == [one.spec.version for one in versions][::-1]
    contracts = {row["contract"] for row in hub.read("plant.valid.quarantine")}
    assert len(contracts) == 1


def test_rows_are_mended_by_values(hub):
    hub.replay_quarantine("plant.valid", rule=SITE, where="celsius < 150", fix={"site": "a"})
    hub.run(plant(), until="caught-up")
    assert [row["site"] for row in hub.read("plant.valid") if 50 <= row["celsius"] < 55] == ["a"] * 5


def test_rows_are_mended_by_a_function(hub):
    def cooler(rows: pa.RecordBatch) -> pa.RecordBatch:
        assert rows.schema.names == ["sensor", "site", "at", "celsius"]
        return rows.set_column(3, "celsius", pc.subtract(rows["celsius"], 480))

    assert hub.replay_quarantine("plant.valid", where="celsius = 500 and site <> 'z'", fix=cooler).sent == 9
    hub.run(plant(), until="caught-up")
    assert [row["celsius"] for row in hub.read("plant.valid")].count(20.0) == 10


def test_a_second_replay_sends_nothing_again(hub):
    assert hub.replay_quarantine("plant.valid", limit=4).sent == 4
    assert hub.replay_quarantine("plant.valid", rule=HOT).sent <= 10
    hub.replay_quarantine("plant.valid")
    assert hub.replay_quarantine("plant.valid").sent == 0
    assert len(hub.read("plant.valid.retry")) == 15
    assert minutes(hub, "plant.valid.retry") == minutes(hub, "plant.valid.quarantine")
    assert sum(one.waiting for one in hub.quarantine("plant.valid")) == 0


def test_rows_that_fail_again_can_be_sent_again(hub):
    assert hub.replay_quarantine("plant.valid").sent == 15
    hub.run(plant(), until="caught-up")
    assert len(hub.read("plant.valid.quarantine")) == 30
    assert hub.replay_quarantine("plant.valid").sent == 15


def test_a_good_row_is_followed_back_to_its_source(hub):
    hub.replay_quarantine("plant.valid", rule=HOT, fix={"celsius": 1.0})
    hub.run(plant(), until="caught-up")
    good = [row for row in hub.read("plant.valid") if row["celsius"] == 1.0 and row["at"].minute != 1]
    assert len(good) == 9
    for row in good:
        (retried,) = parents_of(hub, row.address)
        (held,) = parents_of(hub, retried)
        (source,) = parents_of(hub, held)
        assert [one.stream for one in (retried, held, source)] == [
            "plant.valid.retry",
            "plant.valid.quarantine",
            "plant.readings",
        ]
        assert value_at(hub, retried) == dict(row)
        assert value_at(hub, held)["rule"] == HOT
        assert value_at(hub, source) == dict(row) | {"celsius": 500.0}


def test_the_catalog_shows_where_replayed_rows_came_from(hub):
    hub.replay_quarantine("plant.valid")
    graph = hub.lineage("plant.valid.retry", direction="up", depth=1)
    assert graph.names("operator") == ["plant.valid.replay"]
    assert "plant.valid.quarantine" in graph.names()
    (run,) = hub.catalog.runs("plant.valid.replay")
    assert (run.rows_in, run.rows_out) == ({"plant.valid.quarantine": 15}, {"plant.valid.retry": 15})
    (made,) = {
        one.run
        for partition, (first, end) in enumerate(hub.log.bounds("plant.valid.retry"))
        for one in hub.catalog.transactions("plant.valid.retry", partition, first, end, direction="made")
    }
    assert made == run.id


def test_rows_lie_in_the_partition_of_their_key(hub):
    hub.replay_quarantine("plant.valid")
    where = {row["sensor"]: row.address.partition for row in hub.read("plant.readings")}
    assert {row["sensor"]: row.address.partition for row in hub.read("plant.valid.retry")}.items() <= where.items()


def test_a_replay_that_another_one_overtook_writes_nothing(hub, tmp_path):
    def slow(rows: pa.RecordBatch) -> pa.RecordBatch:
        with hw.connect(tmp_path / "ws") as other:
            other.replay_quarantine("plant.valid")
        return rows

    with pytest.raises(Fenced):
        hub.replay_quarantine("plant.valid", fix=slow)
    assert len(hub.read("plant.valid.retry")) == 15


def test_a_fix_that_raises_sends_nothing(hub):
    def broken(rows: pa.RecordBatch) -> pa.RecordBatch:
        raise ZeroDivisionError("no")

    with pytest.raises(QuarantineError, match="The fix raised ZeroDivisionError"):
        hub.replay_quarantine("plant.valid", fix=broken)
    assert len(hub.read("plant.valid.retry")) == 0
    assert hub.replay_quarantine("plant.valid").sent == 15


KILLED = """
import os, signal, sys
import headwater as hw
from headwater.replay_quarantine import replay_quarantine

calls = 0

def fix(rows):
    global calls
    calls += 1
    if calls > int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return rows

with hw.connect(sys.argv[1]) as hub:
    replay_quarantine(hub, "plant.valid", fix=fix, rows_at_once=1)
"""


def test_a_replay_that_is_killed_goes_on_where_it_was(hub, tmp_path):
    hub.publish("plant.readings", readings(100, 100))
    hub.run(plant(), until="caught-up")
    for calls in (1, 2):
        ran = subprocess.run(
            [sys.executable, "-c", KILLED, str(tmp_path / "ws"), str(calls)],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            timeout=60,
            check=False,
        )
        assert ran.returncode == -signal.SIGKILL
        assert 0 < len(hub.read("plant.valid.retry")) < len(hub.read("plant.valid.quarantine"))
    hub.replay_quarantine("plant.valid")
    sent = [row.address for row in hub.read("plant.valid.retry")]
    parents = Counter(parent for address in sent for parent in parents_of(hub, address))
    assert set(parents.values()) == {1}
    assert set(parents) == {row.address for row in hub.read("plant.valid.quarantine")}


def test_rows_without_a_required_value_stay(hub):
    report = hub.replay_quarantine("plant.valid", rule=SITE, fix={"celsius": None})
    assert (report.sent, report.left) == (0, {"celsius has no value": 6})
    assert hub.replay_quarantine("plant.valid", rule=SITE, fix={"celsius": 3.5}).sent == 6


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"where": "kelvin > 3"}, ConditionError, "no column 'kelvin'"),
        ({"rule": "between(kelvin)"}, QuarantineError, r"No row broke the rule.*Rows broke between\(celsius"),
        ({"fix": {"kelvin": 3}}, QuarantineError, "'kelvin', which does not exist"),
        ({"fix": {"celsius": "warm"}}, QuarantineError, "has to be double"),
        ({"fix": lambda rows: rows.slice(1)}, QuarantineError, r"The fix gave \d+ rows for"),
        ({"fix": lambda rows: rows.select(["sensor"])}, QuarantineError, "with the columns sensor, site"),
        ({"fix": lambda rows: None}, QuarantineError, "The fix gave a NoneType"),
    ],
)
def test_what_cannot_be_replayed_is_refused_and_nothing_is_sent(hub, options, error, message):
    with pytest.raises(error, match=message):
        hub.replay_quarantine("plant.valid", **options)
    assert len(hub.read("plant.valid.retry")) == 0


def test_a_stream_without_quarantine_is_refused(hub):
    with pytest.raises(QuarantineError, match=r"There are plant.valid.quarantine"):
        hub.replay_quarantine("plant.readings")
    with pytest.raises(hw.NotRegistered):
        hub.replay_quarantine("plant.nothing")


def test_rules_with_memory_keep_it_when_other_rules_change(tmp_path):
    with hw.connect(tmp_path / "ws") as hub:
        rules = [unique(["sensor", "site"], within="30d"), null_rate("celsius", 0.5, over=1000)]
        hub.register(plant(*rules))
        hub.publish("plant.readings", readings(0, 10))
        hub.run(plant(*rules), until="caught-up")
        assert len(hub.read("plant.valid")) == 10
        hub.publish("plant.readings", readings(20, 10))
        # The rules have other places now, and one has another length.
        first = [jump("at", "30d"), null_rate("celsius", 0.5, over=3)]
        hub.run(plant(*first, unique(["sensor", "site"], within="30d")), until="caught-up")
        assert len(hub.read("plant.valid")) == 10
        assert [one.rule for one in hub.quarantine("plant.valid")] == ["unique(sensor, site, within 30d)"]


def test_failed_batches_are_listed_but_not_replayed(tmp_path):
    with hw.connect(tmp_path / "ws") as hub:
        p = hw.Pipeline("plant")
        source = p.stream("readings", Reading, key="sensor", time="at")

        def refuse(rows: pa.RecordBatch) -> pa.RecordBatch:
            if rows.num_rows:
                raise ValueError("not today")
            return rows

        p.map(source, refuse, reads=["sensor", "at"], to="copied", on_error="quarantine")
        hub.register(p)
        hub.publish("plant.readings", readings(0, 5))
        hub.run(p, until="caught-up")
        found = hub.quarantine()
        assert {(one.stream, one.waiting) for one in found} == {("plant.copied.failed", 0)}
        assert "not today" in found[0].rule
        with pytest.raises(QuarantineError, match="stay in their input"):
            hub.replay_quarantine("plant.copied")


def test_findings_about_the_stream_are_not_sent(tmp_path):
    with hw.connect(tmp_path / "ws") as hub:

        @dataclass
        class Maybe:
            sensor: str
            at: dt.datetime
            celsius: float | None

        p = hw.Pipeline("plant")
        source = p.stream("readings", Maybe, key="sensor", time="at", partitions=1)
        p.clean(source, to="valid", expect=[null_rate("celsius", 0.1, over=4), between("celsius", 0, 10)])
        hub.register(p)
        hub.publish("plant.readings", [{"sensor": "s", "at": START, "celsius": c} for c in (None, 1.0, None, 99.0)])
        hub.run(p, until="caught-up")
        assert [(one.rule[:9], one.rows, one.waiting) for one in hub.quarantine()] == [
            ("between(c", 1, 1),
            ("null_rate", 1, 0),
        ]
        assert replay_quarantine(hub, "plant.valid").sent == 1
