"""Workers that wake when their tasks have gone to others, tasks that a stranger took, and workers that come and leave
while a job runs."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headwater.faust_engine import Engine
from operators.execution.progress import decode_all, progress_topic
from tests.faults.facts import Compared, Rows
from tests.kafka.traps import Moment
from tests.kafka.workers import Process, Workers

ROWS = 1_500
#: For workers that pause for so long after each transaction.
MANY_ROWS = 4_500
PAUSE = 0.2
FENCED = "has a newer owner; this worker leaves it"


@pytest.fixture(params=["embedded", "faust"])
def workers(request: pytest.FixtureRequest, kafka_url: str, tmp_path: Path) -> Iterator[Workers]:
    engine: Engine = request.param
    made = Workers(engine, tmp_path / "job", kafka_url, ROWS)
    yield made
    made.close()


@pytest.fixture(params=["embedded", "faust"])
def slow_workers(request: pytest.FixtureRequest, kafka_url: str, tmp_path: Path) -> Iterator[Workers]:
    engine: Engine = request.param
    made = Workers(engine, tmp_path / "job", kafka_url, MANY_ROWS, pause=PAUSE)
    yield made
    made.close()


def check(workers: Workers, wanted: Rows) -> Compared:
    """Every worker ends in order when it is told to, and nothing is lost, twice or otherwise."""
    workers.leave(*workers.running)
    found = Rows.of(workers.hub, workers.pipeline).against(wanted)
    assert found.equal, found
    return found


def stop_at(workers: Workers, tasks: str, moment: Moment) -> Process:
    workers.traps.set(tasks, moment, signal.SIGSTOP)
    workers.wait_for(workers.caught)
    caught = workers.caught()
    assert caught is not None
    workers.hangs(caught)
    return caught


def runs(workers: Workers) -> set[str]:
    """Those in which something was committed: one a worker."""
    found = set()
    for name, node in workers.plan.nodes.items():
        for number in range(node.tasks):
            fetched = workers.hub.log.read(progress_topic(name), number, 0)
            found |= {one.run.partition(":")[0] for one in decode_all(fetched, name)}
    return found


def test_workers_that_wake_in_the_middle_of_a_transaction_are_fenced(
    workers: Workers, undisturbed: Callable[[int], Rows]
) -> None:
    workers.start()
    workers.start()
    workers.wait_for(lambda: all(workers.last()))
    # One has sent the rows of a join, the other all that a task of the loop writes, but for the commit.
    hung = [stop_at(workers, "plant.placed/*", "rows sent"), stop_at(workers, "plant.level/0", "all sent")]
    workers.start()
    workers.wait_for(workers.all_ended)
    ended = [one and one.seq for one in workers.last()]
    workers.wait_for(lambda: not workers.hung)
    workers.wait_for(lambda: all(FENCED in workers.said(number) for number in (0, 1)))
    assert set(hung) <= set(workers.running)
    assert [one and one.seq for one in workers.last()] == ended
    check(workers, undisturbed(ROWS))


def test_workers_come_and_leave_while_a_job_runs(
    slow_workers: Workers, undisturbed: Callable[[int], Rows], capsys: pytest.CaptureFixture[str]
) -> None:
    workers = slow_workers
    for count in (1, 2, 3, 4):
        workers.start()
        workers.wait_for(lambda count=count: len(runs(workers)) == count or not workers.going())
        assert len(runs(workers)) == count
    while len(workers.running) > 1:
        workers.wait_for_commits(2)
        assert workers.going()
        workers.leave(workers.running[0])
    assert workers.going()
    workers.wait_to_end()
    found = check(workers, undisturbed(MANY_ROWS))
    with capsys.disabled():
        print(f"\n{workers.engine} engine: from 1 worker to 4 and back to 1 while the job ran; {found}")


@pytest.mark.parametrize("workers", ["faust"], indirect=True)
def test_a_task_that_is_fenced_by_nobody_of_the_group_is_asked_back(
    workers: Workers, undisturbed: Callable[[int], Rows]
) -> None:
    workers.start()
    workers.wait_for(lambda: any(workers.last()))
    workers.hub.log.writer("plant.level/0", "a stranger").close()
    workers.wait_to_end()
    assert "plant.level/0 has a newer owner" in workers.said(0)
    assert "asking the group who has plant.level/0 now" in workers.said(0)
    check(workers, undisturbed(ROWS))
