"""`headwater init` and `register`: what they write, change and refuse."""

from __future__ import annotations

import re
from pathlib import Path

import headwater as hw
from catalog.database import REVISION
from headwater import starter
from tests.headwater.plant import Plant


def test_init_writes_a_pipeline_and_says_what_to_do_next(empty: Plant) -> None:
    called = empty("init", "new/plant")
    assert sorted(place.name for place in (empty.folder / "new/plant").iterdir()) == sorted(starter.FILES)
    assert "headwater run pipeline.py --until caught-up" in called.out


def test_the_printed_steps_work(empty: Plant) -> None:
    for step in empty("init", "--json").json["next"]:
        empty(*step.split()[1:])
    with hw.connect(empty.folder / ".headwater") as hub:
        rows = hub.read("plant.fahrenheit").table.to_pylist()
        assert len(rows) == 285
        assert all(row["fahrenheit"] == row["celsius"] * 1.8 + 32 for row in rows)
        assert len(hub.read("plant.valid.quarantine")) == 3


def test_init_overwrites_nothing(empty: Plant) -> None:
    (empty.folder / "sites.csv").write_text("mine")
    called = empty("init", code=2)
    assert "sites.csv" in called.err
    assert [place.name for place in empty.folder.iterdir()] == ["sites.csv"]
    assert (empty.folder / "sites.csv").read_text() == "mine"


def test_register_says_what_it_changed(started: Plant) -> None:
    called = started("register", "pipeline.py")
    rows = {(row["change"], row["what"], row["name"]): row["detail"] for row in called.table()}
    assert rows["add", "operator", "plant.placed"] == "join: plant.valid, plant.sites -> plant.placed"
    assert ("add", "stream", "plant.readings") in rows
    assert not any(name.endswith(".progress") for _, _, name in rows)
    assert "more for the platform's own streams" in called.out


def test_registering_again_changes_nothing(plant: Plant) -> None:
    called = plant("register", "pipeline.py", "--json")
    assert called.json == {"name": "plant", "changed": False, "differences": []}


def test_check_changes_nothing_and_fails_on_a_difference(plant: Plant) -> None:
    plant("register", "pipeline.py", "--check")
    plant.change("p = hw.Pipeline(", 'hw.Pipeline("other")\np = hw.Pipeline(')
    plant.change("32.0)", "31.0)")
    called = plant("register", "pipeline.py", "--check", "--json", code=10)
    (difference,) = called.json["differences"]
    assert (difference["action"], difference["what"], difference["name"]) == ("change", "operator", "plant.fahrenheit")
    assert called.json["changed"] is False
    assert "1 thing would change" in plant("register", "pipeline.py", "--check", code=10).out
    plant("register", "pipeline.py")
    plant("register", "pipeline.py", "--check")


def test_an_incompatible_change_is_refused_with_its_reason(plant: Plant) -> None:
    plant.change("city: str", "city: int")
    for options in ([], ["--check"]):
        called = plant("register", "pipeline.py", *options, code=5)
        assert "city" in called.err
        assert "where: plant.sites" in called.err
        assert called.out == ""


def test_check_does_not_make_a_workspace(started: Plant) -> None:
    called = started("register", "pipeline.py", "--check", code=2)
    assert "no workspace" in called.err
    assert not (started.folder / ".headwater").exists()


def test_a_contract_registers_its_stream(started: Plant) -> None:
    started("register", "readings.odcs.yaml")
    with hw.connect(started.folder / ".headwater") as hub:
        stream = hub.stream("plant.readings")
        assert (stream.key, stream.time, stream.codec) == (("sensor",), "at", "avro")
        assert [rule.name for rule in stream.expect] == ["between(celsius, -80, 150)"]
        contract = hub.catalog.stream("plant.readings").spec.contract
        assert contract is not None
        assert contract.document == (started.folder / "readings.odcs.yaml").read_text()
    started("register", "readings.odcs.yaml", "--check")
    started.change("maximum: 150", "maximum: 120", "readings.odcs.yaml")
    called = started("register", "readings.odcs.yaml", "--check", "--json", code=10)
    assert [one["what"] for one in called.json["differences"]] == ["contract"]


def test_a_damaged_contract_is_named_with_its_line(started: Plant) -> None:
    (started.folder / "bad.yaml").write_text("schema: [\n")
    called = started("register", "bad.yaml", code=2)
    assert "not valid YAML" in called.err
    assert "bad.yaml: line" in called.err


def test_another_workspace_can_be_named(started: Plant, tmp_path: Path) -> None:
    started("register", "pipeline.py", "--workspace", str(tmp_path / "elsewhere"))
    assert not (started.folder / ".headwater").exists()
    assert started("streams", "-w", str(tmp_path / "elsewhere"), "--json").json[0]["name"] == "plant.fahrenheit"


def test_a_lost_catalog_is_made_anew_from_the_log(plant: Plant) -> None:
    before = plant("streams", "--all", "--json").json, plant("lineage", "plant.fahrenheit").out
    for file in (plant.folder / ".headwater").glob("catalog.db*"):
        file.unlink()
    assert plant("catalog", "rebuild", "--json").json["applied"] > 10
    assert (plant("streams", "--all", "--json").json, plant("lineage", "plant.fahrenheit").out) == before
    assert plant("catalog", "rebuild").out.startswith("Made the catalog anew from ")


def test_the_catalog_is_made_before_anything_else(started: Plant) -> None:
    assert re.fullmatch(r"The catalog at sqlite:///\S+ is at revision \d{4}\.\n", started("catalog", "upgrade").out)
    assert (started.folder / ".headwater" / "catalog.db").exists()
    assert not (started.folder / ".headwater" / "log.db").exists()
    assert started("catalog", "upgrade", "--json").json["revision"] == REVISION
