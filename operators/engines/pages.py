"""What a worker shows of itself over HTTP: its tasks, whether it is well, and its metrics."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

import orjson

from operators.engines.tally import Counts
from operators.errors import TaskFailed
from streams.message import BEGINNING, END

#: A worker that has not moved for so long is told as not well.
STUCK_SECONDS: Final = 60.0

JSON: Final = "application/json; charset=utf-8"
TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True)
class Standing:
    """How a worker stands: the id of its run, what its tasks have done, how many seconds ago it last moved, whether it
    is there at all, and what its engine alone knows."""

    run: str
    counts: Iterable[Counts]
    still_for: float
    alive: bool = True
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def well(self) -> bool:
        return self.alive and self.still_for < STUCK_SECONDS


@dataclass(frozen=True)
class Page:
    """What is answered to who asks for a page."""

    status: HTTPStatus
    kind: str
    body: bytes


class Pages:
    """The pages of a worker of the pipeline `name`. Any thread may ask for one.

    TaskFailed if the package that writes metrics is not installed.
    """

    def __init__(self, name: str, standing: Callable[[], Standing]) -> None:
        self._name = name
        self._standing = standing
        try:
            # Only a worker that shows itself needs it.
            from operators.engines.metrics import exposed
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] != "prometheus_client":
                raise
            raise TaskFailed(
                "A worker with a web server needs prometheus-client, which is not installed",
                where=name,
                fix="pip install 'headwater[metrics]', or run without --web-port.",
            ) from error
        self._metrics = exposed(lambda: standing().counts, lambda: time.time_ns() // 1000)
        self.paths: Final[Mapping[str, Callable[[], Page]]] = {
            "/tasks": self.tasks,
            "/health": self.health,
            "/metrics": self.metrics,
        }

    def tasks(self) -> Page:
        """Each task that the worker has or had."""
        standing = self._standing()
        return _json(HTTPStatus.OK, {**self._worker(standing), "tasks": [_task(one) for one in standing.counts]})

    def health(self) -> Page:
        """Status 200 while the worker moves, otherwise 503."""
        standing = self._standing()
        stopped = {one.name: one.error for one in standing.counts if one.error is not None}
        body = {**self._worker(standing), "still_for": round(standing.still_for, 3), "stopped": stopped}
        return _json(HTTPStatus.OK if standing.well else HTTPStatus.SERVICE_UNAVAILABLE, body)

    def metrics(self) -> Page:
        """The metrics in the form that Prometheus asks for."""
        return Page(HTTPStatus.OK, TEXT, self._metrics())

    def _worker(self, standing: Standing) -> dict[str, Any]:
        return {
            "pipeline": self._name,
            "run": standing.run,
            "worker": f"{socket.gethostname()}:{os.getpid()}",
            "well": standing.well,
            "assigned": sorted(one.name for one in standing.counts if one.running),
            **standing.more,
        }


def _json(status: HTTPStatus, body: dict[str, Any]) -> Page:
    return Page(status, JSON, orjson.dumps(body))


def _task(one: Counts) -> dict[str, Any]:
    return {"name": one.name, **asdict(one), "watermark": _moment(one.watermark), "at": _moment(one.at)}


def _moment(at: int | None) -> str | None:
    """A time in ISO 8601; "beginning" and "end" for what lies before and behind all rows."""
    if at is None or at in (BEGINNING, END):
        return None if at is None else "beginning" if at == BEGINNING else "end"
    return datetime.fromtimestamp(at / 1_000_000, UTC).isoformat()
