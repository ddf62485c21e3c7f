"""Lineage is the truth: random jobs whose rows carry their own descent, against the catalog, traces and impacts."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from headwater import Hub
from operators.join import join
from streams.trace import Tracer
from tests.lineage.compare import (
    Known,
    check_fields,
    check_graph,
    check_impact,
    check_rebuilt,
    check_traces,
    granularities,
    source_ranges,
)
from tests.lineage.graphs import KINDS, Built, Input, Job, Step, build, jobs
from tests.lineage.rows import Lying, table

EXAMPLES = int(os.environ.get("HW_LINEAGE_EXAMPLES", "30"))
thorough = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    print_blob=True,
    # A job takes a second, and making a failing one smaller takes hundreds of them.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


def run(hub: Hub, built: Built) -> None:
    hub.register(built.pipeline)
    for calls in built.calls:
        for stream, rows in calls:
            hub.publish(stream, table(rows))
        hub.run(built.pipeline, until="caught-up")


def check(hub: Hub, job: Job, number: int) -> None:
    built = build(job)
    run(hub, built)
    check_graph(hub, built.truth)
    check_fields(hub, built.truth)
    known = Known(hub)
    check_traces(hub, known)
    random = Random(number)
    ranges = list(source_ranges(hub, built.truth))
    for name, partition, end in random.sample(ranges, min(len(ranges), 3)):
        first = random.randrange(end)
        check_impact(hub, known, name, partition, first, random.randint(first + 1, end))
    check_rebuilt(hub, hub.config.workspace / "fresh.db")


@thorough
@given(job=jobs(), number=st.integers(0, 1000))
def test_catalog_traces_and_impact_are_the_truth(make_hub: Callable[[], Hub], job: Job, number: int) -> None:
    with make_hub() as hub:
        check(hub, job, number)


STEADY = [(0, 1, 3), (1, 1, 4), (2, 0, 9), (0, 2, 5), (1, 1, 6), (2, 1, 7)]
ROWS_OF_BOTH_RUNS = (([*STEADY], STEADY[:3]), (STEADY[2:], STEADY))


def test_a_job_of_every_kind_of_operator(make_hub: Callable[[], Hub]) -> None:
    inputs = (
        Input("s0", False, True, "json", False, ROWS_OF_BOTH_RUNS),
        Input("s1", False, True, "arrow", True, ROWS_OF_BOTH_RUNS),
        Input("t0", True, False, "json", False, ROWS_OF_BOTH_RUNS),
        Input("t1", True, True, "avro", False, ROWS_OF_BOTH_RUNS),
    )
    steps = tuple(Step(kind, number, number, 2 + number % 3, number % 2 == 0) for number, kind in enumerate(KINDS))
    job = Job(2, inputs, (*steps, Step("table join", 0, 2, 2, True), Step("batch", 1, 0, 2, True)))
    with make_hub() as hub:
        check(hub, job, 1)
        known = Known(hub)
        beside = (".late", ".keyless", ".retry", ".quarantine")
        assert [name for name, rows in known.streams.items() if not rows and not name.endswith(beside)] == []
        tracer = Tracer(hub.log, hub.catalog, hub.stream, hub.schema)
        seen = set().union(*(granularities(tracer.trace(rows[-1])) for rows in known.streams.values() if rows))
        assert {"identity", "bitmap", "index", "batch"} <= seen


def lying_job(lie: str) -> Built:
    """A join with a table whose operator tells a lie about one parent ("" for none)."""
    inputs = (
        Input("s0", False, True, "arrow", False, ROWS_OF_BOTH_RUNS),
        Input("t0", True, False, "json", False, ROWS_OF_BOTH_RUNS),
    )
    built = build(Job(1, inputs, ()))
    stream, known = built.pipeline.streams["g.s0"], built.pipeline.streams["g.t0"]
    honest = join(stream, known, on="key", how="table", to="g.out", prefix="other_")
    built.pipeline.add(Lying(honest, "g.out", lie))
    return built


@pytest.mark.parametrize("lie", ["a parent is left out", "another row is named", "a side is left out"])
def test_one_wrong_parent_is_found(make_hub: Callable[[], Hub], lie: str) -> None:
    hub = make_hub()
    run(hub, lying_job(lie))
    known = Known(hub)
    with pytest.raises(AssertionError, match=r"g\.out"):
        check_traces(hub, known, "g.out")
    with pytest.raises(AssertionError, match=r"g\.out"):
        check_every_impact(hub, known, "g.t0")


def test_honest_parents_are_found_right(make_hub: Callable[[], Hub]) -> None:
    hub = make_hub()
    run(hub, lying_job(""))
    known = Known(hub)
    check_traces(hub, known, "g.out")
    check_every_impact(hub, known, "g.t0")


def check_every_impact(hub: Hub, known: Known, stream: str) -> None:
    ((_, end),) = hub.log.bounds(stream)
    for offset in range(end):
        check_impact(hub, known, stream, 0, offset, offset + 1)


@pytest.mark.parametrize(("level", "finds"), [("stream", check_graph), ("field", check_fields)])
def test_one_edge_that_is_missing_is_found(make_hub: Callable[[], Hub], level: str, finds: Any) -> None:
    hub = make_hub()
    job = Job(1, (Input("s0", False, True, "arrow", False, ROWS_OF_BOTH_RUNS),), (Step("filter", 0, 0, 2, True),))
    built = build(job)
    run(hub, built)
    finds(hub, built.truth)
    with closing(sqlite3.connect(hub.config.workspace / "catalog.db")) as catalog, catalog:
        removed = catalog.execute(
            "DELETE FROM edge WHERE id = (SELECT min(id) FROM edge WHERE level = ? AND via IS NOT NULL)", (level,)
        )
        assert removed.rowcount == 1
    with pytest.raises(AssertionError):
        finds(hub, built.truth)
