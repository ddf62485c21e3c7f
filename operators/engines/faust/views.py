"""A worker's pages on Faust's web server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faust.web import Request, Response, View

from operators.engines.pages import Page, Pages, Standing

if TYPE_CHECKING:
    from operators.engines.faust.app import App


def add_views(app: App, name: str) -> None:
    """`/tasks/`, `/health/` and `/metrics` of the worker."""

    def standing() -> Standing:
        return Standing(
            run=app.tasks.report.run,
            counts=() if app.tasks.tally is None else app.tasks.tally.counts(),
            still_for=app.tasks.still_for(),
            alive=app.tasks.is_alive(),
            more={"rebalancing": app.rebalancing, "assigned": sorted(app.handover.assignment().tasks)},
        )

    pages = Pages(name, standing)

    async def tasks(view: View, request: Request) -> Response:
        return _answer(view, pages.tasks())

    async def health(view: View, request: Request) -> Response:
        return _answer(view, pages.health())

    async def metrics(view: View, request: Request) -> Response:
        return _answer(view, pages.metrics())

    app.page("/tasks/", name="headwater:tasks")(tasks)
    app.page("/health/", name="headwater:health")(health)
    app.page("/metrics", name="headwater:metrics")(metrics)


def _answer(view: View, page: Page) -> Response:
    return view.bytes(page.body, status=page.status, headers={"Content-Type": page.kind})
