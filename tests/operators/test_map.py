"""Functions as operators: what they see, what they give, where rows come from, and what goes wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from operators.execution.state import State
from operators.map import (
    CannotMap,
    Mapped,
    StepFailed,
    UndeclaredRead,
    WrongOutput,
    filter,
    map,
    repartition,
)
from operators.operator import Batch, Derived, Operator, Output
from streams.message import END
from streams.parents import Addresses, OffsetRange, Ranges, mode_of
from streams.schema import Schema
from streams.stream import Stream

UTC = pa.timestamp("us", tz="UTC")
READINGS = Stream(
    "plant.readings",
    Schema(pa.schema([("sensor", pa.string()), ("at", UTC), ("celsius", pa.float64()), ("site", pa.string())])),
    key=("sensor",),
    time="at",
    entities={"sensor": "sensor", "site": "site"},
)
ROWS = pa.RecordBatch.from_arrays(
    [
        pa.array(["a", "b", "c"]),
        pa.array([1, 2, 3]).cast(UTC),
        pa.array([0.0, 100.0, None]),
        pa.array(["x", None, "y"]),
    ],
    schema=READINGS.schema.arrow,
)


def stepped(operator: Operator, rows: pa.RecordBatch = ROWS) -> list[Output]:
    taken = rows.select(list(operator.inputs[0].reads))
    addresses = Addresses.of_message(READINGS.name, 2, 40, rows.num_rows)
    times = rows.column("at").cast(pa.int64()).to_numpy()
    return list(operator.step(Batch(READINGS.name, taken, addresses, times, 1), State()))


def fahrenheit(batch: pa.RecordBatch) -> pa.RecordBatch:
    degrees = pc.add(pc.multiply(batch.column("celsius"), 1.8), 32.0)
    return pa.RecordBatch.from_arrays([degrees], names=["fahrenheit"])


def test_map_carries_key_and_event_time_over() -> None:
    operator = map(READINGS, fahrenheit, reads=["celsius"], to="plant.f")
    (output,) = stepped(operator)
    assert output.rows.to_pydict() == {
        "sensor": ["a", "b", "c"],
        "at": ROWS.column("at").to_pylist(),
        "fahrenheit": [32.0, 212.0, None],
    }
    assert operator.outputs[0].key == ("sensor",)
    assert operator.outputs[0].time == "at"
    assert operator.outputs[0].schema.arrow == output.rows.schema
    assert operator.outputs[0].entities == {"sensor": "sensor"}
    assert operator.inputs[0].reads == ("sensor", "at", "celsius")
    assert mode_of(output.parents[0]) == "identity"


def test_map_adds_to_all_columns() -> None:
    operator = map(READINGS, fahrenheit, reads=["celsius"], to="plant.f", add=True)
    (output,) = stepped(operator)
    assert output.rows.schema.names == ["sensor", "at", "celsius", "site", "fahrenheit"]
    assert output.rows.column("site").to_pylist() == ["x", None, "y"]


def test_function_sees_only_its_reads() -> None:
    seen = []

    def look(batch: pa.RecordBatch) -> pa.RecordBatch:
        seen.append(batch.schema.names)
        return batch

    stepped(map(READINGS, look, reads=["celsius"], to="plant.f", add=True))
    assert seen == [["celsius"], ["celsius"]]


def test_lineage_is_coarse_unless_declared() -> None:
    def two(batch: pa.RecordBatch) -> pa.RecordBatch:
        return pa.RecordBatch.from_arrays([batch.column(0), batch.column(1)], names=["one", "other"])

    operator = map(READINGS, two, reads=["celsius", "site"], to="plant.f", derives={"one": ["celsius"]})
    assert operator.derives()["plant.f"] == (
        Derived("sensor", (("plant.readings", "sensor"),)),
        Derived("at", (("plant.readings", "at"),)),
        Derived("one", (("plant.readings", "celsius"),)),
        Derived("other", (("plant.readings", "celsius"), ("plant.readings", "site")), coarse=True),
    )


@pytest.mark.parametrize("form", [Mapped, lambda rows, parents: (rows, parents)])
def test_map_with_indices_explodes(form: Any) -> None:
    def twice(batch: pa.RecordBatch) -> Any:
        indices = np.repeat(np.arange(batch.num_rows), 2)
        return form(batch.take(pa.array(indices)), indices)

    (output,) = stepped(map(READINGS, twice, reads=["celsius"], to="plant.f"))
    assert output.rows.column("sensor").to_pylist() == ["a", "a", "b", "b", "c", "c"]
    assert [address.row for address in output.parents[0]] == [0, 0, 1, 1, 2, 2]


def test_map_without_mapping_descends_from_the_batch() -> None:
    def mean(batch: pa.RecordBatch) -> pa.Table:
        latest = pc.max(batch.column("at"))
        return pa.table(
            {"at": pa.array([latest], UTC), "mean": pa.array([pc.mean(batch.column("celsius")).as_py()], pa.float64())}
        )

    (output,) = stepped(map(READINGS, mean, reads=["at", "celsius"], to="plant.mean", key=()))
    assert output.rows.column("mean").to_pylist() == [50.0]
    assert output.parents == (Ranges((OffsetRange("plant.readings", 2, 40, 41),), "batch"),)


def test_columns_cannot_be_carried_without_a_mapping() -> None:
    def first(batch: pa.RecordBatch) -> pa.RecordBatch:
        return batch.slice(0, 1)

    with pytest.raises(WrongOutput, match=r"'sensor', 'at' cannot be carried.*plant\.readings 2:40.*Mapped"):
        stepped(map(READINGS, first, reads=["celsius"], to="plant.f"))


def test_wrong_indices_are_refused() -> None:
    def beyond(batch: pa.RecordBatch) -> Any:
        return batch, [number + 1 for number in range(batch.num_rows)]

    with pytest.raises(WrongOutput, match="indices"):
        stepped(map(READINGS, beyond, reads=["celsius"], to="plant.f"))


def test_function_that_raises_is_named_with_its_rows() -> None:
    def fails(batch: pa.RecordBatch) -> pa.RecordBatch:
        if batch.num_rows:
            raise ZeroDivisionError("by nothing")
        return batch

    with pytest.raises(StepFailed, match=r"ZeroDivisionError: by nothing.*plant\.f, plant\.readings 2:40"):
        stepped(map(READINGS, fails, reads=["celsius"], to="plant.f"))


def test_memory_and_io_errors_stay_what_they_are() -> None:
    def full(batch: pa.RecordBatch) -> pa.RecordBatch:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        stepped(map(READINGS, full, reads=["celsius"], to="plant.f", schema=pa.schema([("x", pa.int64())])))


@pytest.mark.parametrize(
    "peek",
    [lambda batch: batch["site"], lambda batch: batch.column("site"), lambda batch: batch.select(["site"])],
)
def test_undeclared_read_is_named(peek: Any) -> None:
    with pytest.raises(UndeclaredRead, match=r"'site', which is not in reads=.*reads=\['celsius', 'site'\]"):
        map(READINGS, peek, reads=["celsius"], to="plant.f")


def test_undeclared_read_of_an_expression_is_named() -> None:
    with pytest.raises(UndeclaredRead, match="'site', which is not in reads="):
        stepped(filter(READINGS, pc.field("site") == "x", reads=["celsius"], to="plant.f"))


def test_schema_is_asked_for_when_it_cannot_be_seen() -> None:
    def needs_rows(batch: pa.RecordBatch) -> pa.RecordBatch:
        batch.column(0).to_pylist()[0]
        return batch

    with pytest.raises(CannotMap, match=r"IndexError.*schema="):
        map(READINGS, needs_rows, reads=["celsius"], to="plant.f")
    made = map(READINGS, needs_rows, reads=["celsius"], to="plant.f", schema=pa.schema([("celsius", pa.float64())]))
    assert stepped(made)[0].rows.column("celsius").to_pylist() == [0.0, 100.0, None]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array(["1", "2", "3"]), "'n' as string; expected is int64"),
        (pa.array([1, None, 3]), "1 nulls in 'n'; expected are none"),
    ],
)
def test_wrong_columns_name_what_was_expected(column: Any, message: str) -> None:
    declared = pa.schema([pa.field("n", pa.int64(), nullable=False)])

    def wrong(batch: pa.RecordBatch) -> pa.RecordBatch:
        return pa.RecordBatch.from_arrays([column], names=["n"])

    with pytest.raises(WrongOutput, match=message):
        stepped(map(READINGS, wrong, reads=["celsius"], to="plant.f", schema=declared))


def test_missing_column_is_named() -> None:
    with pytest.raises(WrongOutput, match="'fahrenheit'; expected are 'kelvin'"):
        stepped(
            map(READINGS, fahrenheit, reads=["celsius"], to="plant.f", schema=pa.schema([("kelvin", pa.float64())]))
        )


def test_naive_timestamps_are_refused() -> None:
    with pytest.raises(CannotMap, match="'when' is a timestamp without time zone"):
        map(READINGS, fahrenheit, reads=["celsius"], to="plant.f", schema=pa.schema([("when", pa.timestamp("us"))]))


def test_unknown_reads_are_refused() -> None:
    with pytest.raises(CannotMap, match="no column 'kelvin'"):
        map(READINGS, fahrenheit, reads=["kelvin"], to="plant.f")


def test_version_follows_what_the_function_does() -> None:
    def one(batch: pa.RecordBatch) -> pa.RecordBatch:
        return batch.slice(0)

    first = map(READINGS, one, reads=["celsius"], to="plant.f")

    def one(batch: pa.RecordBatch) -> pa.RecordBatch:  # type: ignore[no-redef]  # the same, laid out otherwise
        return batch.slice(0)

    same = map(READINGS, one, reads=["celsius"], to="plant.f")

    def one(batch: pa.RecordBatch) -> pa.RecordBatch:  # type: ignore[no-redef]
        return batch.slice(0, 10)

    other = map(READINGS, one, reads=["celsius"], to="plant.f")
    assert first.version == same.version != other.version
    assert map(READINGS, one, reads=["celsius"], to="plant.f", version="2").version != other.version


@pytest.mark.parametrize(
    "predicate",
    [
        pc.field("celsius") > 50,
        lambda batch: pc.greater(batch.column("celsius"), 50),
        lambda batch: batch.column("celsius").to_numpy(zero_copy_only=False) > 50,
    ],
)
def test_filter_keeps_true_rows_and_null_is_not_true(predicate: Any) -> None:
    operator = filter(READINGS, predicate, reads=["celsius"], to="plant.hot")
    (output,) = stepped(operator)
    assert output.rows.to_pylist() == ROWS.slice(1, 1).to_pylist()
    assert list(output.parents[0]) == [("plant.readings", 2, 40, 1)]
    assert all(not derived.coarse for derived in operator.derives()["plant.hot"])


def test_filter_parents_are_a_bitmap() -> None:
    rows = pa.concat_batches([ROWS] * 3)
    (output,) = stepped(filter(READINGS, pc.field("celsius").is_valid(), reads=["celsius"], to="plant.ok"), rows)
    assert [address.row for address in output.parents[0]] == [0, 1, 3, 4, 6, 7]
    assert mode_of(output.parents[0]) == "bitmap"


def test_filter_without_hits_writes_nothing() -> None:
    assert stepped(filter(READINGS, pc.field("celsius") > 1e9, reads=["celsius"], to="plant.hot")) == []


@pytest.mark.parametrize("answer", [[True], np.array([True]), pa.array([1, 2, 3]), None])
def test_predicate_that_gives_something_else_is_refused(answer: Any) -> None:
    with pytest.raises(WrongOutput, match="expected are 3 truth values"):
        stepped(filter(READINGS, lambda batch: answer, reads=["celsius"], to="plant.hot"))


def test_repartition_puts_rows_without_a_key_aside() -> None:
    operator = repartition(READINGS, "site", "plant.by_site", partitions=8)
    main, keyless = operator.outputs
    assert (main.key, main.partitions, main.time) == (("site",), 8, "at")
    assert (keyless.name, keyless.key) == ("plant.by_site.keyless", ())
    outputs = stepped(operator)
    assert [(output.stream, output.rows.column("sensor").to_pylist()) for output in outputs] == [
        ("plant.by_site", ["a", "c"]),
        ("plant.by_site.keyless", ["b"]),
    ]
    assert [address.row for address in outputs[0].parents[0]] == [0, 2]


def test_empty_batches_make_nothing_and_nothing_is_held() -> None:
    for operator in (
        map(READINGS, fahrenheit, reads=["celsius"], to="plant.f"),
        filter(READINGS, pc.field("celsius") > 1, reads=["celsius"], to="plant.f"),
        repartition(READINGS, "site", "plant.f"),
    ):
        assert stepped(operator, ROWS.slice(0, 0)) == []
        assert operator.holds(State()) == END
