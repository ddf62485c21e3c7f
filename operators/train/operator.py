"""The train operator: examples, weak labels, alarms and a person's requests, in the order of event time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.alarms import SCHEMA as ALARMS
from operators.alarms import Alarm, alarm_rows, alarm_stream, alarms_derive
from operators.execution.state import State
from operators.execution.together import Step
from operators.gathered import Gathered, columns_in_order, under_schema
from operators.join.rows import addresses_of, column_of, one_batch, own_columns, times_of
from operators.model.stream import MODEL_SCHEMA, Learns, ModelEvent, control_stream, model_rows, model_stream
from operators.operator import Batch, Derived, Input, Output
from operators.train.design import Design
from operators.train.memory import Memory, Shelf
from operators.train.trainer import Chunk, Said, Trainer
from operators.versions import version_of
from streams.message import BEGINNING, END
from streams.stream import Stream

_ALARM_READS = ("source", "at", "kind", "column")
#: What happens at one time happens in this order.
_REQUEST, _ALARM, _UNKNOWN, _WEAK, _EXAMPLES = range(5)


class Train:
    """See `operators.train.declare.train`.

    Rows leave their waiting rooms in an order that the data fixes, and are learnt in chunks of exactly n; what is left
    over waits in the state, with its addresses. So it does not matter how they were cut into batches.
    """

    kind = "train"
    row_wise = False
    keeps_key = False

    def __init__(self, design: Design, listens: Input | None, params: dict[str, Any], version: str) -> None:
        self.name = design.model
        self.tick = design.tick
        self.params = params
        self.version = version_of(f"train 1, {version}", params)
        self._design = design
        self._listens = listens
        examples, beside = design.examples, [design.target, design.censored, design.weight]
        columns = [*design.features, *(name for gate in design.gates for name in gate.columns)]
        self._reads = columns_in_order(examples, [*columns, *(name for name in beside if name is not None)])
        self._examples = Gathered("examples", examples, self._reads)
        self._weak: Gathered | None = None
        if design.weak is not None:
            reads = columns_in_order(design.weak.stream, [*design.features, design.weak.probability])
            self._weak = Gathered("weak", design.weak.stream, reads)
        self.control = control_stream(design.model)
        self.learns = Learns(design.features, design.classes.values)
        self._requests = Gathered("requests", self.control, tuple(self.control.schema.names))
        self._reports: Gathered | None = None
        if listens is not None:
            heard = Stream(listens.stream.name, ALARMS, time="at", partitions=listens.stream.partitions)
            self._reports = Gathered("reports", heard, _ALARM_READS, listens.delay)
        self._shelf = Shelf(design)
        self._output = model_stream(design.model)
        self._alarms = alarm_stream(design.model)

    @property
    def inputs(self) -> tuple[Input, ...]:
        weak = () if self._weak is None else (Input(self._weak.stream, "gathered", self._weak.reads),)
        listens = () if self._listens is None else (self._listens,)
        requests = Input(self.control, "gathered", self._requests.reads)
        return (Input(self._examples.stream, "gathered", self._reads), *weak, requests, *listens)

    @property
    def outputs(self) -> tuple[Stream, ...]:
        return self._output, self._alarms

    def step(self, batch: Batch, state: State) -> Iterable[Output]:
        ((outputs, _),) = self.steps([batch], state)
        return outputs

    def steps(self, batches: Sequence[Batch], state: State) -> list[Step]:
        """The same as one step after the other; what was learnt is written to the state once."""
        for room in self._rooms():
            room.conform(state)
        memory = self._shelf.take(state)
        trainer = Trainer(self._design, memory)
        done: list[Step] = []
        changed = False
        for batch in batches:
            said = list(self._advance(batch, state, trainer, memory))
            changed |= memory.touched
            memory.touched = False
            done.append((self._outputs(said), self.holds(state)))
        if changed:
            self._shelf.put(state, memory)
        else:
            self._shelf.put_back(state, memory)
        return done

    def holds(self, state: State) -> int:
        return min(room.earliest(state) for room in self._rooms())

    def derives(self) -> dict[str, tuple[Derived, ...]]:
        examples = self._examples.stream.name
        told = tuple((examples, name) for name in self._reads)
        if self._weak is not None:
            told += tuple((self._weak.stream.name, name) for name in self._weak.reads)
        time = ((examples, self._examples.stream.time),) if self._examples.stream.time else ()
        known = {"at": time, "model": (), "chunk": (), "chunks": ()}
        fields = tuple(Derived(name, known.get(name, told)) for name in MODEL_SCHEMA.names)
        return {self._output.name: fields, self._alarms.name: alarms_derive(fields=told)}

    def _advance(self, batch: Batch, state: State, trainer: Trainer, memory: Memory) -> Iterator[Said]:
        """Everything that the clock has passed, in its order; requests and alarms that hold now, too."""
        clock = batch.clock
        room = self._room(batch)
        if room is not None:
            if room is self._weak and self._is_warm(memory):
                return
            if room is self._examples or room is self._weak:
                # What has come now holds from the clock on: what is before it leaves first.
                yield from self._happens(clock, state, trainer, memory)
                room.push(state, batch)
                return
            room.push(state, batch)
        yield from self._happens(clock, state, trainer, memory)

    def _rooms(self) -> list[Gathered]:
        rooms = (self._examples, self._weak, self._requests, self._reports)
        return [room for room in rooms if room is not None]

    def _room(self, batch: Batch) -> Gathered | None:
        if batch.is_tick or not batch.rows.num_rows:
            return None
        known = {room.stream.name: room for room in (self._examples, self._weak, self._requests) if room is not None}
        return known.get(batch.input, self._reports)

    def _happens(self, clock: int, state: State, trainer: Trainer, memory: Memory) -> Iterator[Said]:
        if clock == BEGINNING:
            return
        now = END if clock == END else clock + 1
        happenings: list[tuple[int, int, Iterator[Said]]] = []
        for rows in self._released(self._requests, state, now):
            happenings += self._one_by_one(rows, self._requests, _REQUEST, trainer.asked, clock)
        if self._reports is not None:
            for rows in self._released(self._reports, state, now):
                happenings += self._one_by_one(rows, self._reports, _ALARM, trainer.alarmed, clock)
        if self._weak is not None:
            for rows in self._released(self._weak, state, clock):
                happenings += self._weak_chunks(rows, state, trainer, memory)
        for rows in self._released(self._examples, state, clock):
            happenings += self._chunks(rows, state, trainer, memory)
        memory.touched |= bool(happenings)
        happenings.sort(key=lambda one: one[:2])
        for _, _, happening in happenings:
            yield from happening

    def _released(self, room: Gathered, state: State, bound: int) -> Iterator[Any]:
        rows = room.release(state, bound)
        if rows is not None:
            yield rows

    def _one_by_one(
        self, rows: Any, room: Gathered, order: int, act: Any, clock: int
    ) -> Iterator[tuple[int, int, Iterator[Said]]]:
        """Requests and alarms: few, and each acts on what the one before it left."""
        addresses = addresses_of(rows, room.stream.name)
        for at, (time, told) in enumerate(zip(times_of(rows).tolist(), own_columns(rows).to_pylist(), strict=True)):
            # What was asked before there was any time holds from its beginning on.
            since = clock if time == BEGINNING else time
            if since < END:
                yield since, order, act(told, since, addresses.slice(at, at + 1))

    def _chunks(
        self, rows: Any, state: State, trainer: Trainer, memory: Memory
    ) -> Iterator[tuple[int, int, Iterator[Said]]]:
        design, schema = self._design, self._examples.schema
        labels = column_of(rows, schema, design.target)
        counted = pc.is_valid(labels)
        if design.censored is not None:
            lost = pc.fill_null(column_of(rows, schema, design.censored), False)
            _count(memory, "censored", pc.sum(lost).as_py() or 0)
            counted = pc.and_(counted, pc.invert(lost))
        _count(memory, "without label", rows.num_rows - (pc.sum(pc.is_valid(labels)).as_py() or 0))
        known = pa.array(design.classes.codes(labels) >= 0)
        strange = pc.and_(counted, pc.invert(known))
        if pc.any(strange).as_py():
            places = np.flatnonzero(strange.to_numpy(zero_copy_only=False))
            _count(memory, "unknown class", len(places))
            addresses = addresses_of(rows, self._examples.stream.name)
            values = [str(value) for value in labels.take(pa.array(places)).to_pylist()]
            for value in dict.fromkeys(values):
                first = int(places[values.index(value)])
                at = int(times_of(rows)[first])
                yield at, _UNKNOWN, trainer.unknown(value, at, addresses.slice(first, first + 1))
        for piece in self._pieces("pending", rows.filter(pc.and_(counted, known)), schema, state):
            chunk = self._chunk(piece, self._examples, design.target)
            yield chunk.at, _EXAMPLES, trainer.learn(chunk)

    def _weak_chunks(
        self, rows: Any, state: State, trainer: Trainer, memory: Memory
    ) -> Iterator[tuple[int, int, Iterator[Said]]]:
        weak, room = self._design.weak, self._weak
        assert weak is not None
        assert room is not None
        probability = column_of(rows, room.schema, weak.probability)
        fits = pc.and_(pc.greater_equal(probability, 0.0), pc.less_equal(probability, 1.0))
        for piece in self._pieces("weak pending", rows.filter(pc.fill_null(fits, False)), room.schema, state):
            chunk = self._chunk(piece, room, None)
            stated = column_of(piece, room.schema, weak.probability).cast(pa.float64()).to_numpy(zero_copy_only=False)
            yield chunk.at, _WEAK, self._while_cold(chunk, stated, trainer, memory)

    def _is_warm(self, memory: Memory) -> bool:
        """True once weak labels teach nothing any more; that stays so."""
        return self._design.weak is not None and memory.true_rows >= self._design.weak.until

    def _while_cold(self, chunk: Chunk, stated: Any, trainer: Trainer, memory: Memory) -> Iterator[Said]:
        if not self._is_warm(memory):
            yield from trainer.learn_weak(chunk, stated)

    def _pieces(self, name: str, rows: Any, schema: pa.Schema, state: State) -> Iterator[Any]:
        """Chunks of exactly n rows; the remainder waits in the state."""
        size = self._design.chunk
        left = schema.empty_table() if name not in state else under_schema(state.table(name), schema)
        together = pa.concat_tables([left, pa.Table.from_batches([rows], schema=schema)])
        whole = together.num_rows // size * size
        rest = together.slice(whole)
        if rest.num_rows or name in state:
            state[name] = rest.combine_chunks()
        if whole:
            ready = one_batch(together.slice(0, whole))
            for start in range(0, whole, size):
                yield ready.slice(start, size)

    def _chunk(self, piece: Any, room: Gathered, target: str | None) -> Chunk:
        own = own_columns(piece)
        truth = np.empty(0, dtype=np.int64) if target is None else self._design.classes.codes(own.column(target))
        addresses = addresses_of(piece, room.stream.name)
        return Chunk(own, truth, addresses, int(times_of(piece)[-1]))

    def _outputs(self, said: Sequence[Said]) -> list[Output]:
        outputs = []
        for one, parents in said:
            if isinstance(one, ModelEvent):
                outputs += [Output(self._output.name, rows, (parents,)) for rows in model_rows([one])]
            else:
                assert isinstance(one, Alarm)
                outputs.append(Output(self._alarms.name, alarm_rows([one]), (parents,)))
        return outputs


def _count(memory: Memory, what: str, rows: int) -> None:
    if rows:
        memory.left_out[what] = memory.left_out.get(what, 0) + rows
        memory.touched = True
