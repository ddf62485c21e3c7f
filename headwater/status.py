"""How things stand: how far each operator has come and who works on it, and what each stream holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from catalog.operator_records import OperatorRecord
from catalog.stream_records import StreamRecord
from operators.execution.progress import Progress, last_progress, task_name
from streams.log import Log, UnknownTopic
from streams.log.leases import is_gone
from streams.message import BEGINNING, END

if TYPE_CHECKING:
    from catalog import Catalog
    from headwater.connection import Connection

#: Streams that people ask for; the others are the platform's own, or wait for what people do.
SHOWN_ROLES = ("data", "model", "quarantine", "late")
_PAGE = 200


@dataclass(frozen=True)
class TaskStatus:
    """One task. `owner` works on it now, None if nobody does. `lag`: messages of its inputs that it has not taken, None
    for a source, which reads no stream. Times are microseconds since 1970; `watermark` None before the first one
    and once everything has ended."""

    task: str
    owner: str | None
    lag: int | None
    watermark: int | None
    ended: bool
    version: str | None
    run: str | None
    last_commit: int | None


@dataclass(frozen=True)
class OperatorStatus:
    """One operator or source. Rows are counted over all its runs; `quarantined` are those that it put aside, not
    among `rows_out`. `lag`, `watermark` and `last_commit` are those of its tasks together: the sum, the
    earliest of those that have one, the latest."""

    operator: str
    kind: str
    pipeline: str | None
    tasks: tuple[TaskStatus, ...]
    lag: int | None
    watermark: int | None
    rows_in: int
    rows_out: int
    quarantined: int
    late: int
    last_commit: int | None

    @property
    def running(self) -> int:
        """How many tasks somebody works on."""
        return sum(task.owner is not None for task in self.tasks)

    @property
    def ended(self) -> bool:
        return bool(self.tasks) and all(task.ended for task in self.tasks)


@dataclass(frozen=True)
class StreamStatus:
    """One stream. `messages` are those that can be read in the log; `rows` have come in all, None if nobody counted
    them. `appended_at` (microseconds since 1970): when the newest came."""

    stream: str
    role: str
    kind: str
    rows: int | None
    messages: int
    appended_at: int | None


def operator_statuses(hub: Connection, names: Iterable[str] | None = None) -> list[OperatorStatus]:
    """The operators and sources that are registered, or the named ones, by name. Row counts are as fresh as the
    catalog (`hub.sync`). NotRegistered for a name that is unknown."""
    chosen = hub.catalog.operators() if names is None else [hub.catalog.operator(name) for name in names]
    owners = _owners(hub.log)
    put_aside = {record.name for record in records(hub.catalog, ["quarantine"])}
    return [_operator(hub, record, owners, put_aside) for record in chosen]


def stream_statuses(hub: Connection, roles: Iterable[str] = SHOWN_ROLES) -> list[StreamStatus]:
    """The registered streams of these roles, by name."""
    return [stream_status(hub.log, record) for record in records(hub.catalog, roles)]


def records(catalog: Catalog, roles: Iterable[str] | None = None, **filters: str | None) -> list[StreamRecord]:
    """All registered streams of these roles (None: of all), by name; `filters` are those of `Catalog.streams`."""
    wanted = None if roles is None else list(roles)
    found: list[StreamRecord] = []
    while page := catalog.streams(
        roles=wanted,
        owner=filters.get("owner"),
        tag=filters.get("tag"),
        entity=filters.get("entity"),
        after=found[-1].name if found else None,
        limit=_PAGE,
    ):
        found += page
    return found


def stream_status(log: Log, record: StreamRecord) -> StreamStatus:
    """How one stream stands; a log in which nobody made its topic holds nothing of it."""
    spec = record.spec
    try:
        bounds = log.bounds(spec.name)
    except UnknownTopic:
        bounds = []
    messages = sum(end - first for first, end in bounds)
    newest = [log.last(spec.name, number) for number, (_, end) in enumerate(bounds) if end]
    fresh = record.freshness
    counted = spec.codec != "arrow" or not newest
    rows = fresh.rows if fresh is not None else messages if counted else None
    return StreamStatus(
        spec.name,
        spec.role,
        spec.kind,
        rows,
        messages,
        max((fetched.timestamps[-1] for fetched in newest if len(fetched)), default=None),
    )


def _operator(hub: Connection, record: OperatorRecord, owners: dict[str, str], put_aside: set[str]) -> OperatorStatus:
    spec = record.spec
    counted = _rows(hub.catalog, record.name)
    bounds = {one.stream: hub.log.bounds(one.stream) for one in spec.inputs}
    tasks = tuple(_task(hub.log, record, number, bounds, owners) for number in range(int(spec.params.get("tasks", 1))))
    lags = [task.lag for task in tasks if task.lag is not None]
    marks = [task.watermark for task in tasks if task.watermark is not None]
    return OperatorStatus(
        operator=record.name,
        kind=spec.kind,
        pipeline=spec.pipeline,
        tasks=tasks,
        lag=sum(lags) if lags else None,
        watermark=min(marks, default=None),
        rows_in=sum(counted["in"].values()),
        rows_out=sum(count for name, count in counted["out"].items() if name not in put_aside),
        quarantined=sum(count for name, count in counted["out"].items() if name in put_aside),
        late=sum(counted["late"].values()),
        last_commit=max((task.last_commit for task in tasks if task.last_commit is not None), default=None),
    )


def _task(
    log: Log, record: OperatorRecord, number: int, bounds: dict[str, list[tuple[int, int]]], owners: dict[str, str]
) -> TaskStatus:
    name = task_name(record.name, number)
    last = last_progress(log, record.name, number)
    timed = last is not None and last.watermark not in (BEGINNING, END)
    return TaskStatus(
        task=name,
        owner=owners.get(name),
        lag=_lag(record, number, bounds, last) if record.spec.inputs else None,
        watermark=last.watermark if last is not None and timed else None,
        ended=last is not None and last.ended,
        version=last.version if last else None,
        run=last.run if last else None,
        last_commit=last.at if last else None,
    )


def _lag(record: OperatorRecord, number: int, bounds: dict[str, list[tuple[int, int]]], last: Progress | None) -> int:
    """Messages between where the task stands in each partition that it reads and that partition's end. Where several
    tasks write one partition it stands at the earliest message that it has not taken."""
    reached: dict[tuple[int, int], int] = {}
    for index, partition, _, position, *_ in last.positions if last else ():
        reached[index, partition] = min(position, reached.get((index, partition), position))
    lag = 0
    for index, given in enumerate(record.spec.inputs):
        ends = bounds[given.stream]
        for partition in [number] if given.mode == "partitioned" else range(len(ends)):
            first, end = ends[partition]
            lag += max(end - max(first, reached.get((index, partition), 0)), 0)
    return lag


def _rows(catalog: Catalog, operator: str) -> dict[str, Counter[str]]:
    """Rows in, out and late by stream, over all runs."""
    found: dict[str, Counter[str]] = {"in": Counter(), "out": Counter(), "late": Counter()}
    after: int | None = None
    while runs := catalog.runs(operator, limit=_PAGE, after=after):
        for run in runs:
            found["in"].update(run.rows_in)
            found["out"].update(run.rows_out)
            found["late"].update(run.late)
        after = runs[-1].number
    return found


def _owners(log: Log) -> dict[str, str]:
    """Who works on which task, as far as the log knows and the worker is still there."""
    leases = log.leases
    if leases is None:
        return {}
    return {held.task: held.owner for held in leases.held() if not is_gone(held.owner)}
