"""Quarantine: what broke which rule, in numbers and samples, and which of it still waits to be replayed."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from catalog import Catalog
from catalog.errors import HeadwaterError
from operators.clean.quarantine import COLUMNS, column_names
from operators.execution.progress import progress_topic
from streams.log.protocol import Log, UnknownTopic
from streams.parents import Addresses
from streams.read import Arrived, PartitionReader
from streams.register import stream_of
from streams.rows import Row, Rows
from streams.schema import Schema
from streams.stream import Stream

SAMPLES = 3
_SUFFIX = ".quarantine"


class QuarantineError(HeadwaterError):
    """Quarantined rows that cannot be shown or replayed as asked."""

    exit_code = 2


@dataclass
class BrokenRule:
    """A rule that rows of a quarantine stream broke: how many, how many of them were not replayed yet, and the first
    few of those (of all, if there are none). A row that broke several rules counts under each."""

    stream: str
    rule: str
    field: str | None
    rows: int = 0
    waiting: int = 0
    sample: list[Row] = dataclasses.field(default_factory=list)


@dataclass(frozen=True)
class Quarantine(Sequence[BrokenRule]):
    """What lies in quarantine streams, rule by rule."""

    rules: tuple[BrokenRule, ...]

    @overload
    def __getitem__(self, index: int) -> BrokenRule: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[BrokenRule, ...]: ...
    def __getitem__(self, index: int | slice) -> BrokenRule | tuple[BrokenRule, ...]:
        return self.rules[index]

    def __len__(self) -> int:
        return len(self.rules)

    def to_arrow(self) -> pa.Table:
        """One row a rule, without samples."""
        names = ("stream", "rule", "field", "rows", "waiting")
        columns = [[getattr(one, name) for one in self.rules] for name in names]
        kinds = (pa.string(), pa.string(), pa.string(), pa.int64(), pa.int64())
        return pa.table([pa.array(values, kind) for values, kind in zip(columns, kinds, strict=True)], names=names)

    def __repr__(self) -> str:
        lines = [
            f"  {one.stream}: {one.rule}: {one.rows} row{'s' * (one.rows != 1)}, {one.waiting} waiting"
            for one in self.rules
        ]
        return "\n".join([f"Quarantine({len(self.rules)} broken rules)", *lines])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{name}</th>" for name in ("stream", "rule", "field", "rows", "waiting", "for example"))
        body = ""
        for one in self.rules:
            shown = dict(one.sample[0]) if one.sample else ""
            values = (one.stream, one.rule, one.field or "", one.rows, one.waiting, shown)
            body += "<tr>" + "".join(f"<td>{html.escape(str(value))}</td>" for value in values) + "</tr>"
        return f"<table><tr>{head}</tr>{body}</table>"


def quarantine(
    catalog: Catalog, log: Log, schemas: Callable[[int], Schema], stream: str | None = None, *, samples: int = SAMPLES
) -> Quarantine:
    """What lies in the quarantine of `stream` (the output of a clean, or its quarantine stream), or in all of them.
    NotRegistered, QuarantineError."""
    if stream is None:
        found = [stream_of(record.spec) for record in catalog.streams(roles=["quarantine"], limit=100_000)]
    else:
        record = catalog.stream(stream)
        if record.spec.role != "quarantine":
            record = catalog.stream(stream + _SUFFIX)
        found = [stream_of(record.spec)]
    rules: list[BrokenRule] = []
    for one in found:
        rules += _broken(log, schemas, one, samples)
    return Quarantine(tuple(rules))


def _broken(log: Log, schemas: Callable[[int], Schema], stream: Stream, samples: int) -> list[BrokenRule]:
    held = Held.of(stream)
    sent = SentRows(log, replayer_of(stream.name)) if held else None
    found: dict[tuple[str, str | None], BrokenRule] = {}
    for batch in batches_of(log, stream, schemas):
        waiting = np.zeros(batch.rows.num_rows, dtype=bool)
        if held is not None and sent is not None:
            waiting = held.has_row(batch.rows) & ~sent.holds(batch.addresses)
        for rule, named, rows in held.broken(batch.rows) if held else _failed(batch.rows):
            one = found.setdefault((rule, named), BrokenRule(stream.name, rule, named))
            wait = rows[waiting[rows]]
            if len(wait) and not one.waiting:
                one.sample.clear()
            one.rows += len(rows)
            if len(one.sample) < samples and (len(wait) or not one.waiting):
                chosen = (wait if len(wait) else rows)[: samples - len(one.sample)]
                table = pa.Table.from_batches([batch.rows.take(pa.array(chosen))])
                one.sample += Rows(stream.name, table, batch.addresses.take(chosen))
            one.waiting += len(wait)
    return sorted(found.values(), key=lambda one: (-one.rows, one.rule))


def _failed(rows: pa.RecordBatch) -> Iterator[tuple[str, None, npt.NDArray[np.int64]]]:
    """Batches that a step failed on, by error: their rows are still in the operator's input."""
    errors = rows.column("error").dictionary_encode()
    codes = errors.indices.to_numpy()
    for code, error in enumerate(errors.dictionary.to_pylist()):
        yield error, None, np.flatnonzero(codes == code)


@dataclass(frozen=True)
class Held:
    """How a row lies in a quarantine stream: the source's `fields`, and the columns beside them by what they say."""

    fields: tuple[str, ...]
    beside: dict[str, str]

    @classmethod
    def of(cls, stream: Stream) -> Held | None:
        """None for a stream that lists failed batches, not rows."""
        names = stream.schema.arrow.names
        fields = tuple(names[: -len(COLUMNS)])
        beside = column_names(fields)
        return cls(fields, beside) if names == [*fields, *beside.values()] else None

    def has_row(self, rows: pa.RecordBatch) -> npt.NDArray[np.bool_]:
        """False where only a finding about the stream is told, without a row."""
        valid = np.zeros(rows.num_rows, dtype=bool)
        for name in self.fields:
            valid |= rows.column(name).is_valid().to_numpy(zero_copy_only=False)
        return valid

    def broken(self, rows: pa.RecordBatch) -> Iterator[tuple[str, str | None, npt.NDArray[np.int64]]]:
        """Every rule that was broken, with its field and the rows that broke it."""
        listed = rows.column(self.beside["violations"])
        row = pc.list_parent_indices(listed).to_numpy()
        parts = pc.list_flatten(listed)
        rule, named = parts.field("rule"), parts.field("field")
        pairs = pc.binary_join_element_wise(rule, pc.fill_null(named, ""), "\0").dictionary_encode()
        codes = pairs.indices.to_numpy()
        for code in range(len(pairs.dictionary)):
            at = np.flatnonzero(codes == code)
            yield rule[int(at[0])].as_py(), named[int(at[0])].as_py(), np.unique(row[at]).astype(np.int64)


class SentRows:
    """The quarantined rows that were replayed, as the progress of the replays tells."""

    def __init__(self, log: Log, replayer: str) -> None:
        self._spans: dict[tuple[int, int], list[tuple[int, int]]] = {}
        self.transactions = 0
        position = 0
        topic = progress_topic(replayer)
        try:
            while len(fetched := log.read(topic, 0, position)):
                for value in fetched.values:
                    self.transactions += 1
                    for partition, offset, first, end in orjson.loads(value or b"{}")["sent"]:
                        self._spans.setdefault((partition, offset), []).append((first, end))
                position = fetched.next
        except UnknownTopic:
            # Nothing was ever replayed.
            return

    def holds(self, addresses: Addresses) -> npt.NDArray[np.bool_]:
        """True for each row that was replayed."""
        found = np.zeros(len(addresses), dtype=bool)
        if not self._spans or not len(addresses):
            return found
        partition = int(addresses.partition[0])
        for offset in np.unique(addresses.offset).tolist():
            for first, end in self._spans.get((partition, offset), ()):
                found |= (addresses.offset == offset) & (addresses.row >= first) & (addresses.row < end)
        return found


def replayer_of(name: str) -> str:
    """Under whose name rows of a quarantine stream are replayed."""
    return f"{name.removesuffix(_SUFFIX)}.replay"


def batches_of(log: Log, stream: Stream, schemas: Callable[[int], Schema]) -> Iterator[Arrived]:
    """All batches of a stream, partition by partition, up to where each ended when this began. Corrupt."""
    for partition, (first, end) in enumerate(log.bounds(stream.name)):
        reader = PartitionReader(log, stream, partition, schemas, position=first)
        while reader.position < end and (batches := reader.fetch(until=end)):
            for batch in batches:
                if batch.failure is not None:
                    raise batch.failure
                yield batch


def retried_by(catalog: Catalog, name: str) -> tuple[Stream, Stream, int]:
    """The quarantine stream of `name` (it, or the output of its clean), the retry stream that goes with it and
    the schema id of that. QuarantineError if rows cannot be replayed from it; NotRegistered."""
    catalog.stream(name)
    to = name.removesuffix(_SUFFIX)
    if not (catalog.has_stream(to + _SUFFIX) and catalog.has_stream(f"{to}.retry")):
        ready = [one.name for one in catalog.streams(roles=["quarantine"], limit=1000) if one.name.endswith(_SUFFIX)]
        raise QuarantineError(
            "It has no quarantine that rows are replayed from",
            where=name,
            fix=f"There are {', '.join(ready) or 'none'}; failed batches stay in their input and need no replay.",
        )
    retry = catalog.stream(f"{to}.retry")
    held: Any = catalog.stream(to + _SUFFIX)
    return stream_of(held.spec), stream_of(retry.spec), retry.schema_id
