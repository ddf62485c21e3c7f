"""Replaying quarantine: rows that broke a rule go, mended or as they are, into the retry stream, each exactly once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from headwater.platform import PROGRESS
from headwater.quarantine import Held, QuarantineError, SentRows, batches_of, replayer_of, retried_by
from operators.execution.emit import made_ranges
from operators.execution.progress import Progress, merged_ranges, progress_topic, task_name
from streams.append import Appender
from streams.condition import parse_condition
from streams.conform import conform
from streams.keys import split
from streams.log.protocol import Writer
from streams.parents import Addresses, joined, ranges_of
from streams.schema import Schema
from streams.stream import Stream

if TYPE_CHECKING:
    from headwater.hub import Hub

#: Rows of one transaction.
ROWS_AT_ONCE = 100_000

#: What to do to rows: a function of a batch of the source's columns, or values for some of them.
Fix: TypeAlias = Callable[[pa.RecordBatch], Any] | Mapping[str, Any]


@dataclass
class ReplayReport:
    """What a replay did: how many rows it `sent` to `stream`, and how many stay, by why they cannot be sent."""

    stream: str
    sent: int = 0
    left: dict[str, int] = field(default_factory=dict)

    def _repr_html_(self) -> str:
        left = "".join(f"<br>{count} stay: {reason}" for reason, count in self.left.items())
        return f"{self.sent} rows sent to {self.stream}{left}"


def replay_quarantine(
    hub: Hub,
    stream: str,
    *,
    rule: str | None = None,
    where: str | None = None,
    fix: Fix | None = None,
    limit: int | None = None,
    rows_at_once: int = ROWS_AT_ONCE,
) -> ReplayReport:
    """Send quarantined rows of `stream` that were not sent yet into its retry stream, where the clean judges them anew
    in its next run.

    `rule` takes only rows that broke it, `where` (see streams.condition) only those for which it holds; it may name the
    source's columns and those beside them (`rule`, `field`, `value`, `contract`). Rows go as they are, or as `fix`
    makes them. Which rows were sent is committed with them: whatever happens, none goes twice. Rows without a value in
    a required field or the key stay. QuarantineError, SchemaError, ConditionError; Fenced if another replay began.
    """
    held_in, retry, schema_id = retried_by(hub.catalog, stream)
    held = Held.of(held_in)
    assert held is not None
    condition = None if where is None else parse_condition(where, held_in.schema.arrow, where=held_in.name)
    mend = _mender(fix, retry)
    replayer = replayer_of(held_in.name)
    hub.register_stream(_progress_stream(replayer, held_in))
    report = ReplayReport(retry.name)
    # Opening the writer ends every replay before this one, so that what is read of them afterwards is final.
    writer = hub.log.writer(task_name(replayer, 0), hub.config.service)
    try:
        sent = SentRows(hub.log, replayer)
        transaction = _Transaction(writer, held_in, retry, schema_id, replayer, hub.clock, sent.transactions)
        left: Counter[str] = Counter()
        rules: set[str] = set()
        for batch in batches_of(hub.log, held_in, hub.schema):
            wanted = held.has_row(batch.rows) & ~sent.holds(batch.addresses)
            if rule is not None:
                broken = {name: rows for name, _, rows in held.broken(batch.rows)}
                rules |= broken.keys()
                wanted &= np.isin(np.arange(len(wanted)), broken.get(rule, ()))
            if condition is not None:
                wanted &= condition.holds(batch.rows).to_numpy(zero_copy_only=False)
            at = np.flatnonzero(wanted)
            if not len(at):
                continue
            rows = mend(batch.rows.select(list(held.fields)).take(pa.array(at)))
            fit = _fit(rows, retry, left)
            if limit is not None:
                fit = fit[: limit - report.sent]
            report.sent += len(fit)
            transaction.add(rows.take(pa.array(fit)), batch.addresses.take(at[fit]))
            if transaction.rows >= rows_at_once:
                transaction.commit()
            if limit is not None and report.sent >= limit:
                break
        transaction.commit()
        report.left = dict(left)
        if rule is not None and rule not in rules:
            raise QuarantineError(
                f"No row broke the rule {rule!r}", where=held_in.name, fix=f"Rows broke {', '.join(sorted(rules))}."
            )
    finally:
        writer.close()
        hub.sync()
    return report


class _Transaction:
    """Collects rows and commits them with the record that says which they were."""

    def __init__(
        self,
        writer: Writer,
        held_in: Stream,
        retry: Stream,
        schema_id: int,
        replayer: str,
        clock: Callable[[], int],
        seq: int,
    ) -> None:
        self._writer = writer
        self._held_in = held_in
        self._retry = retry
        self._replayer = replayer
        self._run = f"{uuid4().hex[:10]}:{replayer}"
        self._clock = clock
        self._seq = seq
        self._appender = Appender(
            writer, retry, schema_id, producer=f"{replayer}@1", task=task_name(replayer, 0), run=self._run
        )
        self._kept: list[tuple[pa.RecordBatch, Addresses]] = []

    @property
    def rows(self) -> int:
        return sum(rows.num_rows for rows, _ in self._kept)

    def add(self, rows: pa.RecordBatch, addresses: Addresses) -> None:
        """SchemaError if the rows do not fit the retry stream."""
        if rows.num_rows:
            table = conform(pa.Table.from_batches([rows]), self._retry.schema, where=self._retry.name)
            self._kept.append((table.combine_chunks().to_batches()[0], addresses))

    def commit(self) -> None:
        """Rows by the partition of their key, their parents, what was sent: all at once."""
        count = self.rows
        if not count:
            return
        rows = pa.Table.from_batches([rows for rows, _ in self._kept]).combine_chunks().to_batches()[0]
        addresses = joined([each for _, each in self._kept])
        spans = []
        for partition, indices in self._placed(rows, addresses):
            here = addresses.take(indices)
            self._appender.append(partition, rows.take(pa.array(indices)), parents=(here,))
            spans += [
                (self._retry.name, partition, one.stream, one.partition, one.first, one.end)
                for one in ranges_of(here).ranges
            ]
        placed = self._writer.flush()
        progress = Progress(
            operator=self._replayer,
            task=0,
            version="1",
            run=self._run,
            engine="replay",
            seq=self._seq,
            at=self._clock(),
            rows_in={self._held_in.name: count},
            rows_out={self._retry.name: count},
            took=[[one.stream, one.partition, one.first, one.end] for one in ranges_of(addresses).ranges],
            made=made_ranges(placed),
            parents=merged_ranges(spans),
        )
        record = orjson.dumps(asdict(progress) | {"sent": _spans(addresses)})
        self._writer.append(progress_topic(self._replayer), 0, [None], [record], ())
        self._writer.commit()
        self._seq += 1
        self._kept = []

    def _placed(self, rows: pa.RecordBatch, addresses: Addresses) -> list[tuple[int, npt.NDArray[np.int64]]]:
        if self._retry.key:
            return split(rows, self._retry.key, self._retry.partitions, where=self._retry.name)
        found = np.asarray(addresses.partition)
        return [(partition, np.flatnonzero(found == partition)) for partition in np.unique(found).tolist()]


def _progress_stream(replayer: str, held_in: Stream) -> Stream:
    return Stream(
        progress_topic(replayer),
        Schema(PROGRESS),
        codec="json",
        partitions=1,
        role="progress",
        owner=held_in.owner,
        description=f"Which rows of {held_in.name} were sent to be judged anew.",
    )


def _mender(fix: Fix | None, retry: Stream) -> Callable[[pa.RecordBatch], pa.RecordBatch]:
    """The fix as a function that gives as many rows as it is given, with the retry stream's columns."""
    if fix is None:
        return lambda rows: rows
    schema = retry.schema.arrow
    if isinstance(fix, Mapping):
        values = {}
        for name, value in fix.items():
            if name not in schema.names:
                raise QuarantineError(
                    f"The fix names the field {name!r}, which does not exist",
                    where=retry.name,
                    fix=f"The fields are {', '.join(schema.names)}.",
                )
            try:
                values[name] = pa.scalar(value, schema.field(name).type)
            except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
                raise QuarantineError(
                    f"The fix gives {name!r} the value {value!r}: {error}",
                    where=retry.name,
                    fix=f"It has to be {schema.field(name).type}.",
                ) from error
        return lambda rows: _with_values(rows, values)
    return lambda rows: _mended(fix, rows, retry)


def _with_values(rows: pa.RecordBatch, values: Mapping[str, pa.Scalar]) -> pa.RecordBatch:
    columns = [
        pa.repeat(values[name], rows.num_rows) if name in values else column
        for name, column in zip(rows.schema.names, rows.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, names=rows.schema.names)


def _mended(fix: Callable[[pa.RecordBatch], Any], rows: pa.RecordBatch, retry: Stream) -> pa.RecordBatch:
    try:
        answer = fix(rows)
    except Exception as error:
        raise QuarantineError(
            f"The fix raised {type(error).__name__}: {error}",
            where=retry.name,
            fix="Rows of this call and those not yet committed were not sent; mend it and replay again.",
        ) from error
    names = retry.schema.arrow.names
    made = getattr(answer, "num_rows", None)
    if made != rows.num_rows or sorted(getattr(answer, "schema", pa.schema([])).names) != sorted(names):
        got = f"{made} rows" if made is not None else f"a {type(answer).__name__}"
        raise QuarantineError(
            f"The fix gave {got} for {rows.num_rows}",
            where=retry.name,
            fix=f"Return one row for each, in the same order, with the columns {', '.join(names)}. "
            "To leave rows out, say so in where=.",
        )
    table = answer if isinstance(answer, pa.Table) else pa.Table.from_batches([answer])
    return table.select(names).combine_chunks().to_batches()[0]


def _fit(rows: pa.RecordBatch, retry: Stream, left: Counter[str]) -> npt.NDArray[np.int64]:
    """The rows that have a value wherever one is required; the others are counted by what they lack."""
    fit = np.ones(rows.num_rows, dtype=bool)
    required = [one.name for one in retry.schema.arrow if not one.nullable]
    for name in dict.fromkeys((*retry.key, *required)):
        missing = rows.column(name).is_null().to_numpy(zero_copy_only=False) & fit
        if missing.any():
            left[f"{name} has no value"] += int(missing.sum())
            fit &= ~missing
    return np.flatnonzero(fit)


def _spans(addresses: Addresses) -> list[list[int]]:
    """Rows as [partition, offset, first row, end] of consecutive ones."""
    partition, offset, row = (np.asarray(part) for part in (addresses.partition, addresses.offset, addresses.row))
    order = np.lexsort((row, offset, partition))
    partition, offset, row = partition[order], offset[order], row[order]
    broken = (np.diff(partition) != 0) | (np.diff(offset) != 0) | (np.diff(row) != 1)
    starts = np.append(0, np.flatnonzero(broken) + 1)
    ends = np.append(starts[1:], len(row)) - 1
    return np.stack([partition[starts], offset[starts], row[starts], row[ends] + 1], axis=1).tolist()
