"""What a task is given by the engine that runs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from operators.execution.progress import Progress
from operators.execution.snapshots import EVERY
from streams.log.protocol import Log
from streams.read import OnGap
from streams.schema import Schema


@dataclass(frozen=True)
class Context:
    """What a task is given by its engine. `schema` finds a schema by id, `schema_id` the id under which a stream's
    declared schema is registered; `now` is the time of day in microseconds; a snapshot of the state is
    written every `snapshot_every` transactions. `on_gap` says what to do where rows were removed from the log before
    they were read. `committed` is told each transaction once it is durable, with the seconds that it took."""

    log: Log
    schema: Callable[[int], Schema]
    schema_id: Callable[[str], int]
    run: str
    engine: str
    now: Callable[[], int]
    owner: str = ""
    parents: bool = True
    snapshot_every: int = EVERY
    on_gap: OnGap = "stop"
    committed: Callable[[Progress, float], None] = lambda progress, seconds: None
