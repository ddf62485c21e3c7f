"""Pipelines on Faust: workers that a Kafka consumer group shares the tasks among."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final, Literal

from headwater import platform
from headwater.config import Config, ConfigError
from headwater.display import Display
from operators.engines.report import RunReport, Until
from operators.engines.web import EVERYWHERE, WebAddress
from operators.execution.selection import select, workers_name
from operators.pipeline import Pipeline
from streams.log import without_secrets
from streams.log.leases import owner_name
from streams.read import OnGap
from streams.stream import Stream

if TYPE_CHECKING:
    from rich.console import Console

    from headwater.hub import Hub
    from operators.engines.faust import AnyApp, App, StreamTopic
    from operators.engines.faust.tasks import Job

Engine = Literal["embedded", "faust"]
#: Where a worker's web server listens; "auto" leaves that to the engine, None is nowhere.
WebPort = int | Literal["auto"] | None
FAUST_PORT: Final = 6066


class NoFaust(ConfigError):
    """The Faust engine cannot run here: it is not installed, or the log is not on Kafka."""


def faust_app(
    pipeline: Pipeline,
    *,
    workspace: str | Path | None = None,
    log: str | None = None,
    catalog: str | None = None,
    until: Until | None = None,
    max_wait: float | None = 5.0,
    on_gap: OnGap = "stop",
    web_port: int | None = FAUST_PORT,
    web_host: str = EVERYWHERE,
    session: float = 10.0,
    only: Sequence[str] | None = None,
) -> App:
    """The Faust app of a pipeline, for `faust -A MODULE worker`: put it into a module as `app`. Where log and catalog
    are is found as in `connect`; they are opened, and the pipeline registered, when a worker starts. The tasks of a
    worker of which the brokers hear nothing for `session` seconds go to the others (6 at least, unless the brokers are
    set to allow less). `only` as in `Hub.run`. NoFaust, PlanError."""
    from headwater.hub import Hub

    config = Config.find(workspace=workspace, log=log, catalog=catalog)

    def prepare() -> None:
        with Hub(config) as hub:
            hub.register(pipeline)

    @contextmanager
    def connect() -> Iterator[Job]:
        with Hub(config) as hub, _job(hub, pipeline, on_gap, only) as job:
            yield job

    web = None if web_port is None else WebAddress(web_host, web_port)
    return _app(pipeline, config, connect, prepare, until, max_wait, web, session=session, only=only)


def faust_topic(app: AnyApp, hub: Hub, stream: Stream | str) -> StreamTopic:
    """A registered stream as a topic of a Faust app that is there already: its agents get rows (dicts, or record
    batches where a message holds many), `send` checks the row against the schema and adds our headers. At least once:
    after a failure Faust reads and sends again. The catalog shows the app, under its id, as one that reads or writes
    the stream. NotRegistered, NoFaust."""
    found, _ = hub.registered(stream if isinstance(stream, str) else stream.name)
    engine = _engine(hub.config, found.name)
    from streams.log.kafka.address import Address

    registered = engine.Registered(
        found,
        Address.parse(hub.config.log).prefix + found.name,
        app.conf.id,
        hub.log,
        hub.schema,
        lambda kind: hub.catalog.observe(kind, app.conf.id, found.name),
        lambda: hub.publishable(found.name)[1],
        hub.clock,
    )
    return engine.stream_topic(app, registered)


def run_on_faust(
    hub: Hub,
    pipeline: Pipeline,
    until: Until | None,
    workers: int,
    max_wait: float | None,
    on_gap: OnGap,
    web: WebAddress | None,
    watch: Callable[[], None] | None = None,
    console: Console | None = None,
    only: Sequence[str] | None = None,
) -> RunReport:
    """A worker in this process, which shares the tasks with all other Faust workers of the pipeline. NoFaust."""
    if workers != 1:
        raise NoFaust(
            f"A Faust worker is one process, not {workers}",
            where=pipeline.name,
            fix="Start as many of them as there is work for: they share the tasks.",
        )
    looks: list[Callable[[], None]] = [watch] if watch is not None else []

    @contextmanager
    def connect() -> Iterator[Job]:
        with _job(hub, pipeline, on_gap, only) as job:
            if console is None:
                yield job
                return
            with Display(job[0], hub.log, console, schemas=hub.schema) as display:
                looks.append(display)
                yield job

    def look() -> None:
        for one in looks:
            one()

    app = _app(pipeline, hub.config, connect, lambda: None, until, max_wait, web, look, only=only)
    hub.register(pipeline)
    from operators.engines import faust

    return faust.run(app, pipeline.name, len(hub.plan(pipeline, only).tasks()))


@contextmanager
def _job(hub: Hub, pipeline: Pipeline, on_gap: OnGap, only: Sequence[str] | None) -> Iterator[Job]:
    plan = hub.plan(pipeline, only)
    with platform.following(hub.catalog, hub.log):
        yield plan, replace(hub.context(plan), on_gap=on_gap, owner=owner_name())


def _app(
    pipeline: Pipeline,
    config: Config,
    connect: Callable[[], AbstractContextManager[Job]],
    prepare: Callable[[], None],
    until: Until | None,
    max_wait: float | None,
    web: WebAddress | None,
    watch: Callable[[], None] = lambda: None,
    session: float = 10.0,
    only: Sequence[str] | None = None,
) -> App:
    engine = _engine(config, pipeline.name)
    from streams.log.kafka.address import Address

    settings = engine.Settings(config.workspace / "faust", until, max_wait, session, web)
    address = Address.parse(config.log)
    chosen = select(pipeline.name, pipeline.nodes, only)
    name, operators = workers_name(pipeline.name, chosen), chosen or pipeline.nodes
    return engine.make_app(name, operators, address, connect, prepare, settings, watch=watch)


def _engine(config: Config, where: str) -> ModuleType:
    if config.log.partition("://")[0] not in ("kafka", "kafka+fast"):
        raise NoFaust(
            "Faust workers need a log on Kafka",
            where=without_secrets(config.log),
            fix="Name one, as HEADWATER_LOG=kafka://host:port, or run with the embedded engine.",
        )
    try:
        # Only who asks for it needs Faust.
        from operators.engines import faust as engine
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("faust", "mode", "prometheus_client"):
            raise
        raise NoFaust(
            f"The Faust engine is not installed ({error.name} is missing)",
            where=where,
            fix="pip install 'headwater[faust]'.",
        ) from error
    return engine
