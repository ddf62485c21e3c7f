"""Datasets: rows that were frozen to offset ranges, read again exactly as they were, or not at all."""

from __future__ import annotations

import datetime as dt
import html
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from catalog import DatasetSpec
from catalog.datasets import DatasetRecord
from headwater.frozen_rows import ROWS_AT_ONCE, Piece, RunningDigest, Selection, as_schema, read_copy, recut
from headwater.query import DatasetError
from streams.condition import parse_condition
from streams.log.protocol import Log, UnknownTopic
from streams.parents import Addresses, joined
from streams.rows import Rows
from streams.schema import Schema
from streams.stream import Stream

FORMAT = 1
_COMPACTED = "newer rows of their keys came, and the table was compacted"


class DatasetGone(DatasetError):
    """Rows of a dataset that the log no longer holds."""

    exit_code = 7


class DatasetChanged(DatasetError):
    """Rows of a dataset that are not those that were frozen."""

    exit_code = 7


@dataclass(frozen=True)
class Missing:
    """Offsets of a dataset, `first` up to, not including, `end`, that are gone, and what took them."""

    stream: str
    partition: int
    first: int
    end: int
    why: str

    def __str__(self) -> str:
        return f"{self.stream} {self.partition}:{self.first} to {self.end - 1}, {self.why}"


class Dataset:
    """One version of a dataset. Its rows never change: what is appended later lies beyond its offsets.

    Rows are read from the log, or from the copy of a dataset that was frozen with `keep`, in the order of their
    addresses. Whoever reads all of them is sure that they are the ones that were frozen: otherwise there is
    DatasetGone or DatasetChanged. Where a dataset has several streams, `stream` says which of them is meant.
    """

    def __init__(self, record: DatasetRecord, log: Log, schemas: Callable[[int], Schema], datasets: Path) -> None:
        spec = record.spec
        if spec.manifest.get("format") != FORMAT:
            raise DatasetError(
                f"The manifest has the format {spec.manifest.get('format')!r}",
                where=f"{spec.name} {record.version}",
                fix="It was not written by this version of Headwater.",
            )
        self.name = spec.name
        self.version = record.version
        self.digest = spec.digest
        self.query: dict[str, Any] = spec.query
        #: Offset ranges by stream, and by stream everything that is needed to read and judge its rows.
        self.manifest: dict[str, Any] = spec.manifest
        self.streams: tuple[str, ...] = spec.streams
        #: When retention takes the first row (microseconds since 1970), None for never.
        self.expires: int | None = spec.expires
        self.kept: bool = spec.kept
        self.created_at: int = record.created_at
        self._log = log
        self._schemas = schemas
        self._copies = folder_of(datasets, self.name, self.digest)

    @classmethod
    def frozen(cls, spec: DatasetSpec, log: Log, schemas: Callable[[int], Schema], datasets: Path) -> Dataset:
        """A dataset that is not registered yet."""
        return cls(DatasetRecord(spec, 0, 0), log, schemas, datasets)

    def __len__(self) -> int:
        return int(self.manifest["rows"])

    def schema(self, stream: str | None = None) -> pa.Schema:
        """The columns of the dataset's rows."""
        return Schema.parse(self._of(stream)["schema"]).arrow

    def batches(self, max_rows: int = ROWS_AT_ONCE, stream: str | None = None) -> Iterator[pa.RecordBatch]:
        """All rows in batches of `max_rows` (the last may be shorter), never more than a few of them in memory.

        DatasetGone before the first one if the log no longer holds all rows; DatasetChanged behind the last one if they
        are not the ones that were frozen.
        """
        schema = self.schema(stream)
        return recut((as_schema(piece.rows, schema) for piece in self.pieces(stream)), max_rows)

    def to_arrow(self, stream: str | None = None) -> pa.Table:
        """All rows as one table. DatasetGone, DatasetChanged."""
        return pa.Table.from_batches(list(self.batches(stream=stream)), schema=self.schema(stream))

    def to_pandas(self, stream: str | None = None) -> Any:
        """All rows as a DataFrame (needs pandas). DatasetGone, DatasetChanged."""
        return self.to_arrow(stream).to_pandas()

    def rows(self, stream: str | None = None) -> Rows:
        """All rows with the addresses where they lay when they were frozen. DatasetGone, DatasetChanged."""
        name = self._name(stream)
        schema = self.schema(name)
        pieces = list(self.pieces(name))
        table = pa.Table.from_batches([as_schema(piece.rows, schema) for piece in pieces], schema=schema)
        none = Addresses.of_message(name, 0, 0, 0)
        return Rows(name, table, joined([piece.addresses for piece in pieces]) if pieces else none)

    def to_parquet(self, path: str | Path, stream: str | None = None) -> Path:
        """Write all rows to a Parquet file, which is there once it is whole. Equal rows give equal files, byte by byte,
        under one version of Arrow. DatasetGone, DatasetChanged, DatasetError if the file cannot be written."""
        target = Path(path)
        partial = target.with_name(f".{target.name}.partial")
        about = {
            "headwater.dataset": self.name,
            "headwater.stream": self._name(stream),
            "headwater.digest": self.digest,
        }
        schema = self.schema(stream).with_metadata(about)
        try:
            with pq.ParquetWriter(partial, schema, compression="zstd") as writer:
                for batch in self.batches(stream=stream):
                    writer.write_batch(as_schema(batch, schema), row_group_size=ROWS_AT_ONCE)
            partial.replace(target)
        except (OSError, pa.ArrowException) as error:
            raise DatasetError(
                f"The rows cannot be written: {error}", where=str(target), fix="Choose another place or other columns."
            ) from error
        finally:
            partial.unlink(missing_ok=True)
        return target

    def verify(self) -> None:
        """Read all rows of all streams. DatasetGone, DatasetChanged."""
        for name in self.streams:
            for _ in self.pieces(name):
                pass

    def missing(self) -> list[Missing]:
        """The offsets that the log no longer holds; none for a dataset that was kept. Of a table those at the start;
        whether compaction took others shows when the rows are read."""
        return [one for name in self.streams if not self._copied(name) for one in self._missing(name)]

    def pieces(self, stream: str | None = None) -> Iterator[Piece]:
        """Rows with their addresses as they lie in the log or the copy. DatasetGone, DatasetChanged."""
        name = self._name(stream)
        described = self._of(name)
        digest = RunningDigest(self.schema(name), tuple(described["addresses"]))
        try:
            for piece in self._source(name, described):
                digest.add(piece.rows)
                yield piece
        except (pa.ArrowInvalid, OSError) as error:
            raise DatasetChanged(
                f"The copy of the rows is damaged: {error}", where=self._shown, fix="Restore it, or freeze again."
            ) from error
        self._gone(name)
        if digest.rows < described["rows"] and described["kind"] == "table" and not self._copied(name):
            raise DatasetGone(
                f"{described['rows'] - digest.rows} of {described['rows']} rows of the dataset are gone: {_COMPACTED}",
                where=f"{self._shown}, {name}",
                fix="Freeze it again; with keep=True compaction cannot take the rows.",
            )
        if digest.result() != described["digest"]:
            raise DatasetChanged(
                f"{digest.rows} rows are there where {described['rows']} were frozen, with another digest",
                where=f"{self._shown}, {name}",
                fix="The log or the copy was altered; restore it, or freeze again.",
            )

    def _source(self, name: str, described: dict[str, Any]) -> Iterator[Piece]:
        if self._copied(name):
            return read_copy(copy_of(self._copies, name), name, described["columns"])
        self._gone(name)
        return self._selection(name, described).pieces(self._log, self._schemas)

    def _selection(self, name: str, described: dict[str, Any]) -> Selection:
        schema = self._schemas(described["schema_id"])
        stream = Stream(
            name,
            schema,
            key=tuple(described["key"]),
            time=described["time"],
            kind=described["kind"],
            codec=described["codec"],
        )
        where = described["where"]
        return Selection(
            stream,
            tuple(described["columns"]),
            tuple((partition, first, end) for partition, first, end in self.manifest["ranges"][name]),
            described["since"],
            described["until"],
            None if where is None else parse_condition(where, schema.arrow, where=name),
        )

    def _copied(self, name: str) -> bool:
        return self.kept and copy_of(self._copies, name).exists()

    def _gone(self, name: str) -> None:
        """DatasetGone if the log no longer holds all of the stream's rows."""
        missing = [] if self._copied(name) else self._missing(name)
        if missing:
            copy = f"; and its copy is not at {self._copies}" if self.kept else ""
            raise DatasetGone(
                f"Rows of the dataset are gone: {'; '.join(map(str, missing))}{copy}",
                where=self._shown,
                fix="Freeze what is left as a new version; with keep=True retention cannot take the rows.",
            )

    def _missing(self, name: str) -> list[Missing]:
        described = self._of(name)
        try:
            bounds = self._log.bounds(name)
        except UnknownTopic:
            bounds = []
        oldest = dict(map(tuple, described["appended"]))
        found = []
        for partition, first, end in self.manifest["ranges"][name]:
            low, high = bounds[partition] if partition < len(bounds) else (0, 0)
            if high < end:
                found.append(Missing(name, partition, max(first, high), end, f"the log ends at {high}"))
            elif low > first and described["kind"] == "table":
                found.append(Missing(name, partition, first, min(low, end), _COMPACTED))
            elif low > first:
                retention = described["retention"]
                since = "" if retention is None else f" from {_text(oldest[partition] + retention)} on"
                found.append(Missing(name, partition, first, min(low, end), f"taken by retention{since}"))
        return found

    def _name(self, stream: str | None) -> str:
        if stream is None and len(self.streams) == 1:
            return self.streams[0]
        if stream not in self.streams:
            raise DatasetError(
                "The dataset has several streams" if stream is None else f"The dataset does not have {stream!r}",
                where=self._shown,
                fix=f"Name one: stream={' or '.join(map(repr, self.streams))}.",
            )
        return stream

    def _of(self, stream: str | None) -> dict[str, Any]:
        described: dict[str, Any] = self.manifest["streams"][self._name(stream)]
        return described

    @property
    def _shown(self) -> str:
        return f"dataset {self.name}, version {self.version}" if self.version else f"dataset {self.name}"

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        reader = pa.RecordBatchReader.from_batches(self.schema(), self.batches())
        return reader.__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        ends = "kept" if self.kept else "for ever" if self.expires is None else f"until {_text(self.expires)}"
        streams = ", ".join(self.streams)
        return f"Dataset({self.name!r}, version {self.version}, {len(self)} rows of {streams}, {ends})"

    def _repr_html_(self) -> str:
        cells = []
        for name in self.streams:
            one = self.manifest["streams"][name]
            times = "" if one["earliest"] is None else f"{_text(one['earliest'])} to {_text(one['latest'])}"
            values = (
                name,
                one["rows"],
                times,
                ", ".join(one["columns"]),
                one["where"] or "",
                ", ".join(one["producers"]),
            )
            cells.append("".join(f"<td>{html.escape(str(value))}</td>" for value in values))
        head = "".join(
            f"<th>{name}</th>" for name in ("stream", "rows", "event times", "columns", "where", "written by")
        )
        body = "".join(f"<tr>{row}</tr>" for row in cells)
        return f"<b>{html.escape(repr(self))}</b><br><code>{self.digest}</code><table><tr>{head}</tr>{body}</table>"


def folder_of(datasets: Path, name: str, digest: str) -> Path:
    """Where a dataset's copies are."""
    return datasets / f"{name}-{digest[:16]}"


def copy_of(folder: Path, stream: str) -> Path:
    return folder / f"{stream}.arrow"


def _text(microseconds: int) -> str:
    moment = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=microseconds)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


__all__ = ["Dataset", "DatasetChanged", "DatasetError", "DatasetGone", "Missing"]
