"""What a hub is asked: where streams and rows are and came from, datasets, quarantine, how far operators are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from catalog.lineage import Graph
from catalog.search import Hit
from headwater import platform, provenance
from headwater.alarms import Alarms, alarms
from headwater.connection import Connection
from headwater.dataset import Dataset
from headwater.freeze import freeze
from headwater.from_topic import SAMPLE, Adoption, from_topic
from headwater.label_analysis import LabelAnalysis
from headwater.labels import analyse
from headwater.observe import Observation, observe
from headwater.profiles import WINDOWS, StreamProfile, stream_profile
from headwater.provenance import Impact, OneRow, Trace
from headwater.quarantine import Quarantine, quarantine
from headwater.query import Instant, Query
from headwater.status import OperatorStatus, operator_statuses
from operators.label.function import Class
from streams.message import RowAddress
from streams.rows import Row, Rows, read_rows
from streams.stream import Stream


class Asking(Connection):
    """A connection that answers questions."""

    def read(
        self,
        stream: Stream | str,
        *,
        last: int | None = None,
        columns: list[str] | None = None,
        ranges: dict[int, tuple[int, int]] | None = None,
    ) -> Rows:
        """Rows with their addresses: all, the `last` so many, or those of offset `ranges` {partition: (first, end)}."""
        registered = self.readable(stream)
        return read_rows(self.log, registered, self.schema, last=last, columns=columns, ranges=ranges)

    def search(self, question: str, *, limit: int = 10) -> list[Hit]:
        """What the catalog holds about a question in plain words, best first."""
        return self.catalog.search(question, limit=limit)

    def lineage(self, name: str, **options: Any) -> Graph:
        """Where a stream or field comes from (`direction="up"`), or where it goes ("down")."""
        return self.catalog.lineage(name, **options)

    def trace(self, row: OneRow, *, depth: int | None = None, limit: int = 1000) -> Trace:
        """Where a row (one that was read, its address, or "plant.placed 0:1042:17") comes from, up to its source rows.

        `depth` is how many operators up to go, `limit` how many rows to show at most. BadAddress for a text that is
        none, NoSuchRow for an address without a row, NotRegistered for an unknown stream.
        """
        return provenance.trace(self, row, depth=depth, limit=limit)

    def impact(
        self,
        what: Stream | Rows | OneRow | Iterable[Row | RowAddress],
        *,
        partition: int | None = None,
        first: int | None = None,
        end: int | None = None,
    ) -> Impact:
        """What was made from bad rows: streams and datasets, with how many rows and where.

        The bad rows are given themselves (as to `trace`, or several of one stream), or as a stream with offsets `first`
        to `end` (excluded) of one `partition`, or as a whole partition or stream. Raises as `trace` does.
        """
        return provenance.impact(self, what, partition=partition, first=first, end=end)

    def status(self, operators: Iterable[str] | None = None) -> list[OperatorStatus]:
        """How far the registered operators and sources have come, what they took and made, and who works on them; the
        catalog is brought up to date first."""
        self.sync()
        return operator_statuses(self, operators)

    def observe(self) -> Observation:
        """What lies in the log that nobody declared: topics, readers, messages; and how far operators are behind. It
        reads the newest messages of each stream, and changes nothing."""
        return observe(self)

    def from_topic(self, name: str, *, sample: int = SAMPLE, registry: str | None = None) -> Adoption:
        """A stream, and its contract, for a topic of JSON messages that others write, or of Avro messages with the ids
        of schemas in a `registry` (its address), found out from the newest `sample` of them. Nothing is written;
        `register_stream` takes it. UnknownTopic; CannotAdopt; LogError if the registry cannot be read."""
        return from_topic(self, name, sample=sample, registry=registry)

    # Datasets

    def freeze(
        self,
        name: str,
        query: Query | Stream | str | Iterable[str | Stream] = (),
        *,
        keep: bool = False,
        description: str = "",
        **parts: Any,
    ) -> Dataset:
        """Freeze the rows that a query finds now, and register them as a version of the dataset `name`.

        A query is a stream, several, or none with the parts of headwater.query.Query by name: `tag`, `entity`, `owner`,
        `search`, `since`, `until`, `ranges`, `where`, `columns`. With `keep` the rows are copied into the workspace.
        """
        asked = query if isinstance(query, Query) else Query.of(query or parts.pop("streams", ()), **parts)
        dataset = freeze(
            self.catalog, self.log, self.schema, self._datasets, name, asked, keep=keep, description=description
        )
        platform.pump(self.catalog, self.log)
        return dataset

    def dataset(self, name: str, version: int | None = None) -> Dataset:
        """A dataset that was frozen, by default its latest version. NotRegistered."""
        return Dataset(self.catalog.dataset(name, version), self.log, self.schema, self._datasets)

    def datasets(self) -> list[Dataset]:
        """The latest version of each dataset, by name."""
        return [Dataset(record, self.log, self.schema, self._datasets) for record in self.catalog.datasets()]

    # Quarantine

    def quarantine(self, stream: Stream | str | None = None) -> Quarantine:
        """What lies in quarantine, rule by rule with sample rows: of one cleaned stream, or of all."""
        name = stream if stream is None or isinstance(stream, str) else stream.name
        return quarantine(self.catalog, self.log, self.schema, name)

    # Alarms

    def alarms(
        self,
        *,
        since: Instant | None = None,
        until: Instant | None = None,
        kind: str | None = None,
        source: str | None = None,
        column: str | None = None,
    ) -> Alarms:
        """The alarms of all streams that carry them, by event time: from `since` up to, not including, `until`, of one
        kind ("data", "concept", …), raised by one operator, about one column."""
        return alarms(self, since=since, until=until, kind=kind, source=source, column=column)

    def profile(self, stream: Stream | str, *, windows: int = WINDOWS) -> StreamProfile | None:
        """What the columns of a stream hold: the newest `windows` of its profile put together, or None if nobody has
        profiled it yet."""
        return stream_profile(self, stream if isinstance(stream, str) else stream.name, windows=windows)

    @property
    def _datasets(self) -> Path:
        return self.config.workspace / "datasets"

    def labels(
        self,
        stream: Stream | str,
        *,
        truth: str | tuple[str, str] | None = None,
        on: str | None = None,
        meaning: Mapping[Any, Class] | None = None,
    ) -> LabelAnalysis:
        """What weak labels are worth: coverage, overlaps, conflicts and accuracy of each function, and the recall,
        precision and calibration of each class.

        `truth` is a column that was kept with the labels, or (stream, column) with rows that meet in `on` (default: the
        labels' key), of which the newest of a key counts. `meaning` says which class a value of it is. LabelError.
        """
        return analyse(self, stream if isinstance(stream, str) else stream.name, truth=truth, on=on, meaning=meaning)
