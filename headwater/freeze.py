"""Freezing: a query becomes offset ranges, schema ids, operator versions and a digest, registered as a dataset."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa

from catalog import Catalog, DatasetSpec
from headwater.dataset import FORMAT, Dataset, copy_of, folder_of
from headwater.frozen_rows import RunningDigest, Selection, write_copy
from headwater.query import DatasetError, Query
from streams.condition import parse_condition
from streams.log.protocol import Log
from streams.message import BEGINNING, END
from streams.register import stream_of
from streams.schema import Schema
from streams.stream import Stream

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def freeze(
    catalog: Catalog,
    log: Log,
    schemas: Callable[[int], Schema],
    datasets: Path,
    name: str,
    query: Query,
    *,
    keep: bool = False,
    description: str = "",
) -> Dataset:
    """Freeze what the query finds now, and register it; the same rows again are the same version.

    With `keep` the rows are copied below the folder `datasets`, where retention cannot take them. DatasetError,
    ConditionError or NotRegistered, and nothing registered, if the query cannot be answered.
    """
    if not _NAME.fullmatch(name):
        raise DatasetError(
            "This cannot be the name of a dataset", where=repr(name), fix="Use letters, digits, and . _ - in between."
        )
    names = query.names(catalog)
    records = [catalog.stream(one) for one in names]
    declared = [stream_of(record.spec) for record in records]
    columns = [query.check(stream) for stream in declared]
    # All ends are fixed before any row is read, so that all streams stop at about one moment.
    selections = [_selection(log, stream, chosen, query) for stream, chosen in zip(declared, columns, strict=True)]
    retention = {topic.name: topic.retention for topic in log.topics()}
    ranges: dict[str, list[list[int]]] = {}
    streams: dict[str, dict[str, Any]] = {}
    for selection, record in zip(selections, records, strict=True):
        found = _survey(log, schemas, selection)
        one = selection.stream.name
        ranges[one] = found.ranges
        streams[one] = found.described(log, selection, record.schema_id, retention.get(one))
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "rows": sum(one["rows"] for one in streams.values()),
        "ranges": ranges,
        "streams": streams,
    }
    expiries = [one["expires"] for one in streams.values() if one["expires"] is not None]
    spec = DatasetSpec(
        name=name,
        query=query.to_dict() | ({"description": description} if description else {}),
        manifest=manifest,
        digest=_digest_of(streams),
        streams=tuple(names),
        expires=None if keep else min(expiries, default=None),
        kept=keep,
    )
    if keep:
        _keep(Dataset.frozen(spec, log, schemas, datasets), datasets)
    return Dataset(catalog.register_dataset(spec), log, schemas, datasets)


def _selection(log: Log, stream: Stream, columns: tuple[str, ...], query: Query) -> Selection:
    bounds = log.bounds(stream.name)
    asked = [(one[0], one[1], one[2]) for one in (query.ranges or {}).get(stream.name, ())]
    if not asked:
        asked = [(partition, first, end) for partition, (first, end) in enumerate(bounds)]
    elif query.ranges and any(
        end > bounds[partition][1] or first < bounds[partition][0] for partition, first, end in asked
    ):
        raise DatasetError(
            f"The log does not hold all of {[list(one) for one in asked]}",
            where=stream.name,
            fix="It holds " + ", ".join(f"{at}: {first} to {end - 1}" for at, (first, end) in enumerate(bounds)) + ".",
        )
    since, until = query.times()
    where = None if query.where is None else parse_condition(query.where, stream.schema.arrow, where=stream.name)
    ordered = tuple(sorted(one for one in asked if one[2] > one[1]))
    for before, after in pairwise(ordered):
        if before[0] == after[0] and after[1] < before[2]:
            raise DatasetError(
                f"The ranges {list(before)} and {list(after)} overlap", where=stream.name, fix="Join them to one."
            )
    return Selection(stream, columns, ordered, since, until, where)


@dataclass
class _Survey:
    """What one pass over the rows of a stream found out about them."""

    ranges: list[list[int]]
    rows: int
    digest: str
    schema: pa.Schema
    producers: Counter[str] = field(default_factory=Counter)
    schema_ids: set[int] = field(default_factory=set)
    earliest: int = END
    latest: int = BEGINNING

    def described(self, log: Log, selection: Selection, schema_id: int, retention: int | None) -> dict[str, Any]:
        """The stream's part of the manifest."""
        name = selection.stream.name
        oldest = [
            [partition, int(log.read(name, partition, first, max_bytes=1).timestamps[0])]
            for partition, first, _ in self.ranges
        ]
        expires = None
        if retention is not None and oldest:
            expires = min(at for _, at in oldest) + retention
        return {
            "rows": self.rows,
            "digest": self.digest,
            "schema": Schema(self.schema).text,
            "schema_id": schema_id,
            "schema_ids": sorted(self.schema_ids),
            "producers": dict(sorted(self.producers.items())),
            "columns": list(selection.columns),
            "kind": selection.stream.kind,
            "codec": selection.stream.codec,
            "key": list(selection.stream.key),
            "time": selection.stream.time,
            "addresses": [name for name in selection.stream.addresses if name in selection.columns],
            "earliest": None if self.earliest == END else self.earliest,
            "latest": None if self.latest == BEGINNING else self.latest,
            "since": selection.since,
            "until": selection.until,
            "where": None if selection.where is None else selection.where.text,
            "retention": retention,
            "appended": oldest,
            "expires": expires,
        }


def _survey(log: Log, schemas: Callable[[int], Schema], selection: Selection) -> _Survey:
    """Read the rows once. The ranges become as narrow as they can be without leaving a row out."""
    declared = pa.schema([selection.stream.schema.arrow.field(name) for name in selection.columns])
    digest = RunningDigest(declared, selection.stream.addresses)
    survey = _Survey([], 0, "", declared)
    nullable = [one.nullable for one in declared]
    for asked in selection.ranges:
        reach: list[int] = []
        for piece in replace(selection, ranges=(asked,)).pieces(log, schemas):
            digest.add(piece.rows)
            nullable = [one or got.nullable for one, got in zip(nullable, piece.rows.schema, strict=True)]
            survey.producers[piece.producer or "unattributed"] += piece.rows.num_rows
            survey.schema_ids |= {piece.schema_id} - {0}
            offsets = piece.addresses.offset
            reach = [reach[0] if reach else int(offsets.min()), int(offsets.max()) + 1]
            known = piece.times[piece.times != BEGINNING]
            if len(known):
                survey.earliest = min(survey.earliest, int(known.min()))
                survey.latest = max(survey.latest, int(known.max()))
        if reach:
            # A shorter end would make an earlier row of a table's key the latest one within the range.
            end = asked[2] if selection.stream.kind == "table" else reach[1]
            survey.ranges.append([asked[0], reach[0], end])
    survey.rows = digest.rows
    survey.digest = digest.result()
    survey.schema = pa.schema([one.with_nullable(can) for one, can in zip(declared, nullable, strict=True)])
    return survey


def _digest_of(streams: dict[str, dict[str, Any]]) -> str:
    if len(streams) == 1:
        return str(next(iter(streams.values()))["digest"])
    told = "".join(f"{name} {one['digest']}\n" for name, one in sorted(streams.items()))
    return hashlib.sha256(told.encode()).hexdigest()


def _keep(dataset: Dataset, datasets: Path) -> None:
    """Copy the rows into a folder named by their digest: there once it is whole, and the same for the same rows."""
    folder = folder_of(datasets, dataset.name, dataset.digest)
    if folder.exists():
        return
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        for name in dataset.streams:
            path = copy_of(partial, name)
            write_copy(path, name, dataset.schema(name), dataset.pieces(name))
            _sync(path)
        _sync(partial)
        try:
            partial.rename(folder)
        except FileExistsError:
            return
        _sync(folder.parent)
    except OSError as error:
        raise DatasetError(
            f"The rows cannot be copied: {error}", where=str(folder), fix="Make room there, and freeze again."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
