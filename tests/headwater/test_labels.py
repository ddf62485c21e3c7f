"""What weak labels are worth, as data and from the command line, in a workspace in which a pipeline has labelled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import headwater as hw
from operators.label.function import LabelError
from tests.headwater.plant import Plant

SCHEMA = pa.schema(
    [("id", pa.string()), ("at", pa.timestamp("us", "UTC")), ("a", pa.int8()), ("b", pa.int8()), ("late", pa.bool_())]
)
A = [1, 1, 0, 0, -1, 1, -1, 0, 1, 0]
B = [1, 0, 0, 1, 1, -1, -1, 0, 1, -1]
LATE = [True, True, False, False, True, False, True, False, True, None]
MEANING = {True: "late", False: "on time"}


def pipeline(**options: object) -> hw.Pipeline:
    p = hw.Pipeline("air")
    flights = p.stream("flights", SCHEMA, key="id", time="at", partitions=2)
    times = pa.array(np.arange(10) * 1_000_000).cast(SCHEMA.field("at").type)
    late = pa.array(LATE, pa.bool_())
    ids = pa.array([f"f{number}" for number in range(10)])
    table = pa.table([ids, times, pa.array(A, pa.int8()), pa.array(B, pa.int8()), late], schema=SCHEMA)
    p.source(flights, table)
    truth = p.stream("outcomes", pa.schema([("id", pa.string()), ("late", pa.bool_())]), key="id")
    p.source(truth, pa.table([ids, pa.array([not one if one else one for one in LATE])], names=["id", "late"]))
    votes = [hw.labeling_function(reads=[name], name=f"says {name}")(lambda rows: rows.column(0)) for name in "ab"]
    p.label(flights, votes, to="labels", classes=["on time", "late"], keep=["late"], update_every=4, **options)  # type: ignore[arg-type]
    return p


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("air")
    with hw.connect(folder / ".headwater") as hub:
        hub.run(pipeline(), until="caught-up")
    return folder


@pytest.fixture
def hub(workspace: Path) -> Iterator[hw.Hub]:
    with hw.connect(workspace / ".headwater") as connected:
        yield connected


def test_coverage_overlaps_and_conflicts_are_counted(hub: hw.Hub) -> None:
    found = hub.labels("air.labels")
    assert (found.rows, found.labelled, found.model_version) == (10, 9, 2)
    one, other = found.functions
    assert (one.name, one.votes_for) == ("says a", ("on time", "late"))
    assert (one.coverage, one.overlaps, one.conflicts) == pytest.approx((0.8, 0.6, 0.2))
    assert (other.coverage, other.overlaps, other.conflicts) == pytest.approx((0.7, 0.6, 0.2))
    # Of two functions nobody can tell which is right.
    assert (one.accuracy, one.error, one.true_accuracy) == (None, None, None)
    assert [one.name for one in found.classes] == ["on time", "late"]
    assert sum(one.labelled for one in found.classes) == 9


def test_the_truth_judges_functions_and_classes(hub: hw.Hub) -> None:
    found = hub.labels("air.labels", truth="late", meaning=MEANING)
    one, other = found.functions
    assert (one.correct, one.incorrect, one.true_accuracy) == (6, 1, pytest.approx(6 / 7))
    assert (other.correct, other.incorrect) == (5, 2)
    on_time, late = found.classes
    assert (on_time.rows, late.rows) == (4, 4)
    table = hub.read("air.labels").to_arrow()
    judged = table.filter(pc.and_(table["late"].is_valid(), pc.invert(table["abstained"])))
    said = pc.equal(judged["label"], "late")
    right = pc.equal(said, judged["late"])
    assert found.accuracy == pytest.approx(pc.mean(right.cast(pa.int8())).as_py())
    assert late.recall == pytest.approx(pc.sum(pc.and_(said, judged["late"])).as_py() / 4)
    assert found.majority_accuracy == pytest.approx((1 + 0.5 + 1 + 0.5 + 1 + 0 + 1 + 1) / 8)
    assert late.calibration_error is not None
    assert 0 <= late.calibration_error <= 1


def test_the_truth_may_lie_in_another_stream(hub: hw.Hub) -> None:
    elsewhere = hub.labels("air.labels", truth=("air.outcomes", "late"), meaning=MEANING)
    assert elsewhere.classes[1].rows == 0
    assert elsewhere.classes[0].rows == 8
    kept = hub.labels("air.labels", truth=("air.flights", "late"), on="id", meaning=MEANING)
    assert kept == hub.labels("air.labels", truth="late", meaning=MEANING)


def test_an_analysis_is_data_and_shows_itself(hub: hw.Hub) -> None:
    found = hub.labels("air.labels", truth="late", meaning=MEANING)
    assert found.to_arrow().column("name").to_pylist() == ["says a", "says b"]
    assert found.to_pandas().shape == (2, 10)
    assert found.classes_to_arrow().column("name").to_pylist() == ["on time", "late"]
    assert "9 of 10 rows have a label" in repr(found)
    assert "<td>says a</td>" in found._repr_html_()


def test_what_cannot_be_compared_is_refused(hub: hw.Hub) -> None:
    with pytest.raises(LabelError, match="meaning"):
        hub.labels("air.labels", truth="late")
    with pytest.raises(LabelError, match="keep="):
        hub.labels("air.labels", truth="a")
    with pytest.raises(LabelError, match="on="):
        hub.labels("air.labels", truth=("air.outcomes", "delay"))
    with pytest.raises(hw.NotRegistered, match=r"air\.labels"):
        hub.labels("air.flights")
    with pytest.raises(hw.NotRegistered):
        hub.labels("air.nothing")


def test_labels_of_the_majority_have_no_model(tmp_path: Path) -> None:
    with hw.connect(tmp_path) as hub:
        hub.run(pipeline(model="majority"), until="caught-up")
        found = hub.labels("air.labels", truth="late", meaning=MEANING)
        assert found.model_version is None
        assert [one.accuracy for one in found.functions] == [None, None]
        assert "by the majority" in found.summary()


def test_a_row_is_traced_through_its_votes_and_its_model(hub: hw.Hub) -> None:
    rows = hub.read("air.labels")
    by_model = next(row for row in rows if row["model_version"] == 1)
    shown = str(hub.trace(by_model))
    told = hub.trace(by_model)
    assert "air.labels.votes" in shown or any("votes" in str(part) for part in (told, repr(told)))
    assert hub.lineage("air.labels", direction="up") is not None


def test_the_command_shows_and_lists(workspace: Path) -> None:
    air = Plant(workspace)
    assert air("labels", "--json").json == ["air.labels"]
    assert "air.labels" in air("labels").out
    rows = air("labels", "air.labels").table()
    assert rows[0] == {"function": "says a", "votes for": "on time, late", "coverage": "0.8"} | {
        name: rows[0][name] for name in ("overlaps", "conflicts")
    }
    given = ("--truth", "late", "--means", "true=late", "--means", "false=on time")
    told = air("labels", "air.labels", *given)
    assert "recall" in told.out
    assert "of the majority 0.75" in told.out
    assert air("labels", "air.labels", *given, "--json").json["functions"][0]["correct"] == 6
    same = air("labels", "air.labels", *given, "--truth-in", "air.flights", "--on", "id", "--json").json
    assert same["accuracy"] == air("labels", "air.labels", *given, "--json").json["accuracy"]
    assert "--truth" in air("labels", "air.labels", "--on", "id", code=2).err
    assert "VALUE=CLASS" in air("labels", "air.labels", "--truth", "late", "--means", "late", code=2).err


def test_without_labels_the_command_says_so(plant: Plant) -> None:
    assert "no weak labels" in plant("labels").out
