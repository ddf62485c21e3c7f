"""Registration: what is declared is compared with the catalog, refused if it would break someone, or made changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, select

from catalog.changes import Change
from catalog.database import rows_where
from catalog.difference import Difference, of_entity, of_operator, of_stream
from catalog.errors import Incompatible
from catalog.glossary import additions, entities
from catalog.models import operator as operator_table
from catalog.models import pipeline as pipeline_table
from catalog.models import stream as stream_table
from catalog.nodes import not_registered
from catalog.operator_records import OperatorRecord, operator_records, writers_of
from catalog.specs import EntitySpec, OperatorSpec, PipelineSpec, StreamSpec, from_dict, to_dict
from catalog.stream_changes import last_schema_id, schema_id_for
from catalog.stream_records import declared_specs, schema_versions

#: Says why rows written with the first schema (text) cannot be read with the second; nothing if they can.
Compatible = Callable[[str, str], list[str]]

_FIXED = {
    "partitions": "The partition of a key would change",
    "key": "Rows of one key would lie in two partitions",
    "kind": "Readers treat a stream and a table differently",
    "codec": "Messages of two forms would lie in one topic",
}


@dataclass(frozen=True)
class Registration:
    """What registering changed; `schema_ids` has the current schema id of each declared stream."""

    name: str
    differences: tuple[Difference, ...]
    schema_ids: dict[str, int]

    @property
    def changed(self) -> bool:
        return bool(self.differences)


@dataclass
class Plan:
    """Changes to make, in order, and the same for people."""

    differences: list[Difference] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)

    def add(self, differences: Iterable[Difference], change: Change) -> None:
        found = list(differences)
        if found:
            self.differences += found
            self.changes.append(change)


def plan_pipeline(connection: Connection, declared: PipelineSpec, compatible: Compatible | None) -> Plan:
    """What registering this pipeline would change. Without `compatible` it is only compared, not checked.

    Raises Incompatible, and NotRegistered for streams and fields that operators name and nobody registered.
    """
    plan = Plan()
    held = _held_streams(connection, declared)
    streams = [_at_home(one, declared, held.get(one.name)) for one in declared.streams]
    operators = [replace(one, pipeline=one.pipeline or declared.name) for one in declared.operators]
    before = {one.name: one for one in operator_records(connection, declared.name)}
    if compatible is not None:
        _refuse_doubles([one.name for one in streams], "stream", declared.name)
        _refuse_doubles([one.name for one in operators], "operator", declared.name)
        for one in streams:
            _check_stream(connection, held.get(one.name), one, compatible)
        _check_operators(connection, declared.name, streams, operators, before.keys())
    for name in sorted(before.keys() - {one.name for one in operators}):
        plan.add([Difference("remove", "operator", name)], {"change": "retire", "operator": name})
    _plan_entities(connection, plan, declared.entities)
    new_ids = _SchemaIds(connection)
    for one in streams:
        _plan_stream(plan, held.get(one.name), one, new_ids)
    for name in sorted(held.keys() - {one.name for one in streams}):
        gone = Difference("remove", "stream", name, f"leaves pipeline {declared.name}; it and its rows stay")
        plan.add([gone], {"change": "detach", "stream": name})
    for spec in operators:
        _plan_operator(plan, before.get(spec.name), spec)
    _plan_pipeline_itself(connection, plan, declared)
    return plan


def plan_stream(connection: Connection, spec: StreamSpec, compatible: Compatible) -> Plan:
    """What registering this stream alone would change. Raises Incompatible."""
    held = declared_specs(connection, [spec.name]).get(spec.name)
    if held is not None:
        spec = replace(spec, pipeline=spec.pipeline or held.pipeline, owner=spec.owner or held.declared["owner"])
    spec = _normal(spec)
    _check_stream(connection, held, spec, compatible)
    plan = Plan()
    _plan_stream(plan, held, spec, _SchemaIds(connection))
    return plan


def plan_entity(connection: Connection, spec: EntitySpec) -> Plan:
    """What adding this entity would change; a new description replaces the old one."""
    plan = Plan()
    _plan_entities(connection, plan, [spec], describes=True)
    return plan


def schema_ids(connection: Connection, names: Iterable[str]) -> dict[str, int]:
    return {name: row.schema_id for name, row in declared_specs(connection, names).items()}


class _SchemaIds:
    """Ids for schemas: the known one of a fingerprint, or the next."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._last = last_schema_id(connection)
        self._new: dict[str, int] = {}

    def of(self, fingerprint: str) -> int:
        known = self._new.get(fingerprint) or schema_id_for(self._connection, fingerprint)
        if known is None:
            self._last += 1
            known = self._new[fingerprint] = self._last
        return known


def _held_streams(connection: Connection, declared: PipelineSpec) -> dict[str, Any]:
    held = declared_specs(connection, [one.name for one in declared.streams])
    of_pipeline = connection.execute(select(stream_table).where(stream_table.c.pipeline == declared.name))
    return held | {row.name: row for row in of_pipeline}


def _at_home(spec: StreamSpec, declared: PipelineSpec, held: Any) -> StreamSpec:
    if held is not None and held.pipeline not in (None, declared.name):
        # Two pipelines may declare one stream; it stays with the first, or each would take it back from the other.
        return _normal(replace(spec, pipeline=held.pipeline, owner=spec.owner or held.declared["owner"]))
    return _normal(replace(spec, pipeline=spec.pipeline or declared.name, owner=spec.owner or declared.owner))


def _normal(spec: StreamSpec) -> StreamSpec:
    contract = spec.contract if spec.contract and (spec.contract.rules or spec.contract.document) else None
    return replace(spec, contract=contract, tags=tuple(sorted(set(spec.tags))))


def _plan_entities(connection: Connection, plan: Plan, specs: Iterable[EntitySpec], *, describes: bool = False) -> None:
    known = {one.name: one for one in entities(connection)}
    for spec in specs:
        new = additions(known, spec, describes=describes)
        if new is not None:
            plan.add([of_entity(new, known=spec.name in known)], {"change": "entity", **to_dict(new)})
            old = known.get(spec.name, EntitySpec(spec.name))
            known[spec.name] = EntitySpec(spec.name, (*old.synonyms, *new.synonyms), new.description or old.description)


def _plan_stream(plan: Plan, held: Any, spec: StreamSpec, ids: _SchemaIds) -> None:
    old = from_dict(StreamSpec, held.declared) if held is not None else None
    differences = of_stream(old, spec)
    if differences:
        change = {"change": "stream", "spec": to_dict(spec), "schema_id": ids.of(spec.fingerprint)}
        plan.add(differences, change)


def _plan_operator(plan: Plan, before: OperatorRecord | None, spec: OperatorSpec) -> None:
    old = before.spec if before is not None else None
    plan.add(of_operator(old, spec), {"change": "operator", "spec": to_dict(spec)})


def _plan_pipeline_itself(connection: Connection, plan: Plan, declared: PipelineSpec) -> None:
    row = connection.execute(select(pipeline_table).where(pipeline_table.c.name == declared.name)).first()
    said = (declared.owner, declared.description)
    change = {"change": "pipeline", "name": declared.name, "owner": declared.owner, "description": declared.description}
    if row is None:
        plan.add([Difference("add", "pipeline", declared.name)], change)
    elif (row.owner, row.description) != said:
        plan.add([Difference("change", "pipeline", declared.name, "owner or description")], change)
    elif plan.changes:
        plan.changes.append(change)


def _refuse_doubles(names: list[str], what: str, where: str) -> None:
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise Incompatible(
            f"{what.capitalize()} declared twice: {', '.join(double)}", where=where, fix="Give each its own name."
        )


def _check_stream(connection: Connection, held: Any, spec: StreamSpec, compatible: Compatible) -> None:
    names = [one.name for one in spec.fields]
    _refuse_doubles(names, "field", spec.name)
    for name in (*spec.key, *([spec.time] if spec.time else [])):
        if names and name not in names:
            raise not_registered("The key or time names a field that the stream does not have", name, names)
    if held is None:
        return
    for name, reason in _FIXED.items():
        old, new = getattr(held, name), getattr(spec, name)
        old, new = (list(old), list(new)) if name == "key" else (old, new)
        if old != new:
            raise Incompatible(
                f"{name} cannot change from {old!r} to {new!r}. {reason}",
                where=spec.name,
                fix=f"Keep {name}={old!r}, or register a new stream and repartition or copy into it.",
            )
    tried = set()
    # Rows of every earlier version may still lie in the log, so each must be readable, not only the latest.
    for version in reversed(schema_versions(connection, spec.name)):
        if version.schema == spec.schema or version.schema_id in tried:
            continue
        tried.add(version.schema_id)
        reasons = compatible(version.schema, spec.schema)
        if reasons:
            raise Incompatible(
                f"The new schema cannot read rows of version {version.version}: {'; '.join(reasons)}.",
                where=spec.name,
                fix="Add fields as nullable, only widen types, or register a new stream.",
            )


def _check_operators(
    connection: Connection,
    pipeline: str,
    streams: list[StreamSpec],
    operators: list[OperatorSpec],
    before: Iterable[str],
) -> None:
    fields = {one.name: {part.name for part in one.fields} for one in streams}
    named = {name for spec in operators for name in spec.streams}
    linked = {source[0] for spec in operators for one in spec.outputs for link in one.fields for source in link.sources}
    for name, row in declared_specs(connection, (named | linked) - fields.keys()).items():
        fields[name] = {part["name"] for part in row.declared["fields"]}
    for spec in operators:
        _check_names(connection, spec, fields)
    _check_homes(connection, pipeline, operators)
    _check_writers(connection, operators, before)


def _check_names(connection: Connection, spec: OperatorSpec, fields: Mapping[str, set[str]]) -> None:
    uses = [("reads", one.stream, name) for one in spec.inputs for name in ("", *one.reads)]
    for output in spec.outputs:
        uses.append(("writes", output.stream, ""))
        for link in output.fields:
            uses.append(("writes", output.stream, link.field))
            uses += [("reads", *source) for source in link.sources]
    for verb, stream, name in uses:
        if stream not in fields:
            near = _stream_names(connection, fields)
            raise not_registered(
                f"Operator {spec.name} {verb} a stream that is not registered", stream, near, "Declare it first."
            )
        known = fields[stream]
        if name and known and name not in known and name.partition(".")[0] not in known:
            raise not_registered(
                f"Operator {spec.name} {verb} a field that {stream} does not have", name, sorted(fields[stream])
            )


def _check_homes(connection: Connection, pipeline: str, operators: list[OperatorSpec]) -> None:
    wanted = {one.name for one in operators}
    for row in rows_where(connection, operator_table, operator_table.c.name, wanted):
        if row.retired_at is None and row.pipeline != pipeline:
            raise Incompatible(
                f"Operator {row.name} belongs to the pipeline {row.pipeline}",
                where=pipeline,
                fix="Give the operator another name, or take it out of the other pipeline and register that first.",
            )


def _check_writers(connection: Connection, operators: list[OperatorSpec], before: Iterable[str]) -> None:
    writers: dict[str, str] = {}
    for spec in operators:
        for stream in dict.fromkeys(one.stream for one in spec.outputs):
            _refuse_second(stream, writers.setdefault(stream, spec.name), spec.name)
    # Operators of this pipeline are declared anew or retired by this registration: what they write now counts no more.
    ours = {*before, *(one.name for one in operators)}
    for stream, name in writers_of(connection, list(writers)).items():
        if name not in ours:
            _refuse_second(stream, name, writers[stream])


def _refuse_second(stream: str, first: str, second: str) -> None:
    if first != second:
        raise Incompatible(
            f"Operators {first} and {second} would both write it",
            where=stream,
            fix="Let one of them write another stream, and join or merge the two downstream.",
        )


def _stream_names(connection: Connection, declared: Iterable[str]) -> list[str]:
    return sorted({*declared, *connection.execute(select(stream_table.c.name)).scalars()})
