"""A named graph of streams, sources and operators, without the methods that make operators: see pipeline.py."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from catalog import EntitySpec, FieldLink, InputSpec, OperatorSpec, OutputSpec, PipelineSpec
from catalog.specs import Codec, Kind
from operators.execution.failure import failed_stream
from operators.execution.plan import Node, OnError, Plan, PlanError, tasks_of
from operators.execution.restore import state_version_of
from operators.operator import Input, Operator
from streams.duration import Duration, parse_duration
from streams.odcs import contract_text, read_contract
from streams.register import spec_of
from streams.rule import Rule
from streams.schema import Schema
from streams.sources import CHUNK, Source
from streams.stream import Stream


class Graph:
    """Streams and nodes by full name; declares streams, and takes sources and operators."""

    def __init__(self, name: str, *, owner: str = "", description: str = "", partitions: int = 4) -> None:
        self.name = name
        self.owner = owner
        self.description = description
        self.partitions = partitions
        self.streams: dict[str, Stream] = {}
        self.nodes: dict[str, Node] = {}
        self.entities: dict[str, EntitySpec] = {}
        self._documents: dict[str, str] = {}

    def stream(
        self,
        name: str,
        schema: type | Any = None,
        *,
        contract: str | Path | None = None,
        key: str | Sequence[str] = (),
        time: str | None = None,
        codec: Codec | None = None,
        partitions: int | None = None,
        entities: Mapping[str, str] | None = None,
        expect: Iterable[Rule] = (),
        lateness: Duration = 0,
        retention: Duration | None = None,
        description: str = "",
        fields: Mapping[str, str] | None = None,
        owner: str = "",
        tags: Iterable[str] = (),
    ) -> Stream:
        """Declare a stream that services or sources write: by a dataclass or `pa.schema`, or by a contract file.

        `fields` gives descriptions by field name. Durations are text ("15m", "1d"), `timedelta` or microseconds.
        SchemaError or ContractError if the declaration makes no sense.
        """
        return self._declare(
            "stream", name, schema, contract, key, time, codec, partitions, entities, expect, lateness, retention,
            description, fields, owner, tags,
        )  # fmt: skip

    def table(
        self,
        name: str,
        schema: type | Any = None,
        *,
        contract: str | Path | None = None,
        key: str | Sequence[str] = (),
        time: str | None = None,
        codec: Codec | None = None,
        partitions: int | None = 1,
        entities: Mapping[str, str] | None = None,
        expect: Iterable[Rule] = (),
        lateness: Duration = 0,
        description: str = "",
        fields: Mapping[str, str] | None = None,
        owner: str = "",
        tags: Iterable[str] = (),
    ) -> Stream:
        """Declare a table: only the latest row of a key counts. It has one partition unless said otherwise."""
        return self._declare(
            "table", name, schema, contract, key, time, codec, partitions, entities, expect, lateness, None,
            description, fields, owner, tags,
        )  # fmt: skip

    def entity(self, name: str, *, synonyms: Iterable[str] = (), description: str = "") -> None:
        """Say what an entity is called, so that questions in other words find it."""
        self.entities[name] = EntitySpec(name, tuple(synonyms), description)

    def source(self, stream: Stream, data: Any, *, chunk: int = CHUNK) -> None:
        """Publish outside data (a path, an Arrow table, a DataFrame, or a function that returns one) to a stream of
        this pipeline, exactly once, in batches of `chunk` rows."""
        name = f"{stream.name}.source"
        self._add(Node(name, 1, (stream,), source=Source(name, stream, data, chunk)))

    def add(
        self,
        operator: Operator,
        *,
        codec: Codec | None = None,
        on_error: OnError = "stop",
        description: str = "",
        owner: str = "",
        tags: Iterable[str] = (),
    ) -> Stream:
        """Add an operator of one's own; gives its main output. With on_error="quarantine" a batch on which a step fails
        is listed in `<name>.failed` and passed over; otherwise the task stops there. `description`, `owner` and `tags`
        are those of its outputs in the catalog, the description that of the main one, and so is `codec`."""
        tasks = tasks_of(operator)
        failed = failed_stream(operator.name, operator.outputs[0].partitions) if on_error == "quarantine" else None
        main, *side = (
            self._owned(replace(stream, owner=owner or stream.owner, tags=tuple(tags) or stream.tags))
            for stream in operator.outputs
        )
        outputs = (replace(main, codec=codec or main.codec, description=description or main.description), *side)
        self._add(Node(operator.name, tasks, outputs, operator=operator, on_error=on_error, failed=failed))
        for given in operator.inputs:
            if given.stream.role == "retry":
                self.streams.setdefault(given.stream.name, self._owned(given.stream))
        if failed is not None:
            self.streams[failed.name] = self._owned(failed)
        return outputs[0]

    def plan(self, foreign: Mapping[str, tuple[str, int, bool]] | None = None) -> Plan:
        """The tasks of this pipeline. PlanError if the graph cannot be run."""
        return Plan(self.name, {name: self._resolved(node) for name, node in self.nodes.items()}, foreign or {})

    def spec(self) -> PipelineSpec:
        """The pipeline as the catalog takes it."""
        return PipelineSpec(
            name=self.name,
            owner=self.owner,
            description=self.description,
            streams=tuple(
                spec_of(stream, pipeline=self.name, document=self._documents.get(stream.name))
                for stream in self.streams.values()
            ),
            operators=tuple(_operator_spec(self._resolved(node), self.name) for node in self.nodes.values()),
            entities=tuple(self.entities.values()),
        )

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{node.name}</td><td>{'source' if node.operator is None else node.operator.kind}</td>"
            f"<td>{', '.join(one.stream.name for one in node.inputs)}</td>"
            f"<td>{', '.join(stream.name for stream in node.outputs)}</td></tr>"
            for node in self.nodes.values()
        )
        head = "<tr><th>operator</th><th>kind</th><th>reads</th><th>writes</th></tr>"
        return f"<b>{self.name}</b><table>{head}{rows}</table>"

    def __repr__(self) -> str:
        return f"Pipeline({self.name!r}, {len(self.streams)} streams, {len(self.nodes)} operators and sources)"

    def _declare(
        self,
        kind: Kind,
        name: str,
        schema: Any,
        contract: str | Path | None,
        key: str | Sequence[str],
        time: str | None,
        codec: Codec | None,
        partitions: int | None,
        entities: Mapping[str, str] | None,
        expect: Iterable[Rule],
        lateness: Duration,
        retention: Duration | None,
        description: str,
        fields: Mapping[str, str] | None,
        owner: str,
        tags: Iterable[str],
    ) -> Stream:
        full = self._full(name)
        if (schema is None) == (contract is None):
            raise PlanError("A stream needs a schema or a contract file, and not both", where=full, fix="Give one.")
        if contract is not None:
            declared = replace(read_contract(contract), name=full)
            self._documents[full] = contract_text(contract)
        else:
            declared = Stream(full, Schema.of(schema), codec="avro")
        keys = (key,) if isinstance(key, str) else tuple(key)
        stream = replace(
            declared,
            kind=kind,
            key=keys or declared.key,
            time=time or declared.time,
            codec=codec or declared.codec,
            partitions=partitions or (declared.partitions if contract is not None else self.partitions),
            entities={**declared.entities, **(entities or {})},
            expect=(*declared.expect, *expect),
            lateness=parse_duration(lateness) if lateness else declared.lateness,
            retention=parse_duration(retention) if retention is not None else declared.retention,
            description=description or declared.description,
            owner=owner or declared.owner,
            tags=(*declared.tags, *tags),
        )
        if fields:
            stream = replace(stream, schema=stream.schema.described(fields))
        self._check(stream)
        self._refuse_declared(stream)
        self.streams[full] = self._owned(stream)
        return self.streams[full]

    def _check(self, stream: Stream) -> None:
        names = set(stream.schema.arrow.names)
        named = {"key": stream.key, "time": (stream.time,) if stream.time else (), "entities": tuple(stream.entities)}
        for what, fields in named.items():
            for field in fields:
                if field not in names:
                    raise PlanError(
                        f"{what} names the field {field!r}, which the schema does not have",
                        where=stream.name,
                        fix=f"Its fields are {', '.join(sorted(names))}.",
                    )
        if stream.kind == "table" and not stream.key:
            raise PlanError("A table needs a key", where=stream.name, fix="Declare it with key=….")

    def _owned(self, stream: Stream) -> Stream:
        return stream if stream.owner else replace(stream, owner=self.owner)

    def _refuse_declared(self, stream: Stream) -> None:
        if stream.name not in self.streams:
            return
        writer = next(
            (node.name for node in self.nodes.values() if stream.name in [s.name for s in node.outputs]), None
        )
        by = f", and {writer} writes it" if writer else ""
        raise PlanError(
            f"A stream of this name is already declared{by}",
            where=stream.name,
            fix="Choose another name: a stream has one writer.",
        )

    def _add(self, node: Node) -> None:
        if node.name in self.nodes:
            raise PlanError(
                "There is already an operator of this name", where=node.name, fix="Give its output another name."
            )
        if node.operator is not None:
            for stream in node.outputs:
                self._refuse_declared(stream)
            self.streams.update((stream.name, stream) for stream in node.outputs)
        self.nodes[node.name] = node

    def _resolved(self, node: Node) -> Node:
        """The node with the streams that its inputs only name."""
        if not any(given.named for given in node.inputs):
            return node
        return replace(node, resolved=tuple(self._found(given, node.name) for given in node.inputs))

    def _found(self, given: Input, reader: str) -> Input:
        if not given.named:
            return given
        name = self._full(given.stream.name)
        stream = self.streams.get(name)
        if stream is None:
            raise PlanError(
                f"It listens to {name} (hw.later), which this pipeline does not have",
                where=reader,
                fix="Declare the operator that writes it, or correct the name.",
            )
        for column in given.reads:
            if column not in stream.schema.arrow.names:
                raise PlanError(f"It reads {column!r} of {name}, which has no such field", where=reader)
        return replace(given, stream=stream, named=False)

    def _full(self, name: str) -> str:
        return name if name.startswith(f"{self.name}.") else f"{self.name}.{name}"


def _operator_spec(node: Node, pipeline: str) -> OperatorSpec:
    operator = node.operator
    shape = {"tasks": node.tasks, "keeps_partition": node.keeps_partition}
    if operator is None:
        assert node.source is not None
        return OperatorSpec(
            name=node.name,
            kind="source",
            version="1",
            state_version="1",
            params={"chunk": node.source.chunk, **shape},
            inputs=(),
            outputs=tuple(OutputSpec(stream.name, ()) for stream in node.outputs),
            pipeline=pipeline,
        )
    derived = operator.derives()
    return OperatorSpec(
        name=node.name,
        kind=operator.kind,
        version=operator.version,
        state_version=state_version_of(operator),
        params={**operator.params, **shape},
        inputs=tuple(
            InputSpec(given.stream.name, given.mode, tuple(given.reads), given.delay, given.later)
            for given in node.inputs
        ),
        outputs=tuple(
            OutputSpec(
                stream.name,
                tuple(FieldLink(link.field, link.sources, link.coarse) for link in derived.get(stream.name, ())),
            )
            for stream in [*node.outputs, *([node.failed] if node.failed else [])]
        ),
        pipeline=pipeline,
    )
