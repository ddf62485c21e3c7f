"""A task: one partition of an operator. It merges its inputs, steps, and commits outputs, state, progress at once."""

from __future__ import annotations

import logging
from time import monotonic
from typing import Any

import numpy as np
import pyarrow as pa

from catalog.errors import HeadwaterError
from operators.execution.context import Context
from operators.execution.emit import Emission, appenders_for, made_ranges
from operators.execution.failure import Failure, failed_output, may_be_quarantined
from operators.execution.inputs import Inputs
from operators.execution.merge import Taken
from operators.execution.plan import Node, Plan
from operators.execution.progress import (
    Progress,
    last_progress,
    merged_ranges,
    progress_topic,
    state_topic,
    task_name,
)
from operators.execution.restore import migrate, restored_state, state_version_of
from operators.execution.state import State
from operators.execution.together import steps_of
from operators.operator import TICK, Batch, Input, Operator, Output
from streams.log.protocol import Writer
from streams.message import BEGINNING, END
from streams.parents import Addresses

logger = logging.getLogger(__name__)

#: Steps of an operator that takes several batches at once are fed up to so many rows.
ROWS_IN_STEPS = 16_384
#: A row-wise step is fed up to so many rows of consecutive messages at once.
ROWS_AT_ONCE = 100_000
ROWS_PER_TRANSACTION = 400_000
SECONDS_PER_TRANSACTION = 1.0
#: A watermark alone is not committed more often than this.
QUIET_SECONDS = 0.02


class StepFailed(HeadwaterError):
    """An operator's step raised; the task has stopped, and its input stays where it was."""

    exit_code = 8


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
        self._steps = steps_of(node.operator)
        self._rows_together = ROWS_AT_ONCE if node.operator.row_wise else ROWS_IN_STEPS
        self._alone = 0

    def start(self) -> None:
        """Own the task and restore it. StateMismatch if its state has another version."""
        context = self._context
        self._writer: Writer = context.log.writer(self.name, context.owner)
        last = last_progress(context.log, self.node.name, self.number)
        self.state = restored_state(context.log, self.node.name, self.number)
        if last is not None:
            migrate(self.state, self.operator, last.state_version, self.name)
        self._inputs = Inputs(self.node, self.number, self._plan, context.log, context.schema, last)
        self._merge = self._inputs.merge
        self._seq = last.seq + 1 if last else 0
        self._bound = last.bound if last else BEGINNING
        self._watermark = last.watermark if last else BEGINNING
        self._holds = last.holds if last else END
        self._stalled = last.stalled if last else False
        self.ended = last.ended if last else False
        self._ends = {name: dict(ends) for name, ends in last.ends.items()} if last else {}
        outputs = [*self.operator.outputs, *([self.node.failed] if self.node.failed else [])]
        self._appenders = appenders_for(
            outputs,
            self._writer,
            {stream.name: context.schema_id(stream.name) for stream in outputs},
            producer=f"{self.node.name}@{self.operator.version}",
            task=self.name,
            run=self._run,
        )
        self._begin()

    def close(self) -> None:
        self._writer.close()

    def work(self, *, seconds: float = SECONDS_PER_TRANSACTION, force: bool = False) -> bool:
        """Take what may be taken, for about `seconds`, and commit it as one transaction. True if there was anything.

        Raises Fenced, LogBusy or LogFull from the log (the task must then be started anew), StepFailed
        after committing what came before the batch that failed.
        """
        until = monotonic() + seconds
        self._inputs.poll()
        try:
            while monotonic() < until and self._rows_taken < ROWS_PER_TRANSACTION and self._take_next(force=force):
                pass
        except StepFailed:
            self._commit()
            raise
        if self._merge.ended() and not self.ended:
            self._tick(END)
            self.ended = True
        self._advance_watermark()
        if self._took_any or (self._watermark == END > self._told) or monotonic() - self._committed > QUIET_SECONDS:
            if self._took_any or self._watermark > self._told:
                self._commit()
                return True
            return False
        return self._watermark > self._told

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
        self._emission = Emission(
            self._appenders,
            self.number,
            keeps_partition=self.node.keeps_partition,
            parents=self._context.parents,
        )
        self._rows_in: dict[str, int] = {}
        self._late: dict[str, int] = {}
        self._unattributed: dict[str, int] = {}
        self._order: list[list[Any]] = []
        self._took: list[tuple[Any, ...]] = []
        self._forced: list[list[Any]] = []
        self._rows_taken = 0
        self._took_any = False
        self._told = self._watermark

    def _take_next(self, *, force: bool) -> bool:
        taken = self._merge.next(self._tick_due())
        if taken is None and self._inputs.poll():
            taken = self._merge.next(self._tick_due())
        if taken is None and force:
            waiting = [list(id) for id in self._merge.waiting_for()]
            taken = self._merge.next(None, force=True)
            if taken is not None:
                self._forced.extend(waiting)
        if taken is None:
            return False
        if taken.batch is None:
            self._tick(taken.clock)
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
        mark = self.state.mark()
        try:
            done = list(self._steps([batch for _, batch in group], self.state))
        except Exception as error:
            # Found again, and reported, at the batch that is to blame.
            logger.info("%s takes %d batches one by one: %s", self.name, len(group), error)
            self.state.reset(mark)
            for one, _ in reversed(group):
                self._merge.untake(one)
            self._alone = len(group)
            return
        for (one, _), (outputs, holds) in zip(group, done, strict=True):
            self._count(one)
            self._settle(one.clock, outputs, holds)
        self._stalled = False

    def _given(self, taken: Taken) -> Batch | None:
        """What the step is given; None for a batch without rows, a damaged or a misplaced one."""
        batch = taken.batch
        assert batch is not None
        if batch.failure is not None or not batch.rows.num_rows or self._misplaced(taken) is not None:
            return None
        return self._batch(taken)

    def _batch(self, taken: Taken) -> Batch:
        batch, given = taken.batch, self._input(taken)
        assert batch is not None
        rows = batch.rows if batch.rows.schema.names == list(given.reads) else batch.rows.select(list(given.reads))
        return Batch(given.stream.name, rows, batch.addresses, batch.times, taken.clock, batch.late)

    def _misplaced(self, taken: Taken) -> HeadwaterError | None:
        assert taken.channel is not None
        assert taken.batch is not None
        return self._inputs.misplaced(taken.channel.id, taken.batch)

    def _input(self, taken: Taken) -> Input:
        assert taken.channel is not None
        return self.operator.inputs[taken.channel.id.input]

    def _take(self, taken: Taken) -> None:
        batch = taken.batch
        assert batch is not None
        if batch.failure is not None:
            self._failed(taken, batch.failure)
            return
        outputs: list[Output] = []
        if batch.rows.num_rows:
            try:
                problem = self._misplaced(taken)
                if problem is not None:
                    raise problem
                outputs = self._step(self._batch(taken))
            except Exception as error:
                self._failed(taken, error)
                return
        self._count(taken)
        self._settle(taken.clock, outputs, self.operator.holds(self.state))
        self._stalled = False

    def _tick(self, clock: int) -> None:
        before = self.operator.holds(self.state)
        empty = pa.RecordBatch.from_arrays([], names=[])
        nowhere = Addresses.of_message(TICK, 0, 0, 0)
        try:
            outputs = self._step(Batch(TICK, empty, nowhere, np.empty(0, dtype=np.int64), clock))
        except Exception as error:
            raise StepFailed(
                f"The step raised at a tick: {error}",
                where=self.name,
                fix="Mend the operator and run again; nothing was committed since.",
            ) from error
        self._order.append([-1, clock])
        self._took_any = True
        self._settle(clock, outputs, self.operator.holds(self.state))
        self._stalled = self.operator.holds(self.state) == before

    def _step(self, batch: Batch) -> list[Output]:
        """One step, tried twice; a step that raised has changed nothing."""
        mark = self.state.mark()
        try:
            return list(self.operator.step(batch, self.state))
        except Exception:
            self.state.reset(mark)
        try:
            return list(self.operator.step(batch, self.state))
        except Exception:
            self.state.reset(mark)
            raise

    def _failed(self, taken: Taken, error: Exception) -> None:
        batch = taken.batch
        assert batch is not None
        failure = Failure.of(self.node.name, batch, error)
        if self.node.failed is None or not may_be_quarantined(error):
            self._merge.untake(taken)
            raise StepFailed(failure.what, where=failure.where, fix=failure.fix) from error
        self._count(taken)
        self._settle(taken.clock, [failed_output(self.node.failed, failure, batch)], self.operator.holds(self.state))

    def _settle(self, clock: int, outputs: list[Output], holds: int) -> None:
        self._raise_bound(clock)
        for output in outputs:
            self._emission.emit(output, self._bound)
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

    def _count(self, taken: Taken) -> None:
        batch, channel = taken.batch, taken.channel
        assert batch is not None
        assert channel is not None
        name = batch.stream
        self._rows_in[name] = self._rows_in.get(name, 0) + batch.rows.num_rows
        self._rows_taken += batch.rows.num_rows
        late = batch.late
        if late is not None:
            self._late[name] = self._late.get(name, 0) + int(late.sum())
        if batch.unattributed:
            self._unattributed[name] = self._unattributed.get(name, 0) + batch.unattributed
        self._order.append([*channel.id, batch.first, batch.end])
        self._took.append((name, batch.partition, batch.first, batch.end))
        self._took_any = True

    def _advance_watermark(self) -> None:
        reached = END if self.ended else min(self._merge.watermark(), self._holds)
        self._watermark = max(self._watermark, reached)

    def _commit(self) -> None:
        context = self._context
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
            rows_in=self._rows_in,
            rows_out=self._emission.rows,
            late=self._late,
            unattributed=self._unattributed,
            forced=self._forced,
            took=merged_ranges(self._took),
            made=made_ranges(placed),
            parents=self._emission.parent_spans(),
            order=self._order,
            positions=self._inputs.positions(),
            ends=self._ends,
            state_version=state_version_of(self.operator),
        )
        self._writer.append(progress_topic(self.node.name), self.number, [None], [progress.encode()], ())
        changes = self.state.changes()
        if changes:
            self._writer.append(
                state_topic(self.node.name),
                self.number,
                [name.encode() for name in changes],
                list(changes.values()),
                (),
            )
        self._writer.commit()
        self.state.settle()
        self._seq += 1
        self._committed = monotonic()
        self._begin()
