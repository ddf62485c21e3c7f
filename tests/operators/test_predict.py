"""Predict: which model scores a row, what is said about it, and what happens to models that cannot be taken."""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import headwater as hw
from headwater.testing.cuts import single, whole
from headwater.testing.operators import check_operator
from headwater.testing.rehearsal import outside, rehearse
from operators.model.columns import digest_of, kinds_of
from operators.model.format import decode, dump, encode, load
from operators.model.stream import Learns, ModelEvent, model_rows, model_stream
from operators.predict import CannotPredict, Predict, predict
from streams.schema import Schema
from streams.stream import Stream
from tests.operators.model_messages import MINUTE, SCHEMA, classifier, event, messages, rows

pytest.importorskip("sklearn")

READINGS = Stream("plant.readings", Schema(SCHEMA), key=("sensor",), time="at", partitions=2)
MODEL = model_stream("plant.model")


def operator(**options: Any) -> Predict:
    given: dict[str, Any] = {"features": ["celsius", "site"], "classes": [False, True], "keep": ["hot"]}
    return predict(READINGS, MODEL, to="plant.scores", **(given | options))


def scored(
    made: Predict, readings: pa.RecordBatch, models: pa.RecordBatch, source: Stream = READINGS
) -> dict[str, pa.Table]:
    """What the operator writes, by the last name of its streams, in the order of event time."""
    emitted = rehearse(
        lambda: made, {source.name: outside(source, readings), "plant.model": outside(MODEL, models)}, whole
    )
    found = {}
    for stream in made.outputs:
        batches = [one.output.rows for one in emitted if one.output.stream == stream.name]
        table = pa.Table.from_batches(batches, schema=stream.schema.arrow)
        found[stream.name.removeprefix("plant.")] = table.sort_by("at")
    return found


def versions(table: pa.Table) -> list[int | None]:
    return table["model_version"].to_pylist()


def test_a_row_is_scored_by_the_model_that_held_at_its_time() -> None:
    table = scored(operator(), rows(10), messages(event(1, 3), event(2, 7)))["scores"]
    assert versions(table) == [None] * 3 + [1] * 4 + [2] * 3


def test_before_the_first_model_there_is_no_score_and_a_reason() -> None:
    table = scored(operator(), rows(2), messages(event(1, 5)))["scores"]
    assert table["score"].to_pylist() == [None, None]
    assert table["predicted"].to_pylist() == [None, None]
    assert table["usable"].to_pylist() == [False, False]
    assert table["reason"].to_pylist() == ["no model yet"] * 2


def test_the_score_is_the_probability_that_the_model_gives() -> None:
    batch = rows(50, start=1)
    table = scored(operator(), batch, messages(event(1, 0)))["scores"]
    expected = classifier(seed=1).predict_proba(batch)[:, 1]
    assert table["score"].to_pylist() == expected.tolist()
    assert table["predicted"].to_pylist() == (expected > 0.5).tolist()
    right = np.array(table["predicted"].to_pylist()) == np.array(table["hot"].to_pylist())
    assert right.mean() > 0.9


def test_features_are_recorded_with_a_digest_that_training_can_compare() -> None:
    batch = rows(20, start=1)
    table = scored(operator(), batch, messages(event(1, 0)))["scores"]
    assert table["celsius"].to_pylist() == batch["celsius"].to_pylist()
    names = ["celsius", "site"]
    assert table["features_digest"].to_pylist() == digest_of(batch, names, kinds_of(SCHEMA, names)).to_pylist()


def test_a_model_that_takes_effect_later_by_the_lag() -> None:
    table = scored(operator(lag="2m"), rows(10), messages(event(1, 3)))["scores"]
    assert versions(table) == [None] * 5 + [1] * 5


def test_challengers_are_scored_in_the_shadow() -> None:
    models = messages(
        event(1, 0),
        event(2, 3, role="challenger", estimator="tree"),
        event(3, 5, role="challenger", estimator="bayes"),
    )
    found = scored(operator(), rows(7), models)
    assert versions(found["scores"]) == [1] * 7
    shadow = found["scores.shadow"]
    told = list(zip(shadow["at"].cast(pa.int64()).to_pylist(), shadow["estimator"].to_pylist(), strict=True))
    assert told == [
        (minute * MINUTE, name) for minute in range(3, 7) for name in (["bayes"] if minute > 4 else []) + ["tree"]
    ]
    assert shadow.column_names[:3] == ["sensor", "at", "hot"]


def test_without_shadows_challengers_are_not_scored() -> None:
    made = operator(shadows=False)
    assert [stream.name for stream in made.outputs] == ["plant.scores", "plant.scores.refused"]
    models = messages(event(1, 0), event(2, 0, role="challenger", estimator="tree"))
    assert versions(scored(made, rows(3), models)["scores"]) == [1] * 3


def test_promotion_and_roll_back_change_the_champion_and_the_shadow() -> None:
    models = messages(
        event(1, 0),
        event(2, 0, role="challenger", estimator="tree"),
        event(3, 2, what="promoted", estimator="tree"),
        event(4, 2, role="challenger", estimator="sgd"),
        event(5, 4, what="rolled_back", estimator="sgd"),
        event(6, 5, role="challenger", estimator="tree"),
        event(6, 7, what="retired", role="challenger", estimator="tree"),
    )
    found = scored(operator(), rows(8), models)
    assert versions(found["scores"]) == [1, 1, 3, 3, 5, 5, 5, 5]
    shadow = found["scores.shadow"]
    assert list(zip(shadow["estimator"].to_pylist(), versions(shadow), strict=True)) == [
        *[("tree", 2)] * 2,
        *[("sgd", 4)] * 2,
        *[("tree", 6)] * 2,
    ]


def test_an_event_without_content_names_a_version_that_is_there() -> None:
    promoted = replace(event(2, 2, what="promoted", estimator="tree"), content=None)
    models = messages(event(1, 0), event(2, 0, role="challenger", estimator="tree"), promoted)
    assert versions(scored(operator(), rows(4), models)["scores"]) == [1, 1, 2, 2]


def test_an_event_without_content_of_an_unknown_version_is_refused() -> None:
    models = messages(event(1, 0), replace(event(9, 2, what="promoted"), content=None))
    found = scored(operator(), rows(4), models)
    assert versions(found["scores"]) == [1] * 4
    assert "not among those in use" in found["scores.refused"]["reason"][0].as_py()


def test_a_message_said_again_changes_nothing() -> None:
    models = messages(event(1, 0), event(2, 2), event(1, 3), event(2, 4))
    found = scored(operator(), rows(6), models)
    assert versions(found["scores"]) == [1, 1, 2, 2, 2, 2]
    assert set(found["scores.refused"]["reason"].to_pylist()) == {
        "it is of version 1, and version 2 has been here already",
        "it is of version 2, and version 2 has been here already",
    }


def test_a_retired_champion_leaves_no_model() -> None:
    models = messages(event(1, 0), event(1, 2, what="retired"))
    assert versions(scored(operator(), rows(4), models)["scores"]) == [1, 1, None, None]


def test_content_in_many_chunks_is_put_together() -> None:
    models = messages(event(1, 0), event(2, 3), chunk=100)
    assert models.num_rows > 20
    assert versions(scored(operator(), rows(5), models)["scores"]) == [1, 1, 1, 2, 2]


@pytest.mark.parametrize("chunk", [300, 1 << 20])
def test_every_way_of_cutting_and_restoring_gives_the_same(chunk: int) -> None:
    models = messages(
        event(1, 3),
        event(2, 11, role="challenger", estimator="tree"),
        event(3, 15, content=encode(dump(classifier(classes=["no", "yes"])))),
        event(4, 22, what="promoted", estimator="tree"),
        event(5, 22, role="challenger", estimator="sgd"),
        chunk=chunk,
    )
    lanes = {"plant.readings": outside(READINGS, rows(36, spacing=MINUTE)), "plant.model": outside(MODEL, models)}
    check_operator(operator(), lanes)


def test_several_batches_at_once_give_what_one_after_the_other_gives() -> None:
    """The engine hands an operator with `steps` several batches."""
    from operators.execution.state import State
    from operators.operator import Batch
    from streams.parents import Addresses

    made = operator()
    models = messages(event(1, 3), event(2, 11, role="challenger", estimator="tree"))

    def batches() -> list[Batch]:
        found = []
        for at in range(0, 30, 6):
            part = rows(30).slice(at, 6).select(["sensor", "at", "hot", "celsius", "site"])
            times = part["at"].cast(pa.int64()).to_numpy()
            found.append(
                Batch("plant.readings", part, Addresses.of_message("plant.readings", 0, at, 6), times, int(times[0]))
            )
        return found

    def begun() -> State:
        state = State()
        times = models["at"].cast(pa.int64()).to_numpy()
        addresses = Addresses.of_message("plant.model", 0, 0, models.num_rows)
        list(made.step(Batch("plant.model", models, addresses, times, 0), state))
        return state

    one, other = begun(), begun()
    steps = [(list(made.step(batch, one)), made.holds(one)) for batch in batches()]
    together = list(made.steps(batches(), other))
    for (first, held), (second, also_held) in zip(steps, together, strict=True):
        assert held == also_held
        for stream in ("plant.scores", "plant.scores.shadow"):
            told = [[row for o in outs if o.stream == stream for row in o.rows.to_pylist()] for outs in (first, second)]
            assert told[0] == told[1]
    assert one.changes() == other.changes()


def test_a_late_row_is_scored_by_the_model_in_force() -> None:
    batch = pa.concat_batches([rows(10), rows(1, start=2, seed=5)])
    table = scored(operator(), batch, messages(event(1, 3), event(2, 7)))["scores"]
    assert len(table) == 11
    assert versions(table)[2:4] == [None, 2]


# Whether to trust it


def reasons(batch: pa.RecordBatch, **options: Any) -> list[str | None]:
    table = scored(operator(**options), batch, messages(event(1, 0)))["scores"]
    assert table["usable"].to_pylist() == [reason is None for reason in table["reason"].to_pylist()]
    assert None not in table["score"].to_pylist()
    return table["reason"].to_pylist()


def changed(name: str, values: pa.Array) -> pa.RecordBatch:
    batch = rows(len(values), start=1)
    return batch.set_column(batch.schema.get_field_index(name), name, values)


def test_values_far_from_what_was_learnt_are_not_usable() -> None:
    found = reasons(changed("celsius", pa.array([30.0, 500.0, -400.0])))
    assert found == [None, "out of distribution: celsius", "out of distribution: celsius"]


def test_a_category_that_was_never_seen_is_not_usable() -> None:
    assert reasons(changed("site", pa.array(["north", "moon"]))) == [None, "unseen category: site"]


def test_a_missing_feature_is_not_usable_if_none_was_missing_in_training() -> None:
    found = reasons(changed("celsius", pa.array([None, float("nan"), 30.0])))
    assert found == ["feature missing: celsius"] * 2 + [None]


def test_a_prediction_that_is_not_sure_enough_is_not_usable() -> None:
    table = scored(operator(min_confidence=0.9), rows(200, start=1), messages(event(1, 0)))["scores"]
    score = np.array(table["score"].to_pylist())
    unsure = np.maximum(score, 1 - score) < 0.9
    assert unsure.any()
    reason = np.array(table["reason"].to_pylist())
    assert set(reason[unsure]) - {"out of distribution: celsius"} == {"low confidence"}
    assert "low confidence" not in set(reason[~unsure])


def test_a_model_that_needs_a_feature_that_is_not_read_says_so_in_every_row() -> None:
    table = scored(operator(features=["celsius"]), rows(3, start=1), messages(event(1, 0)))["scores"]
    assert table["reason"].to_pylist() == ["feature missing: site"] * 3


def test_a_model_of_another_schema_says_so_in_every_row() -> None:
    other = SCHEMA.set(2, pa.field("celsius", pa.string()))
    source = Stream("plant.readings", Schema(other), key=("sensor",), time="at", partitions=2)
    batch = rows(3, start=1)
    batch = batch.set_column(2, "celsius", batch["celsius"].cast(pa.string()))
    made = predict(source, MODEL, to="plant.scores", features=["celsius", "site"], classes=[False, True])
    table = scored(made, batch, messages(event(1, 0)), source)["scores"]
    assert table["reason"].to_pylist() == ["another schema: celsius is string, learnt was number"] * 3


# Other kinds of models


def test_more_than_two_classes_have_a_list_of_probabilities() -> None:
    from sklearn.naive_bayes import GaussianNB

    from operators.model.learner import learner

    classes = ["cold", "mild", "hot"]
    batch = rows(300)
    celsius = batch["celsius"].to_numpy()
    labels = [classes[int(value > 28) + int(value > 32)] for value in celsius]
    one = learner(GaussianNB(), ["celsius"], SCHEMA, classes=classes)
    one.partial_fit(batch, labels)
    models = messages(event(1, 0, content=encode(dump(one))))
    table = scored(operator(features=["celsius"], classes=classes), rows(40, start=1, seed=3), models)["scores"]
    probabilities = np.array(table["probabilities"].to_pylist())
    assert probabilities.shape == (40, 3)
    assert table["predicted"].to_pylist() == [classes[at] for at in probabilities.argmax(axis=1)]
    assert table["score"].to_pylist() == probabilities.max(axis=1).tolist()
    assert set(table["predicted"].to_pylist()) == set(classes)


def test_numbers_are_predicted() -> None:
    from sklearn.linear_model import SGDRegressor

    from operators.model.learner import learner

    one = learner(SGDRegressor(random_state=0), ["celsius"], SCHEMA)
    batch = rows(300)
    one.partial_fit(batch, batch["celsius"].to_numpy())
    models = messages(event(1, 0, content=encode(dump(one))))
    table = scored(operator(features=["celsius"], classes=None), rows(30, start=1), models)["scores"]
    assert table["score"].to_pylist() == one.predict(rows(30, start=1)).tolist()
    assert table["predicted"] == table["score"]


# What is refused


class Exploit:
    ran = False

    def __reduce__(self) -> tuple[Any, ...]:
        return _ran, ()


def _ran() -> None:
    Exploit.ran = True


def raw(change: dict[str, Any], base: ModelEvent | None = None) -> pa.RecordBatch:
    """A message as somebody might write it past the trainer."""
    batch = messages(base or event(2, 2))
    told = batch.to_pylist()
    for row in told:
        row.update(change)
    return pa.RecordBatch.from_pylist(told, schema=batch.schema)


def with_content(content: bytes) -> dict[str, Any]:
    return {"content": content, "sha256": hashlib.sha256(content).hexdigest()}


CONTENT = encode(dump(classifier(seed=2)))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (with_content(pickle.dumps(Exploit())), "no model of a version known here"),
        (with_content(CONTENT[:-100]), "cut off or altered"),
        (with_content(CONTENT[:500] + b"x" + CONTENT[501:]), "cut off or altered"),
        ({"content": CONTENT[:-1] + b"x"}, "does not have the SHA-256"),
        ({"sha256": "0" * 64}, "does not have the SHA-256"),
        ({"sha256": None}, "does not have the SHA-256"),
        ({"manifest": "{}"}, "manifest beside its content"),
        ({"manifest": None}, "manifest beside its content"),
        ({"model": "other.model"}, "message of the model 'other.model'"),
        ({"event": "exec"}, "no event known here"),
        ({"role": "root"}, "no event known here"),
        ({"version": -1}, "make no sense"),
        ({"trained_rows": -5}, "make no sense"),
        ({"chunks": 2**31 - 1}, "make no sense"),
        ({"chunks": -1}, "make no sense"),
        ({"chunks": 0}, "contradict"),
        ({"content": None}, "contradict"),
        ({"chunk": 1}, "begins with chunk 1"),
        (with_content(encode(dump(classifier(classes=["no", "yes"])))), "it predicts the classes"),
        (with_content(encode(dump(classifier(classes=[0, 1])))), "it predicts the classes"),
    ],
)
def test_a_model_that_cannot_be_taken_is_listed_and_the_champion_goes_on(change: dict[str, Any], reason: str) -> None:
    if "sha256" in change and "content" in change and reason.startswith("it predicts"):
        from operators.model.artefact import manifest_text

        change = {**change, "manifest": manifest_text(change["content"], "x")}
    models = pa.concat_batches([messages(event(1, 0)), raw(change), messages(event(3, 4))])
    found = scored(operator(), rows(6), models)
    assert versions(found["scores"]) == [1, 1, 1, 1, 3, 3]
    assert found["scores"]["usable"].to_pylist()[1:] == [True] * 5
    refused = found["scores.refused"]
    assert set(refused["partition"].to_pylist()) == {0}
    assert set(refused["offset"].to_pylist()) == {1}
    assert len(refused) == 2, "one row for each of the two tasks"
    assert reason in refused["reason"][0].as_py()
    assert not Exploit.ran


def test_a_chunk_that_never_comes_is_listed_when_the_next_message_does() -> None:
    whole_one = messages(event(2, 2), chunk=200)
    models = pa.concat_batches([messages(event(1, 0)), whole_one.slice(0, 3), messages(event(3, 4))])
    found = scored(operator(), rows(6), models)
    assert versions(found["scores"]) == [1, 1, 1, 1, 3, 3]
    assert "only 3 of" in found["scores.refused"]["reason"][0].as_py()


def test_chunks_in_another_order_are_refused() -> None:
    parts = messages(event(2, 2), chunk=400)
    mixed = parts.take([0, 2, 1, *range(3, parts.num_rows)])
    found = scored(operator(), rows(6), pa.concat_batches([messages(event(1, 0)), mixed]))
    assert versions(found["scores"]) == [1] * 6
    assert len(found["scores.refused"]) >= 2


def test_a_forged_time_is_no_reason_to_stop() -> None:
    models = pa.concat_batches([messages(event(1, 0)), raw({"at": 2**62, "version": 0})])
    found = scored(operator(), rows(4), models)
    assert versions(found["scores"]) == [1] * 4
    assert found["scores.refused"]["at"].cast(pa.int64()).to_pylist() == [2**62] * 2


def test_no_more_challengers_than_can_be_scored_are_taken() -> None:
    challengers = [event(2 + at, 0, seed=2, role="challenger", estimator=f"c{at:02d}") for at in range(18)]
    found = scored(operator(), rows(2), messages(event(1, 0), *challengers))
    assert len(found["scores.shadow"]) == 2 * 16
    assert len(found["scores.refused"]) == 2 * 2


def test_a_model_that_has_learnt_nothing_is_refused() -> None:
    from sklearn.linear_model import SGDClassifier

    from operators.model.learner import learner

    one = learner(SGDClassifier(random_state=0), ["celsius"], SCHEMA, classes=[False, True])
    found = scored(operator(), rows(2), messages(event(1, 0, content=encode(dump(one)))))
    assert versions(found["scores"]) == [None, None]
    assert found["scores.refused"]["reason"][0].as_py() == "it has learnt nothing yet"


# Declaring


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"features": None}, "is not declared here"),
        ({"classes": "model"}, "is not declared here"),
        ({"features": []}, "No features"),
        ({"features": ["nowhere"]}, "no column 'nowhere'"),
        ({"keep": ["nowhere"]}, "no column 'nowhere'"),
        ({"features": ["at"]}, "which no model reads"),
        ({"min_confidence": 2.0}, "min_confidence"),
        ({"classes": [True]}, "classes"),
        ({"classes": "ab"}, "classes"),
    ],
)
def test_what_cannot_be_predicted_is_refused(options: dict[str, Any], what: str) -> None:
    with pytest.raises(CannotPredict, match=what):
        operator(**options)


def test_rows_without_event_time_cannot_be_predicted() -> None:
    with pytest.raises(CannotPredict, match="no event time"):
        predict(Stream("x", Schema(SCHEMA)), MODEL, to="y", features=["celsius"], classes=[False, True])


def test_only_model_streams_are_models() -> None:
    with pytest.raises(CannotPredict, match="no model stream"):
        predict(READINGS, READINGS, to="y", features=["celsius"], classes=[False, True])


def test_a_column_with_the_name_of_ours_is_refused() -> None:
    source = Stream("x", Schema(SCHEMA.append(pa.field("score", pa.float64()))), time="at")
    with pytest.raises(CannotPredict, match="'score'"):
        predict(source, MODEL, to="y", features=["celsius"], classes=[False, True], keep=["score"])


def test_features_and_classes_are_those_of_the_trainer() -> None:
    made = predict(READINGS, MODEL, to="y", learns=Learns(("site",), ("a", "b", "c")))
    assert made.params["features"] == ["site"]
    assert made.params["classes"] == ["a", "b", "c"]


def test_lineage_names_features_and_model() -> None:
    links = {one.field: set(one.sources) for one in operator().derives()["plant.scores"]}
    assert links["score"] == {
        ("plant.readings", "celsius"),
        ("plant.readings", "site"),
        ("plant.model", "content"),
    }
    assert links["hot"] == {("plant.readings", "hot")}


def test_models_are_read_from_their_rows_again() -> None:
    """What a model stream holds is enough to have the model back."""
    content = b"".join(row["content"] for row in model_rows([event(1, 0)])[0].to_pylist())
    again = load(decode(content, "x"), "x")
    assert again.predict_proba(rows(5)).tobytes() == classifier(seed=1).predict_proba(rows(5)).tobytes()


def test_single_rows_give_the_digest_of_whole_batches() -> None:
    models = messages(event(1, 3), event(2, 7))
    lanes = {"plant.readings": outside(READINGS, rows(30)), "plant.model": outside(MODEL, models)}
    made = operator()
    tables = []
    for cut in (whole, single):
        emitted = [one for one in rehearse(lambda: made, lanes, cut) if one.output.stream == "plant.scores"]
        tables.append(pa.Table.from_batches([one.output.rows for one in emitted]).to_pylist())
    assert tables[0] == tables[1]


def test_the_public_name() -> None:
    assert hw.Pipeline("plant").predict.__doc__


# Without waiting


def test_without_waiting_rows_are_scored_by_the_model_at_the_beginning_of_their_batch() -> None:
    source = replace(READINGS, partitions=1)
    made = predict(source, MODEL, to="plant.scores", features=["celsius", "site"], classes=[False, True], wait=False)
    lanes = {"plant.readings": outside(source, rows(8)), "plant.model": outside(MODEL, messages(event(1, 3)))}
    found = {}
    for name, cut in (("whole", whole), ("single", single)):
        emitted = rehearse(lambda: made, lanes, cut)
        batches = [one.output.rows for one in emitted if one.output.stream == "plant.scores"]
        found[name] = versions(pa.Table.from_batches(batches).sort_by("at"))
    assert found["single"] == [None] * 4 + [1] * 4, "rows of one time go before a model"
    assert found["whole"] == [None] * 8


def test_without_waiting_nothing_is_held_back() -> None:
    from operators.execution.state import State
    from operators.operator import Batch
    from streams.message import END
    from streams.parents import Addresses

    made, state = operator(wait=False), State()
    models = messages(event(1, 0), event(2, 0, role="challenger", estimator="tree"))
    addresses = Addresses.of_message("plant.model", 0, 0, 2)
    assert list(made.step(Batch("plant.model", models, addresses, np.zeros(2, dtype=np.int64), 0), state)) == []
    parts = [rows(30).slice(at, 10).select(["sensor", "at", "hot", "celsius", "site"]) for at in (0, 10, 20)]
    batches = [
        Batch(
            "plant.readings",
            part,
            Addresses.of_message("plant.readings", 0, at, 10),
            part["at"].cast(pa.int64()).to_numpy(),
            part["at"].cast(pa.int64())[0].as_py(),
        )
        for at, part in enumerate(parts)
    ]
    one_by_one = [[(o.stream, o.rows.to_pylist()) for o in made.step(batch, state)] for batch in batches]
    together = list(made.steps(batches, state))
    assert [[(o.stream, o.rows.to_pylist()) for o in outputs] for outputs, _ in together] == one_by_one
    assert {holds for _, holds in together} == {END}
    assert [len(told) for _, told in one_by_one[0]] == [10, 10]
