"""The catalog's front: one class whose methods are the functions of this package, each in a transaction of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Literal

from sqlalchemy import Connection, select

from catalog import datasets, glossary, lineage, operator_records, outbox, progress, register, runs, stream_records
from catalog.adopt import adopt
from catalog.changes import Change, record, replay
from catalog.database import REVISION, Database
from catalog.difference import Difference
from catalog.dump import dump
from catalog.models import applied, edge
from catalog.nodes import NodeKey, ids_of
from catalog.register import Compatible, Registration
from catalog.runs import RunRecord, SpanDirection, TransactionRecord
from catalog.search import Hit, search
from catalog.specs import DatasetSpec, EntitySpec, PipelineSpec, StreamSpec


def now() -> int:
    """Microseconds since 1970 UTC."""
    return time.time_ns() // 1000


class Catalog:
    """What exists, who owns it, what it means, where it came from.

    `url` is `sqlite:////absolute/path/catalog.db` or `postgresql://user@host/database`; what is missing there is made,
    and brought to this version, when it is opened. A writer waits up to `patience` seconds for others, then raises
    CatalogBusy. May be shared by threads; each process opens its own. Every method may raise CatalogError.
    """

    def __init__(self, url: str, *, clock: Callable[[], int] = now, patience: float = 30.0) -> None:
        self._clock = clock
        self._database = Database(url, patience=patience)
        self._text = self._database.full_text()
        self._observed: set[tuple[str, str, str]] = set()

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Catalog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def revision(self) -> str:
        """That of the newest migration of its tables."""
        return REVISION

    # Registration

    def difference(self, pipeline: PipelineSpec, *, compatible: Compatible | None = None) -> list[Difference]:
        """What registering this pipeline would change. With `compatible` it raises what `register` would raise."""
        with self._database.reading() as connection:
            return register.plan_pipeline(connection, pipeline, compatible).differences

    def register(self, pipeline: PipelineSpec, *, compatible: Compatible) -> Registration:
        """Register a pipeline, all of it or nothing; registering the same again changes nothing.

        `compatible(old, new)` gives the reasons why rows of the first schema (text) cannot be read with the second.
        Raises Incompatible or NotRegistered.
        """
        with self._database.writing() as connection:
            plan = register.plan_pipeline(connection, pipeline, compatible)
            self._record(connection, plan.changes)
            ids = register.schema_ids(connection, [one.name for one in pipeline.streams])
        return Registration(pipeline.name, tuple(plan.differences), ids)

    def register_stream(self, spec: StreamSpec, *, compatible: Compatible) -> stream_records.StreamRecord:
        """Register one stream that no pipeline declares. Raises Incompatible."""
        with self._database.writing() as connection:
            self._record(connection, register.plan_stream(connection, spec, compatible).changes)
            return stream_records.stream_record(connection, spec.name)

    def stream_difference(self, spec: StreamSpec, *, compatible: Compatible) -> list[Difference]:
        """What registering this stream alone would change. Raises Incompatible as `register_stream` would."""
        with self._database.reading() as connection:
            return register.plan_stream(connection, spec, compatible).differences

    def add_entity(self, spec: EntitySpec) -> None:
        """Add an entity, or synonyms to it; a description replaces the one before."""
        with self._database.writing() as connection:
            self._record(connection, register.plan_entity(connection, spec).changes)

    def entities(self) -> list[EntitySpec]:
        with self._database.reading() as connection:
            return glossary.entities(connection)

    # Streams

    def stream(self, name: str) -> stream_records.StreamRecord:
        """NotRegistered, with the names that come close."""
        with self._database.reading() as connection:
            return stream_records.stream_record(connection, name)

    def has_stream(self, name: str) -> bool:
        with self._database.reading() as connection:
            return stream_records.has_stream(connection, name)

    def streams(
        self,
        *,
        prefix: str = "",
        roles: Iterable[str] | None = None,
        owner: str | None = None,
        tag: str | None = None,
        entity: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> list[stream_records.StreamRecord]:
        """One page by name; the next begins `after` the last name of this one. `entity` may be a synonym."""
        with self._database.reading() as connection:
            return stream_records.stream_records(
                connection,
                prefix=prefix,
                roles=roles,
                owner=owner,
                tag_name=tag,
                entity_name=entity,
                after=after,
                limit=limit,
            )

    def schema(self, schema_id: int) -> str:
        """The text of a schema; one id a fingerprint, whichever streams have it. NotRegistered."""
        with self._database.reading() as connection:
            return stream_records.schema(connection, schema_id)

    def schema_versions(self, stream: str) -> list[stream_records.SchemaVersion]:
        """Oldest first. NotRegistered."""
        with self._database.reading() as connection:
            return stream_records.schema_versions(connection, stream)

    def set_owner(self, stream: str, owner: str) -> None:
        """Stays until a declaration names another owner than the declaration before. NotRegistered."""
        with self._database.writing() as connection:
            if stream_records.stream_record(connection, stream).spec.owner != owner:
                self._record(connection, [{"change": "owner", "stream": stream, "owner": owner}])

    def tag(self, stream: str, tag: str) -> None:
        """NotRegistered."""
        with self._database.writing() as connection:
            if tag not in stream_records.stream_record(connection, stream).spec.tags:
                self._record(connection, [{"change": "tags", "stream": stream, "added": [tag], "removed": []}])

    def untag(self, stream: str, tag: str) -> None:
        """NotRegistered."""
        with self._database.writing() as connection:
            if tag in stream_records.stream_record(connection, stream).spec.tags:
                self._record(connection, [{"change": "tags", "stream": stream, "added": [], "removed": [tag]}])

    # Operators and pipelines

    def operator(self, name: str) -> operator_records.OperatorRecord:
        """NotRegistered."""
        with self._database.reading() as connection:
            return operator_records.operator_record(connection, name)

    def operators(self, pipeline: str | None = None) -> list[operator_records.OperatorRecord]:
        """Those that are not retired, by name."""
        with self._database.reading() as connection:
            return operator_records.operator_records(connection, pipeline)

    def pipeline(self, name: str) -> operator_records.PipelineRecord:
        """NotRegistered."""
        with self._database.reading() as connection:
            return operator_records.pipeline_record(connection, name)

    def pipelines(self) -> list[operator_records.PipelineRecord]:
        with self._database.reading() as connection:
            return operator_records.pipeline_records(connection)

    def writer_of(self, stream: str) -> str | None:
        """The operator that is declared to write the stream, None if it is written from outside."""
        with self._database.reading() as connection:
            return operator_records.writer_of(connection, stream)

    # Questions

    def search(self, question: str, *, limit: int = 10) -> list[Hit]:
        """Answers to a person's question, best first."""
        with self._database.reading() as connection:
            return search(connection, self._text, question, limit)

    def lineage(
        self,
        name: str,
        *,
        field: str | None = None,
        direction: lineage.Direction = "up",
        depth: int | None = None,
        at: int | None = None,
        evidence: lineage.Evidence | None = None,
    ) -> lineage.Graph:
        """Where a stream, operator, dataset, service or field came from (`up`) or went to (`down`), now or `at` a time
        (microseconds since 1970). A `depth` of 1 is one operator further. NotRegistered."""
        with self._database.reading() as connection:
            return lineage.walk(
                connection, name, field_name=field, direction=direction, depth=depth, at=at, evidence=evidence
            )

    # Progress and observation

    def apply_progress(self, stream: str, rows: Sequence[progress.ProgressRow]) -> int:
        """Take in (partition, offset, progress) rows of a progress topic, in order and each once. Returns how many
        were new."""
        with self._database.writing() as connection:
            return progress.apply_progress(connection, stream, rows)

    def progress_position(self, topic: str) -> dict[int, int]:
        """The last applied offset of each partition."""
        with self._database.reading() as connection:
            return progress.positions(connection, topic)

    def observe(self, kind: Literal["reads", "writes"], service: str, stream: str) -> None:
        """A service was seen to read or write a stream. Costs nothing once known to this object. NotRegistered."""
        seen = (kind, service, stream)
        if seen in self._observed:
            return
        with self._database.reading() as connection:
            stream_records.stream_record(connection, stream)
            known = _is_observed(connection, *seen)
        if not known:
            with self._database.writing() as connection:
                if not _is_observed(connection, *seen):
                    body = {"change": "observe", "kind": kind, "service": service, "stream": stream}
                    self._record(connection, [body])
        self._observed.add(seen)

    def runs(self, operator: str | None = None, *, limit: int = 50, after: int | None = None) -> list[RunRecord]:
        """One page, the latest started first; the next goes on after the `number` of the last one of this."""
        with self._database.reading() as connection:
            return runs.run_records(connection, operator=operator, limit=limit, after=after)

    def run(self, run_id: str, operator: str | None = None) -> RunRecord:
        """NotRegistered. If several operators share the id, `operator` must say which."""
        with self._database.reading() as connection:
            return runs.run_record(connection, run_id, operator)

    def transactions(
        self, stream: str, partition: int, first: int, end: int, *, direction: SpanDirection
    ) -> list[TransactionRecord]:
        """The transactions that took or made offsets `first` up to, not including, `end`, or (`parent`) made rows from
        rows there."""
        with self._database.reading() as connection:
            return runs.transaction_records(connection, stream, partition, first, end, direction)

    # Datasets

    def register_dataset(self, spec: DatasetSpec) -> datasets.DatasetRecord:
        """A new version, counting up by name; the latest one if it is the same in all respects. NotRegistered if
        one of its streams is unknown."""
        with self._database.writing() as connection:
            change = datasets.plan_dataset(connection, spec)
            if change is not None:
                self._record(connection, [change])
            return datasets.dataset_record(connection, spec.name)

    def dataset(self, name: str, version: int | None = None) -> datasets.DatasetRecord:
        """A version, by default the latest. NotRegistered."""
        with self._database.reading() as connection:
            return datasets.dataset_record(connection, name, version)

    def datasets(self) -> list[datasets.DatasetRecord]:
        """The latest version of each, by name."""
        with self._database.reading() as connection:
            return datasets.dataset_records(connection)

    # Changes

    def outbox(self, limit: int = 1000) -> list[tuple[int, Change]]:
        """The oldest changes that wait to be appended to `headwater.catalog`: append them in order, then call
        `outbox_done`."""
        with self._database.reading() as connection:
            return outbox.waiting(connection, limit)

    def outbox_done(self, ids: Iterable[int]) -> None:
        with self._database.writing() as connection:
            outbox.done(connection, ids)

    def apply_changes(self, changes: Iterable[Change]) -> None:
        """Rebuild: apply another catalog's changes in their order. Same schema ids, same times; nothing is put into the
        outbox, and what has been applied before is passed over."""
        with self._database.writing() as connection:
            replay(connection, self._text, changes)

    def last_change(self) -> int:
        """The number of the latest change that is in the catalog; 0 in a new one."""
        with self._database.reading() as connection:
            return connection.execute(select(applied.c.change)).scalar_one()

    def adopt(self, other: Catalog) -> bool:
        """Take over the whole content of another catalog of the same log, at once: whoever reads meanwhile sees the old
        content or the new. False, and nothing changed, if changes were recorded here that the other does not have."""
        with other._database.reading() as theirs, self._database.writing() as connection:
            return adopt(connection, self._text, theirs)

    def dump(self, *, without_runs: bool = False) -> dict[str, list[dict[str, Any]]]:
        """All content in canonical form, to compare catalogs; `without_runs` leaves out runs, offsets and times."""
        with self._database.reading() as connection:
            return dump(connection, without_runs=without_runs)

    def _record(self, connection: Connection, bodies: list[Change]) -> None:
        record(connection, self._text, bodies, self._clock())


def _is_observed(connection: Connection, kind: str, service: str, stream: str) -> bool:
    keys = (NodeKey("service", service), NodeKey("stream", stream))
    ids = ids_of(connection, keys)
    if len(ids) < 2:
        return False
    source, target = keys if kind == "writes" else keys[::-1]
    query = select(edge.c.id).where(edge.c.source == ids[source], edge.c.target == ids[target])
    return connection.execute(query.where(edge.c.evidence == "observed")).first() is not None
