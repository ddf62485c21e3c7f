"""What the tasks of a worker have done so far, counted for those who watch it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from threading import Lock
from time import monotonic
from typing import Final

from catalog.errors import HeadwaterError
from operators.execution.plan import Node, Plan
from operators.execution.progress import Progress, task_name, task_of
from operators.execution.source_task import SourceTask
from operators.execution.state import State
from operators.execution.task import Task
from streams.log.protocol import Log

#: What costs requests or a walk over the state is looked at again after so many seconds at the earliest.
SECONDS: Final = 2.0

_ADDED: Final = ("starts", "transactions", "seconds", "rows_in", "rows_out", "batches", "late", "quarantined")


@dataclass(frozen=True)
class Counts:
    """One task. Rows, batches and transactions are counted since this worker started; `watermark` and `at` (the time
    of the last commit) are microseconds since 1970, `seconds` the time that transactions took together, `last` that
    the last one took. `lag` is in offsets that the inputs are ahead, `state_bytes` what the state takes in memory,
    `rate` the rows taken a second of late; all are None until they were looked at. `running` is False for a task that
    another worker has by now."""

    operator: str
    task: int
    running: bool = False
    starts: int = 0
    ended: bool = False
    transactions: int = 0
    seconds: float = 0.0
    last: float = 0.0
    rows_in: int = 0
    rows_out: int = 0
    batches: int = 0
    late: int = 0
    quarantined: int = 0
    watermark: int | None = None
    at: int | None = None
    lag: int | None = None
    rate: float | None = None
    state_bytes: int | None = None
    error: str | None = None

    @property
    def name(self) -> str:
        return task_name(self.operator, self.task)


@dataclass
class Tally:
    """The counts of a worker's tasks. Any thread may read them; `look` belongs to the thread that runs the tasks."""

    plan: Plan
    _counts: dict[str, Counts] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)
    _next: float = 0.0
    _looked: dict[str, tuple[float, int]] = field(default_factory=dict)

    def committed(self, progress: Progress, seconds: float) -> None:
        """A transaction is durable."""
        node = self.plan.nodes[progress.operator]
        with self._lock:
            known = self._known(progress.operator, progress.task)
            self._counts[known.name] = replace(
                known,
                transactions=known.transactions + 1,
                seconds=known.seconds + seconds,
                last=seconds,
                rows_in=known.rows_in + sum(progress.rows_in.values()),
                rows_out=known.rows_out + sum(progress.rows_out.values()),
                batches=known.batches + sum(one[0] != -1 for one in progress.order),
                late=known.late + sum(progress.late.values()),
                quarantined=known.quarantined + _quarantined(node, progress.rows_out),
                watermark=progress.watermark,
                at=progress.at,
                ended=progress.ended,
            )

    def look(
        self, log: Log, tasks: Mapping[str, Task | SourceTask], failed: Mapping[str, HeadwaterError], *, now: bool
    ) -> None:
        """Take in which tasks run here and which have stopped; and if it is time to, or `now`, their lag and state."""
        with self._lock:
            for name in {*tasks, *failed, *self._counts}:
                known = self._known(*task_of(name))
                task = tasks.get(name)
                begun = task is not None and not known.running
                error = failed.get(name)
                self._counts[name] = replace(
                    known,
                    running=task is not None,
                    starts=known.starts + begun,
                    ended=known.ended if task is None else task.ended,
                    watermark=task.watermark if task is not None and begun else known.watermark,
                    error=None if error is None else str(error),
                )
        if now or monotonic() >= self._next:
            self._next = monotonic() + SECONDS
            self._measure(log, [task for task in tasks.values() if isinstance(task, Task)])

    def counts(self) -> list[Counts]:
        """What every task of this worker has done, by name; tasks that it gave up too."""
        with self._lock:
            return [self._counts[name] for name in sorted(self._counts)]

    def _measure(self, log: Log, tasks: Iterable[Task]) -> None:
        positions = {task.name: task.positions() for task in tasks}
        places = sorted({place for found in positions.values() for place in found})
        ends = dict(zip(places, log.ends(places), strict=True)) if places else {}
        sizes = {task.name: size_of(task.state) for task in tasks}
        now = monotonic()
        with self._lock:
            for name, found in positions.items():
                known = self._known(*task_of(name))
                lag = sum(max(ends[place] - position, 0) for place, position in found.items())
                before, rows = self._looked.get(name, (now, 0))
                rate = (known.rows_in - rows) / (now - before) if now > before else None
                self._looked[name] = (now, known.rows_in)
                self._counts[name] = replace(known, lag=lag, rate=rate, state_bytes=sizes[name])

    def _known(self, operator: str, task: int) -> Counts:
        return self._counts.get(task_name(operator, task)) or Counts(operator, task)


def merged(counts: Iterable[Counts]) -> list[Counts]:
    """The counts of several workers of one run as one for each task, by name: what is counted is added up, the rest is
    told by who has the task, or had it last."""
    found: dict[str, Counts] = {}
    for one in sorted(counts, key=lambda one: (one.running, one.at or 0)):
        before = found.get(one.name)
        if before is not None:
            one = replace(one, **{name: getattr(before, name) + getattr(one, name) for name in _ADDED})
        found[one.name] = one
    return [found[name] for name in sorted(found)]


def size_of(state: State) -> int:
    """The bytes that a state's values take in memory."""
    return sum(len(value) if isinstance(value := state[name], bytes) else value.nbytes for name in state)


def _quarantined(node: Node, rows_out: Mapping[str, int]) -> int:
    kept = {stream.name for stream in node.outputs if stream.role == "quarantine"}
    if node.failed is not None:
        kept.add(node.failed.name)
    return sum(rows for name, rows in rows_out.items() if name in kept)
