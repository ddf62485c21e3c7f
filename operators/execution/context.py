"""What a task is given by its engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from streams.log.protocol import Log
from streams.schema import Schema


@dataclass(frozen=True)
class Context:
    """What a task is given by its engine. `schema` finds a schema by id, `schema_id` the id under which a stream's
    declared schema is registered; `now` is the time of day in microseconds."""

    log: Log
    schema: Callable[[int], Schema]
    schema_id: Callable[[str], int]
    run: str
    engine: str
    now: Callable[[], int]
    owner: str = ""
    parents: bool = True
