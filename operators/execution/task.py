"""A task: one partition of an operator. It merges inputs, steps, and commits outputs, state and progress at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

import numpy as np

from catalog.errors import HeadwaterError
from operators.errors import StepFailed
from operators.execution.emit import Emission, appenders_for, made_ranges
from operators.execution.failure import Failure, failed_output, may_be_quarantined
from operators.execution.inputs import Inputs
from operators.execution.merge import Taken
from operators.execution.plan import Node, Plan
from operators.execution.progress import (
    Progress,
    last_progress,
    progress_topic,
    state_topic,
    task_name,
)
from operators.execution.restore import migrate_state, restored_state, state_version_of
from operators.execution.snapshots import EVERY, write_snapshot
from operators.execution.state import State
from operators.execution.transaction import Transaction
from operators.operator import Batch, Operator, Output, tick_at
from streams.log.protocol import Log, Writer
from streams.message import BEGINNING, END
from streams.parents import Addresses
from streams.read import OnGap
from streams.schema import Schema
from streams.staging import Staging

#: A row-wise step is fed up to so many rows of consecutive messages at once.
ROWS_AT_ONCE = 100_000
ROWS_PER_TRANSACTION = 400_000
SECONDS_PER_TRANSACTION = 1.0
#: A watermark alone is not committed more often than this.
QUIET_SECONDS = 0.02


@dataclass(frozen=True)
class Context:
    """What a task is given by its engine. `schema` finds a schema by id, `schema_id` the id under which a stream's
    declared schema is registered; `now` is the time of day in microseconds; a snapshot of the state is
    written every `snapshot_every` transactions. `on_gap` says what to do where rows were removed from the log before
    they were read."""

    log: Log
    schema: Callable[[int], Schema]
    schema_id: Callable[[str], int]
    run: str
    engine: str
    now: Callable[[], int]
    owner: str = ""
    parents: bool = True
    snapshot_every: int = EVERY
    on_gap: OnGap = "stop"


class Task:
    """Runs one partition of an operator from its last commit on.

    Opening it (`start`) fences every earlier owner, then restores state and positions. `work` takes what may be taken
    and commits one transaction. Killed at any moment, another `start` elsewhere goes on with nothing lost
    and nothing twice.
    """

    def __init__(self, node: Node, number: int, plan: Plan, context: Context) -> None:
        assert node.operator is not None
        self.name = task_name(node.name, number)
        self.node = node
        self.number = number
        self.operator: Operator = node.operator
        self.ended = False
        self.state = State()
        self._plan = plan
        self._context = context
        self._run = f"{context.run}:{node.name}"
        self._watermark = BEGINNING
        self._committed = 0.0
        self._owned = False

    def start(self) -> None:
        """Own the task and restore it. StateMismatch if its state has another version."""
        context = self._context
        self._writer: Writer = context.log.writer(self.name, context.owner)
        self._owned = True
        last = last_progress(context.log, self.node.name, self.number)
        self.state = restored_state(context.log, self.node.name, self.number)
        migrate_state(self.operator, self.state, last, self.name)
        self._inputs = Inputs(
            self.node, self.number, self._plan, context.log, context.schema, last, on_gap=context.on_gap
        )
        self._merge = self._inputs.merge
        self._seq = last.seq + 1 if last else 0
        self._bound = last.bound if last else BEGINNING
        self._watermark = last.watermark if last else BEGINNING
        self._holds = last.holds if last else END
        self._stalled = last.stalled if last else False
        self.ended = last.ended if last else False
        self._ends = {name: dict(ends) for name, ends in last.ends.items()} if last else {}
        outputs = [*self.operator.outputs, *([self.node.failed] if self.node.failed else [])]
        self._staging = Staging(self._writer)
        self._appenders = appenders_for(
            outputs,
            self._staging,
            {stream.name: context.schema_id(stream.name) for stream in outputs},
            producer=f"{self.node.name}@{self.operator.version}",
            task=self.name,
            run=self._run,
        )
        self._begin()

    def abort(self) -> None:
        """Drop what is not committed, and stay the owner."""
        if self._owned:
            self._writer.abort()

    def close(self) -> None:
        """Drop what is not committed, and give the task up. LogBusy, LogFull."""
        if self._owned:
            self._writer.close()

    def work(self, *, seconds: float = SECONDS_PER_TRANSACTION, force: bool = False) -> bool:
        """Take what may be taken, for about `seconds`, and commit it as one transaction. True if there was anything.

        Raises Fenced, LogBusy or LogFull from the log, RowsGone, or StepFailed after committing what came before the
        batch that failed; the task must then be started anew.
        """
        self._inputs.poll()
        until = monotonic() + seconds
        try:
            while self._take_next(force=force):
                force = False
                if monotonic() >= until or self._transaction.rows_taken >= ROWS_PER_TRANSACTION:
                    break
            if self._merge.ended() and not self.ended:
                self._tick(END)
                self.ended = True
        except StepFailed:
            if self._transaction.took_any:
                self._commit()
            raise
        self._transaction.skip(self._inputs.gaps())
        self._advance_watermark()
        if not self._transaction.took_any and self._watermark == self._told:
            return False
        quiet = not self._transaction.took_any and self._watermark < END
        if not quiet or monotonic() - self._committed > QUIET_SECONDS:
            self._commit()
        return True

    def waiting_for(self) -> list[str]:
        """The inputs that hold up the next batch: stream and partition, most behind first."""
        inputs = self.operator.inputs
        return [f"{inputs[id.input].stream.name} {id.partition}" for id in self._merge.waiting_for()]

    def waits_for_outside(self) -> bool:
        """True if a stream written from outside holds up the next batch."""
        return any(not id.writer for id in self._merge.waiting_for())

    @property
    def watermark(self) -> int:
        return self._watermark

    def has_queued(self) -> bool:
        """True if batches wait for their turn."""
        return any(channel.queue for channel in self._merge.channels.values() if not channel.feedback)

    def _begin(self) -> None:
        emission = Emission(
            self._staging,
            self._appenders,
            self.number,
            keeps_partition=self.node.keeps_partition,
            parents=self._context.parents,
        )
        self._transaction = Transaction(emission)
        self._told = self._watermark

    def _take_next(self, *, force: bool) -> bool:
        taken = self._merge.next(self._tick_due())
        if taken is None and self._inputs.poll():
            taken = self._merge.next(self._tick_due())
        if taken is None and force:
            waiting = [list(id) for id in self._merge.waiting_for()]
            taken = self._merge.next(None, force=True)
            if taken is not None:
                self._transaction.force(waiting)
        if taken is None:
            return False
        if taken.batch is None:
            try:
                self._tick(taken.clock)
            except StepFailed:
                self._merge.untake(taken)
                raise
        elif self.operator.row_wise and taken.batch.failure is None:
            self._take_several(taken)
        else:
            self._take(taken)
        return True

    def _take_several(self, first: Taken) -> None:
        """Feed consecutive batches of one channel to a row-wise step; its outputs are cut back at their ends."""
        group = [first]
        rows = first.batch.rows.num_rows if first.batch else 0
        while rows < ROWS_AT_ONCE and first.channel is not None and first.channel.queue:
            taken = self._merge.next()
            if taken is None or taken.batch is None:
                break
            if taken.channel is not first.channel or taken.batch.failure is not None:
                self._merge.untake(taken)
                break
            group.append(taken)
            rows += taken.batch.rows.num_rows
        if len(group) == 1:
            self._take(first)
            return
        batches = [taken.batch for taken in group if taken.batch is not None]
        mark, bound = self.state.mark(), self._bound
        emission = self._transaction.emission
        try:
            for taken in group:
                self._refuse_misplaced(taken)
            whole = self._inputs.joined(batches, group[0].clock)
            outputs = list(self.operator.step(whole, self.state))
            cut = [_cut_at(output, [batch.end for batch in batches]) for output in outputs]
            with emission.all_or_none():
                for index, taken in enumerate(group):
                    self._raise_bound(taken.clock)
                    for output, pieces in zip(outputs, cut, strict=True):
                        start, stop = pieces[index], pieces[index + 1]
                        if stop > start:
                            emission.emit(_slice(output, start, stop), self._bound)
        except Exception:
            # Found again, and reported, at the batch that is to blame.
            self.state.reset(mark)
            self._bound = bound
            for taken in group:
                self._take(taken)
            return
        for taken in group:
            self._transaction.take(taken)
        self._stalled = False

    def _take(self, taken: Taken) -> None:
        batch = taken.batch
        assert batch is not None
        assert taken.channel is not None
        if batch.failure is not None:
            self._failed(taken, batch.failure)
            return
        given = self.operator.inputs[taken.channel.id.input]
        rows = batch.rows if batch.rows.schema.names == list(given.reads) else batch.rows.select(list(given.reads))
        if rows.num_rows:
            try:
                self._refuse_misplaced(taken)
                self._step(Batch(given.stream.name, rows, batch.addresses, batch.times, taken.clock, batch.late))
            except Exception as error:
                self._failed(taken, error)
                return
        else:
            self._settle(taken.clock, [])
        self._transaction.take(taken)
        self._stalled = False

    def _refuse_misplaced(self, taken: Taken) -> None:
        assert taken.batch is not None
        assert taken.channel is not None
        problem = self._inputs.misplaced(taken.channel.id, taken.batch)
        if problem is not None:
            raise problem

    def _tick(self, clock: int) -> None:
        try:
            before = self.operator.holds(self.state)
            self._step(tick_at(clock))
        except Exception as error:
            failure = Failure.at_tick(self.node.name, self.name, error)
            raise StepFailed(failure.what, where=failure.where, fix=failure.fix) from error
        self._transaction.take(Taken(clock))
        self._stalled = self.operator.holds(self.state) == before

    def _step(self, batch: Batch) -> None:
        """One step, tried twice. A step that raised, or whose outputs do not fit, has changed nothing."""
        mark, bound = self.state.mark(), self._bound
        try:
            self._settle(batch.clock, list(self.operator.step(batch, self.state)))
            return
        except Exception:
            self.state.reset(mark)
            self._bound = bound
        try:
            self._settle(batch.clock, list(self.operator.step(batch, self.state)))
        except Exception:
            self.state.reset(mark)
            self._bound = bound
            raise

    def _failed(self, taken: Taken, error: Exception) -> None:
        batch = taken.batch
        assert batch is not None
        failure = Failure.at_batch(self.node.name, batch, error)
        if self.node.failed is None or not may_be_quarantined(error):
            self._merge.untake(taken)
            raise StepFailed(failure.what, where=failure.where, fix=failure.fix) from error
        self._settle(taken.clock, [failed_output(self.node.failed, failure, batch)])
        self._transaction.take(taken)

    def _settle(self, clock: int, outputs: list[Output]) -> None:
        """Emit what a step returned: all of it, or nothing if something does not fit."""
        holds = self.operator.holds(self.state)
        emission = self._transaction.emission
        with emission.all_or_none():
            self._raise_bound(clock)
            for output in outputs:
                emission.emit(output, self._bound)
        self._holds = max(holds, min(self._holds, clock))

    def _raise_bound(self, clock: int) -> None:
        self._bound = max(self._bound, min(clock, self._holds))

    def _tick_due(self) -> int | None:
        every = self.operator.tick
        if every is None or self._stalled:
            return None
        held = self.operator.holds(self.state)
        if held in (BEGINNING, END):
            return None
        return (max(held, self._merge.clock) // every + 1) * every

    def _advance_watermark(self) -> None:
        reached = END if self.ended else min(self._merge.watermark(), self._holds)
        self._watermark = max(self._watermark, reached)

    def _commit(self) -> None:
        context = self._context
        self._transaction.skip(self._inputs.gaps())
        # Encoded first: from flush to commit all other writers of the log may have to wait.
        changes = self.state.changes()
        placed = self._writer.flush()
        for at in placed:
            self._ends.setdefault(at.topic, {})[str(at.partition)] = at.last + 1
        progress = Progress(
            operator=self.node.name,
            task=self.number,
            version=self.operator.version,
            run=self._run,
            engine=context.engine,
            seq=self._seq,
            at=context.now(),
            watermark=self._watermark,
            clock=self._merge.clock,
            bound=self._bound,
            holds=self._holds,
            stalled=self._stalled,
            ended=self.ended,
            made=made_ranges(placed),
            positions=self._inputs.positions(),
            ends=self._ends,
            state_version=state_version_of(self.operator),
            **self._transaction.facts(),
        )
        self._writer.append(progress_topic(self.node.name), self.number, [None], [progress.encode()], ())
        if changes:
            self._writer.append(
                state_topic(self.node.name),
                self.number,
                [name.encode() for name in changes],
                list(changes.values()),
                (),
            )
        if self._seq and self._seq % self._context.snapshot_every == 0:
            write_snapshot(self._writer, self.node.name, self.number, self._seq, self.state)
        self._writer.commit()
        self.state.settle()
        self._seq += 1
        self._committed = monotonic()
        self._begin()


def _cut_at(output: Output, ends: list[int]) -> list[int]:
    """Where in a row-wise step's output the rows of each of its input messages begin."""
    first = output.parents[0]
    if not isinstance(first, Addresses) or len(first) != output.rows.num_rows:
        raise HeadwaterError("A row-wise step must give one parent address a row", where=output.stream)
    return [0, *np.searchsorted(first.offset, ends, side="left").tolist()]


def _slice(output: Output, start: int, stop: int) -> Output:
    if start == 0 and stop == output.rows.num_rows:
        return output
    return Output(
        output.stream,
        output.rows.slice(start, stop - start),
        tuple(part.slice(start, stop) if isinstance(part, Addresses) else part for part in output.parents),
    )
