"""Every kind of join against a brute-force oracle, over random cuts, orders of arrival, clocks and restores."""

from __future__ import annotations

from random import Random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.join import join
from streams.schema import Schema
from streams.stream import Stream
from tests.operators.simulation import Arrival, parent_rows, restored, rows_of, run, shuffled

UTC = pa.timestamp("us", tz="UTC")
LEFT = Stream("p.left", Schema(pa.schema([("k", pa.string()), ("at", UTC), ("id", pa.int64())])), key=("k",), time="at")
RIGHT = Stream("p.right", Schema(pa.schema([("k", pa.string()), ("t", UTC), ("id", pa.int64())])), key=("k",), time="t")
LONG = "a key of more than seven bytes "

keys = st.sampled_from(["a", "b", None, LONG + "1", LONG + "2"])
rows = st.lists(st.tuples(keys, st.integers(0, 12)), max_size=25)
seeds = st.integers(0, 10**6)
Row = tuple[Any, int]


def arrival(stream: Stream, given_rows: list[Row]) -> Arrival:
    names = stream.schema.arrow.names
    columns = [
        pa.array([key for key, _ in given_rows], pa.string()),
        pa.array([time for _, time in given_rows], pa.int64()).cast(UTC),
        pa.array(range(len(given_rows)), pa.int64()),
    ]
    return Arrival(stream, pa.RecordBatch.from_arrays(columns, names=names), [time for _, time in given_rows])


def both_ways(operator: Any, left: list[Row], right: list[Row], seed: int, right_stream: Stream = RIGHT) -> Any:
    """The outputs of a run; two other runs with other orders of arrival must give the same rows in the same order."""
    random = Random(seed)
    results = []
    for attempt in range(3):
        arrivals = [arrival(LEFT, left), arrival(right_stream, right)]
        if attempt:
            arrivals = [shuffled(one, random, given) for one, given in zip(arrivals, (left, right), strict=True)]
        results.append((run(operator, arrivals, random), arrivals))
    outputs, _ = results[0]
    main = operator.outputs[0].name
    for others, _ in results[1:]:
        assert rows_of(others[main]) == rows_of(outputs[main])
    for found, arrivals in results:
        assert_parents(operator, found[main], arrivals)
        for stream in operator.outputs[1:]:
            assert found[stream.name] == []
    return rows_of(outputs[main])


def assert_parents(operator: Any, outputs: Any, arrivals: list[Arrival]) -> None:
    found = rows_of(outputs)
    left_ids = arrivals[0].rows.column("id").to_pylist()
    right_ids = arrivals[1].rows.column("id").to_pylist()
    assert [left_ids[row] for row in parent_rows(outputs, 0)] == [row["id"] for row in found]
    assert [right_ids[row] if row >= 0 else None for row in parent_rows(outputs, 1)] == [
        row["right_id"] for row in found
    ]


def newest(right: list[Row], key: Any, time: int, *, exact: bool = True, tolerance: int | None = None) -> int | None:
    matching = [
        (at, place)
        for place, (other, at) in enumerate(right)
        if other == key and key is not None and (at <= time if exact else at < time)
    ]
    if not matching or (tolerance is not None and time - max(matching)[0] > tolerance):
        return None
    return max(matching)[1]


@settings(max_examples=60, deadline=None)
@given(left=rows, right=rows, seed=seeds, exact=st.booleans(), tolerance=st.none() | st.integers(0, 6))
def test_asof_join_equals_oracle(
    left: list[Row], right: list[Row], seed: int, exact: bool, tolerance: int | None
) -> None:
    operator = join(LEFT, RIGHT, on="k", how="asof", to="p.out", allow_exact=exact, tolerance=tolerance)
    found = both_ways(operator, left, right, seed)
    assert [row["at"] for row in found] == sorted(row["at"] for row in found)
    assert {row["id"]: row["right_id"] for row in found} == {
        place: newest(right, key, time, exact=exact, tolerance=tolerance) for place, (key, time) in enumerate(left)
    }
    assert len(found) == len(left)


@settings(max_examples=30, deadline=None)
@given(left=rows, right=rows, seed=seeds, lateness=st.integers(0, 5))
def test_asof_join_of_matches_only(left: list[Row], right: list[Row], seed: int, lateness: int) -> None:
    operator = join(LEFT, RIGHT, on="k", how="asof", to="p.out", kind="inner", broadcast=True, lateness=lateness)
    found = both_ways(operator, left, right, seed)
    expected = {place: newest(right, key, time) for place, (key, time) in enumerate(left)}
    assert {row["id"]: row["right_id"] for row in found} == {
        place: match for place, match in expected.items() if match is not None
    }


@settings(max_examples=60, deadline=None)
@given(left=rows, right=rows, seed=seeds, timed=st.booleans())
def test_table_join_equals_oracle(left: list[Row], right: list[Row], seed: int, timed: bool) -> None:
    table = Stream("p.right", RIGHT.schema, key=("k",), time="t" if timed else None, kind="table", partitions=1)
    operator = join(LEFT, table, on="k", to="p.out")
    in_order = right if timed else [(key, 0) for key, _ in right]
    random = Random(seed)
    arrivals = [arrival(LEFT, left), arrival(table, in_order)]
    outputs = run(operator, arrivals, random)["p.out"]
    assert_parents(operator, outputs, arrivals)
    found = rows_of(outputs)
    assert {row["id"]: row["right_id"] for row in found} == {
        place: newest(in_order, key, time) for place, (key, time) in enumerate(left)
    }
    if not timed:
        assert [row["id"] for row in found] == list(range(len(left)))


@settings(max_examples=60, deadline=None)
@given(
    left=rows,
    right=rows,
    seed=seeds,
    before=st.integers(0, 4),
    after=st.integers(0, 4),
    many=st.sampled_from(["one", "all"]),
    kind=st.sampled_from(["inner", "left"]),
    lateness=st.integers(0, 3),
)
def test_window_join_equals_oracle(
    left: list[Row], right: list[Row], seed: int, before: int, after: int, many: Any, kind: Any, lateness: int
) -> None:
    operator = join(
        LEFT,
        RIGHT,
        on="k",
        how="window",
        to="p.out",
        before=before,
        after=after,
        many=many,
        kind=kind,
        lateness=lateness,
    )
    found = both_ways(operator, left, right, seed)
    expected: list[tuple[int, int | None, int]] = []
    for place, (key, time) in enumerate(left):
        matches = sorted(
            (at, other)
            for other, (right_key, at) in enumerate(right)
            if right_key == key and key is not None and -before <= at - time <= after
        )
        expected += [(place, other, max(at, time)) for at, other in (matches if many == "all" else matches[:1])]
        if not matches and kind == "left":
            expected.append((place, None, time + after))
    joined_at = pa.array([row["joined_at"] for row in found], UTC).cast(pa.int64()).to_pylist()
    assert joined_at == sorted(joined_at)
    triples = [(row["id"], row["right_id"], at) for row, at in zip(found, joined_at, strict=True)]
    assert sorted(triples, key=str) == sorted(expected, key=str)


@pytest.mark.parametrize("how", ["asof", "window"])
def test_state_after_the_end_does_not_depend_on_cuts(how: Any) -> None:
    random = Random(7)
    times = sorted(random.randint(0, 3_000) for _ in range(20_000))
    given_rows = [(random.choice(["a", "b", LONG]), time) for time in times]
    options: dict[str, Any] = {"after": 5} if how == "window" else {}
    operator = (
        join(LEFT, RIGHT, on="k", how=how, to="p.out", many="one", **options)
        if how == "window"
        else join(LEFT, RIGHT, on="k", how=how, to="p.out")
    )
    ends = []
    for seed in (1, 2):
        states: list[Any] = []
        run(operator, [arrival(LEFT, given_rows), arrival(RIGHT, given_rows)], Random(seed), states=states)
        ends.append(restored(states[-1]))
    assert list(ends[0]) == list(ends[1])
    for name in ends[0]:
        one, other = ends[0][name], ends[1][name]
        assert (
            one == other if isinstance(one, bytes) else one.drop_columns(["@row"]).equals(other.drop_columns(["@row"]))
        )
