"""Some operators of a pipeline run by themselves: which are chosen, and that what others write is waited for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import headwater as hw
from operators.execution.plan import PlanError
from operators.execution.selection import pipeline_of, select, workers_name
from tests.faults import loop_job
from tests.faults.facts import digests

NAMES = ["plant.readings.source", "plant.sites.source", "plant.valid", "plant.placed"]
ROWS = 150


def test_names_stand_with_or_without_the_pipelines() -> None:
    assert select("plant", NAMES, ["valid", "plant.placed"]) == {"plant.valid", "plant.placed"}
    assert select("plant", NAMES, ["*.source"]) == {"plant.readings.source", "plant.sites.source"}
    assert select("plant", NAMES, None) is None


@pytest.mark.parametrize(
    ("only", "said"), [(["valid", "plcaed"], "No operator or source fits 'plcaed'"), ([], "No operator is chosen")]
)
def test_what_chooses_nothing_is_refused_with_what_there_is(only: list[str], said: str) -> None:
    with pytest.raises(PlanError, match=said) as refused:
        select("plant", NAMES, only)
    assert refused.value.where == "plant"
    assert only == [] or "readings.source, sites.source, valid" in (refused.value.fix or "")


def test_workers_of_the_same_operators_are_called_the_same_however_they_were_named() -> None:
    one, other = (workers_name("plant", select("plant", NAMES, only)) for only in (["*.source"], ["s*", "re*"]))
    assert one == other != workers_name("plant", select("plant", NAMES, ["valid"]))
    assert pipeline_of(one) == pipeline_of(workers_name("plant", None)) == "plant"


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with hw.connect(tmp_path_factory.mktemp("whole")) as hub:
        hub.run(loop_job.build(ROWS), until="caught-up")
        return digests(hub, loop_job.build(ROWS))


def test_parts_that_run_in_turn_give_what_the_whole_gives(tmp_path: Path, wanted: dict[str, Any]) -> None:
    pipeline = loop_job.build(ROWS)
    names = list(pipeline.nodes)
    with hw.connect(tmp_path) as hub:
        for _ in range(100):
            for part in (names[1::2], names[::2]):
                # What the other part will write is waited for, not gone on without.
                assert not hub.run(pipeline, until="caught-up", only=part).forced
            if digests(hub, pipeline) == wanted:
                return
        pytest.fail("the parts do not get on")


def test_workers_share_a_part(tmp_path: Path, wanted: dict[str, Any]) -> None:
    pipeline = loop_job.build(ROWS)
    names = list(pipeline.nodes)
    with hw.connect(tmp_path) as hub:
        for part in (names[:4], names[4:]):
            hub.run(pipeline, until="caught-up", only=part, workers=2)
        assert digests(hub, pipeline) == wanted


def test_operators_that_are_not_chosen_do_nothing(tmp_path: Path) -> None:
    pipeline = loop_job.build(ROWS)
    with hw.connect(tmp_path) as hub:
        hub.run(pipeline, until="caught-up", only=["*.source"])
        done = {one.operator for one in hub.status() if one.rows_out}
    assert done == {name for name in pipeline.nodes if name.endswith(".source")}
