"""What a worker shows on Faust's web server: its tasks, whether it is well, and its metrics."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from faust.web import Request, Response, View

from operators.engines.faust.metrics import exposed
from operators.engines.tally import Counts
from streams.message import BEGINNING, END

if TYPE_CHECKING:
    from operators.engines.faust.app import App

TEXT = "text/plain; version=0.0.4; charset=utf-8"


def add_views(app: App, name: str) -> None:
    """`/tasks/`, `/health/` and `/metrics` of the worker."""

    def counts() -> Iterable[Counts]:
        return () if app.tasks.tally is None else app.tasks.tally.counts()

    metrics = exposed(counts, lambda: time.time_ns() // 1000)

    async def tasks(view: View, request: Request) -> Response:
        return view.json({**_worker(app, name), "tasks": [_task(one) for one in counts()]})

    async def health(view: View, request: Request) -> Response:
        well = app.is_well()
        stopped = {one.name: one.error for one in counts() if one.error is not None}
        body = {**_worker(app, name), "still_for": round(app.tasks.still_for(), 3), "stopped": stopped}
        return view.json(body, status=HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE)

    async def shown_metrics(view: View, request: Request) -> Response:
        return view.bytes(metrics(), headers={"Content-Type": TEXT})

    app.page("/tasks/", name="headwater:tasks")(tasks)
    app.page("/health/", name="headwater:health")(health)
    app.page("/metrics", name="headwater:metrics")(shown_metrics)


def _worker(app: App, name: str) -> dict[str, Any]:
    return {
        "pipeline": name,
        "run": app.tasks.report.run,
        "worker": f"{socket.gethostname()}:{os.getpid()}",
        "well": app.is_well(),
        "rebalancing": app.rebalancing,
        "assigned": sorted(app.handover.assignment().tasks),
    }


def _task(one: Counts) -> dict[str, Any]:
    return {"name": one.name, **asdict(one), "watermark": _moment(one.watermark), "at": _moment(one.at)}


def _moment(at: int | None) -> str | None:
    """A time in ISO 8601; "beginning" and "end" for what lies before and behind all rows."""
    if at is None or at in (BEGINNING, END):
        return None if at is None else "beginning" if at == BEGINNING else "end"
    return datetime.fromtimestamp(at / 1_000_000, UTC).isoformat()
