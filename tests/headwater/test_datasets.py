"""Datasets: frozen rows come back as they were, or with an error that says what is gone."""

from __future__ import annotations

import datetime as dt
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import headwater as hw
from headwater.dataset import DatasetChanged, DatasetError, DatasetGone
from headwater.query import Query
from streams.condition import ConditionError

START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
HOUR = 3_600_000_000


@dataclass
class Reading:
    sensor: str
    at: dt.datetime
    celsius: float


@dataclass
class Site:
    site: str
    city: str


def readings(first: int, count: int) -> list[dict[str, object]]:
    return [
        {"sensor": f"s{n % 5}", "at": START + dt.timedelta(minutes=n), "celsius": float(n)}
        for n in range(first, first + count)
    ]


def plant(**options: object) -> hw.Pipeline:
    p = hw.Pipeline("plant", owner="plant-team")
    p.stream("readings", Reading, key="sensor", time="at", tags=["training"], entities={"sensor": "sensor"}, **options)
    p.table("sites", Site, key="site")
    return p


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = tmp_path_factory.mktemp("prepared") / "ws"
    with hw.connect(workspace) as hub:
        hub.register(plant(retention="1d"))
        hub.publish("plant.readings", readings(0, 100))
    return workspace


@pytest.fixture
def hub(prepared: Path, tmp_path: Path) -> Iterator[hw.Hub]:
    shutil.copytree(prepared, tmp_path / "ws")
    with hw.connect(tmp_path / "ws") as hub:
        yield hub


def numbers(table: pa.Table) -> list[float]:
    return sorted(table["celsius"].to_pylist())


def test_rows_that_come_later_do_not_change_a_dataset(hub):
    frozen = hub.freeze("training", "plant.readings")
    before = frozen.to_arrow()
    hub.publish("plant.readings", readings(100, 50))
    again = hub.dataset("training")
    assert again.to_arrow().equals(before)
    assert len(again) == 100
    assert numbers(before) == [float(n) for n in range(100)]


def test_freezing_the_same_rows_again_is_the_same_version(hub):
    assert hub.freeze("training", "plant.readings").version == 1
    assert hub.freeze("training", "plant.readings").version == 1
    hub.publish("plant.readings", readings(100, 1))
    newer = hub.freeze("training", "plant.readings")
    assert (newer.version, len(newer)) == (2, 101)
    assert len(hub.dataset("training", version=1)) == 100
    assert [one.version for one in hub.datasets()] == [2]


def test_a_query_chooses_rows_by_time_condition_and_columns(hub):
    frozen = hub.freeze(
        "warm",
        "plant.readings",
        since="2024-01-01T00:10:00Z",
        until=START + dt.timedelta(minutes=40),
        where="celsius >= 15 and sensor in ('s0', 's1')",
        columns=["celsius", "sensor"],
    )
    assert frozen.to_arrow().column_names == ["celsius", "sensor"]
    assert numbers(frozen.to_arrow()) == [n for n in range(15, 40) if n % 5 < 2]
    described = frozen.manifest["streams"]["plant.readings"]
    assert described["earliest"] == round(START.timestamp() * 1e6) + 15 * 60_000_000
    assert described["latest"] == round(START.timestamp() * 1e6) + 36 * 60_000_000
    assert described["producers"] == {"service:python": 10}


def test_ranges_are_as_narrow_as_the_rows(hub):
    frozen = hub.freeze("one", "plant.readings", where="celsius = 50")
    ((partition, first, end),) = frozen.manifest["ranges"]["plant.readings"]
    assert end == first + 1
    (row,) = frozen.rows()
    assert (row.address.partition, row.address.offset) == (partition, first)
    assert hub.read("plant.readings", ranges={partition: (first, end)}).row(0)["celsius"] == 50


def test_a_query_by_offsets_takes_those_and_no_others(hub):
    whole = hub.read("plant.readings")
    partition = next(iter(whole)).address.partition
    frozen = hub.freeze("some", Query(ranges={"plant.readings": [[partition, 3, 7]]}))
    assert [row.address.offset for row in frozen.rows()] == [3, 4, 5, 6]


@pytest.mark.parametrize(
    "parts",
    [
        {"tag": "training"},
        {"entity": "sensor"},
        {"owner": "plant-team", "tag": "training"},
        {"search": "readings of a sensor"},
    ],
)
def test_the_catalog_finds_the_streams(hub, parts):
    assert hub.freeze("found", **parts).streams == ("plant.readings",)


def test_nothing_found_is_an_error(hub):
    with pytest.raises(DatasetError, match="finds no stream"):
        hub.freeze("none", tag="nobody")
    assert hub.datasets() == []


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"where": "kelvin > 3"}, "no column 'kelvin'"),
        ({"columns": ["kelvin"]}, "no column 'kelvin'"),
        ({"since": "yesterday"}, "'yesterday' is no time"),
        ({"since": dt.datetime(2024, 1, 1)}, "no time zone"),
        ({"ranges": {"plant.readings": [[9, 0, 1]]}}, "no range of offsets"),
        ({"ranges": {"plant.readings": [[0, 0, 10_000]]}}, "does not hold"),
        ({"ranges": {"plant.readings": [[0, 0, 3], [0, 2, 4]]}}, "overlap"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_registered(hub, parts, message):
    with pytest.raises((DatasetError, ConditionError), match=message):
        hub.freeze("wrong", "plant.readings", **parts)
    assert hub.datasets() == []


def test_a_name_that_could_be_a_path_is_refused(hub):
    with pytest.raises(DatasetError, match="name of a dataset"):
        hub.freeze("../outside", "plant.readings")


def test_the_dataset_is_in_the_lineage_of_its_streams(hub):
    hub.freeze("training", "plant.readings")
    assert hub.lineage("plant.readings", direction="down").names("dataset") == ["training"]
    assert hub.lineage("training").names() == ["plant.readings"]


def test_freezing_says_when_retention_takes_the_first_row(hub):
    frozen = hub.freeze("training", "plant.readings")
    appended = min(
        int(hub.log.read("plant.readings", p, 0).timestamps[0]) for p, *_ in frozen.manifest["ranges"]["plant.readings"]
    )
    assert frozen.expires == appended + 24 * HOUR
    hub.log.sweep(frozen.expires - 1)
    frozen.verify()
    hub.log.sweep(frozen.expires + HOUR)
    with pytest.raises(DatasetGone, match=r"plant.readings \d:0 to \d+, taken by retention from 20"):
        hub.dataset("training").to_arrow()
    assert {one.stream for one in frozen.missing()} == {"plant.readings"}


def test_rows_that_were_kept_outlive_retention(hub):
    frozen = hub.freeze("training", "plant.readings", keep=True)
    before, addresses = frozen.to_arrow(), list(frozen.rows().addresses)
    hub.log.sweep(2**62)
    again = hub.dataset("training")
    assert again.expires is None
    assert again.kept
    assert again.missing() == []
    assert again.to_arrow().equals(before)
    assert list(again.rows().addresses) == addresses


def test_a_copy_that_was_altered_is_noticed(hub):
    frozen = hub.freeze("training", "plant.readings", keep=True)
    (copy,) = (hub.config.workspace / "datasets").rglob("*.arrow")
    with pa.ipc.open_file(copy) as file:
        table = file.read_all()
    altered = table.set_column(2, "celsius", pa.array([0.0] * len(table)))
    with pa.ipc.new_file(copy, table.schema) as writer:
        writer.write_table(altered.cast(table.schema))
    with pytest.raises(DatasetChanged, match="another digest"):
        frozen.verify()
    copy.write_bytes(copy.read_bytes()[:200])
    with pytest.raises(DatasetChanged, match="damaged"):
        frozen.verify()


def test_a_copy_that_is_lost_is_read_from_the_log_while_it_can(hub):
    frozen = hub.freeze("training", "plant.readings", keep=True)
    before = frozen.to_arrow()
    (copy,) = (hub.config.workspace / "datasets").rglob("*.arrow")
    copy.unlink()
    assert frozen.to_arrow().equals(before)
    hub.log.sweep(2**62)
    with pytest.raises(DatasetGone, match="its copy is not at"):
        frozen.to_arrow()


def test_a_log_that_was_altered_is_noticed(hub, tmp_path):
    frozen = hub.freeze("training", "plant.readings")
    with sqlite3.connect(tmp_path / "ws" / "log.db") as file:
        (slot,) = file.execute("SELECT id FROM slot WHERE topic = 'plant.readings' AND next > 0 LIMIT 1").fetchone()
        block, value = file.execute("SELECT id, value FROM block WHERE id >= ? << 40 LIMIT 1", (slot,)).fetchone()
        # The last byte is the sign of the last row's temperature.
        altered = value[:-1] + bytes([value[-1] ^ 0x80])
        file.execute("UPDATE block SET value = ? WHERE id = ?", (altered, block))
    with pytest.raises(DatasetChanged, match="another digest"):
        frozen.verify()


def test_parquet_is_the_same_every_time(hub, tmp_path):
    frozen = hub.freeze("training", "plant.readings")
    one = frozen.to_parquet(tmp_path / "one.parquet")
    hub.publish("plant.readings", readings(100, 50))
    two = hub.dataset("training").to_parquet(tmp_path / "two.parquet")
    assert one.read_bytes() == two.read_bytes()
    assert pq.read_table(one).equals(frozen.to_arrow())
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


def test_batches_are_cut_evenly_whatever_the_messages(hub):
    frozen = hub.freeze("training", "plant.readings")
    batches = list(frozen.batches(max_rows=33))
    assert [batch.num_rows for batch in batches] == [33, 33, 33, 1]
    assert pa.Table.from_batches(batches).equals(frozen.to_arrow().combine_chunks())


def test_several_streams_are_read_one_by_one(hub):
    hub.publish("plant.sites", [{"site": "a", "city": "Rome"}])
    frozen = hub.freeze("both", ["plant.readings", "plant.sites"])
    assert (len(frozen), frozen.streams) == (101, ("plant.readings", "plant.sites"))
    assert frozen.to_arrow("plant.sites").to_pylist() == [{"site": "a", "city": "Rome"}]
    with pytest.raises(DatasetError, match="several streams"):
        frozen.to_arrow()


def test_of_a_table_the_latest_rows_are_frozen(hub):
    hub.publish("plant.sites", [{"site": "a", "city": "Rome"}, {"site": "b", "city": "Oslo"}])
    hub.publish("plant.sites", [{"site": "a", "city": "Pisa"}])
    frozen = hub.freeze("sites", "plant.sites")
    cities = frozen.to_arrow()["city"].to_pylist()
    assert cities == ["Oslo", "Pisa"]
    hub.log.compact("plant.sites")
    assert frozen.to_arrow()["city"].to_pylist() == cities
    hub.publish("plant.sites", [{"site": "b", "city": "Bergen"}])
    assert frozen.to_arrow()["city"].to_pylist() == cities
    hub.log.compact("plant.sites")
    with pytest.raises(DatasetGone, match=r"plant.sites 0:1 to 1, newer rows of their keys came.*compacted"):
        frozen.to_arrow()


def test_a_condition_on_a_table_looks_at_its_latest_rows(hub):
    hub.publish("plant.sites", [{"site": "a", "city": "Rome"}, {"site": "b", "city": "Oslo"}])
    hub.publish("plant.sites", [{"site": "a", "city": "Pisa"}])
    assert len(hub.freeze("rome", "plant.sites", where="city = 'Rome'")) == 0
    assert hub.dataset("rome").to_arrow().num_rows == 0


def test_an_overwritten_row_does_not_come_back_through_a_condition(hub):
    for site, city in (("b", "Oslo"), ("a", "Rome"), ("c", "Bonn"), ("a", "Pisa")):
        hub.publish("plant.sites", [{"site": site, "city": city}])
    frozen = hub.freeze("others", "plant.sites", where="city <> 'Pisa'")
    assert frozen.to_arrow()["city"].to_pylist() == ["Oslo", "Bonn"]


def test_a_later_schema_does_not_change_a_dataset(hub):
    frozen = hub.freeze("training", "plant.readings")
    before = frozen.to_arrow()
    wider = pa.schema(
        [
            pa.field("sensor", pa.string(), False),
            pa.field("at", pa.timestamp("us", "UTC"), False),
            pa.field("celsius", pa.float64(), False),
            pa.field("humidity", pa.float64()),
        ]
    )
    p = hw.Pipeline("plant", owner="plant-team")
    p.stream("readings", wider, key="sensor", time="at", retention="1d")
    hub.register(p)
    hub.publish("plant.readings", [{**readings(100, 1)[0], "humidity": 0.5}])
    assert hub.dataset("training").to_arrow().equals(before)
    both = hub.freeze("training", "plant.readings")
    assert both.to_arrow()["humidity"].to_pylist().count(None) == 100
    assert len(both.manifest["streams"]["plant.readings"]["schema_ids"]) == 2


def test_the_digest_does_not_depend_on_how_rows_came(tmp_path):
    digests: list[str] = []
    for name, size in (("one", 7), ("two", 100)):
        with hw.connect(tmp_path / name) as hub:
            hub.register(plant())
            for first in range(0, 100, size):
                hub.publish("plant.readings", readings(first, min(size, 100 - first)))
            digests.append(hub.freeze("training", "plant.readings").digest)
    assert digests[0] == digests[1]


def test_an_empty_stream_makes_an_empty_dataset(hub):
    frozen = hub.freeze("sites", "plant.sites")
    assert (len(frozen), frozen.to_arrow().num_rows, frozen.expires) == (0, 0, None)
    assert frozen.to_arrow().column_names == ["site", "city"]


def test_operators_and_their_versions_stand_in_the_manifest(hub):
    p = plant(retention="1d")
    p.clean(p.streams["plant.readings"], to="valid")
    hub.run(p, until="caught-up")
    version = hub.catalog.operator("plant.valid").spec.version
    frozen = hub.freeze("training", "plant.valid")
    assert frozen.manifest["streams"]["plant.valid"]["producers"] == {f"plant.valid@{version}": 100}
    assert frozen.rows().row(0).address.stream == "plant.valid"


def test_it_shows_itself(hub):
    frozen = hub.freeze("training", "plant.readings", description="for the first model")
    assert repr(frozen).startswith("Dataset('training', version 1, 100 rows of plant.readings, until 20")
    assert frozen.digest in frozen._repr_html_()
    assert [hit.name for hit in hub.search("first model") if hit.kind == "dataset"] == ["training"]


def test_anything_with_the_arrow_interface_takes_it(hub):
    frozen = hub.freeze("training", "plant.readings")
    assert pa.table(frozen).equals(frozen.to_arrow())
    assert len(frozen.to_pandas()) == 100


def test_a_row_in_the_middle_of_a_table_is_missed_when_compaction_took_it(hub):
    hub.publish(
        "plant.sites", [{"site": "a", "city": "Rome"}, {"site": "b", "city": "Oslo"}, {"site": "c", "city": "Bonn"}]
    )
    frozen = hub.freeze("sites", "plant.sites")
    hub.publish("plant.sites", [{"site": "b", "city": "Bergen"}])
    hub.log.compact("plant.sites")
    with pytest.raises(DatasetGone, match=r"1 of 3 rows of the dataset are gone.*compacted"):
        frozen.to_arrow()
