"""Lineage is the truth: random jobs whose rows carry their own descent, against the catalog, traces and impacts."""

from __future__ import annotations

import os
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from headwater import Hub
from tests.lineage.compare import (
    Known,
    check_fields,
    check_graph,
    check_impact,
    check_rebuilt,
    check_traces,
    source_ranges,
)
from tests.lineage.graphs import KINDS, Built, Job, build, jobs
from tests.lineage.rows import table

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
