"""Replay: a task's recorded steps once more, on the same input in the same order, compared with what it wrote then."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from catalog.errors import HeadwaterError
from operators.errors import StepFailed
from operators.execution.context import Context
from operators.execution.digest import digest_rows
from operators.execution.emit import fitted
from operators.execution.failure import Failure, failed_output, may_be_quarantined
from operators.execution.inputs import columns_of, misplaced
from operators.execution.merge import effect_of
from operators.execution.plan import Node, Plan
from operators.execution.progress import Progress, decode_all, progress_topic, task_name
from operators.execution.snapshots import read_snapshot
from operators.execution.state import State
from operators.execution.task import handed
from operators.operator import Batch, Input, Output, tick_at
from streams.keys import split
from streams.message import BEGINNING, END, TASK, header
from streams.read import Arrived, PartitionReader
from streams.stream import Stream


class CannotReplay(HeadwaterError):
    """What a replay needs is not there any more, or never was."""

    exit_code = 9


@dataclass(frozen=True)
class Difference:
    """Where replayed rows first differ: the row's number in the compared range, and the row then and now (None
    where there is none)."""

    row: int
    then: dict[str, Any] | None
    now: dict[str, Any] | None


@dataclass(frozen=True)
class Comparison:
    """One partition of an output stream, as one task wrote it and as it comes out now."""

    stream: str
    partition: int
    task: str
    rows_then: int
    rows_now: int
    digest_then: str
    digest_now: str
    difference: Difference | None = None

    @property
    def equal(self) -> bool:
        return self.digest_then == self.digest_now


@dataclass
class Replayed:
    """What a replay found: the operator versions that wrote the range, the one that replayed it, and a comparison for
    each output partition and task."""

    operator: str
    versions_then: list[str]
    version_now: str
    transactions: int
    comparisons: list[Comparison] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        return all(comparison.equal for comparison in self.comparisons)

    @property
    def rows(self) -> int:
        return sum(comparison.rows_now for comparison in self.comparisons)


def replay(
    plan: Plan, context: Context, operator: str, *, first: int | None = None, end: int | None = None
) -> Replayed:
    """Step through the recorded order of all tasks of an operator, from the beginning or the newest earlier snapshot of
    its state, and compare what comes out of the transactions committed from `first` to before `end`
    (microseconds) with what lies in the log.

    Nothing is written. Output of transactions before `first` is made and thrown away, as state has to be made. The
    operator is the plan's, so a changed one is found. CannotReplay names what is gone from the log, StepFailed the
    batch on which the operator fails now, unless failed batches are listed.
    """
    node = plan.nodes.get(operator)
    if node is None or node.operator is None:
        known = ", ".join(sorted(name for name, one in plan.nodes.items() if one.operator is not None))
        raise CannotReplay("There is no such operator in the pipeline", where=operator, fix=f"It has {known}.")
    report = Replayed(operator, [], node.operator.version, 0)
    versions: dict[str, None] = {}
    for number in range(node.tasks):
        task = _TaskReplay(node, number, plan, context)
        then: dict[tuple[str, int], list[pa.RecordBatch]] = {}
        now: dict[tuple[str, int], list[pa.RecordBatch]] = {}
        for progress in task.transactions(first):
            if end is not None and progress.at >= end:
                break
            made = task.step_through(progress)
            if first is not None and progress.at < first:
                continue
            report.transactions += 1
            versions[progress.version] = None
            for where, rows in made:
                now.setdefault(where, []).append(rows)
            for where, rows in task.written(progress):
                then.setdefault(where, []).append(rows)
        schemas = {stream.name: task.compared(stream) for stream in task.outputs}
        for where in sorted(then.keys() | now.keys()):
            schema = schemas[where[0]]
            report.comparisons.append(_compare(where, task.name, then.get(where, []), now.get(where, []), schema))
    report.versions_then = list(versions)
    return report


class _TaskReplay:
    """One task's recorded steps."""

    def __init__(self, node: Node, number: int, plan: Plan, context: Context) -> None:
        assert node.operator is not None
        self.name = task_name(node.name, number)
        self.outputs = [*node.outputs, *([node.failed] if node.failed else [])]
        self._operator = node.operator
        self._node = node
        self._number = number
        self._plan = plan
        self._context = context
        self._state = State()
        self._clock = BEGINNING
        self._keys: dict[tuple[int, int, str], int] = {}
        self._recorded: dict[tuple[int, int], _Recorded] = {}
        self._starts: dict[tuple[int, int], tuple[int, int, int]] = {}

    def transactions(self, first: int | None) -> Iterator[Progress]:
        """The task's progress rows, from the first, or behind the newest snapshot of its state before the time `first`.
        CannotReplay if that row is gone."""
        log, topic = self._context.log, progress_topic(self._node.name)
        position = 0
        expected = 0 if first is None else self._restore(first)
        while len(fetched := log.read(topic, self._number, position)):
            for progress in decode_all(fetched, f"{topic} {self._number}"):
                if progress.seq < expected:
                    continue
                if progress.seq != expected:
                    raise CannotReplay(
                        f"The progress rows before transaction {progress.seq} are gone",
                        where=self.name,
                        fix="Replay needs all of them: keep the progress stream as long as the streams it describes.",
                    )
                expected += 1
                yield progress
            position = fetched.next

    def _restore(self, first: int) -> int:
        """Go to the newest snapshot before the first transaction at or after the time `first`; gives the number of the
        transaction to go on with."""
        log, topic = self._context.log, progress_topic(self._node.name)
        earlier: dict[int, Progress] = {}
        position = 0
        while len(fetched := log.read(topic, self._number, position)):
            for progress in decode_all(fetched, f"{topic} {self._number}"):
                if progress.at < first:
                    earlier[progress.seq] = progress
            position = fetched.next
        snapshot = read_snapshot(log, self._node.name, self._number, max(earlier, default=-1) + 1)
        if snapshot is None or snapshot[0] not in earlier:
            return 0
        seq, self._state = snapshot
        stand = earlier[seq]
        self._clock = stand.clock
        for index, partition, writer, offset, key, watermark, seen in stand.positions:
            self._keys[index, partition, writer] = key
            known = self._starts.get((index, partition))
            if known is None or offset < known[0]:
                self._starts[index, partition] = (offset, watermark, seen)
        return seq + 1

    def step_through(self, progress: Progress) -> list[tuple[tuple[str, int], pa.RecordBatch]]:
        """What the transaction's steps make now, by output stream and partition."""
        made: list[tuple[tuple[str, int], pa.RecordBatch]] = []
        for entry in progress.order:
            if entry[0] < 0:
                # The tick at the end moves no clock: what is published later goes on from where rows were.
                if entry[1] < END:
                    self._clock = max(self._clock, entry[1])
                made += self._ticked(max(self._clock, entry[1]))
            else:
                made += self._taken(self._node.inputs[entry[0]], self._arrived(*entry))
        return made

    def _ticked(self, clock: int) -> list[tuple[tuple[str, int], pa.RecordBatch]]:
        try:
            return self._step(tick_at(clock))
        except Exception as error:
            raise self._fails_now(Failure.at_tick(self._node.name, self.name, error)) from error

    def _taken(self, given: Input, arrived: Arrived) -> list[tuple[tuple[str, int], pa.RecordBatch]]:
        """What a batch makes; a batch that cannot be taken is listed where that was asked for, as it was then."""
        if arrived.failure is None and not arrived.rows.num_rows:
            return []
        problem: Exception | None = arrived.failure or misplaced(given, arrived)
        if problem is None:
            mark = self._state.mark()
            try:
                return self._step(handed(given, arrived, self._clock))
            except Exception as error:
                self._state.reset(mark)
                problem = error
        failure = Failure.at_batch(self._node.name, arrived, problem)
        if self._node.failed is None or not may_be_quarantined(problem):
            raise self._fails_now(failure) from problem
        return self._placed(failed_output(self._node.failed, failure, arrived))

    def _step(self, batch: Batch) -> list[tuple[tuple[str, int], pa.RecordBatch]]:
        return [placed for output in self._operator.step(batch, self._state) for placed in self._placed(output)]

    def _fails_now(self, failure: Failure) -> StepFailed:
        return StepFailed(
            failure.what,
            where=failure.where,
            fix="The operator as it is now fails where it did not then: mend it and replay again.",
        )

    def written(self, progress: Progress) -> Iterator[tuple[tuple[str, int], pa.RecordBatch]]:
        """What the transaction wrote to the operator's outputs, as it lies in the log."""
        streams = {stream.name: stream for stream in self.outputs}
        for name, partition, first, end in progress.made:
            stream = streams[name]
            self._refuse_gone(name, partition, first)
            columns = self.compared(stream).names
            reader = PartitionReader(
                self._context.log, stream, partition, self._context.schema, position=first, columns=columns
            )
            while reader.position < end and (batches := reader.fetch(until=end)):
                for batch in batches:
                    if header(batch.headers, TASK) == self.name.encode():
                        yield (name, partition), batch.rows

    def compared(self, stream: Stream) -> pa.Schema:
        """The columns that are compared: all but those declared as addresses."""
        return pa.schema([one for one in stream.schema.arrow if one.name not in stream.addresses])

    def _arrived(self, index: int, partition: int, writer: str, first: int, end: int) -> Arrived:
        given = self._node.inputs[index]
        recorded = self._recorded.get((index, partition))
        if recorded is None:
            self._refuse_gone(given.stream.name, partition, first)
            outside = self._plan.writers(given.stream.name, partition) is None
            start, watermark, seen = self._starts.get((index, partition), (0, BEGINNING, BEGINNING))
            reader = PartitionReader(
                self._context.log,
                given.stream,
                partition,
                self._context.schema,
                columns=columns_of(given, outside=outside),
                outside=outside,
                position=start,
                watermark=watermark,
                seen=seen,
            )
            recorded = self._recorded[index, partition] = _Recorded(reader)
        arrived = recorded.take(first, end)
        channel = (index, partition, writer)
        feedback = self._plan.is_feedback(self._node.name, given)
        effect = effect_of(arrived, given.delay, feedback=feedback)
        key = max(self._keys.get(channel, BEGINNING), effect)
        self._keys[channel] = key
        self._clock = max(self._clock, key)
        return arrived

    def _refuse_gone(self, stream: str, partition: int, first: int) -> None:
        readable = self._context.log.bounds(stream)[partition][0]
        if first < readable:
            raise CannotReplay(
                f"Offsets {first} to {readable - 1} are gone",
                where=f"{stream} {partition}",
                fix="Retention or compaction took them; replay a stream while its inputs are kept.",
            )

    def _placed(self, output: Output) -> list[tuple[tuple[str, int], pa.RecordBatch]]:
        stream = next(stream for stream in self.outputs if stream.name == output.stream)
        rows = fitted(output.rows, stream)
        names = self.compared(stream).names
        if not rows.num_rows:
            return []
        if self._node.keeps_partition or not stream.key:
            return [((stream.name, self._number % stream.partitions), rows.select(names))]
        return [
            ((stream.name, partition), rows.take(pa.array(indices)).select(names))
            for partition, indices in split(rows, stream.key, stream.partitions)
        ]


class _Recorded:
    """Batches of one partition, found again by the offsets that were recorded of them."""

    def __init__(self, reader: PartitionReader) -> None:
        self._reader = reader
        self._waiting: dict[int, Arrived] = {}

    def take(self, first: int, end: int) -> Arrived:
        while first not in self._waiting:
            until = end if self._reader.outside else None
            batches = self._reader.fetch(until=until)
            if not batches:
                raise CannotReplay(
                    f"The batch at offsets {first} to {end - 1} is not there",
                    where=f"{self._reader.stream.name} {self._reader.partition}",
                    fix="The log was altered, or retention took it.",
                )
            self._waiting.update((batch.first, batch) for batch in batches)
        return self._waiting.pop(first)


def _compare(
    where: tuple[str, int], task: str, then: list[pa.RecordBatch], now: list[pa.RecordBatch], schema: pa.Schema
) -> Comparison:
    before = pa.Table.from_batches([rows.cast(schema) for rows in then], schema=schema)
    after = pa.Table.from_batches([rows.cast(schema) for rows in now], schema=schema)
    digests = digest_rows(before.to_batches(), schema), digest_rows(after.to_batches(), schema)
    difference = None if digests[0] == digests[1] else _first_difference(before, after)
    return Comparison(*where, task, before.num_rows, after.num_rows, *digests, difference)


def _first_difference(then: pa.Table, now: pa.Table) -> Difference:
    """Bisection over prefixes: the longest equal one is where the first difference is."""
    low, high = 0, min(then.num_rows, now.num_rows)
    while low < high:
        middle = (low + high + 1) // 2
        same = digest_rows(then.slice(low, middle - low).to_batches(), then.schema) == digest_rows(
            now.slice(low, middle - low).to_batches(), now.schema
        )
        low, high = (middle, high) if same else (low, middle - 1)
    return Difference(low, _row(then, low), _row(now, low))


def _row(table: pa.Table, at: int) -> dict[str, Any] | None:
    return table.slice(at, 1).to_pylist()[0] if at < table.num_rows else None
