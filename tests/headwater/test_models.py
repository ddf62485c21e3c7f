"""Models for people: versions, promotion and going back by request, and the card; in Python and on the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import headwater as hw
from headwater.models import NoSuchModel
from operators.execution.digest import digest_stream
from operators.model.format import dump, encode
from tests.headwater.plant import Plant

linear_model = pytest.importorskip("sklearn.linear_model")
naive_bayes = pytest.importorskip("sklearn.naive_bayes")

ROWS = 1500
START = datetime(2024, 6, 1, tzinfo=UTC)


def build() -> hw.Pipeline:
    """Readings, and three hours later what came of them."""
    rng = np.random.default_rng(0)
    celsius = rng.normal(30, 5, ROWS)
    site = rng.choice(["north", "south"], ROWS)
    at = [START + timedelta(minutes=minute) for minute in range(ROWS)]
    ids = [f"r{number}" for number in range(ROWS)]
    utc = pa.timestamp("us", "UTC")
    readings = pa.table({"id": ids, "at": pa.array(at, utc), "celsius": celsius, "site": site})
    hot = celsius + rng.normal(0, 1, ROWS) + 2 * (site == "north") > 30
    known = pa.array([one + timedelta(hours=3) for one in at], utc)
    truth = pa.table({"id": ids, "known": known, "hot": hot})
    p = hw.Pipeline("plant", owner="plant-team")
    read = p.stream("readings", readings.schema, key="id", time="at", partitions=2)
    told = p.stream("truth", truth.schema, key="id", time="known", partitions=2)
    p.source(read, readings, chunk=100)
    p.source(told, truth, chunk=100)
    examples = p.join(told, read, how="asof", on="id", fields={"celsius": "celsius", "site": "site"}, to="examples")
    model = p.train(
        examples,
        target="hot",
        features=["celsius", "site"],
        candidates={
            "sgd": linear_model.SGDClassifier(loss="log_loss", random_state=0),
            "bayes": naive_bayes.GaussianNB(),
        },
        chunk=100,
        checkpoint_every=400,
        promote_error=1e-9,
        to="model",
        tags=["weather"],
    )
    scores = p.predict(read, model, to="scores")
    p.evaluate(scores, told, label="hot", on="id", window="6h", by=["site"], to="quality")
    return p


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "workspace"
    with hw.connect(folder) as hub:
        hub.run(build(), until="caught-up")
    return folder


@pytest.fixture
def hub(ran: Path, tmp_path: Path) -> Iterator[hw.Hub]:
    """A workspace in which the job has run; its own copy."""
    shutil.copytree(ran, tmp_path / "workspace")
    with hw.connect(tmp_path / "workspace") as connected:
        yield connected


def test_the_champion_and_its_challengers_are_those_of_the_last_messages(hub: hw.Hub) -> None:
    (model,) = hub.models.list()
    assert model.name == "plant.model"
    assert model.owner == "plant-team"
    assert model.champion is not None
    assert (model.champion.estimator, model.champion.event) == ("sgd", "checkpoint")
    assert model.champion.trained_rows == ROWS // 400 * 400
    assert [one.estimator for one in model.challengers] == ["bayes"]
    assert [one.version for one in model.history] == list(range(1, len(model.history) + 1))
    assert model.standing(model.history[0]) == "former"
    assert model.standing(model.champion) == "champion"


def test_a_version_can_be_had_to_predict_with(hub: hw.Hub) -> None:
    scores = hub.read("plant.scores")
    table = scores.table.filter(pa.compute.is_valid(scores.table["model_version"])).sort_by("at")
    version = table["model_version"][-1].as_py()
    last = table.filter(pa.compute.equal(table["model_version"], version))
    learner = hub.models.learner("plant.model", version)
    batch = last.select(["celsius", "site"]).combine_chunks().to_batches()[0]
    assert learner.predict_proba(batch)[:, 1].tolist() == last["score"].to_pylist()
    model = hub.models.show("plant.model")
    first = hub.models.learner(model.name, 1)
    assert encode(dump(first)) == hub.models.content(model, model.find(1))


def test_what_predictions_say_of_themselves(hub: hw.Hub) -> None:
    table = hub.read("plant.scores").table.sort_by("at")
    usable = table["usable"].to_pylist()
    assert not any(usable[:180])
    assert set(table["reason"].to_pylist()[:180]) == {"no model yet"}
    assert sum(usable) > ROWS / 2
    assert len(hub.read("plant.scores.refused")) == 0
    assert len(hub.read("plant.scores.shadow")) > ROWS / 2


def test_a_prediction_is_traced_through_its_model_to_the_rows_it_was_trained_on(hub: hw.Hub) -> None:
    table = hub.read("plant.scores")
    at = int(np.flatnonzero(np.array(table.table["model_version"].to_pylist()) == 1)[0])
    trace = hub.trace(table.row(at), limit=5000)
    streams = {row.stream for row in trace.rows}
    assert {"plant.scores", "plant.readings", "plant.model", "plant.examples", "plant.truth"} <= streams
    (model,) = [row for row in trace.rows if row.stream == "plant.model"]
    assert hub.read("plant.model").row(model.offset)["version"] == 1
    spans = [span for row in trace.rows.values() for descent in row.descents for span in descent.spans]
    assert sum(span.rows or 0 for span in spans if span.stream == "plant.examples") >= 100


def test_before_the_first_model_a_prediction_descends_from_its_row_alone(hub: hw.Hub) -> None:
    table = hub.read("plant.scores")
    at = int(np.flatnonzero([value is None for value in table.table["model_version"].to_pylist()])[0])
    trace = hub.trace(table.row(at))
    assert {row.stream for row in trace.rows} == {"plant.scores", "plant.readings"}


def test_a_person_promotes_a_challenger_and_goes_back(hub: hw.Hub) -> None:
    hub.models.promote("plant.model", "bayes", by="anna", reason="agreed on Monday")
    assert hub.models.show("plant.model").champion.estimator == "sgd"  # type: ignore[union-attr]
    hub.run(build(), until="caught-up")
    model = hub.models.show("plant.model")
    assert model.champion is not None
    assert (model.champion.estimator, model.champion.event) == ("bayes", "promoted")
    assert model.champion.reason == "asked for by anna: agreed on Monday"
    hub.models.rollback("plant.model", by="bert")
    hub.run(build(), until="caught-up")
    model = hub.models.show("plant.model")
    assert model.champion is not None
    assert (model.champion.estimator, model.champion.event) == ("sgd", "rolled_back")


def test_a_version_names_a_challenger(hub: hw.Hub) -> None:
    version = hub.models.show("plant.model").challengers[0].version
    hub.models.promote("plant.model", version=version)
    asked = hub.read("plant.model.control").table.to_pylist()
    assert [(row["action"], row["estimator"], row["version"]) for row in asked] == [("promote", "bayes", version)]


def test_requests_that_make_no_sense_are_refused(hub: hw.Hub) -> None:
    models = hub.models
    challenger = models.show("plant.model").challengers[0].version
    champion = models.show("plant.model").champion
    assert champion is not None
    for ask, what in (
        (lambda: models.promote("plant.model"), "not said whom"),
        (lambda: models.promote("plant.model", "nobody"), "no challenger 'nobody'"),
        (lambda: models.promote("plant.model", "sgd"), "the champion already"),
        (lambda: models.promote("plant.model", version=999), "no version 999"),
        (lambda: models.rollback("plant.model", 999), "no version 999"),
        (lambda: models.rollback("plant.model", challenger), "never been the champion"),
        (lambda: models.rollback("plant.model", champion.version), "the champion already"),
        (lambda: models.show("plant.scores"), "holds no models"),
        (lambda: models.learner("plant.model", 999), "no version 999"),
    ):
        with pytest.raises(NoSuchModel, match=what):
            ask()
    with pytest.raises(hw.NotRegistered):
        models.show("plant.nowhere")
    assert len(hub.read("plant.model.control")) == 0


def test_a_card_says_what_the_model_is_and_was_made_from(hub: hw.Hub) -> None:
    card = hub.models.card("plant.model")
    told = card.to_dict()["sections"]
    about = {row["fact"]: row["value"] for row in told["About"]}
    assert about["owner"] == "plant-team"
    assert about["champion"] == "sgd"
    assert about["predicts"] == "False, True"
    assert about["tags"] == "weather"
    assert told["Estimator"][0]["class"] == "SGDClassifier"
    features = {row["feature"]: row for row in told["Features, as they were learnt"]}
    assert features["celsius"]["from"] < 20 < 40 < features["celsius"]["to"]
    assert features["site"]["vocabulary"] == "2 values"
    learnt = told["Learnt from"]
    assert {row["stream"] for row in learnt} == {"plant.examples"}
    assert min(row["from"] for row in learnt) == (START + timedelta(hours=3)).isoformat()
    assert {row["stream"] for row in told["Made from these streams"]} >= {"plant.readings", "plant.truth"}
    assert told["Used for"] == [
        {"predictions": "plant.scores", "of": "plant.readings", "least confidence": None, "refused messages": 0}
    ]


def test_a_card_has_the_quality_by_slice_beside_the_baselines(hub: hw.Hub) -> None:
    rows = {
        row["rows of"]: row for row in hub.models.card("plant.model").to_dict()["sections"]["Quality: plant.quality"]
    }
    assert {"all", "site=north", "site=south"} <= set(rows)
    assert rows["all"]["rows"] == rows["site=north"]["rows"] + rows["site=south"]["rows"]
    assert rows["all"]["accuracy"] > rows["all"]["accuracy_majority"]
    scores = hub.read("plant.quality").table
    overall = scores.filter(pa.compute.equal(scores["slice"], "all"))
    weights = np.array(overall["rows"].to_pylist(), dtype=float)
    accuracy = np.array([value or 0.0 for value in overall["accuracy"].to_pylist()])
    assert rows["all"]["accuracy"] == pytest.approx(np.average(accuracy, weights=weights))


def test_a_card_is_the_same_in_every_form(hub: hw.Hub) -> None:
    card = hub.models.card("plant.model")
    assert json.loads(card.to_json()) == card.to_dict()
    page = card.to_html()
    text = card.to_markdown()
    for section in card.sections:
        assert f"## {section.title}" in text
        assert f"<h2>{section.title}</h2>" in page
    assert page.startswith("<!doctype html>")


def test_what_people_write_is_no_markup_in_a_card(hub: hw.Hub) -> None:
    hub.models.promote("plant.model", "bayes", by="<script>alert(1)</script>", reason="a | b")
    hub.run(build(), until="caught-up")
    card = hub.models.card("plant.model")
    assert "<script>" not in card.to_html()
    assert "a \\| b" in card.to_markdown()


def test_two_workers_predict_what_one_does(hub: hw.Hub, tmp_path: Path) -> None:
    with hw.connect(tmp_path / "other") as other:
        other.run(build(), until="caught-up", workers=2)
        for name in ("plant.scores", "plant.scores.shadow", "plant.model"):
            stream = hub.stream(name)
            assert digest_stream(other.log, stream, other.schema) == digest_stream(hub.log, stream, hub.schema)


def test_training_saw_what_serving_saw(hub: hw.Hub) -> None:
    (skew,) = hub.models.skew("plant.model")
    assert (skew.scores, skew.examples) == ("plant.scores", "plant.examples")
    assert (skew.rows, skew.different, skew.by_feature) == (ROWS, 0, {})


def test_features_that_training_saw_otherwise_are_counted(tmp_path: Path) -> None:
    """The examples have the temperature in tenths where it is above 40."""
    p = build()
    examples = p.streams["plant.examples"]
    broken = p.map(
        examples,
        lambda rows: pa.record_batch(
            {
                "id": rows["id"],
                "known": rows["known"],
                "hot": rows["hot"],
                "celsius": [value * 10 if value > 40 else value for value in rows["celsius"].to_pylist()],
                "site": rows["site"],
            }
        ),
        reads=["id", "known", "hot", "celsius", "site"],
        schema=pa.schema([examples.schema.arrow.field(name) for name in ("id", "known", "hot", "celsius", "site")]),
        key="id",
        time="known",
        to="broken",
    )
    sgd = linear_model.SGDClassifier(loss="log_loss", random_state=0)
    model = p.train(broken, target="hot", features=["celsius", "site"], estimator=sgd, chunk=100, to="skewed")
    p.predict(p.streams["plant.readings"], model, to="skewed_scores")
    with hw.connect(tmp_path / "workspace") as hub:
        hub.run(p, until="caught-up")
        (skew,) = hub.models.skew("plant.skewed")
        above = sum(value > 40 for value in hub.read("plant.readings").table["celsius"].to_pylist())
        assert above > 10
        assert (skew.rows, skew.different, skew.by_feature) == (ROWS, above, {"celsius": above})


# The command line


@pytest.fixture
def learning(plant: Plant) -> Plant:
    """The starter with a pipeline that learns."""
    shutil.copy(Path(__file__).parent / "learning.py", plant.folder / "learning.py")
    plant("run", "learning.py", "--until", "caught-up")
    return plant


def test_models_are_listed_and_shown(learning: Plant) -> None:
    (row,) = learning("models", "list").table()
    assert (row["model"], row["champion"], row["owner"]) == ("learning.model", "quick", "plant-team")
    (told,) = learning("models", "list", "--json").json
    assert told["champion"]["version"] == int(row["version"])
    shown = learning("models", "show", "learning.model", "-n", "2")
    assert "quick" in shown.out
    assert len(shown.out.split("# What the trainer said last\n")[1].strip().splitlines()) == 3
    history = learning("models", "show", "learning.model", "--json").json["history"]
    assert [one["version"] for one in history] == list(range(1, len(history) + 1))


def test_promotion_and_roll_back_on_the_command_line(learning: Plant) -> None:
    learning("models", "promote", "learning.model", "--candidate", "careful", "--reason", "agreed")
    learning("run", "learning.py", "--until", "caught-up")
    told = learning("models", "show", "learning.model", "--json").json
    assert told["champion"]["estimator"] == "careful"
    assert told["champion"]["reason"].endswith(": agreed")
    learning("models", "rollback", "learning.model")
    learning("run", "learning.py", "--until", "caught-up")
    assert learning("models", "show", "learning.model", "--json").json["champion"]["estimator"] == "quick"


def test_an_unknown_challenger_ends_with_4(learning: Plant) -> None:
    called = learning("models", "promote", "learning.model", "--candidate", "nobody", code=4)
    assert "no challenger 'nobody'" in called.err
    assert "careful (version" in called.err


def test_a_card_is_printed_or_written(learning: Plant) -> None:
    assert learning("models", "card", "learning.model").out.startswith("# Model card: learning.model")
    assert learning("models", "card", "learning.model", "--json").json["model"] == "learning.model"
    assert learning("models", "card", "learning.model", "--format", "html").out.startswith("<!doctype html>")
    learning("models", "card", "learning.model", "--output", "card.html")
    assert (learning.folder / "card.html").read_text().startswith("<!doctype html>")


def test_without_models_the_list_says_so(plant: Plant) -> None:
    assert "There are no models" in plant("models", "list").out
    assert plant("models", "list", "--json").json == []
