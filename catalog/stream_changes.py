"""How a declared stream is written into the catalog: schema versions, contract versions, fields, owner and tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from catalog.errors import CatalogError
from catalog.glossary import entity_ids
from catalog.models import contract, field, schema_text, schema_version, stream, tag
from catalog.nodes import NodeKey, make_node, make_nodes
from catalog.specs import ContractSpec, FieldSpec, StreamSpec, from_dict, to_dict


def apply_stream(connection: Connection, change: Mapping[str, Any]) -> int:
    """Write a stream as declared. What a person set since (owner, tags) stays, unless the declaration itself
    says something new about it. Returns the stream's id."""
    spec = from_dict(StreamSpec, change["spec"])
    at = change["at"]
    stream_id = make_node(connection, NodeKey("stream", spec.name))
    _keep_schema(connection, change["schema_id"], spec, at)
    old = connection.execute(select(stream).where(stream.c.id == stream_id)).first()
    values: dict[str, Any] = {
        "role": spec.role,
        "time": spec.time,
        "lateness": spec.lateness,
        "retention": spec.retention,
        "description": spec.description,
        "addresses": list(spec.addresses),
        "pipeline": spec.pipeline,
        "schema_id": change["schema_id"],
        "declared": change["spec"],
        "changed_at": at,
    }
    held = ContractSpec() if old is None else _contract(connection, stream_id, old.contract_version)
    promised = spec.contract or ContractSpec()
    version = 0 if old is None else old.version
    contract_version = 0 if old is None else old.contract_version
    new_schema = old is None or old.schema_id != change["schema_id"]
    new_contract = to_dict(promised) != to_dict(held)
    values |= {"version": version + new_schema, "contract_version": contract_version + new_contract}
    if old is None:
        before: tuple[str, ...] = ()
        fixed = {"kind": spec.kind, "codec": spec.codec, "partitions": spec.partitions, "key": list(spec.key)}
        values |= {"owner": spec.owner, "created_at": at, **fixed}
        connection.execute(insert(stream).values(id=stream_id, name=spec.name, **values))
    else:
        declared = from_dict(StreamSpec, old.declared)
        before = declared.tags
        values["owner"] = old.owner if spec.owner == declared.owner else spec.owner
        connection.execute(update(stream).where(stream.c.id == stream_id).values(**values))
        _drop_fields(connection, stream_id)
    row = {"stream_id": stream_id, "registered_at": at}
    if new_schema:
        numbers = {"version": values["version"], "schema_id": change["schema_id"]}
        connection.execute(insert(schema_version).values(**row, **numbers))
    if new_contract:
        connection.execute(insert(contract).values(**row, version=values["contract_version"], **to_dict(promised)))
    _add_fields(connection, stream_id, spec.name, spec.fields)
    _change_tags(connection, stream_id, added=set(spec.tags) - set(before), removed=set(before) - set(spec.tags))
    return stream_id


def apply_detach(connection: Connection, change: Mapping[str, Any]) -> int:
    """The stream is no longer declared by its pipeline; it and its rows stay."""
    row = _stream_row(connection, change["stream"])
    declared = {**row.declared, "pipeline": None}
    values = {"pipeline": None, "declared": declared, "changed_at": change["at"]}
    connection.execute(update(stream).where(stream.c.id == row.id).values(**values))
    return int(row.id)


def apply_owner(connection: Connection, change: Mapping[str, Any]) -> int:
    row = _stream_row(connection, change["stream"])
    values = {"owner": change["owner"], "changed_at": change["at"]}
    connection.execute(update(stream).where(stream.c.id == row.id).values(**values))
    return int(row.id)


def apply_tags(connection: Connection, change: Mapping[str, Any]) -> int:
    row = _stream_row(connection, change["stream"])
    _change_tags(connection, row.id, added=set(change["added"]), removed=set(change["removed"]))
    connection.execute(update(stream).where(stream.c.id == row.id).values(changed_at=change["at"]))
    return int(row.id)


def contract_of(rules: Sequence[dict[str, Any]], document: str | None) -> ContractSpec | None:
    """A stored contract; one that promises nothing is none."""
    return ContractSpec(tuple(rules), document) if rules or document else None


def _stream_row(connection: Connection, name: str) -> Any:
    row = connection.execute(select(stream).where(stream.c.name == name)).first()
    if row is None:
        raise CatalogError(
            "A change speaks of a stream that no earlier change registered",
            where=name,
            fix="Apply all changes, in their order, to an empty catalog.",
        )
    return row


def _keep_schema(connection: Connection, schema_id: int, spec: StreamSpec, at: int) -> None:
    known = connection.execute(select(schema_text.c.fingerprint).where(schema_text.c.id == schema_id)).scalar()
    if known is None:
        row = {"id": schema_id, "fingerprint": spec.fingerprint, "text": spec.schema, "registered_at": at}
        connection.execute(insert(schema_text).values(**row))
    elif known != spec.fingerprint:
        raise CatalogError(
            f"The schema id {schema_id} is taken by another schema",
            where=spec.name,
            fix="Apply all changes, in their order, to an empty catalog.",
        )


def _contract(connection: Connection, stream_id: int, version: int) -> ContractSpec:
    if not version:
        return ContractSpec()
    held = select(contract).where(contract.c.stream_id == stream_id, contract.c.version == version)
    row = connection.execute(held).one()
    return ContractSpec(tuple(row.rules), row.document)


def _drop_fields(connection: Connection, stream_id: int) -> None:
    known = select(field.c.id).where(field.c.stream_id == stream_id)
    connection.execute(delete(tag).where(tag.c.node_id.in_(known)))
    connection.execute(delete(field).where(field.c.stream_id == stream_id))


def _add_fields(connection: Connection, stream_id: int, name: str, specs: Sequence[FieldSpec]) -> None:
    if not specs:
        return
    ids = make_nodes(connection, [NodeKey("field", name, one.name) for one in specs])
    identified = entity_ids(connection, [one.entity for one in specs if one.entity])
    rows = [
        {
            "id": ids[NodeKey("field", name, one.name)],
            "stream_id": stream_id,
            "position": position,
            "name": one.name,
            "type": one.type,
            "nullable": one.nullable,
            "description": one.description,
            "entity_id": identified[one.entity] if one.entity else None,
        }
        for position, one in enumerate(specs)
    ]
    connection.execute(insert(field), rows)
    tags = [
        {"node_id": ids[NodeKey("field", name, one.name)], "name": word}
        for one in specs
        for word in sorted({*one.tags})
    ]
    if tags:
        connection.execute(insert(tag), tags)


def _change_tags(connection: Connection, node_id: int, *, added: set[str], removed: set[str]) -> None:
    if removed:
        connection.execute(delete(tag).where(tag.c.node_id == node_id, tag.c.name.in_(removed)))
    if not added:
        return
    known = set(connection.execute(select(tag.c.name).where(tag.c.node_id == node_id)).scalars())
    if added - known:
        connection.execute(insert(tag), [{"node_id": node_id, "name": word} for word in sorted(added - known)])


def schema_id_for(connection: Connection, fingerprint: str) -> int | None:
    return connection.execute(select(schema_text.c.id).where(schema_text.c.fingerprint == fingerprint)).scalar()


def last_schema_id(connection: Connection) -> int:
    return connection.execute(select(func.max(schema_text.c.id))).scalar() or 0
