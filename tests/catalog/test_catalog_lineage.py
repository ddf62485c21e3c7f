"""Lineage: up and down, by stream and by field, now and at a past time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog import Catalog, DatasetSpec, NotRegistered, OperatorSpec, PipelineSpec, StreamSpec
from tests.services.databases import Databases

Compatible = Callable[[str, str], list[str]]
MakeStream = Callable[..., StreamSpec]
MakeOperator = Callable[..., OperatorSpec]


def chain(length: int, make_stream: MakeStream, make_operator: MakeOperator) -> PipelineSpec:
    """s0 -> o0 -> s1 -> o1 -> ..."""
    return PipelineSpec(
        "chain",
        streams=tuple(make_stream(f"s{number}", "a") for number in range(length + 1)),
        operators=tuple(make_operator(f"o{n}", [f"s{n}"], [f"s{n + 1}"]) for n in range(length)),
    )


def test_up_and_down_by_stream(registered: Catalog) -> None:
    up = registered.lineage("plant.placed")
    assert up.names() == ["plant.readings", "plant.sites", "plant.valid"]
    assert up.names("operator") == ["plant.clean", "plant.join"]
    down = registered.lineage("plant.readings", direction="down")
    assert down.names() == ["plant.placed", "plant.valid", "plant.valid.quarantine"]
    assert not up.truncated


def test_edges_go_from_stream_to_operator_to_stream(registered: Catalog) -> None:
    graph = registered.lineage("plant.placed", depth=1)
    names = {node.id: node.name for node in graph.nodes}
    assert {(names[edge.source], names[edge.target], edge.via, edge.evidence, edge.level) for edge in graph.edges} == {
        ("plant.join", "plant.placed", "plant.join", "declared", "stream"),
        ("plant.valid", "plant.join", "plant.join", "declared", "stream"),
        ("plant.sites", "plant.join", "plant.join", "declared", "stream"),
    }
    assert graph.root.name == "plant.placed"


def test_up_and_down_by_field(registered: Catalog) -> None:
    up = registered.lineage("plant.placed", field="celsius")
    assert up.names("field") == ["plant.readings.celsius", "plant.valid.celsius"]
    assert {edge.via for edge in up.edges} == {"plant.clean", "plant.join"}
    down = registered.lineage("plant.sites", field="city", direction="down")
    assert [(node.stream, node.field) for node in down.nodes] == [("plant.sites", "city"), ("plant.placed", "city")]


def test_coarse_links_are_marked(catalog: Catalog, plant: PipelineSpec, refuses_nothing: Compatible) -> None:
    clean = plant.operators[0]
    output = replace(clean.outputs[0], fields=(replace(clean.outputs[0].fields[0], coarse=True),))
    coarse = replace(plant, operators=(replace(clean, outputs=(output,)),))
    catalog.register(coarse, compatible=refuses_nothing)
    assert [edge.coarse for edge in catalog.lineage("plant.valid", field="celsius").edges] == [True]


@pytest.mark.parametrize("depth", [0, 1, 2, 5])
def test_depth_counts_operators_passed(
    depth: int, catalog: Catalog, make_stream: MakeStream, make_operator: MakeOperator, refuses_nothing: Compatible
) -> None:
    catalog.register(chain(5, make_stream, make_operator), compatible=refuses_nothing)
    graph = catalog.lineage("s5", depth=depth)
    assert graph.names() == sorted(f"s{5 - away}" for away in range(1, depth + 1))
    assert graph.truncated == (depth < 5)


def test_depth_is_the_same_with_a_service_at_the_end(registered: Catalog) -> None:
    registered.observe("writes", "backfill", "plant.placed")
    assert registered.lineage("plant.placed", depth=1).names() == ["plant.sites", "plant.valid"]


def test_lineage_of_an_operator(registered: Catalog) -> None:
    assert registered.lineage("plant.join", depth=1).names() == ["plant.sites", "plant.valid"]
    assert registered.lineage("plant.join", direction="down").names() == ["plant.placed"]


def test_a_cycle_ends_the_walk(
    catalog: Catalog, make_stream: MakeStream, make_operator: MakeOperator, refuses_nothing: Compatible
) -> None:
    loop = PipelineSpec(
        "loop",
        streams=(make_stream("a", "x"), make_stream("b", "x")),
        operators=(make_operator("ab", ["a"], ["b"]), make_operator("ba", ["b"], ["a"])),
    )
    catalog.register(loop, compatible=refuses_nothing)
    graph = catalog.lineage("a")
    assert graph.names() == ["b"]
    assert len(graph.edges) == 4


def test_lineage_at_a_past_time(
    registered: Catalog, plant: PipelineSpec, make_operator: MakeOperator, refuses_nothing: Compatible
) -> None:
    first = registered.operator("plant.join").versions[0].valid_from
    newer = make_operator("plant.join", ["plant.valid"], ["plant.placed"], version="2")
    registered.register(replace(plant, operators=(plant.operators[0], newer)), compatible=refuses_nothing)
    second = registered.operator("plant.join").versions[1].valid_from
    assert registered.lineage("plant.placed", depth=1).names() == ["plant.valid"]
    assert registered.lineage("plant.placed", depth=1, at=second).names() == ["plant.valid"]
    assert registered.lineage("plant.placed", depth=1, at=second - 1).names() == ["plant.sites", "plant.valid"]
    assert registered.lineage("plant.placed", at=first - 1).names() == []
    old = registered.lineage("plant.placed", field="city", at=first)
    assert old.names("field") == ["plant.sites.city", "plant.valid.site"]
    assert registered.lineage("plant.placed", field="city").names("field") == []


def test_services_are_ends_of_the_graph(registered: Catalog) -> None:
    registered.observe("writes", "gateway", "plant.readings")
    registered.observe("reads", "dashboard", "plant.placed")
    registered.observe("reads", "gateway", "plant.placed")
    assert registered.lineage("plant.placed").names("service") == ["gateway"]
    down = registered.lineage("plant.readings", direction="down")
    assert down.names("service") == ["dashboard", "gateway"]
    assert registered.lineage("dashboard").names() == ["plant.placed", "plant.readings", "plant.sites", "plant.valid"]
    assert registered.stream("plant.readings").producers == ("gateway",)
    assert registered.stream("plant.placed").consumers == ("dashboard", "gateway")


def test_evidence_is_chosen(registered: Catalog) -> None:
    registered.observe("writes", "gateway", "plant.readings")
    assert registered.lineage("plant.readings", evidence="declared").names("service") == []
    assert registered.lineage("plant.readings", evidence="observed").names("service") == ["gateway"]


def test_a_service_is_observed_once(registered: Catalog, registered_at: str) -> None:
    registered.observe("reads", "dashboard", "plant.placed")
    changes = registered.outbox(100)
    registered.observe("reads", "dashboard", "plant.placed")
    with Catalog(registered_at) as other:
        other.observe("reads", "dashboard", "plant.placed")
    assert registered.outbox(100) == changes


def test_observing_an_unknown_stream_is_an_error(registered: Catalog) -> None:
    with pytest.raises(NotRegistered, match=r"Did you mean 'plant\.placed'"):
        registered.observe("reads", "dashboard", "plant.place")


def test_datasets_are_in_the_graph(registered: Catalog) -> None:
    registered.register_dataset(DatasetSpec("training", {"a": 1}, {}, "d1", ("plant.placed", "plant.sites")))
    assert registered.lineage("plant.readings", direction="down").names("dataset") == ["training"]
    assert registered.lineage("training", depth=1).names() == ["plant.placed", "plant.sites"]
    registered.register_dataset(DatasetSpec("training", {"a": 2}, {}, "d2", ("plant.placed",)))
    assert registered.lineage("training", depth=1).names() == ["plant.placed"]


def test_unknown_names_fail(registered: Catalog) -> None:
    with pytest.raises(NotRegistered, match=r"Did you mean 'plant\.placed'"):
        registered.lineage("plant.place")
    with pytest.raises(NotRegistered, match="Did you mean 'celsius'"):
        registered.lineage("plant.placed", field="celcius")


def test_a_long_chain_is_walked_whole(
    catalog: Catalog, make_stream: MakeStream, make_operator: MakeOperator, refuses_nothing: Compatible
) -> None:
    catalog.register(chain(60, make_stream, make_operator), compatible=refuses_nothing)
    assert len(catalog.lineage("s60").names()) == 60


Shape = list[tuple[frozenset[int], int]]


SHAPES = st.lists(
    st.tuples(st.frozensets(st.integers(0, 7), min_size=1, max_size=3), st.integers(0, 7)),
    min_size=1,
    max_size=8,
    unique_by=lambda one: one[1],
)


def test_any_graph_is_walked_as_it_was_declared(
    empty: str,
    databases: Databases,
    make_stream: MakeStream,
    make_operator: MakeOperator,
    refuses_nothing: Compatible,
) -> None:
    @settings(max_examples=databases.examples, deadline=None)
    @given(shape=SHAPES)
    def is_walked(shape: Shape) -> None:
        pipeline = PipelineSpec(
            "any",
            streams=tuple(make_stream(f"s{number}", "x") for number in range(8)),
            operators=tuple(
                make_operator(
                    f"o{to}",
                    [f"s{one}" for one in sorted(sources)],
                    [f"s{to}"],
                    links={(f"s{to}", "x"): [(f"s{one}", "x") for one in sorted(sources)]},
                )
                for sources, to in shape
            ),
        )
        url = databases.create(empty)
        with Catalog(url) as catalog:
            catalog.register(pipeline, compatible=refuses_nothing)
            for start in range(8):
                above = reached(start, {to: sources for sources, to in shape})
                graph = catalog.lineage(f"s{start}")
                assert graph.names() == sorted(f"s{one}" for one in above - {start})
                fields = catalog.lineage(f"s{start}", field="x")
                assert fields.names("field") == sorted(f"s{one}.x" for one in above - {start})
        databases.drop(url)

    is_walked()


def reached(start: int, parents: dict[int, frozenset[int]]) -> set[int]:
    seen: set[int] = set()
    waiting = [start]
    while waiting:
        for one in parents.get(waiting.pop(), frozenset()):
            if one not in seen:
                seen.add(one)
                waiting.append(one)
    return seen
