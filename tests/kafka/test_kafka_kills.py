"""Workers of a job on Kafka that are killed, hang, come and leave while it runs: what the job leaves is what it leaves
undisturbed, on the embedded engine and on Faust."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from headwater.faust_engine import Engine
from tests.faults.facts import Rows
from tests.kafka.disturbances import KILLS, SEED, Disturber, Met
from tests.kafka.workers import Workers

ROWS = 4_500


@pytest.mark.parametrize("engine", ["embedded", "faust"])
def test_whatever_is_done_to_workers_leaves_no_trace(
    kafka_address: str,
    tmp_path: Path,
    undisturbed: Callable[[int], Rows],
    engine: Engine,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wanted = undisturbed(ROWS)
    met = Met()
    disturber = Disturber(random.Random(f"{SEED} {engine}"), met)
    while met.killed < KILLS:
        # One round with either client.
        scheme = "kafka+fast" if met.rounds % 2 else "kafka"
        log = f"{scheme}://{kafka_address}?prefix=test-{uuid4().hex[:10]}."
        with closing(Workers(engine, tmp_path / f"round-{met.rounds}", log, ROWS)) as workers:
            disturber.run(workers, KILLS)
            met.end(workers, wanted)
            with capsys.disabled():
                print(f"\n{engine} engine, seed {SEED}: {met}", flush=True)
