"""`headwater streams`, `search`, `lineage`, `trace` and `impact`."""

from __future__ import annotations

import pytest

from tests.headwater.plant import Plant

STREAMS = [
    "plant.fahrenheit",
    "plant.placed",
    "plant.readings",
    "plant.sites",
    "plant.valid",
    "plant.valid.quarantine",
]


@pytest.fixture
def plant(plant_on: Plant) -> Plant:
    return plant_on


def test_streams_lists_what_is_registered(plant: Plant) -> None:
    shown = plant("streams").table()
    found = plant("streams", "--json").json
    assert [row["stream"] for row in shown] == [one["name"] for one in found] == STREAMS
    readings = next(row for row in shown if row["stream"] == "plant.readings")
    assert (readings["key"], readings["rows"], readings["owner"]) == ("sensor", "288", "plant-team")
    assert next(one for one in found if one["name"] == "plant.valid")["rows"] == 285


def test_streams_can_be_filtered(plant: Plant) -> None:
    def named(*options: str) -> list[str]:
        return [one["name"] for one in plant("streams", *options, "--json").json]

    assert named("--entity", "probe") == [name for name in STREAMS if name != "plant.sites"]
    assert named("--owner", "plant-team") == STREAMS
    assert named("--owner", "nobody") == []
    assert named("--tag", "nothing") == []
    every = named("--all")
    assert {"plant.valid.progress", "plant.valid.state", "plant.valid.retry", "headwater.files"} <= set(every)


def test_one_stream_is_shown_in_full(plant: Plant) -> None:
    found = plant("streams", "plant.readings", "--sample", "2", "--json").json
    assert (found["owner"], found["key"], found["time"], found["codec"]) == ("plant-team", ["sensor"], "at", "avro")
    assert found["entities"] == {"sensor": "sensor"}
    assert found["rules"] == ["between(celsius, -80, 150)"]
    assert (found["producers"], found["consumers"]) == (["command-line"], ["plant.valid"])
    assert [field["name"] for field in found["fields"]] == ["sensor", "site", "at", "celsius"]
    assert len(found["sample"]) == 2
    out = plant("streams", "plant.readings").out
    for fact in ("owner\tplant-team", "key\tsensor", "between(celsius, -80, 150)", "read by\tplant.valid", "rows\t288"):
        assert fact in out
    assert "celsius\tfloat64\tno\t\tTemperature in degrees Celsius." in out
    assert "0:95:0\ts6\twest\t2024-03-01 07:50:00Z\t6.2" in out


def test_an_unknown_stream_is_an_error_with_close_names(plant: Plant) -> None:
    called = plant("streams", "plant.reading", code=4)
    assert called.err.splitlines()[1] == "where: plant.reading"
    assert "'plant.readings'" in called.err


def test_search_answers_a_question(plant: Plant) -> None:
    found = plant("search", "which streams know a thermometer?", "--json").json
    assert "plant.readings" in [hit["name"] for hit in found]
    assert "the entity sensor" in found[0]["why"]
    shown = plant("search", "which", "streams", "know", "a", "thermometer?").table()
    assert [row["name"] for row in shown] == [hit["name"] for hit in found]
    assert len(plant("search", "sensor", "--limit", "2", "--json").json) == 2
    assert "Nothing that is registered" in plant("search", "giraffes").out


def test_lineage_up_as_a_tree(plant: Plant) -> None:
    assert plant("lineage", "plant.fahrenheit").out == (
        "plant.fahrenheit\n"
        "└── plant.placed  through plant.fahrenheit\n"
        "    ├── plant.valid  through plant.placed\n"
        "    │   ├── plant.readings  through plant.valid\n"
        "    │   │   └── command-line  a service that publishes\n"
        "    │   └── plant.valid.retry  through plant.valid\n"
        "    └── plant.sites  through plant.placed\n"
        "        └── plant.sites.source  a source: it reads from outside\n"
    )


def test_lineage_down_of_a_field(plant: Plant) -> None:
    out = plant("lineage", "plant.readings.celsius", "--down").out
    assert "plant.valid.celsius  through plant.valid" in out
    assert "plant.fahrenheit.fahrenheit  through plant.fahrenheit  (coarse)" in out
    assert "sensor" not in out


def test_lineage_of_a_field_as_json(plant: Plant) -> None:
    graph = plant("lineage", "plant.fahrenheit.fahrenheit", "--depth", "1", "--json").json
    assert graph["root"] == {"kind": "field", "name": "plant.fahrenheit.fahrenheit"}
    assert graph["truncated"] is True
    (edge,) = graph["edges"]
    assert edge["source"] == {"kind": "field", "name": "plant.placed.celsius"}
    assert (edge["via"], edge["coarse"], edge["evidence"]) == ("plant.fahrenheit", True, "declared")
    same = plant("lineage", "plant.fahrenheit.fahrenheit", "--depth", "1", "--format", "json")
    assert same.json == graph


def test_lineage_as_mermaid(plant: Plant) -> None:
    lines = plant("lineage", "plant.placed", "--format", "mermaid").out.splitlines()
    assert lines[0] == "graph LR"
    ids = {line.strip().split("(")[0].split("[")[0]: line for line in lines if "plant.sites" in line}
    stream = next(name for name, line in ids.items() if '["plant.sites"]' in line)
    source = next(name for name, line in ids.items() if '("plant.sites.source")' in line)
    assert f"    {source} --> {stream}" in lines
    assert len(lines) == len(set(lines))


def test_lineage_of_an_operator_and_before_it_was(plant: Plant) -> None:
    assert plant("lineage", "plant.sites.source", "--down").out.splitlines()[1] == "└── plant.sites"
    graph = plant("lineage", "plant.fahrenheit", "--at", "2001-01-01", "--json").json
    assert graph["edges"] == []
    assert "comes from nothing" in plant("lineage", "plant.fahrenheit", "--at", "2001-01-01").out


def test_lineage_of_an_unknown_field_names_close_ones(plant: Plant) -> None:
    called = plant("lineage", "plant.readings.celcius", code=4)
    assert "'celsius'" in called.err
    plant("lineage", "nothing.like.it", code=4)


def test_a_row_is_traced_to_its_sources(plant: Plant) -> None:
    out = plant("trace", "plant.fahrenheit", "0:0:3").out
    for fact in ("plant.fahrenheit 0:0:3", "plant.readings 0:3:0", "plant.sites 0:2:0", "published by command-line"):
        assert fact in out
    same = plant("trace", "plant.fahrenheit 0:0:3", "--json").json
    assert same["truncated"] is False
    assert same["row"]["address"] == "plant.fahrenheit 0:0:3"
    assert plant("trace", "plant.fahrenheit", "0:0:3", "--depth", "1", "--json").json["truncated"] is True


def test_a_wrong_address_is_explained(plant: Plant) -> None:
    assert "no row address" in plant("trace", "plant.fahrenheit", code=2).err
    assert "no offset 99" in plant("trace", "plant.fahrenheit", "0:99:0", code=4).err


def test_impact_of_bad_rows(plant: Plant) -> None:
    out = plant("impact", "plant.readings", "0:5-7").out
    for fact in ("plant.readings  2 rows", "plant.placed  2 rows  by plant.placed", "plant.fahrenheit  2 rows"):
        assert fact in out
    found = plant("impact", "plant.readings", "0:5-7", "--json").json
    assert [(one["stream"], one["rows"]) for one in found["streams"]] == [
        ("plant.valid", 2), ("plant.placed", 2), ("plant.fahrenheit", 2),
    ]  # fmt: skip
    assert plant("impact", "plant.readings", "0:5", "--json").json["start"]["rows"] == 1
    assert plant("impact", "plant.readings", "--json").json["start"]["rows"] == 288
    assert "no offsets" in plant("impact", "plant.readings", "0:5:7", code=2).err
