"""Features: how columns become numbers, what is remembered of them, and which rows a model should not judge."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.model.columns import digest_of, kinds_of
from operators.model.encoder import Encoder, Statistics, matrix, names_of
from operators.model.features import Features, features, features_of
from operators.model.registry import CannotLearn


def batch(**columns: Any) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(columns)


def encoder(declared: Features, rows: pa.RecordBatch, *, learn: bool = True) -> Encoder:
    made = Encoder(declared, kinds_of(rows.schema, declared.columns))
    if learn:
        made.learn(made.columns(rows))
    return made


def encoded(made: Encoder, rows: pa.RecordBatch) -> list[list[float]]:
    return matrix(made.blocks(made.columns(rows)), rows.num_rows).tolist()


def doubts(made: Encoder, rows: pa.RecordBatch) -> dict[str, list[bool]]:
    found = made.doubts(made.columns(rows))
    return {reason: where.tolist() for reason, where in found if where.any()}


def test_numbers_are_standardised_by_what_was_learnt() -> None:
    learnt = batch(a=[1.0, 3.0])
    made = encoder(features(["a"]), learnt)
    assert encoded(made, batch(a=[1.0, 3.0, 5.0])) == [[-1.0, 0.0], [1.0, 0.0], [3.0, 0.0]]


def test_a_missing_number_is_the_mean_and_says_so() -> None:
    made = encoder(features(["a"]), batch(a=[1.0, None, 3.0, float("nan"), float("inf")]))
    assert made.parts[0].known.missing == 3
    assert encoded(made, batch(a=[None, 3.0, float("nan"), float("-inf")])) == [[0, 1], [1, 0], [0, 1], [0, 1]]


def test_a_constant_column_is_zero_and_anything_else_is_foreign_to_it() -> None:
    made = encoder(features(["a"]), batch(a=[7.0, 7.0, 7.0]))
    assert encoded(made, batch(a=[7.0])) == [[0.0, 0.0]]
    assert doubts(made, batch(a=[7.0, 7.1])) == {"out of distribution: a": [False, True]}


def test_a_column_that_was_always_missing_has_no_foreign_values_but_those_that_are_there() -> None:
    made = encoder(features(["a"]), batch(a=pa.array([None, None], pa.float64())))
    assert doubts(made, batch(a=[None, 1.0])) == {"out of distribution: a": [False, True]}


def test_a_broken_value_is_cut_off() -> None:
    made = encoder(features(["a"]), batch(a=[-1.0, 1.0]))
    assert encoded(made, batch(a=[1e300, -1e300])) == [[10.0, 0.0], [-10.0, 0.0]]


def test_truth_values_and_plain_numbers_stay_what_they_are() -> None:
    rows = batch(a=[True, False, None], b=[5, -3, None])
    assert encoded(encoder(features(plain=["a", "b"]), rows), rows) == [[1, 0, 5, 0], [0, 0, -3, 0], [0, 1, 0, 1]]


def test_bins_hold_their_lower_edge() -> None:
    rows = batch(a=[-1.0, 0.0, 4.9, 5.0, None, float("inf")])
    made = encoder(features(binned={"a": [0, 5]}), rows)
    assert [row.index(1.0) for row in encoded(made, rows)] == [0, 1, 1, 2, 3, 3]
    assert made.width == 4


def test_a_vocabulary_grows_in_the_order_of_appearance_up_to_its_limit() -> None:
    made = encoder(features(onehot={"c": 2}), batch(c=["x", None, "y", "z", "x"]))
    rows = batch(c=["y", "x", "z", "new", None])
    assert [row.index(1.0) for row in encoded(made, rows)] == [1, 0, 2, 2, 3]
    assert names_of(made) == ["c=x", "c=y", "c other", "c missing"]


def test_an_unseen_category_is_doubted_until_others_were_learnt() -> None:
    made = encoder(features(onehot={"c": 2}), batch(c=["x", "y"]))
    assert doubts(made, batch(c=["x", "z"])) == {"unseen category: c": [False, True]}
    made.learn(made.columns(batch(c=["w"])))
    assert doubts(made, batch(c=["x", "z"])) == {}


def test_hashes_are_the_same_everywhere() -> None:
    rows = batch(t=["N1", "N2", "N1", None])
    made = encoder(features(hashed={"t": 8}), rows)
    places = [row.index(1.0) for row in encoded(made, rows)]
    assert places[0] == places[2]
    assert places[3] == 8
    large = pa.RecordBatch.from_arrays([rows["t"].cast(pa.large_string()).dictionary_encode()], names=["t"])
    assert encoded(made, large) == encoded(made, rows)


def test_a_value_is_doubted_where_none_was_missing_before() -> None:
    made = encoder(features(["a"]), batch(a=[1.0, 2.0]))
    assert doubts(made, batch(a=[1.0, None])) == {"feature missing: a": [False, True]}
    made.learn(made.columns(batch(a=pa.array([None], pa.float64()))))
    assert doubts(made, batch(a=[1.0, None])) == {}


def test_a_feature_that_vanished_counts_as_missing_and_is_named() -> None:
    made = encoder(features(["a"], onehot=["c"]), batch(a=[1.0, 3.0], c=["x", "y"]))
    rows = batch(a=[3.0])
    assert doubts(made, rows) == {"feature missing: c": [True]}
    assert len(encoded(made, rows)[0]) == made.width


def test_a_feature_of_another_type_is_not_taken_for_what_was_learnt() -> None:
    made = encoder(features(["a"], onehot=["c"]), batch(a=[1.0, 3.0], c=["x", "y"]))
    found = doubts(made, batch(a=["3.0"], c=[1.0]))
    assert set(found) == {
        "another schema: a is string, learnt was number",
        "another schema: c is double, learnt was text",
    }


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint64(), pa.float32(), pa.float64(), pa.decimal128(25, 2)])
def test_any_type_of_number_is_a_number(kind: pa.DataType) -> None:
    rows = pa.RecordBatch.from_arrays([pa.array([1, 3]).cast(kind)], names=["a"])
    made = encoder(features_of(["a"], rows.schema, "x"), rows)
    assert encoded(made, rows) == [[-1.0, 0.0], [1.0, 0.0]]


def test_names_alone_are_taken_by_their_types() -> None:
    schema = pa.schema([("a", pa.int32()), ("b", pa.bool_()), ("c", pa.dictionary(pa.int8(), pa.string()))])
    declared = features_of(["c", "a", "b"], schema, "x")
    assert (declared.numeric, declared.plain, declared.onehot) == (("a",), ("b",), {"c": 64})


@pytest.mark.parametrize(
    ("given", "what"),
    [
        (["nowhere"], "no column 'nowhere'"),
        (["at"], "'at' is timestamp"),
        (features(["c"]), "'c' is text"),
        (features(binned={"c": [1]}), "'c' is text"),
        ("a", None),
    ],
)
def test_what_does_not_fit_the_schema_is_refused(given: Any, what: str | None) -> None:
    schema = pa.schema([("a", pa.float64()), ("c", pa.string()), ("at", pa.timestamp("us", "UTC"))])
    if what is None:
        assert features_of(given, schema, "x").numeric == ("a",)
        return
    with pytest.raises(CannotLearn, match=what):
        features_of(given, schema, "x")


@pytest.mark.parametrize(
    "declare",
    [
        features,
        lambda: features(["a", "a"]),
        lambda: features(binned={"a": []}),
        lambda: features(binned={"a": [2, 1]}),
        lambda: features(binned={"a": [1, float("nan")]}),
        lambda: features(binned={"a": ["x"]}),
        lambda: features(onehot={"a": 0}),
        lambda: features(onehot={"a": 1 << 30}),
        lambda: features(hashed={"a": 2.5}),
    ],
)
def test_a_declaration_without_sense_is_refused(declare: Any) -> None:
    with pytest.raises(CannotLearn):
        declare()


@settings(max_examples=50, deadline=None)
@given(
    values=st.lists(st.floats(-1e6, 1e6) | st.none(), min_size=2, max_size=60),
    cut=st.integers(0, 60),
)
def test_mean_and_deviation_are_those_of_all_rows(values: list[float | None], cut: int) -> None:
    known = Statistics()
    column = np.array([np.nan if value is None else value for value in values])
    known.learn(column[:cut])
    known.learn(column[cut:])
    present = column[~np.isnan(column)]
    assert known.rows == len(column)
    assert known.missing == len(column) - len(present)
    if len(present):
        assert known.mean == pytest.approx(present.mean(), rel=1e-9, abs=1e-9)
        assert (known.low, known.high) == (present.min(), present.max())
        if np.ptp(present) > 1e-6 * max(1.0, np.abs(present).max()):
            assert known.deviation == pytest.approx(present.std(), rel=1e-6)


def test_digests_are_equal_for_what_a_model_cannot_tell_apart() -> None:
    kinds = {"a": "number", "c": "text"}
    one = batch(a=[1, 2, None], c=["x", "y", "x"])
    other = batch(c=["x", "y", "x"], a=[1.0, 2.5, float("nan")])
    first, second = (digest_of(rows, ["a", "c"], kinds).to_pylist() for rows in (one, other))
    assert first[0] == second[0]
    assert first[1] != second[1]
    assert first[2] == second[2]
    assert digest_of(batch(a=[-0.0], c=["x"]), ["a", "c"], kinds) == digest_of(
        batch(a=[0.0], c=["x"]), ["a", "c"], kinds
    )
