"""The trainer: test, then learn; versions, promotions, roll-backs, alarms and requests, whatever the batches."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import headwater as hw
from operators.model.features import features
from operators.model.format import decode, load

pytest.importorskip("sklearn")

from sklearn.linear_model import SGDClassifier
from sklearn.naive_bayes import GaussianNB

START = datetime(2024, 6, 1, tzinfo=UTC)
TIME = pa.timestamp("us", "UTC")
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("known_at", TIME),
        ("a", pa.float64()),
        ("b", pa.float64()),
        ("site", pa.string()),
        ("late", pa.bool_()),
        ("censored", pa.bool_()),
    ]
)


def sgd(**options: Any) -> SGDClassifier:
    return SGDClassifier(loss="log_loss", random_state=0, **options)


def world(rows: int, seed: int = 0, flip_at: int | None = None) -> dict[str, list[Any]]:
    """A linear rule with noise; from row `flip_at` on the opposite holds."""
    random = np.random.default_rng(seed)
    a, b = random.normal(size=rows), random.normal(size=rows)
    side = np.where(np.arange(rows) < (rows if flip_at is None else flip_at), 1.0, -1.0)
    late = side * (2 * a - b) + random.logistic(size=rows) * 0.5 > 0
    return {
        "id": [f"r{at}" for at in range(rows)],
        "known_at": [START + timedelta(minutes=at) for at in range(rows)],
        "a": a.tolist(),
        "b": b.tolist(),
        "site": [("north", "south", "west")[at % 3] for at in range(rows)],
        "late": late.tolist(),
        "censored": [False] * rows,
    }


def table(columns: dict[str, list[Any]]) -> pa.Table:
    return pa.table(columns, schema=SCHEMA)


def pipeline(partitions: int = 1, schema: pa.Schema = SCHEMA) -> tuple[hw.Pipeline, hw.Stream]:
    p = hw.Pipeline("plant", owner="tests", partitions=partitions)
    return p, p.stream("examples", schema, key="id", time="known_at")


def train(p: hw.Pipeline, examples: hw.Stream, **options: Any) -> hw.Stream:
    given = {"target": "late", "features": ["a", "b"], "censored": "censored", "chunk": 50, "to": "model"} | options
    if "candidates" not in given:
        given.setdefault("estimator", sgd())
    return p.train(examples, **given)


def run(tmp_path: Path, columns: dict[str, list[Any]], *, cut: int = 64, **options: Any) -> tuple[list[Any], list[Any]]:
    """Events and alarms of a trainer over these rows."""
    p, examples = pipeline()
    train(p, examples, **options)
    p.source(examples, table(columns), chunk=cut)
    return ran(tmp_path, p)


def ran(tmp_path: Path, p: hw.Pipeline) -> tuple[list[Any], list[Any]]:
    with hw.connect(tmp_path) as hub:
        hub.run(p, until="caught-up")
        return (
            hub.read("plant.model").to_arrow().to_pylist(),
            hub.read("plant.model.alarms").to_arrow().to_pylist(),
        )


def learner_of(event: dict[str, Any]) -> Any:
    return load(decode(event["content"], "test"))


def told(events: list[Any]) -> list[tuple[str, str, int]]:
    return [(one["event"], one["estimator"], one["version"]) for one in events]


def test_versions_are_written_after_the_first_chunk_and_then_at_fixed_numbers_of_rows(tmp_path: Path) -> None:
    events, _ = run(tmp_path, world(730), checkpoint_every=200)
    assert [one["trained_rows"] for one in events] == [50, 200, 400, 600]
    assert {one["role"] for one in events} == {"champion"}
    assert [one["at"] for one in events] == [START + timedelta(minutes=rows - 1) for rows in (50, 200, 400, 600)]


def test_what_is_learnt_is_what_scikit_learn_learns_from_the_same_chunks(tmp_path: Path) -> None:
    columns = world(600)
    events, _ = run(tmp_path, columns, features=features(plain=["a", "b"]), checkpoint_every=600)
    peer = sgd()
    values = np.zeros((600, 4))  # each feature is followed by "is it missing"
    values[:, 0], values[:, 2] = columns["a"], columns["b"]
    for start in range(0, 600, 50):
        peer.partial_fit(values[start : start + 50], columns["late"][start : start + 50], classes=[False, True])
    found = learner_of(events[-1]).estimator
    assert found.coef_.tolist() == peer.coef_.tolist()
    assert found.intercept_.tolist() == peer.intercept_.tolist()


@pytest.mark.parametrize("cut", [1, 37, 50, 500])
def test_models_do_not_depend_on_how_rows_come(tmp_path: Path, cut: int) -> None:
    columns = world(500)
    assert run(tmp_path / "a", columns, cut=cut) == run(tmp_path / "b", columns, cut=211)


@pytest.mark.parametrize("partitions", [1, 3])
def test_models_do_not_depend_on_cuts_and_restarts(partitions: int) -> None:
    p, examples = pipeline(partitions)
    train(p, examples, candidates={"slow": sgd(alpha=0.5), "fast": sgd()}, checkpoint_every=100)
    columns = world(120)
    # Ties of event time over partitions must not be settled by who came first.
    columns["known_at"] = [START + timedelta(minutes=at // 5) for at in range(120)]
    hw.testing.check(
        p, rows={"examples": table(columns)}, expect={"model": [{"trained_rows": n} for n in (50, 50, 100, 100)]}
    )


def test_models_do_not_depend_on_workers(tmp_path: Path) -> None:
    found = []
    for workers in (1, 2):
        p, examples = pipeline(partitions=3)
        train(p, examples, candidates={"dull": sgd(alpha=10.0), "keen": sgd()})
        p.source(examples, table(world(1500)), chunk=70)
        with hw.connect(tmp_path / str(workers)) as hub:
            hub.run(p, until="caught-up", workers=workers)
            found.append(hub.read("plant.model").to_arrow())
    assert found[0].equals(found[1])
    assert found[0].num_rows >= 6


def test_censored_rows_and_rows_without_target_are_left_out(tmp_path: Path) -> None:
    columns = world(400)
    columns["censored"] = [at % 4 == 0 for at in range(400)]
    columns["late"] = [None if at % 4 in (0, 1) else late for at, late in enumerate(columns["late"])]
    events, alarms = run(tmp_path, columns, checkpoint_every=50)
    assert events[-1]["trained_rows"] == 200
    assert alarms == []


def test_a_better_challenger_is_promoted_with_the_evidence(tmp_path: Path) -> None:
    events, _ = run(tmp_path, world(3000), candidates={"dull": sgd(alpha=10.0), "keen": sgd()})
    promoted = [one for one in events if one["event"] == "promoted"]
    assert [(one["estimator"], one["role"]) for one in promoted] == [("keen", "champion")]
    assert "less a row than dull" in promoted[0]["reason"]
    after = [one for one in events if one["version"] > promoted[0]["version"]]
    assert {(one["estimator"], one["role"]) for one in after} == {("keen", "champion"), ("dull", "challenger")}
    assert [one["version"] for one in events] == list(range(1, len(events) + 1))


def test_equal_candidates_stay_where_they_are(tmp_path: Path) -> None:
    events, _ = run(tmp_path, world(4000), candidates={"one": sgd(), "other": sgd()})
    assert {one["event"] for one in events} == {"checkpoint"}


def test_the_one_before_comes_back_if_the_promoted_one_does_worse(tmp_path: Path) -> None:
    # Lateness follows one feature, for a while the other, and then the first one again.
    columns = world(6000)
    random = np.random.default_rng(3)
    ruling = [columns["b"][at] if 2000 <= at < 3500 else columns["a"][at] for at in range(6000)]
    columns["late"] = (np.array(ruling) + 0.3 * random.normal(size=6000) > 0).tolist()
    events, _ = run(
        tmp_path,
        columns,
        features=["a"],
        candidates={"a": sgd(), "b": (sgd(), ["b"])},
        probation=3000,
        compare_over=500,
    )
    changes = [(one["event"], one["estimator"]) for one in events if one["event"] != "checkpoint"]
    assert changes[:2] == [("promoted", "b"), ("rolled_back", "a")]


def test_a_gate_keeps_a_challenger_out_and_an_alarm_says_why(tmp_path: Path) -> None:
    gate = hw.gate.slice("site", "north", floor=0.999)
    events, alarms = run(
        tmp_path, world(3000), candidates={"dull": sgd(alpha=10.0), "keen": sgd()}, gates=[gate], compare_over=1000
    )
    assert {one["event"] for one in events} == {"checkpoint"}
    blocked = [one for one in alarms if one["kind"] == "gate"]
    assert len(blocked) >= 1
    assert "does not reach 0.999" in blocked[0]["evidence"]
    assert len(blocked) <= 3, "one alarm for each comparison, not for each chunk"


def test_an_invariance_gate_lets_through_what_does_not_look_at_the_column(tmp_path: Path) -> None:
    candidates = {"dull": sgd(alpha=10.0), "keen": sgd()}
    shown, _ = run(tmp_path / "a", world(3000), candidates=candidates, gates=[hw.gate.invariant("site")])
    assert "promoted" in {one["event"] for one in shown}
    blind, alarms = run(tmp_path / "b", world(3000), candidates=candidates, gates=[hw.gate.invariant("a")])
    assert {one["event"] for one in blind} == {"checkpoint"}
    assert "predictions change" in alarms[0]["evidence"]


def test_a_gate_may_be_a_function_of_columns(tmp_path: Path) -> None:
    def high(rows: pa.RecordBatch) -> Any:
        return pa.array(rows["a"].to_numpy() > 0)

    gate = hw.gate.slice(high, reads=["a"], metric="brier", tolerance=0.01)
    events, _ = run(tmp_path, world(3000), candidates={"dull": sgd(alpha=10.0), "keen": sgd()}, gates=[gate])
    assert "promoted" in {one["event"] for one in events}


def test_a_champion_that_does_not_beat_a_baseline_raises_an_alarm(tmp_path: Path) -> None:
    columns = world(2000)
    columns["late"] = [at // 40 % 2 == 0 for at in range(2000)]  # long runs that no feature tells
    _, alarms = run(tmp_path, columns)
    assert ("baseline", "no_change") in {(one["kind"], one["column"]) for one in alarms}
    assert all(one["p_value"] <= 0.05 for one in alarms)
    assert len(alarms) <= 12, "what lasts is said more and more seldom"
    _, none = run(tmp_path / "good", world(2000))
    assert none == []


def test_a_class_never_seen_before_is_left_out_and_told_once(tmp_path: Path) -> None:
    schema = SCHEMA.set(5, pa.field("late", pa.string()))
    p, examples = pipeline(schema=schema)
    train(p, examples, classes=["no", "yes"], checkpoint_every=50)
    columns = world(300)
    columns["late"] = ["perhaps" if at % 3 == 0 else "yes" if late else "no" for at, late in enumerate(columns["late"])]
    p.source(examples, pa.table(columns, schema=schema), chunk=64)
    events, alarms = ran(tmp_path, p)
    assert events[-1]["trained_rows"] == 200
    assert [(one["kind"], one["column"]) for one in alarms] == [("label", "late")]
    assert "perhaps" in alarms[0]["evidence"]


def test_all_labels_of_one_class_make_a_model_that_says_so(tmp_path: Path) -> None:
    columns = world(300)
    columns["late"] = [True] * 300
    events, _ = run(tmp_path, columns, checkpoint_every=300)
    found = learner_of(events[-1]).predict_proba(table(columns).select(["a", "b"]).combine_chunks().to_batches()[0])
    assert (found[:, 1] > 0.5).all()


def test_a_constant_column_changes_nothing(tmp_path: Path) -> None:
    columns = world(600)
    columns["b"] = [3.5] * 600
    events, alarms = run(tmp_path, columns, checkpoint_every=600)
    learnt = learner_of(events[-1]).estimator.coef_
    assert np.isfinite(learnt).all()
    assert learnt[0, 2] == 0.0
    assert [one for one in alarms if one["kind"] != "baseline"] == []


def test_not_a_number_counts_as_missing(tmp_path: Path) -> None:
    columns = world(600)
    columns["a"] = [float("nan") if at % 7 == 0 else None if at % 11 == 0 else a for at, a in enumerate(columns["a"])]
    events, _ = run(tmp_path, columns, checkpoint_every=600)
    found = learner_of(events[-1])
    rows = pa.record_batch({"a": pa.array([1.0, float("nan"), None]), "b": pa.array([0.0, 0.0, 0.0])})
    first, second, third = found.predict_proba(rows)[:, 1]
    assert second == third != first


def test_a_feature_that_vanishes_is_told_once_and_training_goes_on(tmp_path: Path) -> None:
    columns = world(800)
    columns["b"] = [None if 300 <= at < 700 else b for at, b in enumerate(columns["b"])]
    events, alarms = run(tmp_path, columns, checkpoint_every=100)
    gone = [one for one in alarms if one["kind"] == "data"]
    assert [one["column"] for one in gone] == ["b"]
    assert START + timedelta(minutes=300) <= gone[0]["at"] <= START + timedelta(minutes=400)
    assert events[-1]["trained_rows"] == 800


def test_training_that_diverges_begins_anew_and_is_told(tmp_path: Path) -> None:
    columns = world(600)
    columns["a"] = [1e200 if 300 <= at < 350 else a for at, a in enumerate(columns["a"])]
    events, alarms = run(tmp_path, columns, features=features(plain=["a", "b"]), checkpoint_every=100)
    assert [one["kind"] for one in alarms][:1] == ["training"]
    assert any("began anew" in (one["reason"] or "") for one in events)
    assert all(np.isfinite(learner_of(one).estimator.coef_).all() for one in events)


def test_weak_labels_are_learnt_until_there_is_truth(tmp_path: Path) -> None:
    p, examples = pipeline()
    columns = world(600)
    weak_schema = pa.schema([*list(SCHEMA)[:4], ("p_true", pa.float64())])
    weak = p.stream("weak", weak_schema, key="id", time="known_at")
    train(p, examples, weak=weak, weak_until=100, checkpoint_every=50)
    late = [START + timedelta(days=10, minutes=at) for at in range(600)]
    p.source(examples, table({**columns, "known_at": late}), chunk=64)
    stated = {name: columns[name] for name in ("id", "known_at", "a", "b")}
    stated["p_true"] = [0.9 if label else 0.2 for label in columns["late"]]
    stated["p_true"][:10] = [None] * 10
    p.source(weak, pa.table(stated, schema=weak_schema), chunk=64)
    events, _ = ran(tmp_path, p)
    cold = [one for one in events if one["at"] < late[0]]
    assert [one["trained_rows"] for one in cold] == list(range(50, 551, 50))
    rows = table(columns).select(["a", "b"]).combine_chunks().to_batches()[0]
    right = (learner_of(cold[-1]).predict_proba(rows)[:, 1] > 0.5) == np.array(columns["late"])
    assert right.mean() > 0.8
    assert events[-1]["trained_rows"] == 550 + 600


ALARMS = pa.schema(
    [
        ("source", pa.string()),
        ("at", TIME),
        ("kind", pa.string()),
        ("column", pa.string()),
        ("size", pa.float64()),
        ("threshold", pa.float64()),
        ("p_value", pa.float64()),
        ("since", TIME),
        ("evidence", pa.string()),
    ]
)


def alarm(minute: int) -> dict[str, Any]:
    row = dict.fromkeys(ALARMS.names)
    at = START + timedelta(minutes=minute)
    return row | {
        "source": "drift",
        "at": at,
        "kind": "concept",
        "column": "a",
        "size": 1.0,
        "threshold": 0.1,
        "evidence": "{}",
    }


def with_alarms(tmp_path: Path, minutes: list[int], rows: int = 3000, **options: Any) -> tuple[list[Any], list[Any]]:
    p, examples = pipeline()
    reports = p.stream("reports", ALARMS, time="at", partitions=1)
    train(p, examples, retrain_on=hw.later("reports", delay="1h"), **options)
    p.source(examples, table(world(rows, flip_at=1000)), chunk=64)
    p.source(reports, [alarm(minute) for minute in minutes])
    return ran(tmp_path, p)


def test_an_alarm_begins_a_fresh_challenger_that_learns_from_then_on(tmp_path: Path) -> None:
    events, _ = with_alarms(tmp_path, [1040], estimator=sgd(average=True), checkpoint_every=100)
    fresh = [one for one in events if one["estimator"] == "champion.1"]
    assert fresh[0]["at"] >= START + timedelta(minutes=1100)
    assert fresh[0]["trained_rows"] <= 100
    assert [one["estimator"] for one in events if one["event"] == "promoted"] == ["champion.1"]


def test_not_more_than_so_many_challengers_are_alive(tmp_path: Path) -> None:
    events, _ = with_alarms(tmp_path, [10, 20, 700, 1400, 2100], checkpoint_every=100, most_challengers=1)
    begun = {one["estimator"] for one in events} - {"champion"}
    assert len(begun) == 4, "an alarm before the last challenger has settled begins no other"
    assert [one["event"] for one in events].count("retired") >= 2
    retired = next(one for one in events if one["event"] == "retired")
    assert retired["content"] is None
    assert "made room" in retired["reason"]


def test_an_alarm_may_let_the_champion_begin_anew(tmp_path: Path) -> None:
    events, _ = with_alarms(tmp_path, [1040], on_alarm="reset", checkpoint_every=100)
    anew = [one for one in events if "began anew after a concept alarm about a" in (one["reason"] or "")]
    assert [one["trained_rows"] for one in anew] == [50]


def test_a_person_promotes_and_goes_back(tmp_path: Path) -> None:
    p, examples = pipeline()
    candidates = {"one": sgd(), "two": sgd(alpha=0.1), "bayes": GaussianNB()}
    train(p, examples, candidates=candidates, checkpoint_every=100, promote_error=1e-9)
    columns = table(world(1000))

    def publish(hub: hw.Hub, first: int, end: int) -> None:
        for start in range(first, end, 100):
            hub.publish(examples, columns.slice(start, 100))
        hub.run(p, until="caught-up")

    def ask(hub: hw.Hub, **fields: Any) -> None:
        row = {"action": "promote", "estimator": None, "version": None, "by": "ana", "asked_at": START, "reason": None}
        hub.publish("plant.model.control", [row | fields])
        hub.run(p, until="caught-up")

    with hw.connect(tmp_path) as hub:
        hub.register(p)
        publish(hub, 0, 500)
        ask(hub, estimator="bayes", reason="looks better")
        publish(hub, 500, 800)
        ask(hub, action="rollback")
        ask(hub, action="rollback", version=1)
        ask(hub, estimator="nobody")
        events = hub.read("plant.model").to_arrow().to_pylist()
        alarms = hub.read("plant.model.alarms").to_arrow().to_pylist()
        assert hub.replay(p, "plant.model").equal
    assert [one["at"] for one in events] == sorted(one["at"] for one in events)
    asked = [one for one in events if one["event"] != "checkpoint"]
    assert [(one["event"], one["estimator"], one["role"]) for one in asked] == [
        ("promoted", "bayes", "champion"),
        ("rolled_back", "one", "champion"),
        ("rolled_back", "one", "champion"),
    ]
    assert asked[0]["reason"] == "asked for by ana: looks better"
    first = next(one for one in events if one["version"] == 1)
    assert asked[2]["content"] == first["content"]
    assert [(one["kind"], one["column"]) for one in alarms] == [("control", "nobody")]


def test_a_trainer_declared_anew_goes_on_with_what_still_fits(tmp_path: Path) -> None:
    columns = table(world(1000))
    p, examples = pipeline()
    train(p, examples, candidates={"one": sgd(), "two": sgd(alpha=0.1)}, checkpoint_every=100)
    with hw.connect(tmp_path) as hub:
        hub.register(p)
        hub.publish(examples, columns.slice(0, 425))
        hub.publish(examples, columns.slice(425, 100))
        hub.run(p, until="caught-up")
        before = hub.read("plant.model").to_arrow().num_rows
        p, examples = pipeline()
        train(
            p,
            examples,
            candidates={"one": sgd(), "two": (sgd(alpha=0.1), ["a", "b", "site"]), "new": GaussianNB()},
            checkpoint_every=100,
        )
        hub.register(p)
        for start in range(525, 1000, 95):
            hub.publish(examples, columns.slice(start, 95))
        hub.run(p, until="caught-up")
        events = hub.read("plant.model").to_arrow().to_pylist()[before:]
    retired = [one for one in events if one["event"] == "retired"]
    assert [(one["estimator"], "declared anew" in one["reason"]) for one in retired] == [("two", True)]
    rows = {one["estimator"]: one["trained_rows"] for one in events if one["event"] == "checkpoint"}
    assert rows["one"] >= 900
    assert rows["two"] == rows["new"] == rows["one"] - 400
    assert learner_of(next(one for one in events[::-1] if one["estimator"] == "two")).features == ("a", "b", "site")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"target": "nothing"}, "no column 'nothing'"),
        ({"features": ["a", "nowhere"]}, "no column 'nowhere'"),
        ({"features": ["a", "late"]}, "among the features"),
        ({"target": "a"}, "regression"),
        ({"target": "site"}, "classes are not given"),
        ({"estimator": SGDClassifier()}, "random_state"),
        ({"estimator": None}, "needs an estimator"),
        ({"chunk": 0}, "no number of rows"),
        ({"promote_error": 1.5}, "no probability"),
        ({"on_alarm": "panic"}, "not known"),
        ({"candidates": {"a.b": sgd()}}, "cannot be called"),
        ({"gates": [hw.gate.invariant("nowhere")]}, "no column 'nowhere'"),
        ({"retrain_on": hw.later(hw.Stream("x", hw.Schema(SCHEMA)), delay="1h")}, "no stream of alarms"),
    ],
)
def test_what_cannot_be_trained_is_refused_with_the_reason(options: dict[str, Any], said: str) -> None:
    p, examples = pipeline()
    with pytest.raises(hw.HeadwaterError, match=said):
        train(p, examples, **options)


def test_importing_headwater_does_not_import_scikit_learn() -> None:
    import subprocess
    import sys

    code = "import sys; import headwater as hw; hw.Pipeline, hw.gate; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_version_is_traced_to_the_rows_that_it_learnt(tmp_path: Path) -> None:
    p, examples = pipeline(partitions=2)
    train(p, examples, checkpoint_every=100)
    p.source(examples, table(world(400)), chunk=50)
    with hw.connect(tmp_path) as hub:
        hub.run(p, until="caught-up")
        rows = hub.read("plant.model")
        assert rows.to_arrow()["trained_rows"].to_pylist() == [50, 100, 200, 300, 400]
        trace = hub.trace(rows.row(1))
        (descent,) = trace.rows[trace.root].descents
        assert (descent.stream, descent.granularity) == ("plant.examples", "range")
        assert sorted(span.partition for span in descent.spans) == [0, 1]


def test_a_request_behind_the_end_of_all_sources_replays_as_it_was(tmp_path: Path) -> None:
    p, examples = pipeline(partitions=2)
    p.source(examples, table(world(1000)), chunk=100)
    train(p, examples, candidates={"one": sgd(), "bayes": GaussianNB()}, checkpoint_every=100, promote_error=1e-9)
    with hw.connect(tmp_path) as hub:
        hub.run(p, until="caught-up")
        champion = hub.models.show("plant.model").champion
        assert champion is not None
        hub.models.promote("plant.model", "bayes" if champion.estimator == "one" else "one")
        hub.run(p, until="caught-up")
        last = hub.read("plant.model", last=1).row(0)
        report = hub.replay(p, "plant.model")
    assert last["event"] == "promoted"
    assert report.equal
    assert report.rows == last["version"]
