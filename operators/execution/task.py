"""A task: one partition of an operator. It merges inputs, steps, and commits outputs, state and progress at once."""

from __future__ import annotations

import logging
from time import monotonic

from catalog.errors import HeadwaterError
from operators.errors import StepFailed
from operators.execution.context import Context
from operators.execution.emit import Emission, appenders_for, made_ranges
from operators.execution.failure import Failure, failed_output, may_be_quarantined
from operators.execution.inputs import Inputs, misplaced
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
from operators.execution.snapshots import write_snapshot
from operators.execution.state import State
from operators.execution.together import steps_of
from operators.execution.transaction import Transaction
from operators.operator import Batch, Input, Operator, Output, tick_at
from streams.log.protocol import Writer
from streams.message import BEGINNING, END
from streams.read import Arrived
from streams.staging import Staging

logger = logging.getLogger(__name__)

#: Steps of an operator that takes several batches at once are fed up to so many rows.
ROWS_IN_STEPS = 16_384
#: A row-wise step is fed up to so many rows of consecutive messages at once.
ROWS_AT_ONCE = 100_000
ROWS_PER_TRANSACTION = 400_000
SECONDS_PER_TRANSACTION = 1.0
#: A watermark alone is not committed more often than this.
QUIET_SECONDS = 0.02


def handed(given: Input, batch: Arrived, clock: int) -> Batch:
    """What a step is given of a batch: the columns that its input declares."""
    names = list(given.reads)
    rows = batch.rows if batch.rows.schema.names == names else batch.rows.select(names)
    return Batch(given.stream.name, rows, batch.addresses, batch.times, clock, batch.late)


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
        self._committed, self._owned = 0.0, False
        self._steps = steps_of(node.operator)
        self._rows_together = ROWS_AT_ONCE if node.operator.row_wise else ROWS_IN_STEPS
        self._alone = 0

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
        self._idle = False
        self._seq = last.seq + 1 if last else 0
        self._bound = last.bound if last else BEGINNING
        self._watermark = last.watermark if last else BEGINNING
        self._holds = last.holds if last else END
        self._stalled = last.stalled if last else False
        self.ended = last.ended if last else False
        self._ends = {name: dict(ends) for name, ends in last.ends.items()} if last else {}
        outputs = [*self.node.outputs, *([self.node.failed] if self.node.failed else [])]
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
        self._began = monotonic()
        if self._inputs.unchanged() and self._idle and not force:
            return False
        self._idle = False
        self._inputs.poll()
        until = self._began + seconds
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
            self._idle = True
            return False
        quiet = not self._transaction.took_any and self._watermark < END
        if not quiet or monotonic() - self._committed > QUIET_SECONDS:
            self._commit()
        return True

    def waiting_for(self) -> list[str]:
        """The inputs that hold up the next batch: stream and partition, most behind first."""
        return [f"{self.node.inputs[id.input].stream.name} {id.partition}" for id in self._merge.waiting_for()]

    def waits_for_outside(self) -> bool:
        """True if a stream written from outside holds up the next batch."""
        return any(not id.writer for id in self._merge.waiting_for())

    def positions(self) -> dict[tuple[str, int], int]:
        """The offsets of the first messages not yet taken; the first task tells of those that all tasks read."""
        return self._inputs.untaken(whole=self.number == 0)

    def loop_is_stuck(self) -> bool:
        """True if it waits in a loop that nothing from outside moves any more."""
        return self._inputs.loop_is_alone()

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
        elif self._steps is None or self._alone or force:
            self._alone = max(self._alone - 1, 0)
            self._take(taken)
        else:
            self._take_together(taken)
        return True

    def _take_together(self, first: Taken) -> None:
        """Feed consecutive batches to an operator that takes several at once."""
        assert self._steps is not None
        group: list[tuple[Taken, Batch]] = []
        rows = 0
        taken: Taken | None = first
        while taken is not None:
            given = None if self.operator.row_wise and taken.channel is not first.channel else self._given(taken)
            if given is None:
                if group:
                    self._merge.untake(taken)
                break
            group.append((taken, given))
            rows += given.rows.num_rows
            taken = self._merge.next() if rows < self._rows_together else None
        if len(group) < 2:
            self._take(first)
            return
        mark, bound, held = self.state.mark(), self._bound, self._holds
        try:
            done = list(self._steps([batch for _, batch in group], self.state))
            with self._transaction.emission.all_or_none():
                for (one, _), (outputs, holds) in zip(group, done, strict=True):
                    self._emit(one.clock, outputs, holds)
        except Exception as error:
            # Found again, and reported, at the batch that is to blame.
            logger.info("%s takes %d batches one by one: %s", self.name, len(group), error)
            self.state.reset(mark)
            self._bound, self._holds = bound, held
            for one, _ in reversed(group):
                self._merge.untake(one)
            self._alone = len(group)
            return
        for one, _ in group:
            self._transaction.take(one)
        self._stalled = False

    def _given(self, taken: Taken) -> Batch | None:
        """What the step is given; None for a batch that has no rows or cannot be taken."""
        batch = taken.batch
        assert batch is not None
        if batch.failure is not None or not batch.rows.num_rows or self._misplaced(taken) is not None:
            return None
        return self._batch(taken)

    def _batch(self, taken: Taken) -> Batch:
        batch, channel = taken.batch, taken.channel
        assert batch is not None
        assert channel is not None
        return handed(self.node.inputs[channel.id.input], batch, taken.clock)

    def _take(self, taken: Taken) -> None:
        batch = taken.batch
        assert batch is not None
        assert taken.channel is not None
        if batch.failure is not None:
            self._failed(taken, batch.failure)
            return
        if batch.rows.num_rows:
            try:
                problem = self._misplaced(taken)
                if problem is not None:
                    raise problem
                self._step(self._batch(taken))
            except Exception as error:
                self._failed(taken, error)
                return
        else:
            self._settle(taken.clock, [])
        self._transaction.take(taken)
        self._stalled = False

    def _misplaced(self, taken: Taken) -> HeadwaterError | None:
        assert taken.batch is not None
        assert taken.channel is not None
        return misplaced(self.operator.inputs[taken.channel.id.input], taken.batch)

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
        with self._transaction.emission.all_or_none():
            self._emit(clock, outputs, holds)

    def _emit(self, clock: int, outputs: list[Output], holds: int) -> None:
        self._raise_bound(clock)
        for output in outputs:
            self._transaction.emission.emit(output, self._bound)
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
        self._writer.commit(seen=False)
        self.state.settle()
        self._seq += 1
        self._committed = monotonic()
        context.committed(progress, self._committed - self._began)
        self._begin()
