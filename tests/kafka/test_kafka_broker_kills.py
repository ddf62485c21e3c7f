"""Brokers that are killed while a job runs, one that is alone and one of three: workers wait, or go on with the others,
and what the job leaves is what it leaves undisturbed, on the embedded engine and on Faust."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from uuid import uuid4

import pytest

from headwater.faust_engine import Engine
from streams.log import Topic
from streams.log.kafka import KafkaLog
from tests.faults.facts import Rows
from tests.kafka.disturbances import KILLS, SEED, Met
from tests.kafka.workers import Workers
from tests.kafka_broker import Broker, Cluster
from tests.services.kafka import started

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
    folder = tmp_path_factory.mktemp("cluster")
    with started(lambda: Cluster(folder), otherwise="No cluster to lose a broker of") as cluster:
        yield cluster


@dataclass
class Case:
    """One engine, and what the job leaves undisturbed."""

    engine: Engine
    folder: Path
    wanted: Rows

    def run(self, address: str, brokers: int, lose: Callable[[Workers, Met, random.Random], None]) -> Met:
        """Jobs on the brokers at the address, of which one is lost again and again, until so many were lost."""
        rng = random.Random(f"{SEED} {self.engine}")
        met = Met()
        while met.brokers < brokers:
            # Each round, and each engine in it, has the other client.
            scheme = ("kafka", "kafka+fast")[(met.rounds + ENGINES.index(self.engine)) % 2]
            log = f"{scheme}://{address}prefix=test-{uuid4().hex[:10]}."
            with closing(Workers(self.engine, self.folder / f"round-{met.rounds}", log, ROWS)) as workers:
                workers.start()
                workers.start()
                workers.wait_for(lambda workers=workers: any(workers.last()))
                while met.brokers < brokers and workers.going():
                    workers.wait_for_commits(rng.randrange(1, APART))
                    if workers.going():
                        lose(workers, met, rng)
                met.end(workers, self.wanted)
        return met


@pytest.fixture(params=ENGINES)
def case(request: pytest.FixtureRequest, tmp_path: Path, undisturbed: Callable[[int], Rows]) -> Case:
    return Case(request.param, tmp_path, undisturbed(ROWS))


def test_a_broker_that_is_killed_leaves_no_trace(
    own_broker: Broker, case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    def lose(workers: Workers, met: Met, rng: random.Random) -> None:
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

    met = case.run(f"{own_broker.address}?", ALONE, lose)
    with capsys.disabled():
        print(f"\n{case.engine} engine, a broker that is alone, seed {SEED}: {met}")


def test_a_coordinator_that_is_lost_is_not_asked_for_ever(cluster: Cluster) -> None:
    prefix = f"test-{uuid4().hex[:10]}."
    log = KafkaLog(f"kafka://{cluster.address}?replication=3&prefix={prefix}")
    log.create([Topic("t", 1)])
    writer = log.writer("task/0")
    writer.append("t", 0, [None], [b"x"], ())
    writer.commit()
    wire = log._wire

    def coordinator() -> int:
        asked = f"{prefix}task/0"
        told = wire.patiently(lambda: wire.admin.describe_transactions([asked]), doing="asking for a transaction")
        return int(told[asked].coordinator_id)

    lost = coordinator()
    groups = (f"group-{number}" for number in range(100))
    group = next(
        name
        for name in groups
        if log.show_positions(name, {("t", 0): 0}) and wire.admin.describe_groups([prefix + name])
        if wire._manager.cluster.get_coordinator(prefix + name) == lost
    )
    cluster.brokers[lost - 1].kill()
    try:
        found: list[int] = []
        asking = Thread(target=lambda: found.append(coordinator()), daemon=True)
        asking.start()
        asking.join(100)
        assert found
        assert found[0] != lost
        until = time.monotonic() + 100
        while not log.show_positions(group, {("t", 0): 1}):
            assert time.monotonic() < until
    finally:
        cluster.brokers[lost - 1].start()
    log.close()


def test_a_broker_of_three_that_is_killed_leaves_no_trace(
    cluster: Cluster, case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    def lose(workers: Workers, met: Met, rng: random.Random) -> None:
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

    met = case.run(f"{cluster.address}?replication=3&", OF_THREE, lose)
    with capsys.disabled():
        print(f"\n{case.engine} engine, one broker of three, seed {SEED}: {met}")
