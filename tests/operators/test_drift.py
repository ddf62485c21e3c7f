from __future__ import annotations

import datetime as dt
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import headwater as hw
from operators.alarms import SCHEMA as ALARMS
from operators.drift import DriftError, drift
from operators.drift.operator import Drift
from operators.execution.state import State, decode_value
from operators.operator import Batch, tick_at
from streams.message import BEGINNING, END
from streams.parents import Addresses, Ranges
from streams.schema import Schema
from streams.stream import Stream

HOUR = 3_600_000_000
DAY = 24 * HOUR
UTC = pa.timestamp("us", "UTC")
FIELDS = {
    "at": UTC,
    "celsius": pa.float64(),
    "month": pa.int64(),
    "site": pa.string(),
    "ok": pa.bool_(),
    "error": pa.float64(),
    "score": pa.float64(),
    "late": pa.bool_(),
}
SCORES = Stream("plant.scores", Schema(pa.schema(list(FIELDS.items()))), time="at", partitions=1)


def made(days: int, rows: int = 200, seed: int = 0) -> dict[str, np.ndarray]:
    """Days of rows without any drift, evenly spread."""
    random = np.random.default_rng(seed)
    n = days * rows
    late = random.random(n) < 0.3
    return {
        "at": np.arange(n) * (DAY // rows) + 5,
        "celsius": random.normal(20.0, 5.0, n),
        "month": random.integers(1, 13, n),
        "site": random.choice(["a", "b", "c"], n),
        "ok": random.random(n) < 0.9,
        "error": (random.random(n) < 0.1).astype(float),
        "score": np.clip(np.where(late, 0.7, 0.3) + random.normal(0, 0.15, n), 0, 1),
        "late": late,
    }


def rows_of(columns: dict[str, Any], masks: dict[str, np.ndarray] | None = None) -> pa.RecordBatch:
    arrays = [
        pa.array(columns["at"], pa.int64()).cast(UTC) if name == "at"
        else pa.array(columns[name], kind, mask=(masks or {}).get(name))
        for name, kind in FIELDS.items()
    ]  # fmt: skip
    return pa.RecordBatch.from_arrays(arrays, schema=SCORES.schema.arrow)


def batch_of(operator: Drift, rows: pa.RecordBatch, offset: int = 0, clock: int | None = None) -> Batch:
    times = rows.column("at").cast(pa.int64()).to_numpy()
    given = rows.select(list(operator.inputs[0].reads))
    addresses = Addresses.of_message(SCORES.name, 0, offset, rows.num_rows)
    return Batch(SCORES.name, given, addresses, times, int(times.min()) if clock is None else clock)


def run(operator: Drift, rows: pa.RecordBatch, size: int = 100) -> dict[str, list[dict[str, Any]]]:
    """Rows by output stream; the state is written and read back between batches."""
    state = State()
    found: dict[str, list[dict[str, Any]]] = {stream.name: [] for stream in operator.outputs}
    steps = [
        batch_of(operator, rows.slice(at, size), number) for number, at in enumerate(range(0, rows.num_rows, size))
    ]
    for batch in [*steps, tick_at(END)]:
        for output in operator.step(batch, state):
            found[output.stream] += output.rows.to_pylist()
        state = State({name: decode_value(value or b"") for name, value in _stored(state).items()})
    return found


def _stored(state: State) -> dict[str, bytes | None]:
    copy = State()
    for name in state:
        copy[name] = state[name]
    return copy.changes()


def alarms_of(operator: Drift, rows: pa.RecordBatch) -> list[dict[str, Any]]:
    return run(operator, rows)["plant.drift.alarms"]


def day_of(moment: dt.datetime) -> float:
    return moment.timestamp() * 1e6 / DAY


WATCH = ("celsius", "month", "site", "ok")


def test_nothing_changes_and_nothing_is_raised() -> None:
    found = run(
        drift(SCORES, watch=WATCH, error="error", score="score", label="late", to="plant.drift"), rows_of(made(20))
    )
    assert found["plant.drift.alarms"] == []
    windows = {row["at"] for row in found["plant.drift"]}
    assert len(windows) == 19
    assert not any(row["alarm"] for row in found["plant.drift"])


@pytest.mark.parametrize(
    ("column", "change"),
    [
        ("celsius", lambda values: values + 3.0),
        ("celsius", lambda values: 20.0 + (values - 20.0) * 2.0),
        ("month", lambda values: np.where(values > 6, 1, values)),
        ("site", lambda values: np.where(values == "a", "new", values)),
        ("ok", lambda values: values & (np.arange(len(values)) % 2 == 0)),
    ],
)
def test_a_column_that_changes_is_named_with_its_size_and_since_when(column: str, change: Any) -> None:
    columns = made(8, rows=1000)
    columns[column] = np.concatenate([columns[column][:5000], change(columns[column][5000:])])
    (alarm,) = alarms_of(drift(SCORES, watch=WATCH, to="plant.drift"), rows_of(columns))
    assert (alarm["source"], alarm["kind"], alarm["column"]) == ("plant.drift", "data", column)
    assert alarm["size"] >= alarm["threshold"] == 0.07
    assert alarm["p_value"] < 0.01
    assert day_of(alarm["at"]) == 6
    assert day_of(alarm["since"]) in (4, 5)
    evidence = json.loads(alarm["evidence"])
    assert evidence["measure"] == "distribution"
    assert evidence["most_changed"]


def test_an_alarm_that_goes_on_is_raised_once_and_again_after_a_pause() -> None:
    columns = made(12)
    at = columns["at"] // DAY
    columns["celsius"][(at >= 3) & (at < 6) | (at >= 9)] += 5.0
    alarms = alarms_of(drift(SCORES, watch=["celsius"], to="plant.drift"), rows_of(columns))
    assert [day_of(alarm["at"]) for alarm in alarms] == [4, 10]
    flags = [
        row["alarm"] for row in run(drift(SCORES, watch=["celsius"], to="plant.drift"), rows_of(columns))["plant.drift"]
    ]
    assert sum(flags) == 6


def test_an_alarm_that_grows_is_raised_again() -> None:
    columns = made(5, rows=1000)
    day = columns["at"] // DAY
    columns["celsius"] += np.select([day == 2, day == 3, day == 4], [2.0, 2.5, 9.0])
    alarms = alarms_of(drift(SCORES, watch=["celsius"], to="plant.drift"), rows_of(columns))
    assert [(day_of(one["at"]), day_of(one["since"])) for one in alarms] == [(3, 2), (5, 2)]
    assert alarms[1]["size"] > 2 * alarms[0]["size"]


def test_missing_values_are_a_measure_of_their_own() -> None:
    columns = made(4)
    mask = (columns["at"] >= 2 * DAY) & (np.arange(800) % 4 == 0)
    (alarm,) = alarms_of(
        drift(SCORES, watch=["celsius", "site"], to="plant.drift"), rows_of(columns, {"celsius": mask})
    )
    assert (alarm["column"], json.loads(alarm["evidence"])["measure"]) == ("celsius", "null_rate")
    assert alarm["size"] == pytest.approx(0.25)


def test_nan_is_a_missing_value() -> None:
    columns = made(4)
    columns["celsius"][(columns["at"] >= 2 * DAY) & (np.arange(800) % 4 == 0)] = np.nan
    (alarm,) = alarms_of(drift(SCORES, watch=["celsius"], to="plant.drift"), rows_of(columns))
    assert json.loads(alarm["evidence"])["measure"] == "null_rate"


def test_a_column_that_vanishes_is_raised_by_its_nulls() -> None:
    columns = made(4)
    gone = columns["at"] >= 2 * DAY
    found = run(drift(SCORES, watch=["celsius"], to="plant.drift"), rows_of(columns, {"celsius": gone}))
    (alarm,) = found["plant.drift.alarms"]
    assert alarm["size"] == 1.0
    last = [row for row in found["plant.drift"] if row["measure"] == "distribution"][-1]
    assert (last["rows"], last["value"], last["p_value"], last["alarm"]) == (0, None, None, False)


def test_a_constant_column_raises_nothing_until_it_changes() -> None:
    columns = made(5)
    columns["celsius"][:] = 7.0
    assert alarms_of(drift(SCORES, watch=["celsius"], to="plant.drift"), rows_of(columns)) == []
    columns["celsius"][600:] = 7.5
    (alarm,) = alarms_of(drift(SCORES, watch=["celsius"], to="plant.drift"), rows_of(columns))
    assert alarm["size"] == pytest.approx(1.0, abs=0.05)


def test_a_change_smaller_than_the_least_effect_is_shown_but_not_raised() -> None:
    columns = made(4, rows=10_000)
    columns["celsius"][20_000:] += 0.5
    found = run(drift(SCORES, watch=["celsius"], to="plant.drift"), rows_of(columns), size=10_000)
    assert found["plant.drift.alarms"] == []
    last = found["plant.drift"][-2]
    assert last["adjusted_p"] < 1e-6
    assert 0.0 < last["effect"] < last["threshold"]
    again = run(drift(SCORES, watch=["celsius"], effect=0.02, to="plant.drift"), rows_of(columns), size=10_000)
    assert len(again["plant.drift.alarms"]) == 1


def test_small_windows_are_not_tested() -> None:
    columns = made(6)
    columns["celsius"][800:] += 50.0
    rows = rows_of(columns)
    few = pa.Table.from_batches([rows.slice(0, 840)]).combine_chunks().to_batches()[0]
    found = run(drift(SCORES, watch=["celsius"], to="plant.drift"), few)
    assert found["plant.drift.alarms"] == []
    assert found["plant.drift"][-2]["rows"] == 40
    assert found["plant.drift"][-2]["p_value"] is None


def test_errors_that_rise_are_found_within_the_window() -> None:
    columns = made(8)
    columns["error"][1000:] = np.random.default_rng(1).random(600) < 0.5
    found = run(drift(SCORES, error="error", to="plant.drift"), rows_of(columns))
    (alarm,) = found["plant.drift.alarms"]
    assert (alarm["kind"], alarm["column"]) == ("concept", "error")
    assert 5.0 < day_of(alarm["at"]) < 5.4
    assert 4.8 < day_of(alarm["since"]) < 5.2
    assert alarm["size"] > 0.2
    flags = {day_of(row["at"]): row["alarm"] for row in found["plant.drift"]}
    assert flags == {2.0: False, 3.0: False, 4.0: False, 5.0: False, 6.0: True, 7.0: False, 8.0: False}


def test_errors_are_taken_in_the_order_of_event_time_across_partitions() -> None:
    columns = made(8)
    columns["error"][1000:] = np.random.default_rng(1).random(600) < 0.5
    rows = rows_of(columns)
    operator = drift(SCORES, error="error", to="plant.drift")
    whole = alarms_of(operator, rows)
    state, found = State(), []
    for offset, at in enumerate(range(0, 1600, 50)):
        piece = rows.slice(at, 50)
        for part in (1, 0):
            chosen = piece.take(pa.array(np.flatnonzero(np.arange(50) % 2 == part)))
            clock = int(piece.column("at").cast(pa.int64())[0].as_py())
            for output in operator.step(batch_of(operator, chosen, 2 * offset + part, clock), state):
                found += output.rows.to_pylist() if output.stream == "plant.drift.alarms" else []
    for output in operator.step(tick_at(END), state):
        found += output.rows.to_pylist() if output.stream == "plant.drift.alarms" else []
    assert found == whole


def test_label_shift_is_estimated_from_predictions() -> None:
    columns = made(8, rows=500, seed=3)
    random = np.random.default_rng(4)
    late = columns["late"][2000:] = random.random(2000) < 0.6
    columns["score"][2000:] = np.clip(np.where(late, 0.7, 0.3) + random.normal(0, 0.15, 2000), 0, 1)
    unknown = columns["at"] >= DAY
    found = run(drift(SCORES, score="score", label="late", to="plant.drift"), rows_of(columns, {"late": unknown}))
    shares = [row for row in found["plant.drift"] if row["measure"] == "class_shares"]
    true = columns["late"].reshape(8, 500).mean(axis=1)
    assert [row["value"] for row in shares] == pytest.approx(true[1:].tolist(), abs=0.06)
    alarm = [one for one in found["plant.drift.alarms"] if one["kind"] == "label"][-1]
    assert day_of(alarm["at"]) == 5
    assert alarm["size"] == pytest.approx(0.3, abs=0.08)
    assert json.loads(alarm["evidence"])["class"] == "true"


def test_label_shift_of_several_classes() -> None:
    schema = pa.schema([("at", UTC), ("said", pa.string()), ("truth", pa.string())])
    stream = Stream("plant.classes", Schema(schema), time="at", partitions=1)
    random = np.random.default_rng(5)
    truth = np.concatenate(
        [random.choice(list("abc"), 900, p=[0.5, 0.3, 0.2]), random.choice(list("abc"), 600, p=[0.1, 0.3, 0.6])]
    )
    said = np.where(random.random(1500) < 0.8, truth, random.choice(list("abc"), 1500))
    table = pa.table(
        [pa.array(np.arange(1500) * (DAY // 300)).cast(UTC), said, pa.array(truth, mask=np.arange(1500) >= 300)],
        schema=schema,
    )
    operator = drift(stream, predicted="said", label="truth", to="plant.drift")
    found = [
        row
        for output in _all(operator, stream, table)
        if output.stream == "plant.drift"
        for row in output.rows.to_pylist()
    ]
    shares = json.loads(found[-1]["detail"])["shares"]
    assert shares == pytest.approx({"a": 0.1, "b": 0.3, "c": 0.6}, abs=0.08)
    assert found[-1]["alarm"]


def _all(operator: Drift, stream: Stream, table: pa.Table) -> list[Any]:
    rows = table.combine_chunks().to_batches()[0]
    times = rows.column("at").cast(pa.int64()).to_numpy()
    given = rows.select(list(operator.inputs[0].reads))
    batch = Batch(stream.name, given, Addresses.of_message(stream.name, 0, 0, rows.num_rows), times, int(times.min()))
    state = State()
    return [*operator.step(batch, state), *operator.step(tick_at(END), state)]


@pytest.mark.parametrize("truth", [True, False])
def test_labels_of_one_class_give_no_estimate_and_say_why(truth: bool) -> None:
    columns = made(4)
    columns["late"][:] = truth
    found = run(drift(SCORES, score="score", label="late", to="plant.drift"), rows_of(columns))
    shares = [row for row in found["plant.drift"] if row["measure"] == "class_shares"]
    assert {row["value"] for row in shares} == {None}
    assert "not_estimated" in json.loads(shares[0]["detail"])
    assert [one for one in found["plant.drift.alarms"] if one["kind"] == "label"] == []


def test_expected_accuracy_follows_the_true_one_without_labels() -> None:
    columns = made(6, rows=2000, seed=6)
    random = np.random.default_rng(7)
    late = random.random(6000) < 0.3
    score = np.clip(np.where(late, 0.58, 0.42) + random.normal(0, 0.15, 6000), 0, 1)
    calibrated = _calibrated(columns["score"], columns["late"])
    columns["score"] = np.concatenate([calibrated(columns["score"][:6000]), _calibrated(score, late)(score)])
    columns["late"] = np.concatenate([columns["late"][:6000], late])
    found = run(
        drift(SCORES, score="score", label="late", to="plant.drift"), rows_of(columns, {"late": columns["at"] >= DAY})
    )
    rows = [row for row in found["plant.drift"] if row["measure"] == "expected_accuracy"]
    true = (columns["score"] >= 0.5) == columns["late"]
    values = [row["value"] for row in rows]
    assert np.mean(values[:2]) == pytest.approx(true[2000:6000].mean(), abs=0.02)
    assert np.mean(values[2:]) == pytest.approx(true[6000:].mean(), abs=0.02)
    assert np.ptp(values[2:]) < 0.03
    alarms = [one for one in found["plant.drift.alarms"] if one["kind"] == "performance"]
    assert {day_of(one["at"]) for one in alarms} == {4.0}
    aucs = [row["value"] for row in found["plant.drift"] if row["measure"] == "expected_auc"]
    assert min(aucs[:2]) > max(aucs[2:]) + 0.1


def _calibrated(scores: np.ndarray, truth: np.ndarray) -> Any:
    """From scores to how often the class was there, by bins."""
    edges = np.quantile(scores, np.linspace(0, 1, 21)[1:-1])
    where = np.searchsorted(edges, scores)
    rates = np.array([truth[where == number].mean() for number in range(20)])
    return lambda values: np.clip(rates[np.searchsorted(edges, values)], 0.001, 0.999)


def test_scores_are_taken_at_their_word_without_labels() -> None:
    columns = made(3, rows=1000)
    columns["score"] = np.where(np.arange(3000) % 4 == 0, 0.9, 0.2)
    found = run(drift(SCORES, score="score", to="plant.drift"), rows_of(columns))
    first = next(row for row in found["plant.drift"] if row["measure"] == "expected_accuracy")
    assert first["value"] == pytest.approx(0.25 * 0.9 + 0.75 * 0.8)
    assert not [row for row in found["plant.drift"] if row["kind"] == "label"]


def test_the_reference_may_be_so_many_rows_or_so_long() -> None:
    rows = rows_of(made(6))
    for reference in (500, "3d"):
        found = run(drift(SCORES, watch=["celsius"], reference=reference, to="plant.drift"), rows)
        assert sorted({day_of(row["at"]) for row in found["plant.drift"]}) == [4.0, 5.0, 6.0]


def test_the_reference_may_be_the_window_before() -> None:
    columns = made(6)
    columns["celsius"][600:] += 5.0
    alarms = run(drift(SCORES, watch=["celsius"], reference="previous", to="plant.drift"), rows_of(columns))[
        "plant.drift"
    ]
    flags = [row["alarm"] for row in alarms if row["measure"] == "distribution"]
    assert flags == [False, False, True, False, False]


def test_the_reference_may_be_given_as_rows() -> None:
    known = pa.Table.from_batches([rows_of(made(3, seed=8))])
    columns = made(2)
    columns["celsius"] += 5.0
    operator = drift(SCORES, watch=["celsius"], reference=known, to="plant.drift")
    assert [day_of(one["at"]) for one in alarms_of(operator, rows_of(columns))] == [1.0]
    other = drift(SCORES, watch=["celsius"], reference=known.slice(5), to="plant.drift")
    assert operator.version != other.version


def test_bins_may_be_given() -> None:
    operator = drift(
        SCORES, watch=["celsius", "site"], bins={"celsius": [0, 20, 40], "site": ["a", "b"]}, to="plant.drift"
    )
    columns = made(3)
    columns["celsius"][400:] = 30.0
    (alarm,) = alarms_of(operator, rows_of(columns))
    assert set(json.loads(alarm["evidence"])["most_changed"]) <= {"< 0", "0 to 20", "20 to 40", ">= 40"}


def test_parents_are_the_ranges_of_window_and_reference() -> None:
    columns = made(3)
    columns["celsius"][400:] += 10
    operator = drift(SCORES, watch=["celsius"], to="plant.drift")
    rows, state, outputs = rows_of(columns), State(), []
    for offset, at in enumerate(range(0, 600, 100)):
        outputs += operator.step(batch_of(operator, rows.slice(at, 100), offset), state)
    outputs += operator.step(tick_at(END), state)
    spans = []
    for output in outputs:
        parts = [part for part in output.parents if isinstance(part, Ranges)]
        spans.append((output.stream, [[(one.first, one.end) for one in part.ranges] for part in parts]))
    assert spans == [
        ("plant.drift", [[(2, 4)], [(0, 2)]]),
        ("plant.drift", [[(4, 6)], [(0, 2)]]),
        ("plant.drift.alarms", [[(4, 6)], [(0, 2)]]),
    ]


def test_late_rows_are_counted_and_change_nothing_that_is_closed() -> None:
    operator = drift(SCORES, watch=["celsius"], error="error", to="plant.drift")
    rows, state, found = rows_of(made(4)), State(), []
    for at in range(0, 600, 200):
        found += operator.step(batch_of(operator, rows.slice(at, 200), at), state)
    late = batch_of(operator, rows.slice(0, 10), 700, clock=int(2.9 * DAY))
    found += operator.step(late, state)
    found += operator.step(tick_at(END), state)
    windows = [output.rows.to_pylist()[0] for output in found if output.stream == "plant.drift"]
    assert [row["rows"] for row in windows] == [200, 200]
    assert json.loads(windows[-1]["detail"])["late_rows"] == 10


def test_rows_without_an_event_time_are_in_no_window() -> None:
    operator = drift(SCORES, watch=["celsius"], to="plant.drift")
    batch = batch_of(operator, rows_of(made(1)))
    state = State()
    times = np.full(batch.rows.num_rows, BEGINNING)
    assert list(operator.step(Batch(batch.input, batch.rows, batch.addresses, times, BEGINNING), state)) == []
    assert operator.holds(state) == END


def test_it_holds_time_back_until_a_window_is_closed() -> None:
    operator = drift(SCORES, watch=["celsius"], to="plant.drift")
    state = State()
    list(operator.step(batch_of(operator, rows_of(made(1))), state))
    assert operator.holds(state) == DAY - 1
    assert operator.tick == DAY
    list(operator.step(tick_at(DAY), state))
    assert operator.holds(state) == END


def test_how_rows_come_does_not_matter() -> None:
    columns = made(4, rows=30)
    columns["celsius"][60:] += 8.0
    columns["error"][90:] = 1.0
    rows = rows_of(columns, {"late": columns["at"] > DAY})
    operator = drift(
        SCORES, watch=["celsius", "site"], error="error", score="score", label="late", min_rows=20, to="plant.drift"
    )
    assert {one["kind"] for one in run(operator, rows)["plant.drift.alarms"]} >= {"data", "concept"}
    hw.testing.check(operator, rows=pa.Table.from_batches([rows]))


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({}, "nothing to watch"),
        ({"watch": ["kelvin"]}, "does not have"),
        ({"watch": ["celsius", "celsius"]}, "twice"),
        ({"error": "site"}, "not a number"),
        ({"watch": ["celsius"], "label": "late"}, "predictions"),
        ({"watch": ["celsius"], "window": 0}, "no length"),
        ({"watch": ["celsius"], "fdr": 5}, "no rate"),
        ({"watch": ["celsius"], "reference": -3}, "no reference"),
        ({"watch": ["celsius"], "reference": pa.table({"at": pa.array([], UTC)})}, "no rows"),
        ({"watch": ["celsius"], "bins": {"celsius": [3, 2]}}, "increase"),
        ({"watch": ["celsius"], "bins": {"site": ["a"]}}, "not watched"),
        ({"watch": ["celsius"], "error": "error", "error_bound": 0}, "not above 0"),
        ({"watch": ["celsius"], "error_quiet": 3}, "one false alarm after the other"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], what: str) -> None:
    with pytest.raises(DriftError, match=what):
        drift(SCORES, to="plant.drift", **options)


def test_a_stream_without_event_time_is_refused() -> None:
    with pytest.raises(DriftError, match="no event time"):
        drift(Stream("plant.scores", SCORES.schema), watch=["celsius"])


def test_lists_cannot_be_watched() -> None:
    stream = Stream("s", Schema(pa.schema([("at", UTC), ("many", pa.list_(pa.float64()))])), time="at")
    with pytest.raises(DriftError, match="cannot be compared"):
        drift(stream, watch=["many"])


def test_alarms_derive_from_all_that_is_watched() -> None:
    derived = drift(SCORES, watch=["celsius"], error="error", to="plant.drift").derives()
    assert set(derived) == {"plant.drift", "plant.drift.alarms"}
    size = next(one for one in derived["plant.drift.alarms"] if one.field == "size")
    assert set(size.sources) == {("plant.scores", name) for name in ("at", "celsius", "error")}
    assert [one.field for one in derived["plant.drift.alarms"]] == ALARMS.names
