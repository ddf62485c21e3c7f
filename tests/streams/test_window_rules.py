from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.execution.state import decode_value, encode_value
from streams import window_rules
from streams.contract import Finding, covered, jump, null_rate, references, unique
from streams.fingerprints import BLOCK, contained, fingerprints, first_seen, hashes, remember
from streams.message import BEGINNING, END
from streams.rule import Memory

UTC = pa.timestamp("us", "UTC")
HOUR = 3_600_000_000
DAY = 24 * HOUR


def batches(rows: pa.RecordBatch, cuts: Sequence[int]) -> list[pa.RecordBatch]:
    edges = [0, *sorted(min(cut, rows.num_rows) for cut in cuts), rows.num_rows]
    return [rows.slice(start, end - start) for start, end in itertools.pairwise(edges)]


def stored(memory: Memory) -> dict[str, bytes]:
    return {name: encode_value(memory[name]) for name in sorted(memory)}


def restored(memory: Memory) -> Memory:
    return {name: decode_value(value) for name, value in stored(memory).items()}  # type: ignore[misc]


def judged(rule: Any, rows: pa.RecordBatch, times: Sequence[int], cuts: Sequence[int] = ()) -> tuple[list[int], Memory]:
    """Failing rows over batches that are cut there, with the memory written and read back between them."""
    memory: Memory = {}
    bad: list[int] = []
    start = 0
    for part in batches(rows, cuts):
        at = np.array(times[start : start + part.num_rows], dtype=np.int64)
        memory = restored(memory)
        bad += (np.flatnonzero(rule.failures(part, at, memory, BEGINNING)) + start).tolist()
        start += part.num_rows
    return bad, memory


keys = st.sampled_from(["a", "b", "c", None, ""])
times_and_keys = st.lists(st.tuples(st.integers(-3, 40), keys, st.integers(0, 2)), max_size=40)
cuts = st.lists(st.integers(0, 40), max_size=4)


@given(times_and_keys, cuts)
@settings(deadline=None)
def test_unique_keeps_the_first_of_equal_rows_in_each_window_however_rows_are_cut(
    entries: list[tuple[int, str | None, int]], cut: list[int]
) -> None:
    seen: set[tuple[Any, ...]] = set()
    expected = []
    for row, (time, key, number) in enumerate(entries):
        if key is None:
            continue
        if (key, number, time // 10) in seen:
            expected.append(row)
        seen.add((key, number, time // 10))
    rows = pa.RecordBatch.from_arrays(
        [pa.array([key for _, key, _ in entries], pa.string()), pa.array([n for *_, n in entries], pa.int32())],
        ["key", "number"],
    )
    rule = unique(["key", "number"], within=10)
    times = [time for time, *_ in entries]
    bad, memory = judged(rule, rows, times, cut)
    assert bad == expected
    assert stored(memory) == stored(judged(rule, rows, times)[1])


def test_unique_forgets_windows_that_are_past() -> None:
    rule = unique("id", within="1d")
    memory: Memory = {}
    rows = pa.RecordBatch.from_pydict({"id": [1, 2]})
    rule.failures(rows, np.array([0, DAY], dtype=np.int64), memory, 0)
    assert sorted(memory) == ["0/tail", "1/tail"]
    rule.failures(rows.slice(0, 0), np.zeros(0, dtype=np.int64), memory, 2 * DAY)
    assert sorted(memory) == ["1/tail"]


@given(st.lists(st.one_of(st.none(), st.integers(0, 60)), max_size=40), cuts)
@settings(deadline=None)
def test_jump_holds_each_time_against_the_largest_good_one_before_it(times: list[int | None], cut: list[int]) -> None:
    largest = None
    expected = []
    for row, time in enumerate(times):
        if time is None:
            continue
        if largest is not None and time > largest + 7:
            expected.append(row)
        else:
            largest = time if largest is None else max(largest, time)
    rows = pa.RecordBatch.from_pydict({"at": pa.array(times, pa.int64()).cast(UTC)})
    assert judged(jump("at", 7), rows, [0] * len(times), cut)[0] == expected


def test_one_clock_far_ahead_does_not_make_the_others_late() -> None:
    noon = dt.datetime(2013, 6, 1, 12, tzinfo=dt.UTC)
    times = [noon, noon.replace(year=2099), noon.replace(minute=5), noon.replace(year=2099, minute=1)]
    rows = pa.RecordBatch.from_pydict({"at": pa.array(times, UTC)})
    assert judged(jump("at", "1d"), rows, [0] * 4)[0] == [1, 3]


def found(rule: Any, rows: pa.RecordBatch, cuts: Sequence[int]) -> list[tuple[int, str]]:
    memory: Memory = {}
    start = 0
    findings = []
    for part in batches(rows, cuts):
        memory = restored(memory)
        here = rule.findings(part, np.zeros(part.num_rows, dtype=np.int64), memory, BEGINNING)
        findings += [(finding.after + start, finding.value) for finding in here]
        start += part.num_rows
    return findings


@given(st.lists(st.booleans(), max_size=60), cuts)
@settings(deadline=None)
def test_null_rate_judges_each_round_of_rows_once(missing: list[bool], cut: list[int]) -> None:
    rounds = [missing[start : start + 7] for start in range(0, len(missing) - 6, 7)]
    expected = [
        (7 * number + 6, f"{sum(here)} of 7 rows have no value") for number, here in enumerate(rounds) if sum(here) > 2
    ]
    rows = pa.RecordBatch.from_pydict({"x": pa.array([None if gone else 1 for gone in missing], pa.int64())})
    assert found(null_rate("x", 2 / 7, over=7), rows, cut) == expected


class Coverage:
    def __init__(self, by: str | None = "airport") -> None:
        self.rule = covered("1h", by=by)
        self.memory: Memory = {}

    def saw(self, clock: int, *rows: tuple[str | None, int]) -> list[str]:
        batch = pa.RecordBatch.from_pydict({"airport": pa.array([airport for airport, _ in rows], pa.string())})
        times = np.array([time for _, time in rows], dtype=np.int64)
        self.memory = restored(self.memory)
        return [finding.value for finding in self.rule.findings(batch, times, self.memory, clock)]


def test_a_gap_is_reported_when_it_begins_and_when_it_ends() -> None:
    coverage = Coverage()
    assert coverage.saw(0, ("JFK", 0), ("EWR", 10)) == []
    assert coverage.saw(HOUR, ("EWR", HOUR)) == []
    assert coverage.saw(2 * HOUR, ("EWR", 2 * HOUR)) == ["airport=JFK: no row since 1970-01-01T01:00:00Z"]
    assert coverage.saw(3 * HOUR, ("EWR", 3 * HOUR), ("JFK", 3 * HOUR)) == []
    assert coverage.saw(4 * HOUR, ("EWR", 4 * HOUR), ("JFK", 4 * HOUR)) == [
        "airport=JFK: no row from 1970-01-01T01:00:00Z to 1970-01-01T03:00:00Z"
    ]
    assert coverage.saw(END) == []


def test_rows_within_one_clock_may_come_in_any_order() -> None:
    coverage = Coverage()
    assert coverage.saw(0, ("JFK", 2 * HOUR), ("JFK", 0)) == []
    assert coverage.saw(0, ("JFK", HOUR)) == []
    assert coverage.saw(3 * HOUR, ("JFK", 3 * HOUR)) == []


def test_a_late_row_is_not_held_against_what_was_judged() -> None:
    coverage = Coverage()
    assert coverage.saw(10 * HOUR, ("JFK", 10 * HOUR)) == []
    assert coverage.saw(10 * HOUR, ("JFK", 3 * HOUR), (None, 11 * HOUR)) == []
    assert coverage.saw(11 * HOUR, ("JFK", 11 * HOUR)) == []
    assert coverage.saw(END) == []


def test_the_end_of_the_stream_shows_who_fell_silent() -> None:
    coverage = Coverage()
    coverage.saw(0, ("JFK", 0), ("EWR", 0), ("EWR", HOUR), ("EWR", 2 * HOUR))
    assert coverage.saw(END) == ["airport=JFK: no row since 1970-01-01T01:00:00Z"]
    assert coverage.saw(END) == []


def test_without_by_the_whole_task_is_covered() -> None:
    coverage = Coverage(by=None)
    coverage.saw(0, ("JFK", 0), ("EWR", 2 * HOUR))
    assert coverage.saw(3 * HOUR) == ["no row from 1970-01-01T01:00:00Z to 1970-01-01T02:00:00Z"]


def test_coverage_remembers_no_more_of_a_long_stream_than_of_a_short_one() -> None:
    coverage = Coverage()
    sizes = []
    for hour in range(100):
        coverage.saw(hour * HOUR, *((airport, hour * HOUR) for airport in ("JFK", "EWR", "LGA")))
        sizes.append(sum(map(len, stored(coverage.memory).values())))
    assert max(sizes[50:]) == max(sizes[3:10])
    assert coverage.memory["seen"].num_rows <= 2 * 3


def test_coverage_forgets_groups_that_have_been_silent_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window_rules, "FORGOTTEN", 20)
    coverage = Coverage()
    found = []
    for hour in range(60):
        found += coverage.saw(hour * HOUR, ("JFK", hour * HOUR), (f"X{hour}", hour * HOUR))
    assert coverage.memory["seen"].num_rows <= 25
    assert len(found) == 58
    # X0 came back after it was forgotten: it is new.
    later = coverage.saw(60 * HOUR, ("JFK", 60 * HOUR), ("X0", 60 * HOUR))
    assert later == ["airport=X58: no row since 1970-01-03T11:00:00Z"]


def test_null_rate_remembers_two_numbers() -> None:
    rule, memory = null_rate("x", 0.5, over=7), {}
    rows = pa.RecordBatch.from_pydict({"x": pa.array([None, 1, 2], pa.int64())})
    for _ in range(200):
        rule.findings(rows, np.zeros(3, dtype=np.int64), memory, 0)
    assert {name: table.num_rows for name, table in memory.items()} == {"count": 1}


def test_findings_of_an_empty_batch_are_none() -> None:
    empty = pa.RecordBatch.from_pydict({"x": pa.array([], pa.int64())})
    assert null_rate("x", 0).findings(empty, np.zeros(0, dtype=np.int64), {}, 0) == []
    assert covered("1h").findings(empty, np.zeros(0, dtype=np.int64), {}, 0) == []
    assert Finding(-1, "x") == Finding(-1, "x")


def test_references_know_the_keys_that_the_table_brought() -> None:
    rule = references("tailnum", "planes", "tailnum")
    memory: Memory = {}
    rows = pa.RecordBatch.from_pydict({"tailnum": ["N1", "N2", None, "N3"]})
    assert rule.failures(rows, memory).tolist() == [True, True, False, True]
    rule.learn(pa.array(["N1", None, "N1"]), memory)
    rule.learn(pa.array(["N2"]), memory)
    assert rule.failures(rows, restored(memory)).tolist() == [False, False, False, True]


values = st.one_of(
    st.lists(st.one_of(st.none(), st.text(max_size=4))).map(lambda found: pa.array(found, pa.string())),
    st.lists(st.one_of(st.none(), st.binary(max_size=4))).map(lambda found: pa.array(found, pa.binary())),
    st.lists(st.one_of(st.none(), st.integers(-3, 3))).map(lambda found: pa.array(found, pa.int16())),
    st.lists(st.one_of(st.none(), st.floats(width=16))).map(lambda found: pa.array(found, pa.float64())),
    st.lists(st.one_of(st.none(), st.booleans())).map(lambda found: pa.array(found, pa.bool_())),
)


@given(values, st.integers(0, 3))
@settings(deadline=None)
def test_fingerprints_are_equal_exactly_where_values_are(column: pa.Array, skipped: int) -> None:
    column = column.slice(min(skipped, len(column)))
    found = list(zip(*(part.tolist() for part in fingerprints([column], len(column))), strict=True))
    shown = [
        "nan" if value != value else repr(value + 0.0 if isinstance(value, float) else value)
        for value in column.to_pylist()
    ]
    assert len(set(zip(shown, found, strict=True))) == len(set(shown)) == len(set(found))


def test_fingerprints_of_several_columns_know_which_is_which() -> None:
    one, two = pa.array(["a", "b"]), pa.array(["b", "a"])
    assert fingerprints([one, two], 2).high[0] != fingerprints([two, one], 2).high[0]


def test_fingerprints_do_not_depend_on_how_values_are_stored() -> None:
    plain = pa.array(["b", None, "a", "b", ""])
    stored = pa.array(["x", *plain.to_pylist()]).dictionary_encode().slice(1)
    small = plain.dictionary_encode().cast(pa.dictionary(pa.int8(), pa.large_string()))
    for other in (stored, small):
        assert fingerprints([other], 5).high.tolist() == fingerprints([plain], 5).high.tolist()
    assert hashes([small], 5).tolist() == fingerprints([plain], 5).high.tolist()


def test_fingerprints_stay_the_same_for_ever() -> None:
    prints = fingerprints([pa.array(["N14228", None]), pa.array([1, 2], pa.int8())], 2)
    assert [hex(word) for word in (*prints.high.tolist(), *prints.low.tolist())] == [
        "0xa55183ace333ebe2",
        "0xa6621828ff81f53",
        "0x4823a44a8acd9ac6",
        "0x90f3818ba679f18b",
    ]


@pytest.mark.parametrize("sizes", [[1], [5 * BLOCK + 3], [BLOCK, BLOCK, BLOCK], [700] * 11, [3 * BLOCK, 1, 9 * BLOCK]])
def test_a_set_holds_what_it_was_given_and_lies_the_same_however_it_came(sizes: list[int]) -> None:
    total = sum(sizes)
    prints = fingerprints([pa.array(np.arange(2 * total))], 2 * total)
    memory: Memory = {}
    start = 0
    for size in sizes:
        remember(memory, "set/", prints.take(np.arange(start, start + size)))
        start += size
    assert contained(memory, "set/", prints).tolist() == [True] * total + [False] * total
    at_once: Memory = {}
    remember(at_once, "set/", prints.take(np.arange(total)))
    assert stored(memory) == stored(at_once)


def test_different_values_with_one_first_half_are_told_apart() -> None:
    memory: Memory = {}
    prints = fingerprints([pa.array([1, 2, 3])], 3)
    twins = prints._replace(high=np.zeros(3, dtype=np.uint64))
    remember(memory, "", twins.take(np.array([0, 1])))
    assert contained(memory, "", twins).tolist() == [True, True, False]
    assert first_seen(twins).tolist() == [True, True, True]
