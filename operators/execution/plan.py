"""The plan of a job: which tasks there are, who writes which partition, and where its cycles are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from catalog.errors import HeadwaterError
from operators.execution.progress import task_name
from operators.operator import Input, Operator
from streams.sources import Source
from streams.stream import Stream

OnError = Literal["stop", "quarantine"]


class PlanError(HeadwaterError):
    """A graph that cannot be run as declared."""

    exit_code = 2


@dataclass(frozen=True)
class Node:
    """An operator or source of a job, and how many tasks it has."""

    name: str
    tasks: int
    outputs: tuple[Stream, ...]
    operator: Operator | None = None
    source: Source | None = None
    on_error: OnError = "stop"
    failed: Stream | None = None
    #: The operator's inputs with the streams that it only names (`hw.later`).
    resolved: tuple[Input, ...] | None = None

    @cached_property
    def inputs(self) -> tuple[Input, ...]:
        if self.resolved is not None:
            return self.resolved
        return () if self.operator is None else self.operator.inputs

    @property
    def keeps_partition(self) -> bool:
        """True if task n writes partition n only: its rows keep the key of the partition that it reads."""
        return self.operator is not None and self.operator.keeps_key and self.tasks > 1


@dataclass
class Plan:
    """The nodes of a job by name. `foreign` names the writers (operator, tasks, keeps_partition) of streams that
    other jobs write, as the catalog has them. With `only`, workers of this plan run the tasks of these nodes; others
    run the rest."""

    name: str
    nodes: dict[str, Node]
    foreign: Mapping[str, tuple[str, int, bool]] = field(default_factory=dict)
    only: frozenset[str] | None = None

    def __post_init__(self) -> None:
        self._readers: dict[str, set[str]] | None = None
        self._writer: dict[str, tuple[str, int, bool]] = dict(self.foreign)
        for node in self.nodes.values():
            for stream in node.outputs:
                if stream.name in self._writer and self._writer[stream.name][0] != node.name:
                    raise PlanError(
                        f"{self._writer[stream.name][0]} and {node.name} both write this stream",
                        where=stream.name,
                        fix="Give each its own stream; an operator with both as inputs can bring them together.",
                    )
                self._writer[stream.name] = (node.name, node.tasks, node.keeps_partition)
        self._cycles = _cycles(self.nodes.values())
        for node in self.nodes.values():
            for other in self._cycles.get(node.name, ()):
                if other == node.name and not self._has_delay(node):
                    ring = " -> ".join([*sorted(self._cycles[node.name]), node.name])
                    raise PlanError(
                        f"The cycle {ring} has no delay",
                        where=node.name,
                        fix="Declare one of its inputs with a delay (hw.later): without one there is no order.",
                    )

    def _has_delay(self, node: Node) -> bool:
        ring = self._cycles[node.name]
        forward = [
            Node(
                one.name,
                one.tasks,
                one.outputs,
                _ForwardOnly(tuple(i for i in one.inputs if not i.later)),  # type: ignore[arg-type]
            )
            for one in self.nodes.values()
            if one.name in ring
        ]
        return node.name not in _cycles(forward).get(node.name, set())

    def writers(self, stream: str, partition: int) -> tuple[str, ...] | None:
        """The tasks that may write this partition; None if the stream is written from outside."""
        known = self._writer.get(stream)
        if known is None:
            return None
        operator, tasks, keeps = known
        if keeps:
            return (task_name(operator, partition),)
        return tuple(task_name(operator, number) for number in range(tasks))

    def here(self) -> list[Node]:
        """The nodes to be run, sources first, then operators in the order in which they were declared."""
        chosen = [node for node in self.nodes.values() if self.only is None or node.name in self.only]
        return sorted(chosen, key=lambda node: node.source is None)

    def tasks(self) -> list[str]:
        """Every task to be run, in the order of `here`."""
        return [task_name(node.name, number) for node in self.here() for number in range(node.tasks)]

    def elsewhere(self) -> list[str]:
        """The tasks that others run."""
        here = {node.name for node in self.here()}
        return [
            task_name(node.name, number)
            for node in self.nodes.values()
            if node.name not in here
            for number in range(node.tasks)
        ]

    def downstream_of(self, tasks: Iterable[str]) -> set[str]:
        """The tasks that take, directly or not, what these write."""
        if self._readers is None:
            self._readers = self._reading()
        found: set[str] = set()
        front = set(tasks)
        while front:
            front = {reader for task in front for reader in self._readers.get(task, ())} - found
            found |= front
        return found

    def _reading(self) -> dict[str, set[str]]:
        """For each task those that read a partition that it may write."""
        found: dict[str, set[str]] = {}
        for node in self.nodes.values():
            for number in range(node.tasks):
                for given in node.inputs:
                    partitions = [number] if given.mode == "partitioned" else range(given.stream.partitions)
                    for partition in partitions:
                        for writer in self.writers(given.stream.name, partition) or ():
                            found.setdefault(writer, set()).add(task_name(node.name, number))
        return found

    def streams(self) -> dict[str, Stream]:
        """Every stream that a node of the job reads or writes."""
        found: dict[str, Stream] = {}
        for node in self.nodes.values():
            for stream in (*node.outputs, *(one.stream for one in node.inputs)):
                found[stream.name] = stream
            if node.failed is not None:
                found[node.failed.name] = node.failed
        return found

    def is_feedback(self, node: str, given: Input) -> bool:
        """True if the input closes a cycle of the job."""
        known = self._writer.get(given.stream.name)
        return given.later and known is not None and known[0] in self._cycles.get(node, set())

    def outside_of_cycle(self, node: str) -> list[Stream]:
        """The timed streams by which event time enters the cycles that the node is part of."""
        ring = self._cycles.get(node, set())
        found = {}
        for name in ring:
            for given in self.nodes[name].inputs:
                known = self._writer.get(given.stream.name)
                if given.stream.time is not None and (known is None or known[0] not in ring):
                    found[given.stream.name] = given.stream
        return [found[name] for name in sorted(found)]


@dataclass(frozen=True)
class _ForwardOnly:
    inputs: tuple[Input, ...]


def tasks_of(operator: Operator) -> int:
    """How many tasks an operator has: one for each partition of its partitioned inputs, one if it gathers."""
    counts = {given.stream.name: given.stream.partitions for given in operator.inputs if given.mode == "partitioned"}
    gathers = any(given.mode == "gathered" for given in operator.inputs)
    if counts and gathers:
        raise PlanError(
            "An operator cannot both gather inputs and read others by partition",
            where=operator.name,
            fix="Gather all of them, or none.",
        )
    if len(set(counts.values())) > 1:
        shown = ", ".join(f"{name} ({count})" for name, count in sorted(counts.items()))
        raise PlanError(
            f"Partitioned inputs with different partition counts: {shown}",
            where=operator.name,
            fix="Bring one to the other's count with hw.repartition, or take one as broadcast.",
        )
    return next(iter(counts.values()), 1)


def _cycles(nodes: Iterable[Node]) -> dict[str, set[str]]:
    """For each node on a cycle, the nodes of its strongly connected component."""
    nodes = list(nodes)
    writer = {stream.name: node.name for node in nodes for stream in node.outputs}
    above = {node.name: {writer[one.stream.name] for one in node.inputs if one.stream.name in writer} for node in nodes}
    reach: dict[str, set[str]] = {}
    for name in above:
        seen: set[str] = set()
        front = set(above[name])
        while front:
            seen |= front
            front = {further for one in front for further in above.get(one, ())} - seen
        reach[name] = seen
    return {
        name: {other for other in reach[name] if name in reach.get(other, ())} for name in above if name in reach[name]
    }
