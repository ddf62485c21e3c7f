"""A job without a catalog: an embedded log, schemas by number, and operators made of plain functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from operators.engines import embedded
from operators.execution.context import Context
from operators.execution.digest import digest_state, digest_stream
from operators.execution.plan import Node, Plan, tasks_of
from operators.execution.progress import progress_topic, snapshot_topic, state_topic
from operators.execution.restore import restored_state
from operators.execution.state import State
from operators.operator import Batch, Derived, Input, Output
from streams.log import EmbeddedLog, Topic
from streams.log.leases import owner_name
from streams.rows import Rows, read_rows
from streams.schema import Schema
from streams.sources import Source
from streams.stream import Stream

SECOND = 1_000_000


@dataclass
class FunctionOperator:
    """An operator whose step is a function of (batch, state); for tests of the engine."""

    name: str
    inputs: tuple[Input, ...]
    outputs: tuple[Stream, ...]
    function: Callable[[Batch, State], Iterable[Output]]
    held: Callable[[State], int] | None = None
    tick: int | None = None
    row_wise: bool = False
    keeps_key: bool = False
    kind: str = "function"
    version: str = "1"
    state_version: str = "1"
    params: dict[str, Any] = field(default_factory=dict)

    def step(self, batch: Batch, state: State) -> Iterable[Output]:
        return self.function(batch, state)

    def holds(self, state: State) -> int:
        from streams.message import END

        return END if self.held is None else self.held(state)

    def derives(self) -> dict[str, tuple[Derived, ...]]:
        return {}


class Job:
    """A plan with its log: make streams and nodes, run it, look at what came out."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = EmbeddedLog(path / "log.db", synchronous="normal")
        self.nodes: dict[str, Node] = {}
        self.streams: dict[str, Stream] = {}
        self.run_number = 0

    def stream(self, name: str, schema: pa.Schema, **options: Any) -> Stream:
        stream = Stream(name, Schema(schema), **options)
        self.streams[name] = stream
        return stream

    def source(self, stream: Stream, data: Any, *, chunk: int = 100) -> None:
        name = f"{stream.name}.source"
        self.nodes[name] = Node(name, 1, (stream,), source=Source(name, stream, data, chunk))

    def add(self, operator: Any, **options: Any) -> Stream:
        self.nodes[operator.name] = Node(
            operator.name, tasks_of(operator), operator.outputs, operator=operator, **options
        )
        for stream in operator.outputs:
            self.streams[stream.name] = stream
        for given in operator.inputs:
            self.streams[given.stream.name] = given.stream
        return operator.outputs[0]

    def plan(self) -> Plan:
        plan = Plan("test", self.nodes)
        self.streams.update(plan.streams())
        self.log.create(
            [Topic(s.name, s.partitions, compact=s.kind == "table") for s in self.streams.values()]
            + [Topic(progress_topic(n.name), n.tasks) for n in self.nodes.values()]
            + [Topic(state_topic(n.name), n.tasks, compact=True) for n in self.nodes.values()]
            + [Topic(snapshot_topic(n.name), n.tasks) for n in self.nodes.values()]
        )
        return plan

    def context(self) -> Context:
        ids = {name: number for number, name in enumerate(sorted(self.streams), start=1)}
        schemas = {number: self.streams[name].schema for name, number in ids.items()}
        self.run_number += 1
        return Context(
            log=self.log,
            schema=schemas.__getitem__,
            schema_id=ids.__getitem__,
            run=f"r{self.run_number}",
            engine="embedded",
            now=lambda: 1_700_000_000 * SECOND,
        )

    def run(
        self, *, until: embedded.Until | None = "caught-up", workers: int = 1, **options: Any
    ) -> embedded.RunReport:
        plan = self.plan()
        context = self.context()

        def prepare(context: Context) -> Context:
            from dataclasses import replace

            log = EmbeddedLog(self.path / "log.db", synchronous="normal")
            return replace(context, log=log, owner=owner_name())

        return embedded.run(
            plan,
            context,
            until=until,
            workers=workers,
            leases=self.log.leases if workers > 1 else None,
            prepare=prepare,
            **options,
        )

    def rows(self, name: str) -> Rows:
        return read_rows(self.log, self.streams[name], self.context().schema)

    def digests(self) -> dict[str, Any]:
        """Digests of all streams and states."""
        schema = self.context().schema
        found: dict[str, Any] = {name: digest_stream(self.log, s, schema) for name, s in sorted(self.streams.items())}
        for node in self.nodes.values():
            for number in range(node.tasks):
                found[f"{node.name}/{number}"] = digest_state(restored_state(self.log, node.name, number))
        return found


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


@pytest.fixture
def make_job(tmp_path: Path) -> Callable[[str], Job]:
    def make(name: str) -> Job:
        folder = tmp_path / name
        folder.mkdir()
        return Job(folder)

    return make


@pytest.fixture
def function_operator() -> type[FunctionOperator]:
    return FunctionOperator
