from __future__ import annotations

import datetime as dt
import math
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from streams.contract import (
    ContractError,
    Rule,
    between,
    check_not_future,
    check_rules,
    compare,
    condition,
    contract_version,
    covered,
    finite,
    future_rows,
    jump,
    largest_lead,
    length,
    matches,
    none_of,
    not_after,
    not_future,
    not_null,
    null_rate,
    one_of,
    references,
    rule_from_dict,
    sums,
    unique,
)
from streams.schema import Schema
from streams.stream import Stream

UTC = pa.timestamp("us", "UTC")
NOON = dt.datetime(2013, 6, 1, 12, tzinfo=dt.UTC)
MICROS = int(NOON.timestamp() * 1_000_000)


def failing(rule: Any, **columns: Any) -> list[int]:
    rows = pa.RecordBatch.from_pydict(columns)
    failed = rule.failures(rows)
    assert len(failed) == rows.num_rows
    return [row for row, bad in enumerate(failed.to_pylist()) if bad]


def above_zero(rows: pa.RecordBatch) -> pa.Array:
    return pc.greater(rows.column("x"), 0)


@pytest.mark.parametrize(
    ("rule", "values", "bad"),
    [
        (not_null("x"), [1.0, None, 3.0], [1]),
        (between("x", -80, 150), [-80.0, 150.0, -80.1, 150.1, None], [2, 3]),
        (between("x", 0), [-1.0, 0.0, None, 1e300], [0]),
        (between("x", high=0), [-1.0, 0.0, None, 1.0], [3]),
        (between("x", 0, 10, exclusive="low"), [0.0, 0.1, 10.0], [0]),
        (between("x", 0, 10, exclusive="high"), [0.0, 10.0], [1]),
        (between("x", 0, 10, exclusive="both"), [0.0, 5.0, 10.0], [0, 2]),
        (between("x", 0, 10), [math.nan, math.inf, -math.inf, 5.0], [0, 1, 2]),
        (finite("x"), [math.nan, math.inf, -math.inf, 5.0, None], [0, 1, 2]),
        (one_of("x", ["a", "b"]), ["a", "c", None, ""], [1, 3]),
        (one_of("x", range(20)), [0, 19, 20, None], [2]),
        (none_of("x", ["", "N/A"]), ["a", "N/A", None, ""], [1, 3]),
        (none_of("x", list("abcdefghij")), ["a", "z", None], [0]),
        (matches("x", "N[0-9]+"), ["N12", "N", "xN12", "N12\n", None, ""], [1, 2, 3, 5]),
        (matches("x", "a|b"), ["a", "b", "ab"], [2]),
        (matches("x", "b", whole=False), ["abc", "ac"], [1]),
        (length("x", 2, 3), ["é", "ab", "abcd", None, "日本"], [0, 2]),
        (length("x", high=1), [[1], [1, 2], None, []], [1]),
        (length("x", 1), [b"", b"\xff"], [0]),
        (condition("positive", above_zero, ["x"]), [1, -1, None, 0], [1, 3]),
        (condition("positive", pc.field("x") > 0, ["x"]), [1, -1, None, 0], [1, 3]),
        (condition("listed", lambda rows: [True, False, None], ["x"]), [1, 2, 3], [1]),
    ],
)
def test_a_rule_marks_the_rows_that_break_it_and_lets_nulls_pass(rule: Any, values: list[Any], bad: list[int]) -> None:
    assert failing(rule, x=values) == bad


def test_times_are_compared_as_times() -> None:
    times = pa.array([NOON, NOON + dt.timedelta(seconds=1), None], UTC)
    assert failing(not_after("at", NOON), at=times) == [1]
    assert failing(not_after("at", "2013-06-01T12:00:00Z"), at=times) == [1]
    assert failing(between("day", dt.date(2013, 1, 2)), day=pa.array([dt.date(2013, 1, 1), dt.date(2013, 1, 2)])) == [0]


def test_a_naive_bound_is_refused() -> None:
    with pytest.raises(ContractError, match="no time zone"):
        between("at", dt.datetime(2013, 1, 1))


@pytest.mark.parametrize(
    ("op", "bad"), [("<", [1, 2]), ("<=", [2]), (">", [0, 1]), (">=", [0]), ("==", [0, 2]), ("!=", [1]), ("> =", [0])]
)
def test_compare_orders_two_fields(op: str, bad: list[int]) -> None:
    assert failing(compare("a", op, "b"), a=[1, 2, 3, None, 1], b=[2, 2, 2, 2, None]) == bad


def test_sums_allow_the_tolerance_and_ignore_rows_with_nulls() -> None:
    rule = sums("total", ["net", "tax"], 0.01)
    assert failing(
        rule, total=[10.0, 10.0, 10.0, None, math.nan], net=[8.0, 8.0, 8.0, 1.0, 1.0], tax=[2.0, 2.005, 2.1, 1.0, 1.0]
    ) == [2, 4]


def test_sums_of_unsigned_numbers_may_fall_below_zero() -> None:
    columns = {name: pa.array(values, pa.uint32()) for name, values in {"t": [5, 5], "a": [6, 9]}.items()}
    assert failing(sums("t", ["a"], 1), **columns) == [1]


@pytest.mark.parametrize(
    "rule",
    [not_null("x"), between("x", 0, 1), one_of("x", [1]), finite("x"), compare("x", "<", "x"), sums("x", ["x"])],
)
def test_an_empty_batch_has_no_failures(rule: Any) -> None:
    assert len(rule.failures(pa.RecordBatch.from_pydict({"x": pa.array([], pa.float64())}))) == 0


def all_rules() -> list[Rule]:
    return [
        not_null("x"),
        between("x", -80, 150),
        between("at", NOON),
        one_of("x", ["a", "b"]),
        none_of("x", [""]),
        matches("x", "a.*"),
        length("x", 1, 3),
        finite("x"),
        compare("x", "<", "y"),
        sums("x", ["y", "z"], 0.5),
        not_future("at", "1h"),
        unique(["x", "y"], within="1d"),
        jump("at", "2h"),
        null_rate("x", 0.05),
        covered("1h", by="x"),
        references("x", "planes", "tailnum"),
        condition("positive", above_zero, ["x"]),
    ]


@pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.kind)
def test_a_rule_reads_back_from_its_json(rule: Rule) -> None:
    back = rule_from_dict(orjson.loads(orjson.dumps(rule.to_dict())))
    assert back == rule
    assert back.name == rule.name
    assert back.fields == rule.fields


def test_names_say_what_the_rule_asks() -> None:
    assert between("celsius", -80, 150).name == "between(celsius, -80, 150)"
    assert one_of("x", range(9)).name == "one_of(x, [0, 1, 2, 3, 4, 5, … 9 in all])"
    assert unique("id", within="24h").name == "unique(id, within 1d)"
    assert between("x", high=3).name == "between(x, None, 3)"


def test_a_condition_read_from_json_says_that_its_function_is_missing() -> None:
    back = rule_from_dict(condition("positive", above_zero, ["x"]).to_dict())
    with pytest.raises(ContractError, match="not known here"):
        failing(back, x=[1])


def test_a_condition_that_raises_is_an_error_that_names_it() -> None:
    with pytest.raises(ContractError, match="'broken' raised ZeroDivisionError"):
        failing(condition("broken", lambda rows: 1 / 0, ["x"]), x=[1])  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize(("answer", "words"), [([True], "1 values for 2 rows"), (["yes", "no"], "instead of booleans")])
def test_a_condition_with_a_wrong_answer_is_an_error(answer: list[Any], words: str) -> None:
    with pytest.raises(ContractError, match=words):
        failing(condition("wrong", lambda rows: answer, ["x"]), x=[1, 2])


def test_running_out_of_memory_in_a_condition_is_not_a_broken_rule() -> None:
    def exhausted(rows: pa.RecordBatch) -> pa.Array:
        raise MemoryError

    with pytest.raises(MemoryError):
        failing(condition("large", exhausted, ["x"]), x=[1])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: between("x"), "no bound"),
        (lambda: length("x"), "no bound"),
        (lambda: matches("x", "("), "not a regular expression"),
        (lambda: compare("x", "~", "y"), "not a comparison"),
        (lambda: one_of("x", []), "empty"),
        (lambda: sums("x", []), "parts"),
        (lambda: condition("x", above_zero, []), "no fields"),
        (lambda: unique([]), "no fields"),
        (lambda: unique("x", within="0s"), "above zero"),
        (lambda: null_rate("x", 1.5), "not a share"),
        (lambda: rule_from_dict({"rule": "betwixt"}), "is not a rule"),
        (lambda: rule_from_dict({"rule": "between", "colour": 1}), "parameters"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(make: Any, words: str) -> None:
    with pytest.raises(ContractError, match=words) as caught:
        make()
    assert caught.value.fix


def readings(*rules: Rule, time: str | None = "at") -> Stream:
    schema = pa.schema([("sensor", pa.string()), ("at", UTC), ("celsius", pa.float64())])
    return Stream("readings", Schema(schema), time=time, expect=rules)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (between("fahrenheit", 0, 1), "'fahrenheit', which does not exist"),
        (between("sensor", 0, 1), "cannot be judged on sensor: string"),
        (finite("sensor"), "cannot be judged"),
        (matches("celsius", "a"), "cannot be judged"),
        (compare("sensor", "<", "celsius"), "cannot be judged"),
        (not_future("celsius"), "cannot be judged"),
        (jump("celsius", "1h"), "needs a timestamp"),
    ],
)
def test_a_rule_that_does_not_fit_the_schema_is_found_before_anything_runs(rule: Rule, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        check_rules(readings(rule))


def test_windows_need_an_event_time() -> None:
    with pytest.raises(ContractError, match="needs an event time"):
        check_rules(readings(unique("sensor"), time=None))


def test_the_contract_version_follows_the_rules() -> None:
    first = contract_version([not_null("x"), between("x", 0, 1)])
    assert first == contract_version([not_null("x"), between("x", 0, 1)])
    assert first != contract_version([not_null("x"), between("x", 0, 2)])


def rows_at(*times: dt.datetime | None) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"at": pa.array(times, UTC)})


def test_rows_from_the_future_are_found_at_the_edge() -> None:
    rows = rows_at(NOON, None, NOON + dt.timedelta(hours=1), NOON + dt.timedelta(hours=1, microseconds=1))
    stream = readings(not_future("at", "1h"))
    assert future_rows(stream, rows, MICROS).to_pylist() == [False, False, False, True]
    assert future_rows(stream, rows, MICROS + 1) is None
    with pytest.raises(ContractError, match="1 of 4 rows break not_future"):
        check_not_future(stream, rows, MICROS)
    check_not_future(stream, rows, MICROS + 1)
    assert largest_lead(stream) == 3_600_000_000
    assert largest_lead(readings()) == 24 * 3_600_000_000
