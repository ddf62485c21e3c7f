"""docker-compose.yml, brought up without Docker on a real Kafka and PostgreSQL: the flights job comes out as it does on
the embedded engine, though workers are killed, scaled, and everything is stopped and started again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

import headwater as hw
from examples.flights.pipeline import build
from operators.execution.digest import digest_stream
from operators.execution.progress import last_progress, task_of
from tests.compose.project import Project
from tests.kafka_broker import CannotStart, jars

ROOT = Path(__file__).resolve().parents[2]
FLIGHTS = 4_000
BUDGET = 4 << 30
JOINS = (
    "scheduled", "in_weather", "flown", "lost", "leaving", "going", "described", "features", "outcomes", "training",
)  # fmt: skip


@pytest.fixture
def project() -> Iterator[Project]:
    """All services, with two containers for the joins."""
    try:
        jars()
    except CannotStart as reason:
        pytest.skip(f"No Kafka to run docker-compose.yml with: {reason}.")
    with Project(ROOT / "docker-compose.yml", {"FLIGHTS_ROWS": str(FLIGHTS)}) as project:
        project.up(scale={"join": 2})
        yield project


def connected(project: Project, workspace: Path) -> hw.Hub:
    """As a program of this machine reaches the services."""
    kafka, postgres = project.one("kafka"), project.one("postgres")
    return hw.connect(
        workspace,
        log=f"kafka://{kafka.address}:29092",
        catalog=f"postgresql://headwater:headwater@{postgres.address}:5432/headwater",
    )


def registered(project: Project) -> bool:
    """The page of a worker names its tasks only once its job is registered and its topics are there."""
    try:
        with urlopen(f"http://{project.one('learn').address}:6066/health/", timeout=10) as page:
            return bool(json.load(page)["assigned"])
    except OSError:
        return False


def ended(hub: hw.Hub) -> list[bool]:
    """For each task that has committed anything, whether it has ended."""
    found = (last_progress(hub.log, *task_of(name)) for name in build().plan().tasks())
    return [one.ended for one in found if one is not None]


def all_ended(hub: hw.Hub) -> bool:
    return ended(hub) == [True] * len(build().plan().tasks())


def digests(hub: hw.Hub) -> dict[str, Any]:
    return {name: digest_stream(hub.log, hub.stream(name), hub.schema) for name in build().streams}


def the_job_gives_what_it_gives_embedded_though_workers_are_killed(project: Project, tmp_path: Path) -> None:
    with hw.connect(tmp_path / "embedded") as hub:
        hub.run(build(FLIGHTS), until="caught-up")
        wanted = digests(hub)
    project.wait_for(lambda: registered(project), "the job is not registered")
    with connected(project, tmp_path / "outside") as hub:
        project.wait_for(lambda: bool(ended(hub)), "nothing is done")
        assert not all_ended(hub)
        for name in ("clean", "join", "learn"):
            project.one(name).kill()
        project.wait_for(lambda: all_ended(hub), "the job does not end")
        assert all(project.one(name).restarts >= 1 for name in ("clean", "join", "learn"))
        assert digests(hub) == wanted
        hub.sync()
        assert "flights.scores" in {hit.name for hit in hub.search("which predictions are there?")}
        assert "flights.departures" in hub.lineage("flights.scores").names()
        assert hub.trace(hub.read("flights.scores", last=1).row(0))


def all_is_well_and_watched(project: Project) -> None:
    project.wait_for(lambda: set(project.states().values()) == {"healthy", "exited"}, "not all are healthy")
    assert [name for name, state in project.states().items() if state == "exited"] == ["catalog-1"]
    said = project.execute("learn", "headwater", "status", "--json")
    assert said.returncode == 0, said.stderr
    assert all(one["ended"] for one in json.loads(said.stdout)["operators"])
    learn = project.one("learn").address
    with urlopen(f"http://{learn}:6066/tasks/", timeout=10) as page:
        tasks = {one["name"] for one in json.load(page)["tasks"]}
    assert {"flights.model/0", "flights.scores/1"} <= tasks
    with urlopen(f"http://{learn}:6066/metrics", timeout=10) as page:
        assert 'headwater_rows_taken_total{operator="flights.scores"' in page.read().decode()


def containers_of_a_service_share_its_tasks(project: Project) -> None:
    project.up(scale={"join": 3})

    def shares() -> list[list[str]]:
        found = []
        for number in range(1, 4):
            try:
                with urlopen(f"http://{project.one('join', number).address}:6066/health/", timeout=10) as page:
                    found.append(json.load(page)["assigned"])
            except OSError:
                found.append([])
        return found

    project.wait_for(lambda: all(shares()), "one of three has no task")
    tasks = sum(build().nodes[f"flights.{name}"].tasks for name in JOINS)
    project.wait_for(lambda: sum(map(len, shares())) == tasks, "a task is nobody's")
    given = [name for share in shares() for name in share]
    assert len(given) == len(set(given)) == tasks


def memory_stays_in_its_limits(project: Project) -> None:
    assert all(one.killed_for_memory == 0 for one in project.all())
    # `catalog` is over before the workers begin.
    limits = {one.service.name: one.service.memory or BUDGET for one in project.all() if one.state == "running"}
    assert sum(limits.values()) <= BUDGET


def what_is_stopped_goes_on_from_its_volumes(project: Project, tmp_path: Path) -> None:
    with connected(project, tmp_path / "before") as hub:
        before = digests(hub)
    codes = project.down()
    # Nobody had to be killed, and each ended as one that was asked to.
    assert {name: code for name, code in codes.items() if not name.startswith(("kafka", "catalog", "postgres"))} == {
        name: 143 for name in codes if not name.startswith(("kafka", "catalog", "postgres"))
    }
    project.up()
    project.wait_for(lambda: registered(project), "the workers do not come back")
    with connected(project, tmp_path / "after") as hub:
        assert all_ended(hub)
        assert digests(hub) == before


def test_the_flights_job_runs_through_the_file(project: Project, tmp_path: Path) -> None:
    """One after the other on the same services: bringing them up takes longest."""
    the_job_gives_what_it_gives_embedded_though_workers_are_killed(project, tmp_path)
    all_is_well_and_watched(project)
    containers_of_a_service_share_its_tasks(project)
    memory_stays_in_its_limits(project)
    what_is_stopped_goes_on_from_its_volumes(project, tmp_path)
