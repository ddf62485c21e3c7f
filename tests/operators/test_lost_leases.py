"""A worker whose leases ran out while it hung: what others have taken is no longer part of its share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import headwater as hw
from operators.engines import worker as engine
from operators.engines.worker import Worker
from streams.log.protocol import Leases
from tests.faults import loop_job


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[hw.Hub]:
    with hw.connect(tmp_path / "workspace") as hub:
        hub.register(loop_job.build(60, 1))
        yield hub


@pytest.fixture
def leases(hub: hw.Hub) -> Leases:
    assert hub.log.leases is not None
    return hub.log.leases


def test_a_task_that_another_claimed_is_left_though_it_has_nothing_to_do(
    hub: hw.Hub, leases: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It looks at its leases in every pass, since they are so short.
    monkeypatch.setattr(engine, "LEASE_SECONDS", 1e-6)
    plan = hub.plan(loop_job.build(60, 1))
    worker = Worker(plan, replace(hub.context(plan), owner="one"), leases)
    while not worker.tasks or not all(task.ended for task in worker.tasks.values()):
        worker.run_pass()
    everything = set(plan.tasks())
    assert set(worker.tasks) == everything
    # It hangs until they have run out.
    leases.renew("one", 0)
    taken = {name for name in everything if name.startswith(("plant.readings", "plant.valid"))}
    assert [name for name in sorted(taken) if not leases.claim(name, "other", 60)] == []
    writers = [hub.log.writer(name, "other") for name in sorted(taken)]
    worker.run_pass()
    assert set(worker.tasks) == everything - taken
    assert {held.task for held in leases.held() if held.owner == "other"} == taken
    worker.close()
    for writer in writers:
        writer.close()
