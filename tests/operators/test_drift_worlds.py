"""Power and false discoveries of column drift, over as many worlds as HEADWATER_DRIFT_WORLDS says."""

from __future__ import annotations

import os

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.parts.drift_worlds import World, raised, rates, world
from operators.drift import drift
from operators.drift.operator import Drift
from streams.schema import Schema
from streams.stream import Stream

WORLDS = int(os.environ.get("HEADWATER_DRIFT_WORLDS", "25"))


def watching(effect: float) -> Drift:
    schema = world(0).reference.schema
    stream = Stream("b.rows", Schema(schema.append(pa.field("at", pa.timestamp("us", "UTC")))), time="at")
    return drift(stream, watch=schema.names, effect=effect, to="b.drift")


@pytest.fixture(scope="module")
def worlds() -> list[World]:
    return [world(seed) for seed in range(WORLDS)]


@pytest.mark.parametrize(("effect", "power"), [(0.0, 0.9), (0.07, 0.88)])
def test_most_changed_columns_are_found_and_few_others(worlds: list[World], effect: float, power: float) -> None:
    operator = watching(effect)
    found = np.array([rates(raised(operator, given), given) for given in worlds])
    assert found[:, 0].mean() > power
    assert found[:, 1].mean() < 0.05


def test_where_nothing_changed_few_worlds_raise_an_alarm() -> None:
    operator = watching(0.0)
    worlds = [world(seed, changed=0) for seed in range(1000, 1000 + WORLDS)]
    assert np.mean([bool(raised(operator, given)) for given in worlds]) < 0.15
