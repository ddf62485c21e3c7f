"""Labelling functions: what they may answer, how answers become votes, what is refused, and the votes operator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from operators.execution.state import State
from operators.function import CannotMap, StepFailed, UndeclaredRead
from operators.label import label
from operators.label.function import LabelError, LabelingFunction, SlowFunction, labeling_function
from operators.label.rules import keyword, lookup_label, regex, rule
from operators.label.votes import PATTERN, Votes
from operators.map import WrongOutput
from operators.operator import Batch, Derived
from streams.condition import ConditionError
from streams.message import BEGINNING
from streams.parents import Addresses
from streams.schema import Schema
from streams.stream import Stream

UTC = pa.timestamp("us", "UTC")
SCHEMA = pa.schema(
    [("sensor", pa.string()), ("at", UTC), ("celsius", pa.float64()), ("note", pa.string()), ("site", pa.string())]
)
READINGS = Stream("plant.readings", Schema(SCHEMA), key=("sensor",), time="at", entities={"sensor": "sensor"})
ROWS = pa.RecordBatch.from_arrays(
    [
        pa.array(["a", "b", "c", "d"]),
        pa.array([1, 2, 3, 4]).cast(UTC),
        pa.array([10.0, 70.0, None, 50.0]),
        pa.array(["All fine", "REFUND asked", None, "refunds (many)"]),
        pa.array(["rome", "oslo", "rome", None]),
    ],
    schema=SCHEMA,
)
CLASSES = ("cold", "hot", "odd")
TWO_SIDED = rule("hot", "celsius > 60", "hot", otherwise="cold")


def votes_of(*functions: LabelingFunction, keep: tuple[str, ...] = (), source: Stream = READINGS) -> Votes:
    return Votes(source, functions, CLASSES, keep, "plant.labels.votes", version="1")


def cast(*functions: LabelingFunction, rows: pa.RecordBatch = ROWS) -> list[list[int]]:
    """The votes of each function."""
    operator = votes_of(*functions)
    (made,) = stepped(operator, rows)
    return [made.rows.column(one.name).to_pylist() for one in functions]


def stepped(operator: Votes, rows: pa.RecordBatch, state: State | None = None, stream: str = READINGS.name) -> Any:
    given = next(one for one in operator.inputs if one.stream.name == stream)
    where = Addresses.of_message(stream, 1, 7, rows.num_rows)
    times = np.arange(rows.num_rows)
    batch = Batch(stream, rows.select(list(given.reads)), where, times, BEGINNING)
    return list(operator.step(batch, State() if state is None else state))


def answering(answer: Any, **options: Any) -> LabelingFunction:
    """A function that gives this, whatever it is given."""
    return labeling_function(reads=["celsius"], name="answer", **options)(lambda rows: answer)


def test_a_mask_votes_for_its_label_and_abstains_elsewhere() -> None:
    @labeling_function(reads=["celsius"], label="hot")
    def too_hot(rows: pa.RecordBatch) -> pa.Array:
        return pc.greater(rows["celsius"], 60)

    assert too_hot.name == "too_hot"
    assert too_hot(ROWS).to_pylist() == [False, True, None, False]
    assert cast(too_hot) == [[-1, 1, -1, -1]]


def test_a_mask_with_otherwise_abstains_where_it_is_null() -> None:
    function = labeling_function(reads=["celsius"], name="warm", label="hot", otherwise="cold")
    assert cast(function(lambda rows: pc.greater(rows["celsius"], 40))) == [[0, 1, -1, 1]]


@pytest.mark.parametrize(
    "answer",
    [
        np.array([2, -1, 0, 1]),
        np.array([2, -1, 0, 1], dtype=np.int8),
        pa.array([2, None, 0, 1]),
        pa.array([2, -1, 0, 1], pa.int16()),
        pa.chunked_array([[2, None], [0, 1]]),
        [2, -1, 0, 1],
        pa.array(["odd", None, "cold", "hot"]),
        pa.array(["odd", None, "cold", "hot"]).dictionary_encode(),
        np.array(["odd", None, "cold", "hot"], dtype=object),
    ],
    ids=str,
)
def test_votes_are_indices_or_classes(answer: Any) -> None:
    assert cast(answering(answer)) == [[2, -1, 0, 1]]


def test_indices_mean_the_function_s_own_classes() -> None:
    assert cast(answering(np.array([0, 1, -1, 1]), classes=["odd", "cold"])) == [[2, 0, -1, 0]]


def test_a_mask_of_numpy_and_one_that_is_a_slice_count_alike() -> None:
    long = pa.array([None, True, False, True, None, False, True, True, False, True])
    assert cast(answering(long.slice(5, 4), label="odd", otherwise="cold")) == [[0, 2, 2, 0]]
    assert cast(answering(np.array([True, False, True, False]), label="odd")) == [[2, -1, 2, -1]]
    assert cast(answering(long.slice(3, 4), label="odd", otherwise="cold")) == [[2, -1, 0, 2]]


@pytest.mark.parametrize(
    ("answer", "options"),
    [
        ([1, 2, 3], {}),
        (np.array([0, 3, 0, 0]), {}),
        (np.array([0, -2, 0, 0]), {}),
        (pa.array(["odd", "warm", None, None]), {}),
        (pa.array([1.5, 2.0, 3.0, 4.0]), {}),
        (pa.array([1, 0, 1, 0]), {"label": "hot"}),
        ("hot", {}),
        (None, {}),
        ([1, "hot", None, None], {}),
        (np.array([[1, 2], [3, 4]]), {}),
    ],
    ids=str,
)
def test_what_is_no_vote_is_refused(answer: Any, options: dict[str, Any]) -> None:
    with pytest.raises(WrongOutput, match="answer") as caught:
        cast(answering(answer, **options))
    assert "plant.readings 1:7" in str(caught.value)
    assert "abstains" in str(caught.value)


def test_a_function_sees_its_reads_only_and_its_errors_say_where() -> None:
    with pytest.raises(UndeclaredRead, match="note"):
        cast(labeling_function(reads=["celsius"], name="curious")(lambda rows: rows["note"]))
    with pytest.raises(StepFailed, match="ZeroDivisionError"):
        cast(labeling_function(reads=["celsius"], name="broken")(lambda rows: 1 // 0))


def test_a_row_wise_function_is_accepted_and_said_to_be_slow() -> None:
    with pytest.warns(SlowFunction, match="row by row"):

        @labeling_function(reads=["celsius", "note"], row_wise=True)
        def slow(row: dict[str, Any]) -> str | None:
            if row["celsius"] is None:
                return None
            return "hot" if row["celsius"] > 60 or "refunds" in row["note"] else "cold"

    assert cast(slow) == [[0, 1, -1, 1]]
    with pytest.warns(SlowFunction):
        by_index = labeling_function(reads=["celsius"], name="by index", row_wise=True)(lambda row: 2)
    assert cast(by_index) == [[2, 2, 2, 2]]
    with pytest.warns(SlowFunction):
        masked = labeling_function(reads=["celsius"], name="m", row_wise=True, label="odd")(lambda row: row["celsius"])
    assert cast(masked) == [[2, 2, -1, 2]]


def test_keywords_are_whole_words_in_any_case() -> None:
    assert cast(keyword("refund", "note", ["refund"], "odd")) == [[-1, 2, -1, -1]]
    assert cast(keyword("refund", "note", "refund", "odd", whole_words=False)) == [[-1, 2, -1, 2]]
    assert cast(keyword("refund", "note", "refund", "odd", ignore_case=False, whole_words=False)) == [[-1, -1, -1, 2]]
    assert cast(keyword("odd signs", "note", ["(many)"], "odd")) == [[-1, -1, -1, 2]]


def test_a_regular_expression_votes_where_it_is_found() -> None:
    assert cast(regex("fine", "note", r"^All\s", "cold")) == [[0, -1, -1, -1]]


def test_a_table_votes_by_the_value_of_a_column() -> None:
    assert cast(lookup_label("by site", "site", {"rome": "hot", "oslo": "cold"})) == [[1, 0, 1, -1]]
    assert cast(lookup_label("by sensor", "sensor", {"c": "odd"})) == [[-1, -1, 2, -1]]


def test_a_rule_is_text_or_an_expression() -> None:
    text = rule("warm", "celsius > 40 and site = 'oslo'", "hot", otherwise="cold")
    assert cast(text) == [[0, 1, 0, -1]]
    assert votes_of(text).functions[0].reads == ("celsius", "site")
    assert cast(rule("warm", pc.field("celsius") > 40, "hot", reads=["celsius"])) == [[-1, 1, -1, 1]]


def test_a_table_of_the_pipeline_votes_by_its_newest_rows() -> None:
    schema = pa.schema([("site", pa.string()), ("climate", pa.string()), ("since", pa.int64())])
    sites = Stream("plant.sites", Schema(schema), key=("site",), kind="table", codec="avro", partitions=1)
    operator = votes_of(lookup_label("climate", "site", sites, label="climate"))
    state = State()
    assert stepped(operator, ROWS, state)[0].rows.column("climate").to_pylist() == [-1, -1, -1, -1]
    rows = pa.RecordBatch.from_pylist(
        [{"site": "rome", "climate": "cold"}, {"site": "oslo", "climate": "cold"}, {"site": "rome", "climate": "hot"}],
        schema=schema,
    )
    assert stepped(operator, rows, state, sites.name) == []
    assert stepped(operator, ROWS, state)[0].rows.column("climate").to_pylist() == [1, 0, 1, -1]
    more = pa.RecordBatch.from_pylist([{"site": "oslo", "climate": "odd"}], schema=schema)
    stepped(operator, more, state, sites.name)
    assert stepped(operator, ROWS, state)[0].rows.column("climate").to_pylist() == [1, 2, 1, -1]
    assert not operator.row_wise
    assert operator.derives()[operator.name][2].sources == (
        ("plant.readings", "site"),
        ("plant.sites", "site"),
        ("plant.sites", "climate"),
    )


def test_a_table_that_cannot_be_looked_up_in_is_refused() -> None:
    timed = Stream("plant.sites", Schema(SCHEMA), key=("site",), time="at", kind="table")
    with pytest.raises(LabelError, match="event time"):
        lookup_label("climate", "site", timed, label="note")
    with pytest.raises(LabelError, match="key"):
        lookup_label("climate", "site", READINGS, label="climate")
    with pytest.raises(LabelError, match="empty"):
        lookup_label("climate", "site", {})


def test_votes_have_key_time_and_kept_columns_and_know_where_they_come_from() -> None:
    hot = rule("hot", "celsius > 60", "hot")
    refund = keyword("refund", "note", "refund", "odd")
    operator = votes_of(hot, refund, keep=("site",))
    (made,) = stepped(operator, ROWS)
    assert made.rows.schema.names == ["sensor", "at", "site", "hot", "refund", PATTERN]
    assert list(made.parents[0]) == list(Addresses.of_message("plant.readings", 1, 7, 4))
    assert operator.output.entities == {"sensor": "sensor"}
    assert operator.keeps_key
    assert operator.row_wise
    derived = {one.field: one for one in operator.derives()[operator.name]}
    assert derived["hot"] == Derived("hot", (("plant.readings", "celsius"),))
    assert derived[PATTERN].sources == (("plant.readings", "celsius"), ("plant.readings", "note"))
    assert not any(one.coarse for one in derived.values())


def test_votes_do_not_depend_on_how_rows_are_cut() -> None:
    many = pa.Table.from_batches([ROWS] * 40_000).combine_chunks().to_batches()[0]
    functions = (rule("hot", "celsius > 60", "hot", otherwise="cold"), keyword("refund", "note", "refund", "odd"))
    (whole,) = stepped(votes_of(*functions), many)
    (once,) = stepped(votes_of(*functions), ROWS)
    assert whole.rows.num_rows == 160_000
    assert whole.rows.slice(159_996).column(PATTERN) == once.rows.column(PATTERN)
    assert whole.rows.column("hot").to_pylist() == once.rows.column("hot").to_pylist() * 40_000


def test_the_version_follows_the_functions() -> None:
    def with_limit(limit: str) -> str:
        return votes_of(rule("hot", f"celsius > {limit}", "hot")).version

    assert with_limit("60") == with_limit("60")
    assert with_limit("60") != with_limit("61")
    one = labeling_function(reads=["celsius"], name="f", label="hot")(lambda rows: pc.greater(rows["celsius"], 1))
    two = labeling_function(reads=["celsius"], name="f", label="hot")(lambda rows: pc.greater(rows["celsius"], 2))
    assert votes_of(one).version != votes_of(two).version


@pytest.mark.parametrize(
    "declare",
    [
        lambda: labeling_function(reads=[])(len),
        lambda: labeling_function(reads=["celsius"])(lambda rows: rows),
        lambda: labeling_function(reads=["celsius"], otherwise="hot", name="f")(len),
        lambda: labeling_function(reads=["celsius"], label="hot", classes=["hot"], name="f")(len),
        lambda: rule("hot", pc.field("celsius") > 1, "hot"),
        lambda: keyword("words", "note", [], "odd"),
        lambda: regex("broken", "note", "(", "odd"),
        lambda: label(READINGS, [], to="labels", classes=["a", "b"]),
        lambda: label(READINGS, [rule("hot", "celsius > 1", "warm")], to="labels", classes=["hot", "cold"]),
        lambda: label(READINGS, [rule("hot", "celsius > 1", "hot")], to="labels"),
        lambda: label(READINGS, [rule("hot", "celsius > 1", "hot")], to="labels", classes=["hot", "hot"]),
        lambda: label(READINGS, [rule("hot", "celsius > 1", "hot")], to="labels", classes=["hot", 1]),
        lambda: label(READINGS, [answering(None)], to="labels"),
        lambda: label(READINGS, [rule("at", "celsius > 1", "hot", otherwise="cold")], to="labels"),
        lambda: label(READINGS, [TWO_SIDED, TWO_SIDED], to="labels"),
        lambda: label(READINGS, [rule("f", "celsius > 1", "a", otherwise="b")], to="labels", prior={"a": 0.5}),
        lambda: label(
            READINGS, [rule("f", "celsius > 1", "a", otherwise="b")], to="labels", prior={"a": 0.5, "b": 0.1}
        ),
        lambda: label(READINGS, [rule("f", "celsius > 1", "a", otherwise="b")], to="labels", update_every=0),
        lambda: label(READINGS, [rule("f", "celsius > 1", "a", otherwise="b")], to="labels", model="magic"),  # type: ignore[arg-type]
    ],
)
def test_what_makes_no_sense_is_refused_with_advice(declare: Any) -> None:
    with pytest.raises(LabelError) as caught:
        declare()
    assert caught.value.fix


def test_columns_that_are_not_there_are_refused() -> None:
    with pytest.raises(ConditionError, match="fahrenheit"):
        votes_of(rule("hot", "fahrenheit > 1", "hot"))
    with pytest.raises(CannotMap, match="fahrenheit"):
        votes_of(keyword("words", "fahrenheit", "x", "hot"))
    with pytest.raises(CannotMap, match="fahrenheit"):
        votes_of(rule("hot", "celsius > 1", "hot"), keep=("fahrenheit",))
