"""What a join is declared as, what it names its columns, what it refuses, and what becomes of late rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from operators.execution.state import State
from operators.join import CannotJoin, NotCoPartitioned, join
from operators.join.segments import SEGMENT_ROWS
from operators.operator import Derived, Input, Operator, Output
from streams.message import BEGINNING, END
from streams.parents import NO_PARENT, mode_of
from streams.schema import Schema
from streams.stream import Stream
from tests.operators.simulation import Arrival, batch_of, parent_rows, restored, rows_of, tick

UTC = pa.timestamp("us", tz="UTC")


def stream(name: str, columns: list[tuple[str, Any]], **given: Any) -> Stream:
    return Stream(name, Schema(pa.schema(columns)), **given)


FLIGHTS = stream(
    "air.flights",
    [("tailnum", pa.string()), ("at", UTC), ("origin", pa.string()), ("dest", pa.string()), ("delay", pa.int64())],
    key=("tailnum",),
    time="at",
    entities={"tailnum": "aircraft"},
)
PLANES = stream(
    "air.planes", [("tailnum", pa.string()), ("year", pa.int64())], key=("tailnum",), kind="table", partitions=1
)
AIRPORTS = stream(
    "air.airports",
    [("faa", pa.string()), ("name", pa.string()), ("code", pa.string())],
    key=("faa",),
    kind="table",
    entities={"code": "airport"},
)
ARRIVALS = stream(
    "air.arrivals", [("tail", pa.string()), ("landed", UTC), ("gate", pa.string())], key=("tail",), time="landed"
)


def arrival(of: Stream, columns: dict[str, list[Any]]) -> Arrival:
    arrays = [pa.array(columns[field.name], field.type) for field in of.schema.arrow]
    rows = pa.RecordBatch.from_arrays(arrays, schema=of.schema.arrow)
    times = rows.column(of.time).cast(pa.int64()).to_pylist() if of.time else [BEGINNING] * rows.num_rows
    return Arrival(of, rows, times)


def flights(*rows: tuple[Any, int]) -> Arrival:
    tails, times = [tail for tail, _ in rows], [time for _, time in rows]
    origins, delays = ["JFK"] * len(rows), list(range(len(rows)))
    return arrival(
        FLIGHTS, {"tailnum": tails, "at": times, "origin": origins, "dest": ["LAX"] * len(rows), "delay": delays}
    )


def arrivals(*rows: tuple[Any, int]) -> Arrival:
    gates = [f"gate {number}" for number in range(len(rows))]
    return arrival(ARRIVALS, {"tail": [tail for tail, _ in rows], "landed": [time for _, time in rows], "gate": gates})


def taken(operator: Operator, state: State, *steps: tuple[Arrival, int] | int) -> list[Output]:
    """What comes out when these batches with their clocks, or ticks, are taken."""
    outputs: list[Output] = []
    for number, step in enumerate(steps):
        batch = tick(step) if isinstance(step, int) else batch_of(operator, *step, offset=number)
        outputs.extend(operator.step(batch, state))
    return outputs


def test_several_tables_are_looked_up_in_one_step() -> None:
    operator = join(
        FLIGHTS,
        {"plane": PLANES, "origin": AIRPORTS, "dest": AIRPORTS},
        on={"plane": "tailnum", "origin": ("origin", "faa"), "dest": ("dest", "faa")},
        fields={"dest": ["name"], "origin": {"code": "from_code"}},
        to="air.enriched",
    )
    planes = arrival(PLANES, {"tailnum": ["N1", "N2", "N1"], "year": [1990, 2000, 1991]})
    airports = arrival(AIRPORTS, {"faa": ["JFK", "LAX"], "name": ["Kennedy", "Angeles"], "code": ["j", "l"]})
    given = flights(("N1", 10), ("N9", 11))
    (output,) = taken(operator, State(), (planes, BEGINNING), (airports, BEGINNING), (given, 10))
    assert output.rows.schema.names == [*FLIGHTS.schema.arrow.names, "plane_year", "from_code", "dest_name"]
    assert output.rows.select(["plane_year", "from_code", "dest_name"]).to_pylist() == [
        {"plane_year": 1991, "from_code": "j", "dest_name": "Angeles"},
        {"plane_year": None, "from_code": "j", "dest_name": "Angeles"},
    ]
    assert [parent_rows([output], slot) for slot in range(4)] == [[0, 1], [2, -1], [0, 0], [1, 1]]
    assert mode_of(output.parents[0]) == "identity"
    assert [part.stream for part in output.parents] == ["air.flights", "air.planes", "air.airports", "air.airports"]
    assert operator.inputs == (
        Input(FLIGHTS, "partitioned", ("tailnum", "at", "origin", "dest", "delay")),
        Input(PLANES, "broadcast", ("tailnum", "year")),
        Input(AIRPORTS, "broadcast", ("faa", "name", "code")),
    )
    assert operator.outputs[0].entities == {"tailnum": "aircraft", "from_code": "airport"}
    assert operator.derives()["air.enriched"][5:] == (
        Derived("plane_year", (("air.planes", "year"),)),
        Derived("from_code", (("air.airports", "code"),)),
        Derived("dest_name", (("air.airports", "name"),)),
    )
    assert [one.name for one in operator.outputs] == ["air.enriched"]


def test_later_table_rows_replace_earlier_ones() -> None:
    operator = join(FLIGHTS, PLANES, on="tailnum", to="air.out")
    state = State()
    for year in (1990, 1991):
        taken(operator, state, (arrival(PLANES, {"tailnum": ["N1"], "year": [year]}), BEGINNING))
        state = restored(state)
    (output,) = taken(operator, state, (flights(("N1", 1)), 1))
    assert output.rows.column("planes_year").to_pylist() == [1991]


def test_left_columns_can_be_chosen_and_read_without_being_kept() -> None:
    operator = join(
        FLIGHTS, AIRPORTS, on=("dest", "faa"), to="air.out", left_fields=["delay"], fields=["name"], prefix="to_"
    )
    assert operator.outputs[0].schema.arrow.names == ["tailnum", "at", "delay", "to_name"]
    assert operator.inputs[0].reads == ("tailnum", "at", "dest", "delay")
    assert operator.inputs[1].reads == ("faa", "name")


def test_asof_by_several_columns_with_long_keys() -> None:
    weather = stream(
        "air.weather", [("faa", pa.string()), ("tail", pa.string()), ("t", UTC), ("wind", pa.int64())], time="t"
    )
    operator = join(
        FLIGHTS, weather, on=[("origin", "faa"), ("tailnum", "tail")], how="asof", broadcast=True, to="air.out"
    )
    reports = arrival(
        weather,
        {
            "faa": ["JFK", "JFK", "EWR"],
            "tail": ["N1 long enough", "N2", "N1 long enough"],
            "t": [1, 2, 3],
            "wind": [1, 2, 3],
        },
    )
    outputs = taken(operator, State(), (reports, 1), (flights(("N1 long enough", 4), ("N2", 5), ("N3", 6)), 4), END)
    assert [row["weather_wind"] for row in rows_of(outputs)] == [1, 2, None]


def test_different_keys_with_one_code_do_not_meet() -> None:
    one, other = colliding_keys()
    left = stream("c.left", [("k", pa.binary()), ("at", UTC)], key=("k",), time="at")
    right = stream("c.right", [("k", pa.binary()), ("t", UTC), ("x", pa.int64())], key=("k",), time="t")
    table = stream("c.right", [("k", pa.binary()), ("x", pa.int64())], key=("k",), kind="table")
    lefts = arrival(left, {"k": [one, other], "at": [10, 10]})
    for rights in ([one, other], [one], [other]):
        expected = sorted([(key, rights.index(key) if key in rights else None) for key in (one, other)])
        rows: dict[str, list[Any]] = {"k": rights, "x": list(range(len(rights)))}
        for how, options in (("asof", {}), ("window", {"before": 10})):
            operator = join(left, right, on="k", how=how, to="c.out", **options)  # type: ignore[arg-type]
            given = arrival(right, {**rows, "t": [5] * len(rights)})
            for steps in ([(given, 5), (lefts, 10), END], [(given, 5), 6, (lefts, 10), END]):
                found = rows_of(taken(operator, State(), *steps))
                assert sorted((row["k"], row["right_x"]) for row in found) == expected
        operator = join(left, table, on="k", to="c.out")
        found = rows_of(taken(operator, State(), (arrival(table, rows), BEGINNING), (lefts, 10)))
        assert sorted((row["k"], row["right_x"]) for row in found) == expected
        one_by_one = [
            (arrival(table, {"k": [key], "x": [-number]}), BEGINNING)
            for number, key in enumerate([*rights, *rights, rights[0]])
        ]
        found = rows_of(taken(operator, State(), *one_by_one, (lefts, 10)))
        newest = {key: -number for number, key in enumerate([*rights, *rights, rights[0]])}
        assert {row["k"]: row["right_x"] for row in found} == {key: newest.get(key) for key in (one, other)}


def colliding_keys() -> tuple[bytes, bytes]:
    """Two keys of sixteen bytes with the same code."""
    multiplier, mask = 0x9E3779B97F4A7C15, 2**64 - 1

    def mixed(code: int) -> int:
        code = code * multiplier & mask
        return code ^ code >> 32

    start = 16 * multiplier & mask
    first, second = 1, 2
    last = mixed(start ^ first) ^ mixed(start ^ second) ^ 3
    return tuple(a.to_bytes(8, "little") + b.to_bytes(8, "little") for a, b in ((first, 3), (second, last)))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("left_type", "right_type", "values"),
    [
        (pa.int32(), pa.int64(), [1, -2]),
        (pa.uint8(), pa.uint64(), [1, 2]),
        (pa.string(), pa.large_string(), ["a", "longer than seven"]),
        (pa.float32(), pa.float64(), [0.5, -0.0]),
        (pa.date32(), pa.date32(), [1, 2]),
        (pa.bool_(), pa.bool_(), [True, False]),
        (pa.timestamp("us", tz="UTC"), pa.timestamp("us", tz="UTC"), [1, 2]),
        (pa.decimal128(5, 2), pa.decimal128(5, 2), ["1.50", "2.25"]),
        (pa.binary(4), pa.binary(4), [b"abcd", b"efgh"]),
    ],
)
def test_keys_of_many_types_meet(left_type: Any, right_type: Any, values: list[Any]) -> None:
    left = stream("c.left", [("k", left_type), ("n", pa.int64())])
    table = stream("c.right", [("k", right_type), ("n", pa.int64())], key=("k",), kind="table")
    operator = join(left, table, on="k", to="c.out")
    keys = pa.array(values).cast(left_type) if pa.types.is_decimal(left_type) else pa.array(values, left_type)
    others = keys.cast(right_type) if pa.types.is_decimal(left_type) else pa.array(values, right_type)
    given = Arrival(
        table, pa.RecordBatch.from_arrays([others, pa.array([0, 1])], schema=table.schema.arrow), [BEGINNING] * 2
    )
    asked = Arrival(
        left, pa.RecordBatch.from_arrays([keys, pa.array([0, 1])], schema=left.schema.arrow), [BEGINNING] * 2
    )
    (output,) = taken(operator, State(), (given, BEGINNING), (asked, BEGINNING))
    assert output.rows.column("right_n").to_pylist() == [0, 1]


def test_late_rows_go_to_the_side_stream_as_they_came() -> None:
    operator = join(FLIGHTS, ARRIVALS, on=("tailnum", "tail"), how="asof", to="air.out")
    outputs = taken(
        operator,
        State(),
        (flights(("N1", 20)), 20),
        (flights(("N1", 30), ("N2", 5)), 25),
        (arrivals(("N3", 7), ("N1", 30)), 30),
        END,
    )
    late = [output for output in outputs if output.stream == "air.out.late"]
    assert operator.outputs[1].role == "late"
    assert rows_of(late)[0]["late_input"] == "air.flights"
    assert [
        (row["late_input"], row["tailnum"], row["arrivals_tail"], row["arrivals_gate"]) for row in rows_of(late)
    ] == [
        ("air.flights", "N2", None, None),
        ("air.arrivals", None, "N3", "gate 0"),
    ]
    assert pa.array([row["late_clock"] for row in rows_of(late)], UTC).cast(pa.int64()).to_pylist() == [25, 30]
    assert [list(output.parents[0]) for output in late] == [[("air.flights", 0, 1, 1)], [("air.arrivals", 0, 2, 0)]]
    main = [output for output in outputs if output.stream == "air.out"]
    assert [(row["tailnum"], row["arrivals_gate"]) for row in rows_of(main)] == [("N1", None), ("N1", "gate 1")]


def test_lateness_lets_late_rows_join_in_order() -> None:
    operator = join(FLIGHTS, ARRIVALS, on=("tailnum", "tail"), how="asof", to="air.out", lateness=10)
    state = State()
    outputs = taken(
        operator,
        state,
        (arrivals(("N1", 1)), 1),
        (flights(("N1", 30)), 30),
        (arrivals(("N1", 25)), 31),
        (flights(("N1", 26)), 32),
    )
    assert outputs == []
    assert operator.holds(state) == 22
    found = rows_of(taken(operator, state, END))
    assert [(row["arrivals_gate"]) for row in found] == ["gate 0", "gate 0"]
    assert [row["arrivals_landed"].microsecond for row in found] == [25, 25]
    assert operator.holds(state) == END


def test_late_rows_of_a_broadcast_side_take_effect_from_then_on() -> None:
    prices = stream(
        "p.prices", [("k", pa.string()), ("since", UTC), ("price", pa.int64())], key=("k",), time="since", kind="table"
    )
    sales = stream("p.sales", [("k", pa.string()), ("at", UTC)], key=("k",), time="at")
    operator = join(sales, prices, on="k", to="p.out")

    def sold(*times: int) -> Arrival:
        return arrival(sales, {"k": ["a"] * len(times), "at": list(times)})

    def priced(*rows: tuple[int, int]) -> Arrival:
        return arrival(
            prices, {"k": ["a"] * len(rows), "since": [row[0] for row in rows], "price": [row[1] for row in rows]}
        )

    outputs = taken(
        operator,
        State(),
        (priced((10, 1)), 10),
        (sold(20, 30), 20),
        (priced((15, 3), (12, 2)), 25),
        (priced((11, 9)), 26),
        (sold(40), 40),
        END,
    )
    assert [row["prices_price"] for row in rows_of(outputs)] == [1, 3, 3]
    assert {output.stream for output in outputs} == {"p.out"}


def test_history_is_cleared_out() -> None:
    operator = join(FLIGHTS, ARRIVALS, on=("tailnum", "tail"), how="asof", to="air.out", tolerance=1_000)
    state = State()
    for start in range(0, 400_000, 5_000):
        times = range(start, start + 5_000)
        rows = arrivals(*((f"N{time}", time) for time in times))
        taken(operator, state, (rows, start))
    kept = sum(state[name].num_rows for name in state if not isinstance(state[name], bytes))  # type: ignore[union-attr]
    assert kept < 60_000


def test_window_state_is_bounded_and_its_values_small() -> None:
    operator = join(FLIGHTS, ARRIVALS, on=("tailnum", "tail"), how="window", after=10_000, before=2_000, to="air.out")
    state = State()
    for start in range(0, 100_000, 5_000):
        rows = [("N1" if time % 2_000 else "N2", time) for time in range(start, start + 5_000)]
        taken(operator, state, (flights(*rows[::10]), start), (arrivals(*rows[::10]), start))
        state = restored(state)
    sizes = [state[name].num_rows for name in state if not isinstance(state[name], bytes)]  # type: ignore[union-attr]
    assert max(sizes) <= SEGMENT_ROWS
    assert sum(sizes) < 3 * SEGMENT_ROWS
    taken(operator, state, END)
    assert all(isinstance(state[name], bytes) for name in state)


def test_unmatched_left_rows_come_out_when_their_window_closes() -> None:
    operator = join(FLIGHTS, ARRIVALS, on=("tailnum", "tail"), how="window", after="100us", many="one", to="air.out")
    state = State()
    assert taken(operator, state, (flights(("N1", 10), (None, 20), ("N2", 30)), 10), (arrivals(("N2", 40)), 40)) == []
    assert operator.holds(state) == 40
    (pair,) = taken(operator, state, 100)
    assert [(row["tailnum"], row["arrivals_gate"]) for row in rows_of([pair])] == [("N2", "gate 0")]
    assert operator.holds(state) == 110
    (alone,) = taken(operator, state, 115)
    assert [(row["tailnum"], row["arrivals_gate"], row["joined_at"].microsecond) for row in rows_of([alone])] == [
        ("N1", None, 110)
    ]
    assert [part.offset.tolist() for part in alone.parents] == [[0], [NO_PARENT]]
    assert operator.outputs[0].time == "joined_at"
    assert [row["joined_at"].microsecond for row in rows_of(taken(operator, state, END))] == [120]


def test_window_time_descends_from_both_event_times() -> None:
    operator = join(FLIGHTS, ARRIVALS, on=("tailnum", "tail"), how="window", after=1, to="air.out", time_name="known")
    sources = (("air.flights", "at"), ("air.arrivals", "landed"))
    assert Derived("known", sources) in operator.derives()["air.out"]


@pytest.mark.parametrize(
    ("right", "options", "message"),
    [
        (replace(ARRIVALS, partitions=8), {"on": ("tailnum", "tail")}, "4 partitions and the right side 8"),
        (replace(ARRIVALS, key=("gate",)), {"on": ("tailnum", "tail")}, "partitioned by 'gate'"),
        (ARRIVALS, {"on": ("dest", "tail")}, "partitioned by 'tailnum' and joined on 'dest'"),
    ],
)
def test_sides_that_would_not_meet_are_refused(right: Stream, options: Any, message: str) -> None:
    with pytest.raises(NotCoPartitioned, match=message) as refused:
        join(FLIGHTS, right, how="asof", to="air.out", **options)
    assert "hw.repartition" in str(refused.value)
    assert "broadcast=True" in str(refused.value)
    assert join(FLIGHTS, right, how="asof", to="air.out", broadcast=True, **options).inputs[1].mode == "broadcast"
    with pytest.raises(NotCoPartitioned, match=r"hw\.repartition"):
        join(FLIGHTS, right, how="window", after=1, to="air.out", **options)


@pytest.mark.parametrize(
    ("left", "right", "options", "message"),
    [
        (FLIGHTS, ARRIVALS, {"on": ("tailnum", "tail")}, "how= is needed"),
        (FLIGHTS, ARRIVALS, {"on": "tailnum", "how": "asof"}, "air.arrivals.*no column 'tailnum'|no column 'tailnum'"),
        (FLIGHTS, PLANES, {"on": ("delay", "tailnum")}, "int64 and 'tailnum' is string"),
        (FLIGHTS, AIRPORTS, {"on": ("dest", "code")}, "table by faa, and is joined on code"),
        (FLIGHTS, PLANES, {"on": "tailnum", "prefix": "", "fields": {"year": "delay"}}, "more than one column 'delay'"),
        (FLIGHTS, PLANES, {"on": "tailnum", "after": 5}, "does not take before, after and many"),
        (FLIGHTS, PLANES, {"on": "tailnum", "fields": ["age"]}, "no column 'age'"),
        (FLIGHTS, {"p": PLANES}, {"on": {"q": "tailnum"}}, "how 'p' is joined"),
        (FLIGHTS, FLIGHTS, {"on": "tailnum", "how": "asof"}, "with itself"),
        (replace(FLIGHTS, time=None), ARRIVALS, {"on": ("tailnum", "tail"), "how": "asof"}, "no event time"),
        (FLIGHTS, ARRIVALS, {"on": ("tailnum", "tail"), "how": "window"}, "how wide its window is"),
        (FLIGHTS, ARRIVALS, {"on": ("tailnum", "tail"), "how": "near"}, "is not a join"),
    ],
)
def test_what_cannot_be_joined_is_refused(left: Stream, right: Any, options: Any, message: str) -> None:
    with pytest.raises(CannotJoin, match=message):
        join(left, right, to="air.out", **options)


def test_version_follows_parameters() -> None:
    def version(**options: Any) -> str:
        return join(FLIGHTS, ARRIVALS, on=("tailnum", "tail"), to="air.out", **{"how": "asof", **options}).version

    versions = {
        version(),
        version(tolerance="1h"),
        version(kind="inner"),
        version(version="2"),
        version(allow_exact=False),
    }
    assert len(versions) == 5
    assert version() == version()


def test_empty_batches_change_nothing() -> None:
    operator = join(FLIGHTS, ARRIVALS, on=("tailnum", "tail"), how="window", after=5, to="air.out")
    state = State()
    assert taken(operator, state, (flights(), 5), (arrivals(), 5), END) == []
    assert operator.holds(state) == END
    assert np.all([isinstance(state[name], bytes) for name in state])
