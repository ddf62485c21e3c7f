"""`headwater dataset` and `headwater quarantine`."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from tests.headwater.plant import Plant


def test_a_dataset_is_frozen_shown_and_listed(plant: Plant) -> None:
    frozen = plant("dataset", "freeze", "cold", "plant.placed", "--where", "celsius < 0", "--json").json
    assert (frozen["name"], frozen["version"], frozen["streams"]) == ("cold", 1, ["plant.placed"])
    assert 0 < frozen["rows"] < 285
    assert plant("dataset", "show", "cold", "--verify", "--json").json == frozen
    out = plant("dataset", "show", "cold").out
    assert f"rows\t{frozen['rows']}" in out
    assert "asked for\tstreams plant.placed; where celsius < 0" in out
    (row,) = plant("dataset", "list").table()
    assert (row["dataset"], row["version"], row["rows"], row["until"]) == ("cold", "1", str(frozen["rows"]), "for ever")
    assert plant("dataset", "list", "--json").json[0]["digest"] == frozen["digest"]


def test_a_dataset_is_exported_twice_with_equal_content(plant: Plant) -> None:
    plant(
        "dataset", "freeze", "early", "plant.placed", "--until", "2024-03-01T01:00:00Z", "--columns", "sensor, celsius"
    )
    for name in ("a.parquet", "b.parquet"):
        assert f"to {name} (" in plant("dataset", "export", "early", name).out
    a, b = (plant.folder / name for name in ("a.parquet", "b.parquet"))
    assert a.read_bytes() == b.read_bytes()
    assert pq.read_table(a).column_names == ["sensor", "celsius"]
    assert pq.read_table(a).num_rows == plant("dataset", "show", "early", "--json").json["rows"] == 36


def test_a_new_version_leaves_the_old_one(plant: Plant) -> None:
    plant("dataset", "freeze", "some", "plant.placed", "--where", "celsius < 0")
    again = plant("dataset", "freeze", "some", "plant.placed", "--where", "celsius < 0", "--json").json
    assert again["version"] == 1
    assert plant("dataset", "freeze", "some", "plant.placed", "--keep", "--json").json["version"] == 2
    old = plant("dataset", "export", "some", "old.parquet", "--version", "1", "--json").json
    new = plant("dataset", "export", "some", "new.parquet", "--json").json
    assert old["rows"] < new["rows"] == 285
    assert plant("dataset", "show", "some").out.count("kept") == 1


def test_streams_for_a_dataset_are_found_by_the_catalog(plant: Plant) -> None:
    found = plant("dataset", "freeze", "all", "--entity", "sensor", "--columns", "sensor", "--json").json
    assert "plant.readings" in found["streams"]
    assert "plant.sites" not in found["streams"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["freeze", "x y", "plant.placed"], 2, "cannot be the name"),
        (["freeze", "x", "plant.nothing"], 4, "plant.nothing"),
        (["freeze", "x", "plant.placed", "--where", "celcius < 0"], 2, "celcius"),
        (["freeze", "x", "plant.placed", "--since", "soon"], 2, "soon"),
        (["show", "nothing"], 4, "No dataset is registered"),
        (["export", "nothing", "x.parquet"], 4, "No dataset is registered"),
    ],
)
def test_what_is_wrong_is_said(plant: Plant, arguments: list[str], code: int, said: str) -> None:
    called = plant("dataset", *arguments, code=code)
    assert said in called.err
    assert called.out == ""


def test_quarantine_is_listed_by_rule(plant: Plant) -> None:
    (row,) = plant("quarantine", "list").table()
    assert (row["stream"], row["rule"], row["rows"], row["waiting"]) == (
        "plant.valid.quarantine", "between(celsius, -80, 150)", "3", "3",
    )  # fmt: skip
    assert "celsius=451.0" in row["for example"]
    (found,) = plant("quarantine", "list", "plant.valid", "--json").json
    assert found["sample"][0]["row"]["celsius"] == 451.0


def test_a_mended_row_flows_on(plant: Plant) -> None:
    sent = plant("quarantine", "replay", "plant.valid", "--where", "celsius > 900", "--set", "celsius=45.1", "--json")
    assert sent.json == {"stream": "plant.valid.retry", "sent": 1, "left": {}}
    plant("run", "pipeline.py", "--until", "caught-up")
    assert plant("streams", "plant.fahrenheit", "--json").json["rows"] == 286
    assert plant("quarantine", "list", "--json").json[0]["waiting"] == 2
    repeated = plant("quarantine", "replay", "plant.valid", "--where", "celsius > 900")
    assert repeated.out == "Sent 0 rows to plant.valid.retry.\n"


def test_rows_are_mended_by_a_function(plant: Plant) -> None:
    (plant.folder / "mend.py").write_text(
        "import pyarrow.compute as pc\n"
        "def tenth(rows):\n"
        "    return rows.set_column(3, 'celsius', pc.divide(rows['celsius'], 10))\n"
    )
    rule = "between(celsius, -80, 150)"
    called = plant("quarantine", "replay", "plant.valid", "--rule", rule, "--fix", "mend.py:tenth", "--limit", "2")
    assert called.out.startswith("Sent 2 rows to plant.valid.retry.\n")
    plant("run", "pipeline.py", "--until", "caught-up")
    assert plant("streams", "plant.valid", "--json").json["rows"] == 287


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["plant.valid", "--set", "celsius=hot"], 2, "'hot' is not double"),
        (["plant.valid", "--set", "celsius"], 2, "FIELD=VALUE"),
        (["plant.valid", "--set", "heat=3"], 2, "There is no such field"),
        (["plant.valid", "--set", "celsius=3", "--fix", "mend.py:f"], 2, "Give one of them"),
        (["plant.valid", "--rule", "nothing"], 2, "between(celsius, -80, 150)"),
        (["plant.placed"], 2, "no quarantine"),
        (["plant.nothing"], 4, "plant.nothing"),
    ],
)
def test_a_wrong_replay_is_refused(plant: Plant, arguments: list[str], code: int, said: str) -> None:
    assert said in plant("quarantine", "replay", *arguments, code=code).err


def test_an_empty_quarantine_is_said_to_be_empty(started: Plant) -> None:
    started("register", "pipeline.py")
    assert started("quarantine", "list").out == "Nothing is in quarantine.\n"
    assert started("quarantine", "list", "--json").json == []
