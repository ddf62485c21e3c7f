"""What a run came to, and the error that says which tasks stopped and why."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from catalog.errors import HeadwaterError

logger = logging.getLogger(__name__)

Until = Literal["caught-up"]

#: So many tasks that stopped alike are named; of more, their number is.
NAMED = 4


class RunFailed(HeadwaterError):
    """Some tasks of a run stopped with errors; the others went on. `failed` has the error of each task."""

    exit_code = 8

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        fix: str | None = None,
        failed: Mapping[str, HeadwaterError] | None = None,
    ) -> None:
        super().__init__(what, where=where, fix=fix)
        self.failed = dict(failed or {})

    @classmethod
    def of(cls, pipeline: str, tasks: int, failed: Mapping[str, HeadwaterError]) -> RunFailed:
        """One line for each task; tasks that stopped alike share a line."""
        lines = "".join(f"\n  {line}" for line in told(failed))
        return cls(
            f"{len(failed)} of {tasks} tasks stopped:{lines}",
            where=pipeline,
            fix="What they had not taken is still in the log: mend the cause and run again.",
            failed=failed,
        )

    def __str__(self) -> str:
        return f"{self.what}\n[{self.where}] {self.fix}" if self.failed else super().__str__()


@dataclass
class RunReport:
    """What a run came to: its id, seconds, how often a worker died and was replaced, and whether it was interrupted
    (Ctrl-C) before its end, with the number of the signal if the engine took it. `failed` has the errors of tasks that
    stopped, `forced` how often a task of a loop went on without an input, as nothing could move any more: another run
    might give other rows."""

    run: str
    seconds: float = 0.0
    replaced: int = 0
    interrupted: bool = False
    signal: int | None = None
    failed: dict[str, HeadwaterError] = field(default_factory=dict)
    forced: dict[str, int] = field(default_factory=dict)

    def note_forced(self, task: str) -> None:
        if task not in self.forced:
            logger.warning(
                "%s goes on without an input that the loop is still to make, as nothing else could move: "
                "the loop's delay is shorter than what its operators wait for. Another run might give other rows. "
                "Use a longer delay, cut the sources finer, or give the operators of the loop a tick",
                task,
            )
        self.forced[task] = self.forced.get(task, 0) + 1


def told(failed: Mapping[str, HeadwaterError]) -> list[str]:
    """Lines that say which tasks stopped and why."""
    alike: dict[tuple[type, str, str | None], list[str]] = {}
    for task, error in sorted(failed.items()):
        alike.setdefault((type(error), error.what, error.fix), []).append(task)
    lines = []
    for (_, what, fix), tasks in alike.items():
        places = list(dict.fromkeys(failed[task].where or "" for task in tasks))
        more = f" and {len(places) - 1} more places" if len(places) > 2 else f" and {places[1]}" if places[1:] else ""
        place = f" [{places[0]}{more}]" if places[0] and places != tasks else "" if what.endswith(".") else "."
        lines.append(" ".join(f"{_named(tasks)}: {what}{place} {fix or ''}".split()))
    return lines


def _named(tasks: list[str]) -> str:
    if len(tasks) <= NAMED:
        return ", ".join(tasks)
    return f"{', '.join(tasks[: NAMED - 1])} and {len(tasks) - NAMED + 1} more"
