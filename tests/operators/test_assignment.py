"""A worker whose tasks are assigned by a group: it follows each assignment, and starts nothing twice within one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest

import headwater as hw
from operators.engines.assignment import Assignment
from operators.engines.faust.handover import Handover
from operators.engines.tally import Tally
from operators.engines.worker import Worker
from tests.faults import loop_job
from tests.faults.facts import digests

ROWS = 300


class Group:
    """Says which tasks the worker has."""

    def __init__(self) -> None:
        self.assignment = Assignment(0, frozenset())

    def give(self, *tasks: str) -> None:
        self.assignment = Assignment(self.assignment.number + 1, frozenset(tasks))

    def __call__(self) -> Assignment:
        return self.assignment


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[hw.Hub]:
    with hw.connect(tmp_path / "plant") as hub:
        hub.register(loop_job.build(ROWS))
        yield hub


@pytest.fixture
def group() -> Group:
    return Group()


@pytest.fixture
def worker(hub: hw.Hub, group: Group) -> Iterator[Worker]:
    plan = hub.plan(loop_job.build(ROWS))
    worker = Worker(plan, hub.context(plan), None, assigned=group)
    yield worker
    worker.close()


def test_it_has_the_tasks_of_the_newest_assignment(worker: Worker, group: Group) -> None:
    worker.run_pass()
    assert set(worker.tasks) == set()
    group.give("plant.valid/0", "plant.valid/1")
    worker.run_pass()
    kept = worker.tasks["plant.valid/1"]
    group.give("plant.valid/1", "plant.valid/2")
    worker.run_pass()
    assert set(worker.tasks) == {"plant.valid/1", "plant.valid/2"}
    assert worker.tasks["plant.valid/1"] is kept


def test_a_fenced_task_is_not_started_again_before_a_new_assignment(hub: hw.Hub, worker: Worker, group: Group) -> None:
    group.give("plant.readings.source/0", "plant.valid/0")
    worker.run_pass(stop=lambda: len(worker.tasks) == 2)
    assert set(worker.tasks) == {"plant.readings.source/0", "plant.valid/0"}
    successor = hub.log.writer("plant.valid/0")
    while "plant.valid/0" in worker.tasks:
        worker.run_pass()
    assert worker.lost == {"plant.valid/0"}
    for _ in range(3):
        worker.run_pass()
    assert "plant.valid/0" not in worker.tasks
    group.give("plant.readings.source/0", "plant.valid/0")
    worker.run_pass()
    assert "plant.valid/0" in worker.tasks
    assert worker.lost == set()
    successor.close()


def test_an_assignment_of_everything_does_the_whole_job(hub: hw.Hub, tmp_path: Path, group: Group) -> None:
    pipeline = loop_job.build(ROWS)
    with hw.connect(tmp_path / "other") as other:
        other.run(pipeline, until="caught-up")
        wanted = digests(other, pipeline)
    plan = hub.plan(pipeline)
    worker = Worker(plan, hub.context(plan), None, assigned=group)
    # From one half of the tasks to the other and back: as a group does that cannot make up its mind.
    names = plan.tasks()
    for turn in range(12):
        group.give(*names[turn % 2 :: 2])
        for _ in range(3):
            worker.run_pass()
    group.give(*names)
    while worker.run_pass() or worker.force(outside_only=False):
        pass
    worker.close()
    assert digests(hub, pipeline) == wanted


def test_what_a_worker_does_is_counted(hub: hw.Hub, group: Group) -> None:
    plan = hub.plan(loop_job.build(ROWS))
    tally = Tally(plan)
    worker = Worker(plan, replace(hub.context(plan), committed=tally.committed), None, assigned=group)
    group.give(*plan.tasks())
    while worker.run_pass() or worker.force(outside_only=False):
        tally.look(hub.log, worker.tasks, worker.failed, now=False)
    group.give(*(name for name in plan.tasks() if name != "plant.valid/0"))
    worker.run_pass()
    tally.look(hub.log, worker.tasks, worker.failed, now=False)
    group.give(*plan.tasks())
    worker.run_pass()
    tally.look(hub.log, worker.tasks, worker.failed, now=True)
    counts = {one.name: one for one in tally.counts()}
    cleans = [counts[f"plant.valid/{number}"] for number in range(4)]
    assert sum(one.rows_in for one in cleans) == ROWS
    assert sum(one.quarantined for one in cleans) == sum(n % 97 == 5 for n in range(ROWS))
    assert [one.starts for one in cleans] == [2, 1, 1, 1]
    # No sensor's rows lie in one of the partitions.
    assert all(bool(one.batches) == bool(one.rows_in) and one.transactions for one in cleans)
    assert [one.lag for one in cleans] == [0, 0, 0, 0]
    assert counts["plant.level/0"].state_bytes
    worker.close()


def test_who_holds_waits_for_the_open_transaction() -> None:
    handover = Handover()
    handover.give(["plant.valid/0"])
    assert handover.begin(0)
    assert not handover.hold(0.01)
    assert handover.interrupted()
    waiting = Thread(target=lambda: held.append(handover.hold(30)))
    held: list[bool] = []
    waiting.start()
    handover.rest()
    waiting.join()
    assert held == [True]
    assert not handover.begin(0.01)
    handover.give(["plant.valid/0"])
    assert handover.begin(0)
    assert handover.assignment().number == 2


def test_nothing_begins_after_the_end() -> None:
    handover = Handover()
    handover.give(["plant.valid/0"])
    handover.end()
    assert not handover.begin(30)
