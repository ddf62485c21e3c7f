"""Progress: runs, transactions, observed lineage and freshness, each row taken in once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from catalog import Catalog, CatalogError, NotRegistered, OperatorSpec, PipelineSpec

Compatible = Callable[[str, str], list[str]]
TOPIC = "plant.clean.progress"


def row(seq: int, **more: Any) -> dict[str, Any]:
    """Transaction `seq` of plant.clean: took ten messages, made one, dropped one row in ten."""
    first = seq * 10
    return {
        "operator": "plant.clean",
        "task": 0,
        "version": "1",
        "run": "run-1",
        "engine": "embedded",
        "seq": seq,
        "at": 5_000_000 + seq,
        "watermark": 1000 + seq,
        "rows_in": {"plant.readings": 10},
        "rows_out": {"plant.valid": 9, "plant.valid.quarantine": 1},
        "late": {"plant.readings": 1},
        "forced": [],
        "took": [["plant.readings", 0, first, first + 10]],
        "made": [["plant.valid", 0, seq, seq + 1]],
        "parents": [["plant.valid", 0, "plant.readings", 0, first, first + 9]],
        "order": "something else",
        **more,
    }


def rows(*numbers: int) -> list[tuple[int, int, dict[str, Any]]]:
    return [(0, number, row(number)) for number in numbers]


def test_a_run_is_visible_from_its_first_row_and_grows(registered: Catalog) -> None:
    registered.apply_progress(TOPIC, rows(0))
    first = registered.run("run-1")
    assert (first.started_at, first.last_seen_at, first.rows_in) == (5_000_000, 5_000_000, {"plant.readings": 10})
    registered.apply_progress(TOPIC, rows(1, 2))
    run = registered.run("run-1")
    assert (run.operator, run.version, run.engine) == ("plant.clean", "1", "embedded")
    assert (run.started_at, run.last_seen_at) == (5_000_000, 5_000_002)
    assert run.rows_in == {"plant.readings": 30}
    assert run.rows_out == {"plant.valid": 27, "plant.valid.quarantine": 3}
    assert run.late == {"plant.readings": 3}
    assert [(one.stream, one.partition, one.first, one.end) for one in run.read] == [("plant.readings", 0, 0, 30)]
    assert [(one.stream, one.partition, one.first, one.end) for one in run.written] == [("plant.valid", 0, 0, 3)]


def test_rows_are_taken_in_once(registered: Catalog) -> None:
    assert registered.apply_progress(TOPIC, rows(0, 1)) == 2
    before = registered.dump()
    assert registered.apply_progress(TOPIC, rows(0, 1)) == 0
    assert registered.dump() == before
    assert registered.apply_progress(TOPIC, rows(1, 2, 2)) == 1
    assert registered.run("run-1").rows_in == {"plant.readings": 30}
    assert registered.progress_position(TOPIC) == {0: 2}


def test_each_partition_and_topic_has_its_own_position(registered: Catalog) -> None:
    registered.apply_progress(TOPIC, [(0, 5, row(0)), (1, 3, row(0, task=1))])
    assert registered.apply_progress(TOPIC, [(1, 4, row(1, task=1)), (0, 5, row(0))]) == 1
    assert registered.progress_position(TOPIC) == {0: 5, 1: 4}
    assert registered.progress_position("another") == {}


def test_one_call_or_many_give_the_same(registered: Catalog, anew: str, plant: PipelineSpec) -> None:
    with Catalog(anew) as other:
        other.apply_changes(change for _, change in registered.outbox(100))
        other.apply_progress(TOPIC, rows(*range(20)))
        for number in range(20):
            registered.apply_progress(TOPIC, rows(number))
        assert other.dump() == registered.dump()


def test_a_row_that_cannot_be_read_stops_all(registered: Catalog) -> None:
    before = registered.dump()
    broken = row(1)
    del broken["run"]
    with pytest.raises(CatalogError, match=r"KeyError 'run'.*plant\.clean\.progress 0:1"):
        registered.apply_progress(TOPIC, [(0, 0, row(0)), (0, 1, broken)])
    assert registered.dump() == before


def test_freshness(registered: Catalog) -> None:
    assert registered.stream("plant.valid").freshness is None
    registered.apply_progress(TOPIC, [*rows(0, 1), (0, 2, row(2, rows_out={"plant.valid": 0}))])
    fresh = registered.stream("plant.valid").freshness
    assert fresh is not None
    assert (fresh.appended_at, fresh.rows, fresh.watermark) == (5_000_001, 18, 1002)


def test_transactions_by_what_they_took_made_and_descend_from(registered: Catalog) -> None:
    registered.apply_progress(TOPIC, rows(*range(5)))

    def seqs(stream: str, first: int, end: int, direction: Any) -> list[int]:
        return [one.seq for one in registered.transactions(stream, 0, first, end, direction=direction)]

    assert seqs("plant.readings", 9, 11, "took") == [0, 1]
    assert seqs("plant.readings", 10, 20, "took") == [1]
    assert seqs("plant.readings", 9, 10, "parent") == []
    assert seqs("plant.readings", 8, 11, "parent") == [0, 1]
    assert seqs("plant.valid", 3, 4, "made") == [3]
    assert seqs("plant.valid", 5, 99, "made") == []
    assert seqs("plant.unknown", 0, 99, "made") == []
    assert registered.transactions("plant.readings", 1, 0, 99, direction="took") == []


def test_a_long_span_among_short_ones_is_found(registered: Catalog) -> None:
    wide = row(9, took=[["plant.readings", 0, 0, 1000]])
    registered.apply_progress(TOPIC, [*rows(0, 1, 2), (0, 9, wide)])
    found = registered.transactions("plant.readings", 0, 900, 901, direction="took")
    assert [one.seq for one in found] == [9]


def test_a_transaction_has_all_its_spans(registered: Catalog) -> None:
    registered.apply_progress(TOPIC, rows(4))
    [one] = registered.transactions("plant.valid", 0, 4, 5, direction="made")
    assert (one.operator, one.task, one.run, one.version, one.engine) == ("plant.clean", 0, "run-1", "1", "embedded")
    assert [(s.direction, s.stream, s.first, s.end, s.made_stream) for s in one.spans] == [
        ("took", "plant.readings", 40, 50, None),
        ("made", "plant.valid", 4, 5, None),
        ("parent", "plant.readings", 40, 49, "plant.valid"),
    ]


def observed(catalog: Catalog, **how: Any) -> set[tuple[str, str]]:
    graph = catalog.lineage("plant.clean", evidence="observed", **how)
    below = catalog.lineage("plant.clean", evidence="observed", direction="down", **how)
    names = {node.id: node.name for node in (*graph.nodes, *below.nodes)}
    return {(names[edge.source], names[edge.target]) for edge in (*graph.edges, *below.edges)}


def test_lineage_is_observed(registered: Catalog) -> None:
    registered.apply_progress(TOPIC, rows(0, 1))
    assert observed(registered) == {
        ("plant.readings", "plant.clean"),
        ("plant.clean", "plant.valid"),
        ("plant.clean", "plant.valid.quarantine"),
    }
    assert observed(registered, at=4_999_999) == set()


def newer(plant: PipelineSpec, make_operator: Callable[..., OperatorSpec]) -> PipelineSpec:
    clean = make_operator("plant.clean", ["plant.sites"], ["plant.valid"], version="2")
    return replace(plant, operators=(clean, plant.operators[1]))


def test_observed_lineage_ends_with_its_declaration(
    catalog: Catalog,
    clock: Any,
    plant: PipelineSpec,
    make_operator: Callable[..., OperatorSpec],
    refuses_nothing: Compatible,
) -> None:
    catalog.register(plant, compatible=refuses_nothing)
    catalog.apply_progress(TOPIC, rows(0))
    clock.time = 6_000_000
    catalog.register(newer(plant, make_operator), compatible=refuses_nothing)
    assert observed(catalog) == set()
    assert ("plant.readings", "plant.clean") in observed(catalog, at=5_500_000)
    straggler = row(1, at=7_000_000)
    catalog.apply_progress(TOPIC, [(0, 1, straggler)])
    assert observed(catalog) == set()
    assert ("plant.readings", "plant.clean") in observed(catalog, at=6_500_000)


def test_observed_lineage_is_the_same_whatever_comes_first(
    catalog: Catalog,
    clock: Any,
    anew: str,
    plant: PipelineSpec,
    make_operator: Callable[..., OperatorSpec],
    refuses_nothing: Compatible,
) -> None:
    catalog.register(plant, compatible=refuses_nothing)
    catalog.apply_progress(TOPIC, rows(0))
    clock.time = 6_000_000
    catalog.register(newer(plant, make_operator), compatible=refuses_nothing)
    catalog.apply_progress(TOPIC, [(0, 1, row(1, at=7_000_000)), (0, 2, row(2, at=7_000_001, version="2"))])
    with Catalog(anew) as other:
        other.apply_changes(change for _, change in catalog.outbox(100))
        other.apply_progress(TOPIC, [(0, 0, row(0)), (0, 1, row(1, at=7_000_000))])
        other.apply_progress(TOPIC, [(0, 2, row(2, at=7_000_001, version="2"))])
        assert other.dump() == catalog.dump()


def test_runs_are_paged_latest_first(registered: Catalog) -> None:
    told = [(0, number, row(number, run=f"run-{number}")) for number in range(5)]
    registered.apply_progress(TOPIC, told)
    first = registered.runs(limit=2)
    rest = registered.runs(after=first[-1].number)
    assert [one.id for one in (*first, *rest)] == ["run-4", "run-3", "run-2", "run-1", "run-0"]
    assert len(registered.runs("plant.clean")) == 5
    assert registered.runs("plant.join") == []


def test_an_id_shared_by_operators_needs_the_operator(registered: Catalog) -> None:
    registered.apply_progress(TOPIC, rows(0))
    registered.apply_progress("plant.join.progress", [(0, 0, row(0, operator="plant.join"))])
    with pytest.raises(CatalogError, match="Several operators"):
        registered.run("run-1")
    assert registered.run("run-1", "plant.join").operator == "plant.join"


def test_an_unknown_run_is_an_error(registered: Catalog) -> None:
    registered.apply_progress(TOPIC, rows(0))
    with pytest.raises(NotRegistered, match="Did you mean 'run-1'"):
        registered.run("run-2")


def test_thousands_of_rows_in_one_call(registered: Catalog) -> None:
    assert registered.apply_progress(TOPIC, rows(*range(3000))) == 3000
    assert registered.run("run-1").rows_in == {"plant.readings": 30_000}
