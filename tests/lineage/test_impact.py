"""What bad rows touched: where the answer is exact, where it is coarse, and what it says it does not know."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from catalog import DatasetSpec, NotRegistered
from headwater import Hub, Pipeline
from headwater.provenance import Impact
from operators.engines import embedded
from streams.address import BadAddress, NoSuchRow
from streams.impact import followed
from streams.rows import Rows
from tests.lineage.rows import ROWS, kept, source_rows, summed, table

NUMBERS = [(n % 3, 1, n) for n in range(12)]
MADE = ["id", "n", "exact", "wide"]


def rows_of(stream: str, count: int = 12, first: int = 0) -> pa.Table:
    return table(source_rows(stream, NUMBERS[:count], first, first))


def pipeline() -> Pipeline:
    p = Pipeline("i", partitions=1)
    s = p.stream("s", ROWS, key="key", time="at", codec="json")
    even = p.filter(s, lambda rows: np.asarray(rows["n"]) % 2 == 0, reads=["n"], to="even")
    joined = p.join(even, p.table("t", ROWS, key="key"), on="key", to="joined")
    p.map(joined, kept, reads=MADE, to="last")
    p.map(
        p.filter(s, lambda rows: np.asarray(rows["n"]) > 5, reads=["n"], to="high"),
        summed,
        reads=ROWS.names,
        to="sums",
        schema=ROWS,
    )
    return p


@pytest.fixture(scope="module")
def plant(shared_hub: Hub) -> Hub:
    p = pipeline()
    shared_hub.register(p)
    shared_hub.publish("i.t", rows_of("t", 3))
    for first in (0, 12):
        shared_hub.publish("i.s", rows_of("s", first=first))
        shared_hub.run(p, until="caught-up")
    return shared_hub


@pytest.fixture
def hub(make_hub: Callable[[], Hub]) -> Hub:
    return make_hub()


def touched(found: Impact) -> dict[str, int]:
    return {one.stream: one.rows for one in found.streams}


def shown(found: Impact) -> str:
    console = Console(width=200, color_system=None)
    with console.capture() as captured:
        console.print(found.tree())
    return captured.get()


def test_a_range_of_offsets_touches_what_was_made_from_it(plant: Hub) -> None:
    found = plant.impact("i.s", partition=0, first=2, end=5)
    assert found.start.rows == 3
    assert touched(found) == {"i.even": 2, "i.joined": 2, "i.last": 2}
    assert found["i.last"].granularity == "exact"
    assert found["i.last"].operators == ("i.even", "i.joined", "i.last")
    assert found["i.last"].made_from == (("i.joined", "i.last"),)
    assert found["i.last"].partitions == {0: ((0, 1),)}
    assert {row["exact"] for row in plant.read("i.last") if row.address in set(found.addresses("i.last"))} == {
        "s-2",
        "s-4",
    }


def test_a_bad_row_of_a_table_touches_the_rows_that_were_joined_with_it(plant: Hub) -> None:
    bad = plant.read("i.t").row(1)
    expected = {row.address for row in plant.read("i.joined") if row["t_id"] == bad["id"]}
    found = plant.impact(bad)
    assert set(found.addresses("i.joined")) == expected
    assert len(expected) == 4


def test_a_function_without_a_mapping_makes_the_answer_coarse(plant: Hub) -> None:
    found = plant.impact("i.s 0:7:0")
    assert touched(found) == {"i.high": 1, "i.sums": 7}
    assert found["i.high"].granularity == "exact"
    assert found["i.sums"].granularity == "coarse"
    assert found["i.sums"].coarse == 7
    assert "i.sums  7 rows, 7 of them perhaps" in shown(found)


def test_rows_can_be_given_in_every_way_that_they_are_had(plant: Hub) -> None:
    whole = plant.read("i.s")
    rows = Rows("i.s", whole.table.slice(2, 3), whole.addresses.slice(2, 5))
    by_range = plant.impact("i.s", partition=0, first=2, end=5).to_dict()
    assert plant.impact(rows).to_dict() == by_range
    assert plant.impact(list(rows)).to_dict() == by_range
    assert plant.impact([row.address for row in rows]).to_dict() == by_range
    one = plant.impact(rows.row(0)).to_dict()
    assert plant.impact(rows.row(0).address).to_dict() == plant.impact(str(rows.row(0).address)).to_dict() == one


def test_a_whole_stream_touches_all_that_was_made_from_it(plant: Hub) -> None:
    found = plant.impact("i.s")
    assert found.start.rows == 24
    assert touched(found) == {
        name: len(plant.read(name)) for name in ("i.even", "i.high", "i.joined", "i.last", "i.sums")
    }
    assert plant.impact("i.s", partition=0).to_dict() == found.to_dict()


def test_rows_that_made_nothing_touch_nothing(plant: Hub) -> None:
    found = plant.impact("i.s", partition=0, first=1, end=2)
    assert found.streams == ()
    assert "Nothing was made from these rows so far." in shown(found)
    with pytest.raises(KeyError):
        found["i.even"]


def test_datasets_whose_ranges_hold_a_touched_row_are_touched(plant: Hub) -> None:
    def freeze(name: str, first: int, end: int) -> None:
        manifest = {"ranges": {"i.last": [[0, first, end]], "i.t": [[0, 0, 3]]}}
        plant.catalog.register_dataset(
            DatasetSpec(name, {"streams": ["i.last", "i.t"]}, manifest, "x", ("i.last", "i.t"))
        )

    freeze("training", 0, 1)
    freeze("training", 1, 2)
    freeze("others", 1, 2)
    found = plant.impact("i.s", partition=0, first=2, end=5)
    assert [(one.name, one.version, dict(one.rows)) for one in found.datasets] == [("training", 1, {"i.last": 2})]
    assert "dataset training version 1: ranges with 2 rows of i.last" in shown(found)


def test_a_frozen_dataset_is_touched_when_its_rows_are(hub: Hub) -> None:
    p = Pipeline("d", partitions=1)
    s = p.stream("s", ROWS, key="key", time="at", codec="json")
    p.map(s, kept, reads=MADE, to="out")
    hub.register(p)
    hub.publish(s, rows_of("s"))
    hub.run(p, until="caught-up")
    hub.freeze("first", "d.out")
    hub.publish(s, rows_of("s", first=12))
    hub.run(p, until="caught-up")
    hub.freeze("all", "d.out")
    assert [one.name for one in hub.impact("d.s", partition=0, first=3, end=4).datasets] == ["all", "first"]
    assert [one.name for one in hub.impact("d.s", partition=0, first=20, end=21).datasets] == ["all"]


def test_what_is_gone_still_touches_what_was_made_from_it(hub: Hub) -> None:
    p = Pipeline("g", partitions=1)
    s = p.stream("s", ROWS, key="key", time="at", codec="json", retention="1d")
    p.map(s, kept, reads=MADE, to="out")
    hub.register(p)
    hub.publish(s, rows_of("s"))
    hub.run(p, until="caught-up")
    assert hub.log.sweep(hub.clock() + 3 * 86_400_000_000) == 12  # type: ignore[attr-defined]
    found = hub.impact("g.s", partition=0, first=3, end=6)
    assert touched(found) == {"g.out": 3}
    assert found.start.rows == 0


def test_rows_that_wait_in_state_touch_nothing_until_they_come_out(hub: Hub) -> None:
    p = Pipeline("h", partitions=1)
    left, right = (p.stream(name, ROWS, key="key", time="at") for name in ("left", "right"))
    p.join(left, right, on="key", how="asof", to="both")
    hub.register(p)
    hub.publish(left, rows_of("left"))
    hub.publish(right, rows_of("right"))
    hub.run(p, until="caught-up")
    assert touched(hub.impact("h.left", partition=0, first=0, end=12)) == {}
    for stream in (left, right):
        hub.publish(stream, rows_of(stream.name[2:], first=100))
    hub.run(p, until="caught-up")
    assert touched(hub.impact("h.left", partition=0, first=0, end=12)) == {"h.both": 12}


def test_the_answer_says_how_far_the_catalog_has_followed(hub: Hub) -> None:
    p = Pipeline("f", partitions=1)
    p.map(p.stream("s", ROWS, key="key", time="at"), kept, reads=MADE, to="out")
    hub.register(p)
    hub.publish("f.s", rows_of("s"))
    assert hub.impact("f.s").followed.at is None
    plan = hub.plan(p)
    embedded.run(plan, hub.context(plan), until="caught-up")
    assert followed(hub.log, hub.catalog).behind == 1
    found = hub.impact("f.s")
    assert found.followed.behind == 0
    assert found.followed.at is not None
    assert "The catalog knows the log up to 20" in shown(found)
    assert touched(found) == {"f.out": 12}


@pytest.mark.parametrize(
    ("arguments", "options", "error"),
    [
        ("i.s", {"partition": 0, "first": 5, "end": 5}, NoSuchRow),
        ("i.s", {"partition": 0, "first": 5, "end": 500}, NoSuchRow),
        ("i.s", {"partition": 7, "first": 0, "end": 1}, NoSuchRow),
        ("i.s", {"first": 0, "end": 1}, BadAddress),
        ("i.s 0:400:0", {}, NoSuchRow),
        ("i.last 0:0:4000", {}, NoSuchRow),
        ("i.s 0:1:0", {"partition": 0}, BadAddress),
        ([], {}, BadAddress),
        ("i.unknown", {}, NotRegistered),
        ("what about this", {}, BadAddress),
    ],
)
def test_rows_that_do_not_exist_are_refused(
    plant: Hub, arguments: object, options: dict[str, int], error: type
) -> None:
    with pytest.raises(error):
        plant.impact(arguments, **options)  # type: ignore[arg-type]


def test_rows_of_two_streams_are_refused(plant: Hub) -> None:
    with pytest.raises(BadAddress, match="several streams"):
        plant.impact([plant.read("i.s").row(0), plant.read("i.even").row(0)])


def test_an_impact_shows_itself(plant: Hub) -> None:
    found = plant.impact("i.s", partition=0, first=2, end=5)
    text = shown(found)
    assert "i.s  3 rows  asked about" in text
    assert "0:2 to 4" in text
    assert "└── i.last  2 rows  by i.last" in text
    assert repr(found) == "Impact(3 rows of i.s; touched: i.even 2, i.joined 2, i.last 2)"
    assert "i.last" in found._repr_html_()
    assert json.loads(json.dumps(found.to_dict()))["streams"][0]["partitions"] == {"0": [[0, 1]]}
