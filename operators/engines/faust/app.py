"""The Faust app of a job: Faust keeps the group and the process; the progress partitions assigned are the task list.

Faust's consumer reads the progress topics only to be a member of the group; what it reads, it drops.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import faust
from faust.types import Message
from faust.types.transports import ConsumerT
from mode import Service

from operators.engines.faust.handover import Handover
from operators.engines.faust.settings import broker, credentials
from operators.engines.faust.tasks import Job, Signals, TaskThread
from operators.engines.faust.views import add_views
from operators.engines.report import Until
from operators.engines.web import EVERYWHERE, WebAddress
from operators.execution.progress import progress_topic, task_name
from streams.log.kafka.address import Address
from streams.log.leases import owner_name

logger = logging.getLogger(__name__)

#: A worker of which the group hears nothing for so long has lost its tasks.
SESSION_SECONDS: Final = 10.0
#: The group waits so long for a transaction to end before it gives the task to another.
HOLD_SECONDS: Final = 3.0
#: At the end so long for the open transaction, and for giving the tasks up.
END_SECONDS: Final = 15.0


@dataclass(frozen=True)
class Settings:
    """How a worker runs. `session` is in seconds; no web server with `web` None; `folder` is where Faust may
    keep files. `until` and `max_wait` as in `Hub.run`."""

    folder: Path
    until: Until | None = None
    max_wait: float | None = 5.0
    session: float = SESSION_SECONDS
    web: WebAddress | None = None


class App(faust.App):
    """A Faust app whose workers share the tasks of one job. `prepare` is called once, before the app joins the group,
    in a thread: it makes the topics. `tasks` is the thread that runs them, once the app is started."""

    tasks: TaskThread
    handover: Handover
    prepare: Callable[[], None]
    crashed_by: BaseException | None = None

    async def on_first_start(self) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self.prepare)
        await super().on_first_start()

    async def on_start(self) -> None:
        await super().on_start()
        self.tasks.start()

    async def on_stop(self) -> None:
        # Before the group is left: who takes the tasks over then finds them given up.
        self.handover.end()
        await asyncio.get_running_loop().run_in_executor(None, self._end_of_tasks)
        await super().on_stop()

    def _new_consumer(self) -> ConsumerT:
        consumer: Any = super()._new_consumer()
        hear = consumer.callback

        async def heard(message: Message) -> None:
            # While it ends it is given partitions that nobody listens to any more; what is read is dropped anyway.
            with suppress(KeyError):
                await hear(message)

        consumer.callback = heard
        return consumer

    def _end_of_tasks(self) -> None:
        if self.tasks.ident is not None:
            self.tasks.join(END_SECONDS)
            if self.tasks.is_alive():
                logger.warning("a step still runs; the next owner of its task ends its transaction")


def make_app(
    name: str,
    operators: Iterable[str],
    address: Address,
    connect: Callable[[], AbstractContextManager[Job]],
    prepare: Callable[[], None],
    settings: Settings,
    *,
    watch: Callable[[], None] = lambda: None,
) -> App:
    """The app of workers called `name` together, who run these operators and sources; their consumer group is named so,
    under the address's prefix. Nothing is connected to before a worker starts."""
    topics = {address.prefix + progress_topic(operator): operator for operator in operators}
    app = App(
        address.prefix + name,
        broker=broker(address),
        broker_credentials=credentials(address),
        broker_client_id=owner_name(),
        broker_session_timeout=settings.session,
        broker_heartbeat_interval=settings.session / 4,
        # The group waits no longer than that for a worker that hangs; a step does not hold this one up.
        broker_rebalance_timeout=settings.session,
        consumer_auto_offset_reset="latest",
        key_serializer="raw",
        value_serializer="raw",
        store="memory://",
        table_standby_replicas=0,
        topic_allow_declare=False,
        topic_disable_leader=True,
        autodiscover=False,
        datadir=settings.folder,
        web_enabled=settings.web is not None,
        web_bind=settings.web.host if settings.web else EVERYWHERE,
        web_port=settings.web.port if settings.web else 6066,
        worker_redirect_stdouts=False,
    )
    app.handover = Handover()
    app.prepare = prepare
    app.tasks = TaskThread(
        connect,
        app.handover,
        Signals(partial(_done, app), partial(_rejoin, app), partial(_crashed, app)),
        until=settings.until,
        max_wait=settings.max_wait,
        watch=watch,
    )
    _follow_group(app, topics)
    if settings.web is not None:
        add_views(app, name)
    return app


def _follow_group(app: App, topics: dict[str, str]) -> None:
    heard = app.topic(*topics, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")

    async def drop(stream: Any) -> None:
        async for _ in stream:
            pass

    app.agent(heard, name="headwater.progress")(drop)

    async def on_revoked(_: Any, /, *revoked: Any, **__: Any) -> None:
        if not await asyncio.get_running_loop().run_in_executor(None, app.handover.hold, HOLD_SECONDS):
            logger.warning("a transaction is still open while the group decides; if its task moves, it is dropped")

    async def on_assigned(_: Any, /, *assigned: Any, **__: Any) -> None:
        places = [one for given in assigned for one in given if one.topic in topics]
        names = sorted(task_name(topics[one.topic], one.partition) for one in places)
        logger.info("this worker has %d tasks: %s", len(names), ", ".join(names))
        app.handover.give(names)

    app.on_partitions_revoked.connect(on_revoked, weak=False)
    app.on_partitions_assigned.connect(on_assigned, weak=False)


def _done(app: App) -> None:
    """Everything is taken: the whole worker ends."""
    if not app.should_stop:
        app.loop.call_soon_threadsafe(lambda: asyncio.ensure_future(_root(app).stop()))


def _crashed(app: App, error: BaseException) -> None:
    app.crashed_by = error
    logger.error("the tasks of this worker cannot go on: %s", error)
    if not app.should_stop:
        asyncio.run_coroutine_threadsafe(app.crash(error), app.loop)


def _rejoin(app: App) -> None:
    """Have the group say again who has what. (To subscribe anew while the group's coordinator is away, which does the
    same, ends aiokafka's part in the group.)"""
    thread: Any = app.consumer._thread  # type: ignore[attr-defined]

    async def rejoin() -> None:
        await thread.call_thread(thread._ensure_consumer()._coordinator.request_rejoin)

    asyncio.run_coroutine_threadsafe(rejoin(), app.loop)


def _root(app: App) -> Service:
    """What was started: the worker that holds the app, or the app itself."""
    root = app.beacon.root
    return root.data if root is not None and isinstance(root.data, Service) else app
