"""Evaluation: measures by hand and by scikit-learn, windows by the clock, baselines, late and censored truth."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import headwater as hw
from operators.evaluate.baselines import MAJORITY, NO_CHANGE, Baselines
from operators.evaluate.errors import CannotEvaluate
from operators.evaluate.metrics import Calibration, Predictions, against_chance, auc, brier, measures, pr_auc

START = datetime(2024, 6, 1, tzinfo=UTC)
TIME = pa.timestamp("us", "UTC")
SCORES = pa.schema(
    [
        ("id", pa.string()),
        ("at", TIME),
        ("score", pa.float64()),
        ("predicted", pa.bool_()),
        ("usable", pa.bool_()),
        ("model_version", pa.int64()),
        ("site", pa.string()),
        ("delay", pa.float64()),
    ]
)
TRUTH = pa.schema([("id", pa.string()), ("known_at", TIME), ("late", pa.bool_()), ("censored", pa.bool_())])


def declared(partitions: int = 1, **options: Any) -> hw.Pipeline:
    p = hw.Pipeline("plant", owner="tests", partitions=partitions)
    scores = p.stream("scores", SCORES, key="id", time="at")
    truth = p.stream("truth", TRUTH, key="id", time="known_at")
    p.evaluate(scores, truth, label="late", censored="censored", window="1h", to="quality", **options)
    return p


def scored(number: int, score: float | None, **fields: Any) -> dict[str, Any]:
    row = {
        "id": f"r{number}",
        "at": START + timedelta(minutes=number),
        "score": score,
        "predicted": None if score is None else score >= 0.5,
        "usable": True,
        "model_version": 3,
        "site": "north" if number % 2 else "south",
        "delay": 0.0,
    }
    return row | fields


def true(number: int, late: bool | None, *, after: int = 30, **fields: Any) -> dict[str, Any]:
    row = {"id": f"r{number}", "known_at": START + timedelta(minutes=number + after), "late": late, "censored": False}
    return row | fields


def world(rows: int, seed: int = 0) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    random = np.random.default_rng(seed)
    chance = random.beta(1, 2, rows)
    outcome = random.random(rows) < chance
    scores = [scored(at, float(chance[at]), delay=float(30 * chance[at])) for at in range(rows)]
    return scores, [true(at, bool(outcome[at])) for at in range(rows)]


def run(tmp_path: Path, scores: Any, truth: Any, **options: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    p = declared(**options)
    p.source(p.streams["plant.scores"], scores, chunk=50)
    p.source(p.streams["plant.truth"], truth, chunk=30)
    with hw.connect(tmp_path) as hub:
        hub.run(p, until="caught-up")
        return (
            hub.read("plant.quality").to_arrow().to_pylist(),
            hub.read("plant.quality.alarms").to_arrow().to_pylist(),
        )


def test_measures_equal_those_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(3)
    score = np.round(random.random(400), 2)  # with ties
    truth = (random.random(400) < score).astype(np.int64)
    both = np.column_stack([1 - score, score])
    found = measures(Predictions(truth, (score > 0.5).astype(np.int64), both))
    assert found.accuracy == pytest.approx(metrics.accuracy_score(truth, score > 0.5))
    assert found.log_loss == pytest.approx(metrics.log_loss(truth, np.clip(both, 1e-15, 1)))
    assert found.brier == pytest.approx(metrics.brier_score_loss(truth, score))
    assert found.auc == pytest.approx(metrics.roc_auc_score(truth, score))
    assert found.pr_auc == pytest.approx(metrics.average_precision_score(truth, score))


def test_measures_of_three_classes_equal_those_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(4)
    scores = random.dirichlet([1, 1, 1], 300)
    truth = np.array([random.choice(3, p=row) for row in scores])
    found = measures(Predictions(truth, scores.argmax(axis=1), scores))
    assert found.auc == pytest.approx(metrics.roc_auc_score(truth, scores, multi_class="ovr"))
    assert found.log_loss == pytest.approx(metrics.log_loss(truth, scores))
    areas = [metrics.average_precision_score(truth == at, scores[:, at]) for at in range(3)]
    assert found.pr_auc == pytest.approx(np.mean(areas))


def test_with_one_class_there_is_no_auc() -> None:
    assert np.isnan(auc(np.ones(5, dtype=bool), np.arange(5.0)))
    assert np.isnan(pr_auc(np.zeros(5, dtype=bool), np.arange(5.0)))
    assert np.isnan(auc(np.empty(0, dtype=bool), np.empty(0)))


def test_a_probability_that_is_not_a_number_has_lost_all() -> None:
    assert brier(np.array([[np.nan, np.nan], [0.0, 1.0]]), np.array([1, 1])).tolist() == [1.0, 0.0]


def test_calibrations_of_parts_add_up() -> None:
    random = np.random.default_rng(5)
    stated = random.random(200)
    came = random.random(200) < stated**2
    whole = Calibration.of(stated, came)
    parts = Calibration.of(stated[:70], came[:70]) + Calibration.of(stated[70:], came[70:])
    assert parts.error == pytest.approx(whole.error)
    assert sum(row["rows"] for row in parts.shown()) == 200
    assert whole.error > Calibration.of(stated, random.random(200) < stated).error


def test_kappa_temporal_is_zero_for_no_change_and_one_for_the_truth() -> None:
    assert against_chance(0.8, 0.8) == 0.0
    assert against_chance(1.0, 0.8) == 1.0
    assert np.isnan(against_chance(1.0, 1.0))


def test_baselines_predict_from_what_came_before() -> None:
    truth = np.array([1, 1, 0, -1, 0, 0, 1])
    found = Baselines.fresh(2).predict(truth)
    assert found[NO_CHANGE].tolist() == [-1, 1, 1, 0, 0, 0, 0]
    assert found[MAJORITY].tolist() == [-1, 1, 1, 1, 1, 0, 0]


def test_baselines_go_on_where_they_were() -> None:
    truth = np.random.default_rng(6).integers(-1, 3, 50)
    whole = Baselines.fresh(3).predict(truth)
    first = Baselines.fresh(3).after(truth[:20])
    again = Baselines.decode(first.encode(), 3)
    for name, codes in again.predict(truth[20:]).items():
        assert codes.tolist() == whole[name][20:].tolist()


def test_windows_hold_what_was_known_in_them(tmp_path: Path) -> None:
    scores, truth = world(300)
    rows, _ = run(tmp_path, scores, truth)
    assert [row["rows"] for row in rows] == [30, 60, 60, 60, 60, 30]
    assert [row["at"] - row["since"] for row in rows] == [timedelta(hours=1)] * 6
    here = np.arange(30, 90)
    chance = np.array([scores[at]["score"] for at in here])
    late = np.array([truth[at]["late"] for at in here])
    assert rows[1]["accuracy"] == pytest.approx(((chance >= 0.5) == late).mean())
    assert rows[1]["auc"] == pytest.approx(auc(late, chance))
    last = np.array([truth[at - 1]["late"] for at in here])
    assert rows[1]["accuracy_no_change"] == pytest.approx((last == late).mean())
    assert rows[1]["kappa_temporal"] == pytest.approx(
        (rows[1]["accuracy"] - rows[1]["accuracy_no_change"]) / (1 - rows[1]["accuracy_no_change"])
    )
    assert rows[1]["model_version"] == 3
    assert sum(bin["rows"] for bin in rows[1]["calibration"]) == 60


def test_slices_and_rules_stand_beside_the_whole(tmp_path: Path) -> None:
    scores, truth = world(120)
    rows, _ = run(tmp_path, scores, truth, by=["site"], baselines={"rule": ("delay", 15.0), "same": "predicted"})
    assert [row["slice"] for row in rows[:3]] == ["all", "site=north", "site=south"]
    assert rows[0]["rows"] == rows[1]["rows"] + rows[2]["rows"] == 30
    assert rows[0]["accuracy_same"] == rows[0]["accuracy_rule"] == rows[0]["accuracy"]
    assert rows[1]["accuracy"] != rows[2]["accuracy"]


@pytest.mark.parametrize("partitions", [1, 3])
def test_measures_do_not_depend_on_how_rows_come(partitions: int) -> None:
    scores, truth = world(70)
    rows = {"scores": scores, "truth": truth}
    p = declared(partitions, by=["site"], baselines={"rule": ("delay", 15.0)})
    hw.testing.check(p, rows=rows, expect={"quality": [{"rows": n} for n in (30, 15, 15, 40, 20, 20)]})


def test_a_prediction_made_after_the_truth_does_not_count(tmp_path: Path) -> None:
    scores = [scored(0, 0.9), scored(1, 0.1, at=START + timedelta(hours=5)), scored(2, 0.9)]
    rows, _ = run(tmp_path, scores, [true(at, True) for at in range(3)])
    assert (rows[0]["rows"], rows[0]["unscored"], rows[0]["accuracy"]) == (2, 1, 1.0)


def test_of_several_predictions_the_newest_that_was_there_counts(tmp_path: Path) -> None:
    scores = [scored(0, 0.1), scored(0, 0.9, at=START + timedelta(minutes=5))]
    rows, _ = run(tmp_path, scores, [true(0, True)])
    assert (rows[0]["rows"], rows[0]["accuracy"]) == (1, 1.0)


def test_censored_rows_and_rows_without_truth_count_in_nothing(tmp_path: Path) -> None:
    scores = [scored(at, 0.9) for at in range(4)]
    truth = [true(0, True), true(1, None, censored=True), true(2, None), true(3, False)]
    rows, _ = run(tmp_path, scores, truth)
    assert (rows[0]["rows"], rows[0]["censored"], rows[0]["accuracy"]) == (2, 1, 0.5)


def test_a_prediction_without_a_score_is_unscored_and_an_unusable_one_counts(tmp_path: Path) -> None:
    scores = [scored(0, None), scored(1, 0.9, usable=False), scored(2, float("nan"), predicted=True)]
    rows, _ = run(tmp_path, scores, [true(at, True) for at in range(3)])
    assert (rows[0]["rows"], rows[0]["unscored"], rows[0]["unusable"]) == (1, 2, 1)


def test_all_labels_of_one_class_leave_the_auc_empty(tmp_path: Path) -> None:
    rows, _ = run(tmp_path, [scored(at, 0.2) for at in range(5)], [true(at, False) for at in range(5)])
    assert (rows[0]["auc"], rows[0]["pr_auc"], rows[0]["accuracy"]) == (None, None, 1.0)
    assert rows[0]["log_loss"] == pytest.approx(-np.log(0.8))


def test_a_window_closes_when_time_has_passed_it_without_further_truth(tmp_path: Path) -> None:
    p = declared()
    scores, truth = p.streams["plant.scores"], p.streams["plant.truth"]
    with hw.connect(tmp_path) as hub:
        hub.register(p)
        hub.publish(scores, [scored(at, 0.9) for at in range(10)])
        hub.publish(truth, [true(at, True) for at in range(10)])
        hub.run(p, until="caught-up")
        assert len(hub.read("plant.quality")) == 0
        hub.publish(scores, [scored(300, 0.9), scored(301, 0.9)])
        hub.publish(truth, [true(300, True), true(301, True)])
        hub.run(p, until="caught-up")
        assert hub.read("plant.quality").to_arrow()["rows"].to_pylist() == [10]


def test_truth_behind_the_clock_is_kept_beside_and_does_not_change_closed_windows(tmp_path: Path) -> None:
    truth = [true(at, True) for at in range(120)]
    late = true(5, True)
    truth[5]["id"] = "other"
    scores = [scored(at, 0.9) for at in range(120)]
    p = declared()
    p.source(p.streams["plant.scores"], scores)
    p.source(p.streams["plant.truth"], [*truth, late], chunk=30)
    with hw.connect(tmp_path) as hub:
        hub.run(p, until="caught-up")
        assert len(hub.read("plant.quality.judged.late")) == 1
        assert hub.read("plant.quality").to_arrow()["rows"].to_pylist() == [29, 60, 30]


def test_a_model_that_does_not_beat_its_baselines_raises_an_alarm(tmp_path: Path) -> None:
    scores, truth = world(600)
    for row in scores[300:]:
        row["predicted"] = not row["predicted"]
    rows, alarms = run(tmp_path, scores, truth, alarm_windows=2, alarm_rows=60)
    assert {alarm["column"] for alarm in alarms} == {"majority", "no_change"}
    assert min(alarm["at"] for alarm in alarms) >= START + timedelta(minutes=330)
    first = alarms[0]
    assert (first["source"], first["kind"]) == ("plant.quality", "baseline")
    assert first["size"] >= 0
    assert first["since"] < first["at"]
    assert 0 <= first["p_value"] < 0.5
    lasting = [alarm for alarm in alarms if alarm["column"] == "majority"]
    assert len(lasting) < len(rows) - 5, "an alarm that lasts is repeated more and more seldom"


def test_a_model_that_beats_its_baselines_raises_none(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    outcome = random.random(400) < 0.5
    scores = [scored(at, 0.9 if outcome[at] else 0.1) for at in range(400)]
    _, alarms = run(tmp_path, scores, [true(at, bool(outcome[at])) for at in range(400)], alarm_rows=60)
    assert alarms == []


TEXT_TRUTH = pa.schema([("id", pa.string()), ("at", TIME), ("kind", pa.string())])
TEXT_SCORES = pa.schema(
    [
        ("id", pa.string()),
        ("scored_at", TIME),
        ("score", pa.float64()),
        ("predicted", pa.string()),
        ("probabilities", pa.list_(pa.float64())),
    ]
)


def test_a_class_never_seen_before_counts_as_wrong_and_is_told(tmp_path: Path) -> None:
    p = hw.Pipeline("plant", owner="tests", partitions=1)
    scores = p.stream("scores", TEXT_SCORES, key="id", time="scored_at")
    truth = p.stream("truth", TEXT_TRUTH, key="id", time="at")
    p.evaluate(scores, truth, label="kind", classes=["a", "b", "c"], to="quality")
    kinds = ["a", "b", "c", "z"]
    p.source(
        scores,
        [
            {"id": kind, "scored_at": START, "score": 0.6, "predicted": kind, "probabilities": [0.6, 0.2, 0.2]}
            for kind in kinds
        ],
    )
    p.source(truth, [{"id": kind, "at": START + timedelta(minutes=1), "kind": kind} for kind in kinds])
    with hw.connect(tmp_path) as hub:
        hub.run(p, until="caught-up")
        (row,) = hub.read("plant.quality").to_arrow().to_pylist()
    assert (row["rows"], row["unknown"], row["accuracy"]) == (4, 1, 0.75)
    assert row["log_loss"] == pytest.approx(-np.log([0.6, 0.2, 0.2]).mean())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"label": "nothing"}, "no column 'nothing'"),
        ({"label": "late", "by": ["nowhere"]}, "no column 'nowhere'"),
        ({"label": "late", "classes": ["yes", "no"]}, "do not fit"),
        ({"label": "late", "baselines": {"no_change": "predicted"}}, "cannot be called"),
        ({"label": "late", "window": 0}, "has a length"),
        ({"label": "id"}, "classes are not given"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_with_the_reason(options: dict[str, Any], said: str) -> None:
    p = hw.Pipeline("plant", owner="tests")
    scores = p.stream("scores", SCORES, key="id", time="at")
    truth = p.stream("truth", TRUTH, key="id", time="known_at")
    with pytest.raises(CannotEvaluate, match=said):
        p.evaluate(scores, truth, to="quality", **options)


def test_a_killed_evaluation_goes_on_where_it_was(tmp_path: Path) -> None:
    scores, truth = world(200)
    (tmp_path / "whole").mkdir()
    whole = run(tmp_path / "whole", scores, truth, by=["site"])
    p = declared(by=["site"])
    with hw.connect(tmp_path / "parts") as hub:
        hub.register(p)
        for start in range(0, 200, 40):
            hub.publish(p.streams["plant.scores"], scores[start : start + 40])
            hub.publish(p.streams["plant.truth"], truth[start : start + 40])
            hub.run(declared(by=["site"]), until="caught-up")
        parts = hub.read("plant.quality").to_arrow().to_pylist()
    assert parts == whole[0][: len(parts)]
    assert len(parts) >= 6
