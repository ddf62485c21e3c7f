"""The hub: one connection to a log and its catalog, through which everything is declared, published, run and found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4
from weakref import WeakSet

from rich.console import Console

from catalog.difference import Difference
from catalog.register import Registration
from headwater import platform
from headwater.asking import Asking
from headwater.config import Config
from headwater.connection import microseconds
from headwater.display import Display
from headwater.faust_engine import FAUST_PORT, Engine, WebPort, run_on_faust
from headwater.files import PublishedFile, publish_file
from headwater.models import Models
from headwater.rebuild import rebuild
from headwater.replay_quarantine import Fix, ReplayReport, replay_quarantine
from operators.engines import embedded
from operators.engines.web import EVERYWHERE, WebAddress
from operators.execution.context import Context
from operators.execution.plan import Plan
from operators.execution.replay import Replayed, replay
from operators.execution.selection import select
from operators.pipeline import Pipeline
from streams.duration import Duration, parse_duration
from streams.log.embedded import EmbeddedLog
from streams.log.leases import owner_name
from streams.log.upkeep import Upkeep
from streams.lookup import TableView
from streams.publish import Publisher
from streams.read import OnGap, PartitionReader
from streams.register import compatible, spec_of
from streams.row_publisher import MOST_WAITING, Refused, RowPublisher
from streams.rows import Rows, rows_of
from streams.stream import Stream


class Hub(Asking):
    """Streams, their rows and their history, in one place. Close it when done, or use it in a `with` block.

    `clock` gives the time of day in microseconds.
    """

    def __init__(self, config: Config, *, clock: Callable[[], int] = microseconds) -> None:
        super().__init__(config, clock=clock)
        self._publishers: dict[str, Publisher] = {}
        self._row_publishers: WeakSet[RowPublisher] = WeakSet()
        self._views: dict[str, TableView] = {}

    # Declaring

    def register(self, pipeline: Pipeline, *, dry_run: bool = False) -> Registration | list[Difference]:
        """Put a pipeline's streams and operators into the catalog and make their topics; again, it changes nothing.

        With `dry_run`, gives the differences to the catalog and changes nothing. Incompatible names every reason
        why the change cannot be made; then nothing of it is.
        """
        pipeline.plan()
        platform.refuse_second_writers(self.catalog, pipeline)
        spec = platform.complete(pipeline)
        if dry_run:
            return self.catalog.difference(spec, compatible=compatible)
        registration = self.catalog.register(spec, compatible=compatible)
        platform.create_topics(self.log, platform.streams_of(pipeline))
        self._streams.clear()
        self._publishers.clear()
        platform.pump(self.catalog, self.log)
        return registration

    def register_stream(
        self, stream: Stream, *, document: str | None = None, dry_run: bool = False
    ) -> list[Difference]:
        """Register one stream by itself, outside of any pipeline; gives what that changed, or with `dry_run` would
        change. `document` is the text of its contract file. Incompatible as for `register`."""
        spec = spec_of(stream, document=document)
        differences = self.catalog.stream_difference(spec, compatible=compatible)
        if not dry_run:
            self.catalog.register_stream(spec, compatible=compatible)
            platform.create_topics(self.log, [stream])
            self._streams.pop(stream.name, None)
            self._publishers.pop(stream.name, None)
            platform.pump(self.catalog, self.log)
        return differences

    # Rows

    def publish(self, stream: Stream | str, data: Any) -> int:
        """Publish rows (anything with the Arrow interface, a DataFrame, dicts); their number, once they are durable.

        NotRegistered, SchemaError or PublishError, and nothing written, if the catalog does not hold the stream or any
        row does not fit it.
        """
        name = stream if isinstance(stream, str) else stream.name
        publisher = self._publishers.get(name)
        if publisher is None:
            publisher = self._publishers[name] = self._new_publisher(name)
        return publisher.publish(data)

    def publisher(
        self,
        stream: Stream | str,
        *,
        linger: Duration = "2ms",
        waiting: int = MOST_WAITING,
        refused: Refused | None = None,
    ) -> RowPublisher:
        """A publisher that takes rows one by one, for use in a `with` block: `send(row)` waits for nothing, and rows
        that come within `linger` of each other are written together. `waiting` rows at most are on their way. See
        streams.row_publisher.RowPublisher; NotRegistered or PublishError as for `publish`."""
        name = stream if isinstance(stream, str) else stream.name
        made = RowPublisher(self._new_publisher(name), linger=parse_duration(linger), waiting=waiting, refused=refused)
        self._row_publishers.add(made)
        return made

    def publishable(self, name: str) -> tuple[Stream, int]:
        """A registered stream that services may publish to, and its schema id. NotRegistered, or PublishError if an
        operator, a source or the platform itself writes it."""
        stream, schema_id = self.registered(name)
        platform.refuse_written(self.catalog, stream)
        return stream, schema_id

    def publish_file(self, stream: Stream | str, path: str | Path, *, again: bool = False) -> PublishedFile:
        """Publish the rows of a file, all or none, each content once. See headwater.files.publish_file."""
        return publish_file(self, stream if isinstance(stream, str) else stream.name, path, again=again)

    def subscribe(self, stream: Stream | str, *, start: str = "end", poll: float = 0.5) -> Iterator[Rows]:
        """Rows as they are appended, batch by batch, for ever; `start` is "end" or "beginning". Gives empty Rows after
        `poll` seconds without any, so that the caller can stop."""
        registered = self.readable(stream)
        self.catalog.observe("reads", self.config.service, registered.name)
        bounds = self.log.bounds(registered.name)
        readers = [
            PartitionReader(self.log, registered, number, self.schema, position=end if start == "end" else first)
            for number, (first, end) in enumerate(bounds)
        ]
        while True:
            version = self.log.version()
            found = [batch for reader in readers for batch in reader.fetch()]
            yield rows_of(registered, found)
            if not found:
                self.log.wait(poll, version)

    def lookup(self, table: Stream | str, key: Any) -> dict[str, Any] | None:
        """The latest row of a key of a table, or None."""
        registered = self.readable(table)
        view = self._views.get(registered.name)
        if view is None:
            view = self._views[registered.name] = TableView(self.log, registered, self.schema)
        row = view.get(key)
        return None if row is None else dict(row)

    def replay_quarantine(
        self,
        stream: Stream | str,
        *,
        rule: str | None = None,
        where: str | None = None,
        fix: Fix | None = None,
        limit: int | None = None,
    ) -> ReplayReport:
        """Send quarantined rows of a cleaned stream back to be judged anew in the next run, each once; those that broke
        `rule`, those for which `where` holds, changed by `fix` ({"field": value}, or a function of a batch)."""
        name = stream if isinstance(stream, str) else stream.name
        return replay_quarantine(self, name, rule=rule, where=where, fix=fix, limit=limit)

    # Running

    def run(
        self,
        pipeline: Pipeline,
        *,
        until: embedded.Until | None = None,
        workers: int = 1,
        max_wait: float | None = 5.0,
        watch: Callable[[], None] | None = None,
        on_gap: OnGap = "stop",
        console: Console | None = None,
        engine: Engine = "embedded",
        web_port: WebPort = "auto",
        web_host: str = EVERYWHERE,
        only: Sequence[str] | None = None,
    ) -> embedded.RunReport:
        """Register a pipeline and run it: until it has caught up with the log, or for ever. With a rich `console` its
        progress is shown there. With engine="faust" this process becomes one of the workers that a Kafka consumer group
        shares the tasks among. A web server at `web_host` and `web_port` shows tasks, health and metrics meanwhile
        ("auto": at 6066 on Faust, otherwise none; None: none). With `only`, names of operators and sources (`*` stands
        for anything), it runs these alone, and waits for what other workers run.

        RunFailed if tasks stopped with errors; what they had not taken is still there for the next run. A task whose
        input was removed by retention before it was read stops too; with on_gap="skip" it goes on behind the gap.
        CatalogBehind if the run is complete and only the catalog could not follow.
        """
        port = (FAUST_PORT if engine == "faust" else None) if web_port == "auto" else web_port
        web = None if port is None else WebAddress(web_host, port)
        if engine == "faust":
            return run_on_faust(self, pipeline, until, workers, max_wait, on_gap, web, watch, console, only)
        self.register(pipeline)
        plan = self.plan(pipeline, only)
        alone = workers == 1 and (until is not None or isinstance(self.log, EmbeddedLog))
        context = replace(self.context(plan), on_gap=on_gap, owner="" if alone else owner_name())
        upkeep = Upkeep(self.log, self.clock) if isinstance(self.log, EmbeddedLog) else None

        with ExitStack() as stack:
            stack.enter_context(platform.following(self.catalog, self.log))
            display = (
                stack.enter_context(Display(plan, self.log, console, schemas=self.schema))
                if console is not None
                else None
            )

            def look_after() -> None:
                for look in (upkeep, display, watch):
                    if look is not None:
                        look()

            return embedded.run(
                plan,
                context,
                until=until,
                workers=workers,
                leases=None if alone else self.log.leases,
                max_wait=max_wait,
                watch=look_after,
                prepare=self._prepare,
                web=web,
            )

    def replay(
        self, pipeline: Pipeline, operator: str, *, first: int | None = None, end: int | None = None
    ) -> Replayed:
        """Step through what an operator did, as the pipeline has it now, and compare what comes out of the transactions
        committed from `first` to before `end` (microseconds) with what lies in the log; nothing is written.
        CannotReplay names what is gone from the log."""
        plan = self.plan(pipeline)
        return replay(plan, self.context(plan), operator, first=first, end=end)

    def plan(self, pipeline: Pipeline, only: Sequence[str] | None = None) -> Plan:
        """The pipeline's plan, with the writers of streams that other pipelines write. With `only`, its tasks are those
        of these operators and sources. PlanError."""
        plan = pipeline.plan(platform.foreign_writers(self.catalog, pipeline))
        return replace(plan, only=select(pipeline.name, plan.nodes, only))

    def context(self, plan: Plan, *, parents: bool = True) -> Context:
        """What tasks of the plan need, with the schemas of all its streams read."""
        schema_ids = {name: self.registered(name)[1] for name in plan.streams()}
        for schema_id in schema_ids.values():
            self.schema(schema_id)
        return Context(
            log=self.log,
            schema=self.schema,
            schema_id=schema_ids.__getitem__,
            run=uuid4().hex[:10],
            engine="embedded",
            now=self.clock,
            owner="",
            parents=parents,
        )

    def rebuild(self) -> int:
        """Make the catalog anew from the log, beside the old one, and put it in its place at once; how many changes and
        transactions it was made from. Interrupted at any moment, the old one is still there. CatalogError if the
        log lacks changes that the catalog has."""
        return rebuild(self)

    @property
    def models(self) -> Models:
        """The models that trainers write: what versions there are, who reigns, asking for another champion, cards."""
        return Models(self)

    def close(self) -> None:
        """Close what was opened; rows sent one by one are written before."""
        with ExitStack() as stack:
            stack.callback(super().close)
            for publisher in self._publishers.values():
                stack.callback(publisher.close)
            for rows in self._row_publishers:
                stack.callback(rows.close)

    def _new_publisher(self, name: str) -> Publisher:
        registered, schema_id = self.publishable(name)
        publisher = Publisher(self.log, registered, schema_id, service=self.config.service, now=self.clock)
        self.catalog.observe("writes", self.config.service, name)
        return publisher

    def _prepare(self, context: Context) -> Context:
        """A context for a forked worker process: with connections of its own."""
        hub = Hub(self.config, clock=self.clock)
        hub._schemas.update(self._schemas)
        return replace(context, log=hub.log, schema=hub.schema, owner=owner_name())


def connect(
    workspace: str | Path | None = None,
    *,
    log: str | None = None,
    catalog: str | None = None,
    service: str | None = None,
) -> Hub:
    """Connect to a log and catalog: named here, in the environment (HEADWATER_…) or in headwater.toml; by default
    embedded ones in the folder `.headwater`, made if they are not there."""
    return Hub(Config.find(workspace=workspace, log=log, catalog=catalog, service=service))
