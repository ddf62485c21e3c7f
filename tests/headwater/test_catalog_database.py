"""A hub whose catalog is in another database than the workspace's file: named in any of four ways, and never shown."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

import headwater as hw
from catalog import Catalog
from tests.headwater.plant import Plant
from tests.services.databases import Databases

SCHEMA = pa.schema([pa.field("sensor", pa.string(), nullable=False), pa.field("celsius", pa.float64())])


def pipeline() -> hw.Pipeline:
    p = hw.Pipeline("plant", owner="plant-team")
    readings = p.stream("readings", SCHEMA, key="sensor", entities={"sensor": "sensor"})
    p.clean(readings, to="valid")
    return p


@pytest.mark.parametrize("way", ["argument", "environment", "file"])
def test_a_job_with_its_catalog_elsewhere(
    databases: Databases, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = databases.create()
    monkeypatch.chdir(tmp_path)
    if way == "environment":
        monkeypatch.setenv("HEADWATER_CATALOG", url)
    if way == "file":
        (tmp_path / "headwater.toml").write_text(f'workspace = "ws"\ncatalog = "{url}"\n')
    with hw.connect("ws", catalog=url if way == "argument" else None) as hub:
        hub.register(pipeline())
        hub.publish("plant.readings", [{"sensor": "a", "celsius": 1.5}, {"sensor": "b", "celsius": None}])
        hub.run(pipeline(), until="caught-up")
        assert hub.read("plant.valid").table.num_rows == 2
        assert hub.lineage("plant.valid", direction="up").names() == ["plant.readings", "plant.valid.retry"]
        assert hub.search("which streams know a sensor?")[0].name.startswith("plant.")
        before = hub.catalog.dump()
        assert hub.rebuild() > 0
        assert hub.catalog.dump() == before
    assert not (tmp_path / "ws" / "catalog.db").exists()
    with Catalog(url) as catalog:
        assert [run.operator for run in catalog.runs()] == ["plant.valid"]
    databases.drop(url)


def test_two_hubs_share_a_catalog(databases: Databases, tmp_path: Path) -> None:
    url = databases.create()
    with hw.connect(tmp_path / "ws", catalog=url) as one, hw.connect(tmp_path / "ws", catalog=url) as other:
        one.register(pipeline())
        other.publish("plant.readings", [{"sensor": "a", "celsius": 1.5}])
        assert one.read("plant.readings").table.num_rows == 1
        assert one.catalog.stream("plant.readings").producers == ("python",)
    databases.drop(url)


def test_a_password_is_shown_nowhere(empty: Plant) -> None:
    address = "postgresql://me:hunter2@127.0.0.1:1/catalog?connect_timeout=2"
    (empty.folder / "headwater.toml").write_text(f'catalog = "{address}"\n')
    (empty.folder / ".headwater").mkdir()
    (empty.folder / ".headwater" / "log.db").touch()
    called = empty("streams", code=3)
    assert "postgresql://me:***@127.0.0.1:1/catalog" in called.err.replace("\n", "")
    assert "Check that the server runs" in called.err
    assert "hunter2" not in called.out + called.err
