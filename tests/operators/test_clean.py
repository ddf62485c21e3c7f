from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.clean import Clean, CleanError, clean, impute, normalise
from operators.execution.state import State, decode_value
from operators.operator import TICK, Batch, Output
from streams.contract import (
    ContractError,
    between,
    condition,
    covered,
    finite,
    jump,
    not_future,
    not_null,
    null_rate,
    one_of,
    references,
    rule_from_dict,
    unique,
)
from streams.message import BEGINNING, END
from streams.parents import Addresses
from streams.schema import Schema
from streams.stream import Stream

UTC = pa.timestamp("us", "UTC")
NOON = dt.datetime(2013, 6, 1, 12, tzinfo=dt.UTC)
SCHEMA = pa.schema(
    [
        pa.field("sensor", pa.string()),
        pa.field("at", UTC),
        pa.field("celsius", pa.float64()),
        pa.field("unit", pa.string()),
    ]
)


def readings(*rules: Any, schema: pa.Schema = SCHEMA, **changes: Any) -> Stream:
    declared = Stream("plant.readings", Schema(schema), key=("sensor",), time="at", entities={"sensor": "sensor"})
    return dataclasses.replace(declared, expect=rules, **changes)


def rows_of(entries: Sequence[dict[str, Any]], schema: pa.Schema = SCHEMA) -> pa.RecordBatch:
    complete = [{"sensor": "s1", "at": NOON, "celsius": 20.0, "unit": "C"} | entry for entry in entries]
    return pa.RecordBatch.from_pylist([{name: entry.get(name) for name in schema.names} for entry in complete], schema)


def batch_of(
    rows: pa.RecordBatch, source: str = "plant.readings", offset: int = 7, first: int = 0, clock: int = BEGINNING
) -> Batch:
    whole = Addresses.of_message(source, 2, offset, first + rows.num_rows)
    return Batch(
        source, rows, whole.slice(first, first + rows.num_rows), np.zeros(rows.num_rows, dtype=np.int64), clock
    )


def tick(clock: int = END) -> Batch:
    nothing = Addresses.of_message(TICK, 0, 0, 0)
    return Batch(TICK, pa.RecordBatch.from_pydict({}), nothing, np.zeros(0, dtype=np.int64), clock)


def restored(state: State) -> State:
    """The state as another process would find it."""
    back = State({name: decode_value(value) for name, value in _all(state).items()})
    assert _all(back) == _all(state)
    return back


def _all(state: State) -> dict[str, bytes]:
    copy = State()
    for name in state:
        copy[name] = state[name]
    return {name: value for name, value in copy.changes().items() if value is not None}


def run(operator: Clean, batches: Sequence[Batch], *, restore: bool = True) -> dict[str, list[tuple[Any, Any]]]:
    """(row, parent) by output stream; the state is written and read back between batches."""
    state = State()
    found: dict[str, list[tuple[Any, Any]]] = {stream.name: [] for stream in operator.outputs}
    for batch in batches:
        for output in operator.step(batch, state):
            (parents,) = output.parents
            assert isinstance(parents, Addresses)
            found[output.stream] += zip(output.rows.to_pylist(), [tuple(parent) for parent in parents], strict=True)
        if restore:
            state = restored(state)
    return found


def step(operator: Clean, *entries: dict[str, Any]) -> dict[str, list[Any]]:
    return {name: [row for row, _ in rows] for name, rows in run(operator, [batch_of(rows_of(entries))]).items()}


def outputs(operator: Clean, batch: Batch) -> list[Output]:
    return list(operator.step(batch, State()))


def test_rows_that_keep_the_contract_pass_and_the_others_say_what_was_wrong() -> None:
    operator = clean(readings(between("celsius", -80, 150)), to="plant.valid", expect=[one_of("unit", ["C", "F"])])
    found = step(operator, {}, {"celsius": 151.5}, {"unit": "K"}, {"celsius": -300.0, "unit": "X"}, {"celsius": None})
    assert [row["celsius"] for row in found["plant.valid"]] == [20.0, None]
    bad = found["plant.valid.quarantine"]
    assert [(row["rule"], row["field"], row["value"]) for row in bad] == [
        ("between(celsius, -80, 150)", "celsius", "151.5"),
        ("one_of(unit, [C, F])", "unit", "K"),
        ("between(celsius, -80, 150)", "celsius", "-300"),
    ]
    assert bad[0]["sensor"] == "s1"
    assert bad[0]["at"] == NOON
    assert bad[2]["violations"] == [
        {"rule": "between(celsius, -80, 150)", "field": "celsius", "value": "-300"},
        {"rule": "one_of(unit, [C, F])", "field": "unit", "value": "X"},
    ]
    assert {row["contract"] for row in bad} == {operator.plan.contract}
    assert len(bad[0]["violations"]) == 1


def test_parents_are_the_rows_of_the_message() -> None:
    operator = clean(readings(finite("celsius")), to="valid")
    found = run(operator, [batch_of(rows_of([{}, {"celsius": math.nan}, {}, {"celsius": math.inf}]), offset=42)])
    assert [parent for _, parent in found["valid"]] == [("plant.readings", 2, 42, 0), ("plant.readings", 2, 42, 2)]
    assert [parent for _, parent in found["valid.quarantine"]] == [
        ("plant.readings", 2, 42, 1),
        ("plant.readings", 2, 42, 3),
    ]


def test_a_batch_without_faults_is_handed_on_as_it_is() -> None:
    batch = batch_of(rows_of([{}, {}]))
    (output,) = outputs(clean(readings(finite("celsius")), to="valid"), batch)
    assert output.rows.equals(batch.rows)
    assert output.parents == (batch.addresses,)


def test_an_empty_batch_gives_nothing() -> None:
    operator = clean(readings(finite("celsius"), unique(["sensor", "at"]), null_rate("unit", 0.5)), to="valid")
    assert outputs(operator, batch_of(rows_of([]))) == []


def test_columns_may_come_in_another_order() -> None:
    rows = rows_of([{"celsius": 1.0}]).select(["unit", "celsius", "at", "sensor"])
    (output,) = outputs(clean(readings(), to="valid"), batch_of(rows))
    assert output.rows.equals(rows_of([{"celsius": 1.0}]))


def test_key_and_event_time_and_required_fields_must_be_there() -> None:
    schema = SCHEMA.set(3, pa.field("unit", pa.string(), nullable=False))
    found = step(clean(readings(schema=schema), to="valid"), {"sensor": None}, {"at": None}, {"unit": None}, {})
    assert [row["rule"] for row in found["valid.quarantine"]] == ["not_null(sensor)", "not_null(at)", "not_null(unit)"]
    assert found["valid.quarantine"][0]["value"] is None
    assert len(found["valid"]) == 1


def test_several_fields_are_shown_with_their_names() -> None:
    rule = condition("warm in C", lambda rows: pc.equal(rows.column("unit"), "C"), ["celsius", "unit"])
    (bad,) = step(clean(readings(), to="valid", expect=[rule]), {"unit": "F"})["valid.quarantine"]
    assert (bad["rule"], bad["field"], bad["value"]) == ("warm in C", "celsius", "celsius=20, unit=F")


def test_a_condition_from_a_file_gets_its_function_from_an_equal_one() -> None:
    rule = condition("warm", lambda rows: pc.greater(rows.column("celsius"), 0), ["celsius"])
    named = rule_from_dict(rule.to_dict())
    with pytest.raises(CleanError, match="function of the condition 'warm' is not known"):
        clean(readings(named), to="valid")
    operator = clean(readings(named), to="valid", expect=[rule])
    assert len(operator.plan.rules) == 3
    assert step(operator, {"celsius": -1.0})["valid.quarantine"][0]["rule"] == "warm"


def test_a_condition_that_raises_stops_the_step_and_is_named() -> None:
    def fragile(rows: pa.RecordBatch) -> Any:
        return pa.array([value > 0 for value in rows.column("celsius").to_pylist()])

    operator = clean(readings(), to="valid", expect=[condition("fragile", fragile, ["celsius"])])
    with pytest.raises(ContractError, match="'fragile' raised TypeError"):
        step(operator, {"celsius": None})


def test_normalising_comes_before_the_rules_and_quarantine_keeps_what_came_in() -> None:
    schema = SCHEMA.set(2, pa.field("celsius", pa.string()))
    operator = clean(
        readings(schema=schema),
        to="valid",
        normalise={
            "unit": [normalise.trim(), normalise.upper(), normalise.replace({"CELSIUS": "C"})],
            "celsius": [
                normalise.trim(),
                normalise.missing("NA", ""),
                normalise.cast("float64"),
                normalise.scale(2, 1),
            ],
        },
        expect=[one_of("unit", ["C"]), between("celsius", 0, 100)],
    )
    entries = [
        {"celsius": " 4.5 ", "unit": " celsius "},
        {"celsius": "NA", "unit": "c"},
        {"celsius": "warm", "unit": " x "},
        {"celsius": "1e3", "unit": "C"},
        {"celsius": "nan", "unit": "C"},
    ]
    found = run(operator, [batch_of(rows_of(entries, schema))])
    assert [(row["celsius"], row["unit"]) for row, _ in found["valid"]] == [(10.0, "C"), (None, "C")]
    bad = [row for row, _ in found["valid.quarantine"]]
    assert [(row["celsius"], row["unit"]) for row in bad] == [("warm", " x "), ("1e3", "C"), ("nan", "C")]
    assert [[tuple(violation.values()) for violation in row["violations"]] for row in bad] == [
        [("cast(celsius, float64)", "celsius", "warm"), ("one_of(unit, [C])", "unit", "X")],
        [("between(celsius, 0, 100)", "celsius", "2001")],
        [("between(celsius, 0, 100)", "celsius", "nan")],
    ]
    assert operator.outputs[0].schema.arrow.field("celsius").type == pa.float64()
    assert operator.outputs[1].schema.arrow.field("celsius").type == pa.string()


@pytest.mark.parametrize(
    ("step", "before", "after"),
    [
        (normalise.lower(), ["ÄB", None], ["äb", None]),
        (normalise.collapse(), ["  a \t\n b ", None], ["a b", None]),
        (normalise.nfc(), ["e\u0301", None], ["é", None]),
        (normalise.missing(-999, 0), [1, -999, 0, None], [1, None, None, None]),
        (normalise.nan_missing(), [1.0, math.nan, None], [1.0, None, None]),
        (normalise.replace({"a": "b", "b": None}), ["a", "b", "c", None], ["b", None, "c", None]),
        (normalise.scale(5 / 9, -160 / 9), [212, 32, None], [100.0, 0.0, None]),
    ],
)
def test_a_step_changes_values_and_leaves_nulls(
    step: normalise.Normaliser, before: list[Any], after: list[Any]
) -> None:
    assert step.apply(pa.array(before)).to_pylist() == (
        after if not isinstance(step, normalise.Scale) else pytest.approx(after)
    )


@pytest.mark.parametrize(
    ("to", "zone", "before", "after"),
    [
        ("int32", None, ["1", "x", "", "99999999999", None, "-7"], [1, "!", "!", "!", None, -7]),
        ("int64", None, [1.0, 1.5, math.nan, None, 1e30], [1, "!", "!", None, "!"]),
        ("float64", None, ["1", "1e5", "one", ".5", "1.2.3"], [1.0, 1e5, "!", 0.5, "!"]),
        ("bool", None, ["true", "maybe", "false"], [True, "!", False]),
        ("date32", None, ["2013-06-01", "2013-13-01", "soon"], [dt.date(2013, 6, 1), "!", "!"]),
        (
            "timestamp[us, UTC]",
            None,
            ["2013-06-01T14:00:00+02:00", "2013-06-01T12:00:00", "2013-13-01T00:00:00Z", "noon"],
            [NOON, "!", "!", "!"],
        ),
        ("timestamp[us, UTC]", "America/New_York", ["2013-06-01 08:00:00", "2013-03-10 02:30:00"], [NOON, "!"]),
    ],
)
def test_a_cast_says_which_values_it_cannot_take(
    to: str, zone: str | None, before: list[Any], after: list[Any]
) -> None:
    column, failed = normalise.cast(to, zone=zone).convert(pa.array(before))
    assert failed is not None
    shown = ["!" if bad else value for value, bad in zip(column.to_pylist(), failed.tolist(), strict=True)]
    assert shown == after
    assert column.type == normalise.parse_type(to)


def test_a_cast_that_succeeds_reports_nothing() -> None:
    column, failed = normalise.cast("int64").convert(pa.array(["1", None]))
    assert (column.to_pylist(), failed) == ([1, None], None)


def test_many_values_that_cannot_be_cast_are_found_at_once() -> None:
    _, failed = normalise.cast("float64").convert(pa.array(["bad"] * 50_000 + ["1"]))
    assert failed is not None
    assert failed.sum() == 50_000


def test_a_required_field_that_cannot_be_cast_is_reported_once() -> None:
    schema = SCHEMA.set(2, pa.field("celsius", pa.string(), nullable=False))
    operator = clean(readings(schema=schema), to="valid", normalise={"celsius": normalise.cast("float64")})
    found = run(operator, [batch_of(rows_of([{"celsius": "x"}, {"celsius": None}], schema))])
    assert [[v["rule"] for v in row["violations"]] for row, _ in found["valid.quarantine"]] == [
        ["cast(celsius, float64)"],
        ["not_null(celsius)"],
    ]


def test_rules_with_memory_see_only_rows_that_keep_all_others() -> None:
    operator = clean(readings(unique(["sensor", "unit"]), between("celsius", 0, 100)), to="valid")
    found = step(operator, {"celsius": 101.0}, {}, {}, {"sensor": "s2"})
    assert [row["rule"] for row in found["valid.quarantine"]] == [
        "between(celsius, 0, 100)",
        "unique(sensor, unit, within 1d)",
    ]
    assert found["valid.quarantine"][1]["value"] == "sensor=s1, unit=C"
    assert [row["sensor"] for row in found["valid"]] == ["s1", "s2"]


def test_a_clock_far_ahead_is_quarantined_and_moves_nothing() -> None:
    operator = clean(readings(jump("at", "1d")), to="valid")
    found = step(operator, {}, {"at": NOON.replace(year=2099)}, {"at": NOON.replace(hour=13)})
    assert [row["at"].hour for row in found["valid"]] == [12, 13]
    assert [row["rule"] for row in found["valid.quarantine"]] == ["jump(at, 1d)"]


def test_without_a_clock_no_row_is_in_the_future() -> None:
    operator = clean(readings(not_future("at")), to="valid")
    assert len(step(operator, {"at": NOON.replace(year=2099)})["valid"]) == 1
    assert operator.row_wise


def test_findings_follow_the_row_at_which_they_showed() -> None:
    operator = clean(readings(null_rate("celsius", 0.5, over=2), finite("celsius")), to="valid")
    entries: list[dict[str, Any]] = [{"celsius": None}, {"celsius": None}, {"celsius": math.nan}]
    found = run(operator, [batch_of(rows_of(entries))])
    assert len(found["valid"]) == 2
    (finding, parent), (bad, _) = found["valid.quarantine"]
    assert finding["rule"] == "null_rate(celsius, 0.5, 2)"
    assert finding["value"] == "2 of 2 rows have no value"
    assert finding["sensor"] is None
    assert parent == ("plant.readings", 2, 7, 1)
    assert bad["rule"] == "finite(celsius)"


def test_a_gap_at_the_end_of_the_stream_is_found_by_the_last_tick() -> None:
    operator = clean(readings(covered("1h", by="sensor")), to="valid")
    rows = rows_of([{"sensor": "s1"}, {"sensor": "s2"}, {"sensor": "s2", "at": NOON.replace(hour=14)}])
    found = run(operator, [batch_of(rows), tick()])
    values = [(row["field"], row["value"], parent[2]) for row, parent in found["valid.quarantine"]]
    assert ("sensor", "sensor=s1: no row since 2013-06-01T13:00:00Z", -1) in values
    assert ("sensor", "sensor=s2: no row from 2013-06-01T13:00:00Z to 2013-06-01T14:00:00Z", -1) in values
    assert len(values) == 2


PLANES = Stream("sensors", Schema(pa.schema([("id", pa.string()), ("site", pa.string())])), key=("id",), kind="table")


@pytest.mark.parametrize("rule", [references("sensor", PLANES, "id"), references("sensor", "sensors", "id")])
def test_references_are_held_against_what_the_table_has_brought(rule: Any) -> None:
    operator = clean(readings(rule), to="valid", tables=[PLANES])
    known = pa.RecordBatch.from_pydict({"id": ["s1", "s3"]})
    rows = rows_of([{"sensor": "s1"}, {"sensor": "s2"}, {"sensor": "s3"}])
    found = run(operator, [batch_of(known, "sensors"), batch_of(rows)])
    assert [row["sensor"] for row, _ in found["valid"]] == ["s1", "s3"]
    assert [row["rule"] for row, _ in found["valid.quarantine"]] == ["references(sensor, sensors, id)"]
    assert operator.inputs[2].mode == "broadcast"
    assert operator.inputs[2].reads == ("id",)
    assert not operator.row_wise


def test_mended_rows_come_back_through_the_retry_stream() -> None:
    operator = clean(readings(finite("celsius"), covered("1h"), unique(["sensor", "at"])), to="valid")
    retry = operator.inputs[1].stream
    assert (retry.name, retry.time, retry.role, retry.codec) == ("valid.retry", None, "retry", "arrow")
    assert retry.schema == operator.inputs[0].stream.schema
    assert operator.inputs[1].mode == "partitioned"
    first = batch_of(rows_of([{"celsius": math.nan}, {"sensor": "s2"}]))
    mended = batch_of(rows_of([{"celsius": 1.0}, {"celsius": math.nan}]), "valid.retry", offset=3)
    found = run(operator, [first, mended])
    assert [(row["sensor"], row["celsius"], parent) for row, parent in found["valid"]] == [
        ("s2", 20.0, ("plant.readings", 2, 7, 1)),
        ("s1", 1.0, ("valid.retry", 2, 3, 0)),
    ]
    assert [parent[0] for _, parent in found["valid.quarantine"]] == ["plant.readings", "valid.retry"]


def test_the_output_is_shaped_by_drop_and_rename() -> None:
    operator = clean(
        readings(one_of("unit", ["C"])), to="valid", drop=["unit"], rename={"sensor": "device", "at": "taken"}
    )
    (good, bad) = operator.outputs
    assert good.schema.arrow.names == ["device", "taken", "celsius"]
    assert (good.key, good.time, good.entities) == (("device",), "taken", {"device": "sensor"})
    assert (good.partitions, good.codec, good.role) == (4, "arrow", "data")
    assert (bad.name, bad.role, bad.key, bad.time) == ("valid.quarantine", "quarantine", (), None)
    assert step(operator, {})["valid"] == [{"device": "s1", "taken": NOON, "celsius": 20.0}]


def test_a_source_that_has_a_field_named_rule_or_value_keeps_it() -> None:
    schema = pa.schema([("value", pa.float64()), ("rule", pa.string())])
    source = Stream("odd", Schema(schema), expect=(finite("value"),))
    rows = pa.RecordBatch.from_pydict({"value": [math.inf], "rule": ["mine"]}, schema)
    (output,) = outputs(clean(source, to="valid"), batch_of(rows, "odd"))
    (bad,) = output.rows.to_pylist()
    assert (bad["value"], bad["rule"]) == (math.inf, "mine")
    assert (bad["quarantine_value"], bad["quarantine_rule"], bad["field"]) == ("inf", "finite(value)", "value")


def test_lists_and_bytes_can_be_shown() -> None:
    schema = pa.schema([("tags", pa.list_(pa.string())), ("raw", pa.binary())])
    rule = condition("never", lambda rows: np.zeros(rows.num_rows, dtype=bool), ["tags", "raw"])
    rows = pa.RecordBatch.from_pydict({"tags": [["a"], None], "raw": [b"\xff", b"x"]}, schema)
    (output,) = outputs(clean(Stream("s", Schema(schema)), to="v", expect=[rule]), batch_of(rows, "s"))
    assert output.rows.column("value").to_pylist() == ["tags=['a'], raw=b'\\xff'", "tags=null, raw=b'x'"]


def test_field_lineage_is_exact() -> None:
    operator = clean(
        readings(between("celsius", 0, 1)),
        to="valid",
        rename={"unit": "scale"},
        impute={"celsius": impute.last_value(by="sensor")},
        flag_imputed=True,
    )
    derived = {entry.field: entry for entry in operator.derives()["valid"]}
    both = ("plant.readings", "valid.retry")
    assert derived["scale"].sources == tuple((origin, "unit") for origin in both)
    assert derived["celsius"].sources == tuple((origin, field) for field in ("celsius", "sensor") for origin in both)
    assert derived["celsius_imputed"].sources == tuple((origin, "celsius") for origin in both)
    assert not any(entry.coarse for entries in operator.derives().values() for entry in entries)
    quarantined = {entry.field: entry.sources for entry in operator.derives()["valid.quarantine"]}
    assert set(quarantined) == set(operator.outputs[1].schema.arrow.names)
    assert {field for _, field in quarantined["rule"]} == {"sensor", "at", "celsius"}
    assert quarantined["contract"] == ()


def test_the_version_follows_everything_that_decides_the_output() -> None:
    def positive(rows: pa.RecordBatch) -> Any:
        return pc.greater(rows.column("celsius"), 0)

    def negative(rows: pa.RecordBatch) -> Any:
        return pc.less(rows.column("celsius"), 0)

    made = [
        clean(readings(), to="valid"),
        clean(readings(), to="valid", version="2"),
        clean(readings(), to="valid", expect=[finite("celsius")]),
        clean(readings(), to="valid", expect=[condition("sign", positive, ["celsius"])]),
        clean(readings(), to="valid", expect=[condition("sign", negative, ["celsius"])]),
        clean(readings(), to="valid", normalise={"unit": normalise.trim()}),
        clean(readings(), to="valid", impute={"unit": impute.mode()}),
        clean(readings(), to="valid", drop=["unit"]),
    ]
    assert len({operator.version for operator in made}) == len(made)
    assert made[0].version == clean(readings(), to="valid").version
    assert orjson.loads(orjson.dumps(made[3].params)) == made[3].params


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"drop": ["colour"]}, "no field 'colour'"),
        ({"drop": ["sensor"]}, "is the key or event time"),
        ({"rename": {"unit": "celsius"}}, "Two fields of the output"),
        ({"normalise": {"celsius": normalise.trim()}}, "cannot be applied"),
        ({"normalise": {"unit": normalise.cast("list<int64>")}}, "cannot be applied"),
        ({"impute": {"unit": impute.mean()}}, "needs numbers"),
        ({"impute": {"unit": impute.last_value(by="colour")}}, "'colour', which does not exist"),
        ({"impute": {"celsius": impute.constant("x")}}, "cannot fill"),
        ({"expect": [references("sensor", "sensors", "id")]}, "needs the table"),
        ({"expect": [references("celsius", PLANES, "id")]}, "compares double with string"),
        ({"expect": [references("sensor", PLANES, "name")]}, "'name', which 'sensors' does not have"),
        ({"expect": [unique("unit")]}, "cannot be kept on 4 partitions"),
    ],
)
def test_what_does_not_fit_is_refused_at_declaration(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(CleanError, match=words) as caught:
        clean(readings(), to="valid", **changes)
    assert caught.value.exit_code == 2


def test_only_stateless_operators_are_row_wise() -> None:
    assert clean(readings(finite("celsius")), to="v", impute={"unit": impute.constant("C")}).row_wise
    assert not clean(readings(), to="v", impute={"unit": impute.mode()}).row_wise
    assert not clean(readings(null_rate("unit", 0.5)), to="v").row_wise
    assert not clean(readings(jump("at", "1d")), to="v").row_wise


entry = st.fixed_dictionaries(
    {
        "sensor": st.sampled_from(["s1", "s2", None]),
        "at": st.integers(0, 40).map(lambda hours: NOON + dt.timedelta(hours=hours)),
        "celsius": st.sampled_from([None, 1.0, 2.0, -1.0, math.nan, 400.0]),
        "unit": st.sampled_from(["C", "F", None, "?"]),
    }
)


@given(st.lists(entry, max_size=30), st.lists(st.integers(0, 30), max_size=3))
@settings(deadline=None)
def test_every_row_goes_one_way_in_order_however_the_stream_is_cut(
    entries: list[dict[str, Any]], cut: list[int]
) -> None:
    operator = clean(
        readings(finite("celsius"), one_of("unit", ["C", "F"]), unique(["sensor", "at"]), jump("at", "20h")),
        to="valid",
        impute={"celsius": impute.mean(), "unit": impute.mode()},
        expect=[not_null("sensor"), null_rate("unit", 0.3, over=4)],
    )
    rows = rows_of(entries)
    edges = [0, *sorted(min(at, len(entries)) for at in cut), len(entries)]
    parts = [batch_of(rows.slice(start, end - start), first=start) for start, end in itertools.pairwise(edges)]
    found = run(operator, parts)
    assert repr(found) == repr(run(operator, [batch_of(rows)], restore=False))
    good = [parent[3] for _, parent in found["valid"]]
    bad = [parent[3] for row, parent in found["valid.quarantine"] if not row["rule"].startswith("null_rate")]
    assert sorted(good + bad) == list(range(len(entries)))
    assert good == sorted(good)
    assert bad == sorted(bad)
