"""What a group of workers gave one of them to do, where the group is kept by somebody else."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Assignment:
    """The tasks of one worker. `number` is another one after each round of the group: a task that was lost may be
    started again only then."""

    number: int
    tasks: frozenset[str]


NOTHING = Assignment(0, frozenset())
