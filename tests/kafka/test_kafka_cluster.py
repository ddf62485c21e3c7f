"""Three brokers of which one is lost while a job runs: nothing is lost with it, and nothing comes twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

import headwater as hw
from tests.faults import loop_job
from tests.faults.facts import digests
from tests.kafka_broker import CannotStart, Cluster

ROWS = 1_500


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


@pytest.mark.parametrize("scheme", ["kafka", "kafka+fast"])
def test_a_broker_of_three_is_lost_and_comes_back(cluster: Cluster, tmp_path: Path, scheme: str) -> None:
    with hw.connect(tmp_path / "undisturbed") as hub:
        hub.run(loop_job.build(ROWS), until="caught-up")
        wanted = digests(hub, loop_job.build(ROWS))
    url = f"{scheme}://{cluster.address}?replication=3&prefix=test-{uuid4().hex[:10]}."
    lost = cluster.brokers[0 if scheme == "kafka" else 1]
    ended, killed = threading.Event(), threading.Event()

    def disturb() -> None:
        if not ended.wait(2):
            killed.set()
            lost.kill()

    with hw.connect(tmp_path / "disturbed", log=url) as hub:
        hub.register(loop_job.build(ROWS))
        disturbing = threading.Thread(target=disturb)
        disturbing.start()
        try:
            hub.run(loop_job.build(ROWS), until="caught-up")
        finally:
            ended.set()
            disturbing.join()
        assert killed.is_set()
        assert digests(hub, loop_job.build(ROWS)) == wanted
        lost.start()
        # What is there again serves what was written without it.
        assert digests(hub, loop_job.build(ROWS)) == wanted
