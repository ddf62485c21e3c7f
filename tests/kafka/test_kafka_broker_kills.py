"""Brokers that are killed while a job runs, one that is alone and one of three: workers wait, or go on with the others,
and what the job leaves is what it leaves undisturbed, on the embedded engine and on Faust."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from headwater.faust_engine import Engine
from tests.faults.facts import Rows
from tests.kafka.disturbances import KILLS, SEED, Met
from tests.kafka.workers import Workers
from tests.kafka_broker import Broker, CannotStart, Cluster

ROWS = 1_500
#: Brokers killed of those that are alone, and of three.
ALONE = max(1, KILLS // 10)
OF_THREE = max(1, KILLS // 20)
#: At most so far do the ends of the progress streams move in between.
APART = 60
AWAY_SECONDS = 4.0
#: In one of so many cases a worker is killed too while the broker is away.
WORKER_TOO = 3

ENGINES: list[Engine] = ["embedded", "faust"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    try:
        made = Cluster(tmp_path_factory.mktemp("cluster"))
        made.start()
    except CannotStart as reason:
        pytest.skip(f"No cluster to lose a broker of: {reason}.")
    try:
        yield made
    finally:
        made.stop()


def jobs(engine: Engine, address: str, folder: Path, met: Met) -> Workers:
    """Two workers of a job; each round, and each engine in it, has the other client."""
    scheme = ("kafka", "kafka+fast")[(met.rounds + ENGINES.index(engine)) % 2]
    log = f"{scheme}://{address}prefix=test-{uuid4().hex[:10]}."
    workers = Workers(engine, folder / f"round-{met.rounds}", log, ROWS)
    workers.start()
    workers.start()
    workers.wait_for(lambda: any(workers.last()))
    return workers


@pytest.mark.parametrize("engine", ENGINES)
def test_a_broker_that_is_killed_leaves_no_trace(
    own_broker: Broker,
    tmp_path: Path,
    undisturbed: Callable[[int], Rows],
    engine: Engine,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wanted = undisturbed(ROWS)
    rng = random.Random(f"{SEED} {engine}")
    met = Met()
    while met.brokers < ALONE:
        with closing(jobs(engine, f"{own_broker.address}?", tmp_path, met)) as workers:
            while met.brokers < ALONE and workers.going():
                workers.wait_for_commits(rng.randrange(1, APART))
                if not workers.going():
                    break
                own_broker.kill()
                workers.note("broker killed")
                time.sleep(rng.uniform(0, AWAY_SECONDS))
                worker_too = rng.randrange(WORKER_TOO) == 0
                if worker_too:
                    workers.kill(rng.choice(workers.running))
                    met.killed += 1
                own_broker.start()
                workers.note("broker started")
                if worker_too:
                    workers.start()
                met.brokers += bool(workers.going())
            met.end(workers, wanted)
    with capsys.disabled():
        print(f"\n{engine} engine, a broker that is alone, seed {SEED}: {met}")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_broker_of_three_that_is_killed_leaves_no_trace(
    cluster: Cluster,
    tmp_path: Path,
    undisturbed: Callable[[int], Rows],
    engine: Engine,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wanted = undisturbed(ROWS)
    rng = random.Random(f"{SEED} {engine}")
    met = Met()
    while met.brokers < OF_THREE:
        with closing(jobs(engine, f"{cluster.address}?replication=3&", tmp_path, met)) as workers:
            while met.brokers < OF_THREE and workers.going():
                workers.wait_for_commits(rng.randrange(1, APART))
                if not workers.going():
                    break
                lost = rng.choice(cluster.brokers)
                lost.kill()
                workers.note(f"broker {lost.address} killed")
                met.brokers += bool(workers.going())
                # Work goes on without it.
                workers.wait_for_commits(rng.randrange(2, APART))
                lost.start()
                workers.note("broker started")
                # With one more lost before this one has all that was written meanwhile nothing could be written.
                workers.wait_for(cluster.is_whole)
            met.end(workers, wanted)
    with capsys.disabled():
        print(f"\n{engine} engine, one broker of three, seed {SEED}: {met}")
