"""Between a stream as it is declared and as the catalog holds it."""

from __future__ import annotations

from catalog import ContractSpec, FieldSpec, StreamSpec
from streams.contract import rule_from_dict
from streams.evolution import differences
from streams.schema import Schema, type_text
from streams.stream import Stream


def spec_of(stream: Stream, *, pipeline: str | None = None, document: str | None = None) -> StreamSpec:
    """The stream as the catalog takes it. `document` is the contract file it was read from, if any."""
    fields = tuple(
        FieldSpec(
            name=field.name,
            type=type_text(field.type),
            nullable=field.nullable,
            description=((field.metadata or {}).get(b"description") or b"").decode(),
            entity=stream.entities.get(field.name),
        )
        for field in stream.schema.arrow
    )
    rules = tuple(rule.to_dict() for rule in stream.expect)
    return StreamSpec(
        name=stream.name,
        fields=fields,
        schema=stream.schema.text,
        fingerprint=stream.schema.fingerprint,
        kind=stream.kind,
        role=stream.role,
        codec=stream.codec,
        partitions=stream.partitions,
        key=stream.key,
        time=stream.time,
        lateness=stream.lateness,
        retention=stream.retention,
        owner=stream.owner,
        description=stream.description,
        contract=ContractSpec(rules, document) if rules or document else None,
        tags=stream.tags,
        addresses=stream.addresses,
        pipeline=pipeline,
    )


def stream_of(spec: StreamSpec) -> Stream:
    """The stream that the catalog holds, as it was declared."""
    return Stream(
        name=spec.name,
        schema=Schema.parse(spec.schema),
        key=tuple(spec.key),
        time=spec.time,
        kind=spec.kind,
        codec=spec.codec,
        partitions=spec.partitions,
        entities={field.name: field.entity for field in spec.fields if field.entity},
        expect=tuple(rule_from_dict(rule) for rule in spec.contract.rules) if spec.contract else (),
        owner=spec.owner,
        description=spec.description,
        lateness=spec.lateness,
        retention=spec.retention,
        tags=tuple(spec.tags),
        addresses=tuple(spec.addresses),
        role=spec.role,
    )


def compatible(old: str, new: str) -> list[str]:
    """Why the schema text `new` cannot follow `old`; empty if it can."""
    return differences(Schema.parse(old), Schema.parse(new))
