"""Changes: the outbox, and a catalog made anew from what went through it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog import Catalog, CatalogError, ContractSpec, DatasetSpec, EntitySpec, OperatorSpec, PipelineSpec, StreamSpec
from tests.services.databases import Databases

Compatible = Callable[[str, str], list[str]]


def changes_of(catalog: Catalog) -> list[dict[str, Any]]:
    return [change for _, change in catalog.outbox(10_000)]


@pytest.fixture
def busy(
    catalog: Catalog, plant: PipelineSpec, make_stream: Callable[..., StreamSpec], refuses_nothing: Compatible
) -> Catalog:
    """A catalog to which every kind of change was made."""
    catalog.register(plant, compatible=refuses_nothing)
    catalog.set_owner("plant.valid", "quality")
    catalog.tag("plant.valid", "golden")
    catalog.tag("plant.valid", "brief")
    catalog.untag("plant.valid", "brief")
    catalog.add_entity(EntitySpec("site", ("works",), "Where we make things."))
    catalog.observe("writes", "gateway", "plant.readings")
    more = make_stream("plant.sites", "site:site", "city", "zone", kind="table", key=("site",), codec="avro")
    more = replace(more, contract=ContractSpec(({"rule": "not_null", "field": "zone"},), "apiVersion: v3.1.0\n"))
    fewer = replace(plant, streams=(plant.streams[0], more, *plant.streams[2:4]), operators=plant.operators[:1])
    catalog.register(fewer, compatible=refuses_nothing)
    catalog.register_stream(make_stream("headwater.catalog", "change", role="platform"), compatible=refuses_nothing)
    catalog.register_dataset(DatasetSpec("training", {"last": 5}, {"a": [0, 5]}, "d1", ("plant.valid",)))
    return catalog


def test_every_kind_of_change_was_made(busy: Catalog) -> None:
    from catalog.changes import _WRITERS

    assert {change["change"] for change in changes_of(busy)} == set(_WRITERS)


def test_the_same_changes_give_an_equal_catalog(busy: Catalog, anew: str) -> None:
    with Catalog(anew, clock=lambda: 99) as other:
        other.apply_changes(changes_of(busy))
        assert other.dump() == busy.dump()
        assert other.outbox(10) == []
        assert other.stream("plant.sites") == busy.stream("plant.sites")
        assert other.search("which works?") == busy.search("which works?")
        assert other.lineage("plant.valid", at=2**60).names() == busy.lineage("plant.valid").names()


def test_a_rebuilt_catalog_goes_on_where_the_first_stopped(
    busy: Catalog, anew: str, make_stream: Callable[..., StreamSpec], refuses_nothing: Compatible
) -> None:
    with Catalog(anew, clock=lambda: 99) as other:
        other.apply_changes(changes_of(busy))
        for one in (busy, other):
            one.register_stream(make_stream("later", "p", "q"), compatible=refuses_nothing)
        assert other.stream("later").schema_id == busy.stream("later").schema_id
        assert other.outbox(10)[0][0] == busy.outbox(10_000)[-1][0]


def test_changes_that_came_twice_are_passed_over(busy: Catalog, anew: str) -> None:
    changes = changes_of(busy)
    with Catalog(anew) as other:
        other.apply_changes([*changes[:5], *changes[2:], *changes])
        assert other.dump() == busy.dump()


def test_a_gap_is_an_error_and_nothing_is_applied(busy: Catalog, anew: str) -> None:
    changes = changes_of(busy)
    with Catalog(anew) as other:
        empty = other.dump()
        with pytest.raises(CatalogError, match="Change 4 follows change 2"):
            other.apply_changes([*changes[:2], *changes[3:]])
        assert other.dump() == empty


def test_an_unknown_change_is_an_error(catalog: Catalog) -> None:
    with pytest.raises(CatalogError, match=r"unknown kind 'paint'.*upgrade"):
        catalog.apply_changes([{"id": 1, "at": 1, "change": "paint"}])
    with pytest.raises(CatalogError, match="no number"):
        catalog.apply_changes([{"change": "owner"}])


def test_the_outbox_is_read_in_order_and_emptied(busy: Catalog) -> None:
    first = busy.outbox(3)
    assert [number for number, _ in first] == [1, 2, 3]
    busy.outbox_done([number for number, _ in first])
    assert [number for number, _ in busy.outbox(2)] == [4, 5]
    busy.outbox_done([number for number, _ in busy.outbox(1000)])
    assert busy.outbox(1000) == []
    busy.set_owner("plant.valid", "others")
    assert len(busy.outbox(1000)) == 1


def test_a_refused_registration_leaves_no_change(
    busy: Catalog, plant: PipelineSpec, make_operator: Callable[..., OperatorSpec], refuses_nothing: Compatible
) -> None:
    before = busy.outbox(1000)
    unheard = make_operator("plant.join", ["plant.unheard"], ["plant.placed"])
    with pytest.raises(CatalogError, match="unheard"):
        busy.register(replace(plant, operators=(plant.operators[0], unheard)), compatible=refuses_nothing)
    assert busy.outbox(1000) == before


def test_each_change_is_later_than_the_one_before(url: str, make_stream: Callable[..., StreamSpec]) -> None:
    times = iter([100, 50, 200])
    with Catalog(url, clock=lambda: next(times)) as catalog:
        for name in "abc":
            catalog.register_stream(make_stream(name, "x"), compatible=lambda old, new: [])
        assert [catalog.stream(name).created_at for name in "abc"] == [100, 101, 200]


def test_dump_without_runs_has_no_times_or_offsets(busy: Catalog, anew: str) -> None:
    later = [{**change, "at": change["at"] + 12345} for change in changes_of(busy)]
    with Catalog(anew) as other:
        other.apply_changes(later)
        assert other.dump() != busy.dump()
        assert other.dump(without_runs=True) == busy.dump(without_runs=True)
        other.tag("plant.valid", "other")
        assert other.dump(without_runs=True) != busy.dump(without_runs=True)


Step = tuple[str, int, int]


def test_any_history_can_be_rebuilt(
    empty: str,
    databases: Databases,
    make_stream: Callable[..., StreamSpec],
    make_operator: Callable[..., Any],
    refuses_nothing: Compatible,
) -> None:
    kinds = st.sampled_from(["wire", "own", "tag", "untag", "observe", "grow"])

    @settings(max_examples=databases.examples, deadline=None)
    @given(steps=st.lists(st.tuples(kinds, st.integers(0, 3), st.integers(0, 3)), max_size=12))
    def is_rebuilt(steps: list[Step]) -> None:
        first, second = databases.create(empty), databases.create(empty)
        names = [f"s{number}" for number in range(4)]
        fields = {name: ["x"] for name in names}
        wires: dict[int, int] = {}
        with Catalog(first) as one, Catalog(second) as two:

            def register() -> None:
                streams = tuple(make_stream(name, *fields[name]) for name in names)
                operators = tuple(make_operator(f"o{to}", [names[source]], [names[to]]) for to, source in wires.items())
                one.register(PipelineSpec("p", streams=streams, operators=operators), compatible=refuses_nothing)

            register()
            for what, a, b in steps:
                if what == "wire":
                    wires = {**wires, a: b} if wires.get(a) != b else {to: wires[to] for to in wires if to != a}
                    register()
                elif what == "grow":
                    fields[names[a]] = ["x", *(f"y{number}" for number in range(b))]
                    register()
                elif what == "own":
                    one.set_owner(names[a], f"team-{b}")
                elif what == "observe":
                    one.observe("reads", f"service-{b}", names[a])
                else:
                    getattr(one, what)(names[a], f"tag-{b}")
            two.apply_changes(change for _, change in one.outbox(1000))
            assert two.dump() == one.dump()
        for url in (first, second):
            databases.drop(url)

    is_rebuilt()
