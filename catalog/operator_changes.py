"""How a declared operator is written into the catalog: its declarations in time, the streams it writes, its lineage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, case, delete, insert, select, update

from catalog.database import next_id
from catalog.models import declaration, edge, operator, pipeline, writer
from catalog.nodes import NodeKey, make_node, make_nodes
from catalog.specs import OperatorSpec, from_dict, to_dict


def apply_operator(connection: Connection, change: Mapping[str, Any]) -> int:
    """Write an operator as declared: a new declaration closes the lineage of the one before and opens its own.
    Returns the operator's id."""
    spec = from_dict(OperatorSpec, change["spec"])
    at = change["at"]
    operator_id = make_node(connection, NodeKey("operator", spec.name))
    known = connection.execute(select(operator.c.id).where(operator.c.id == operator_id)).first()
    values: dict[str, Any] = {"pipeline": spec.pipeline, "retired_at": None}
    if known is None:
        connection.execute(insert(operator).values(id=operator_id, name=spec.name, created_at=at, **values))
    else:
        connection.execute(update(operator).where(operator.c.id == operator_id).values(**values))
    current = _current(connection, operator_id)
    if current is not None and substance(from_dict(OperatorSpec, current.spec)) == substance(spec):
        connection.execute(update(declaration).where(declaration.c.id == current.id).values(spec=change["spec"]))
        return operator_id
    if current is not None:
        _close(connection, current.id, at)
    declaration_id = next_id(connection, declaration)
    ordinal = _last_ordinal(connection, operator_id) + 1
    row = {"id": declaration_id, "operator_id": operator_id, "ordinal": ordinal, "valid_from": at}
    connection.execute(insert(declaration).values(version=spec.version, spec=change["spec"], **row))
    _replace_written(connection, operator_id, spec)
    _open_edges(connection, operator_id, declaration_id, spec, at)
    return operator_id


def apply_retire(connection: Connection, change: Mapping[str, Any]) -> int:
    """The operator is no longer declared: it writes nothing, and its lineage ends here."""
    operator_id = make_node(connection, NodeKey("operator", change["operator"]))
    current = _current(connection, operator_id)
    if current is not None:
        _close(connection, current.id, change["at"])
    connection.execute(delete(writer).where(writer.c.operator_id == operator_id))
    connection.execute(update(operator).where(operator.c.id == operator_id).values(retired_at=change["at"]))
    return operator_id


def apply_pipeline(connection: Connection, change: Mapping[str, Any]) -> int:
    """Count a registration that changed something. Returns the pipeline's id."""
    pipeline_id = make_node(connection, NodeKey("pipeline", change["name"]))
    known = connection.execute(select(pipeline.c.version).where(pipeline.c.id == pipeline_id)).scalar()
    values = {"owner": change["owner"], "description": change["description"], "changed_at": change["at"]}
    if known is None:
        new = {"id": pipeline_id, "name": change["name"], "version": 1, "created_at": change["at"]}
        connection.execute(insert(pipeline).values(**new, **values))
    else:
        connection.execute(update(pipeline).where(pipeline.c.id == pipeline_id).values(version=known + 1, **values))
    return pipeline_id


def substance(spec: OperatorSpec) -> dict[str, Any]:
    """What makes a declaration another one: all of it but its words for people and its pipeline."""
    return {name: value for name, value in to_dict(spec).items() if name not in ("description", "pipeline")}


def _current(connection: Connection, operator_id: int) -> Any:
    return connection.execute(
        select(declaration).where(declaration.c.operator_id == operator_id, declaration.c.valid_to.is_(None))
    ).first()


def _last_ordinal(connection: Connection, operator_id: int) -> int:
    ordinals = select(declaration.c.ordinal).where(declaration.c.operator_id == operator_id)
    return connection.execute(ordinals.order_by(declaration.c.ordinal.desc()).limit(1)).scalar() or 0


def _close(connection: Connection, declaration_id: int, at: int) -> None:
    connection.execute(update(declaration).where(declaration.c.id == declaration_id).values(valid_to=at))
    # What was seen after the declaration ended (a task that had not stopped yet) did flow, so it lasts until then.
    ended = case((edge.c.seen_at > at, edge.c.seen_at), else_=at)
    connection.execute(update(edge).where(edge.c.declaration_id == declaration_id).values(valid_to=ended))


def _replace_written(connection: Connection, operator_id: int, spec: OperatorSpec) -> None:
    ids = make_nodes(connection, [NodeKey("stream", one.stream) for one in spec.outputs])
    connection.execute(delete(writer).where(writer.c.operator_id == operator_id))
    # A stream may pass from one operator to another within one registration, which checked the outcome.
    connection.execute(delete(writer).where(writer.c.stream_id.in_(ids.values())))
    if ids:
        connection.execute(insert(writer), [{"stream_id": one, "operator_id": operator_id} for one in ids.values()])


def _open_edges(connection: Connection, operator_id: int, declaration_id: int, spec: OperatorSpec, at: int) -> None:
    streams = [NodeKey("stream", name) for name in spec.streams]
    links = {
        (NodeKey("field", *source), NodeKey("field", output.stream, link.field)): link.coarse
        for output in spec.outputs
        for link in output.fields
        for source in link.sources
    }
    ids = make_nodes(connection, [*streams, *(end for pair in links for end in pair)])
    taken = dict.fromkeys((ids[NodeKey("stream", one.stream)], operator_id) for one in spec.inputs)
    made = dict.fromkeys((operator_id, ids[NodeKey("stream", one.stream)]) for one in spec.outputs)
    ends = [(pair, "stream", False) for pair in (*taken, *made)]
    ends += [((ids[source], ids[target]), "field", coarse) for (source, target), coarse in links.items()]
    first = next_id(connection, edge)
    rows = [
        {
            "id": first + number,
            "source": source,
            "target": target,
            "via": operator_id,
            "level": level,
            "evidence": "declared",
            "coarse": coarse,
            "declaration_id": declaration_id,
            "valid_from": at,
        }
        for number, ((source, target), level, coarse) in enumerate(ends)
    ]
    if rows:
        connection.execute(insert(edge), rows)
