"""The glossary: entities, which are what key fields identify, and the other words that people use for them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, insert, select, update

from catalog.database import next_id
from catalog.models import entity, synonym
from catalog.specs import EntitySpec


def entities(connection: Connection) -> list[EntitySpec]:
    """All entities by name, synonyms sorted."""
    words: dict[int, list[str]] = defaultdict(list)
    for row in connection.execute(select(synonym).order_by(synonym.c.word)):
        words[row.entity_id].append(row.word)
    return [
        EntitySpec(row.name, tuple(words[row.id]), row.description)
        for row in connection.execute(select(entity).order_by(entity.c.name))
    ]


def additions(known: Mapping[str, EntitySpec], spec: EntitySpec, *, describes: bool) -> EntitySpec | None:
    """What `spec` adds to the glossary, None if nothing. Synonyms only ever come together: pipelines share entities,
    and none may take another's words away. A description is replaced only if `describes`."""
    old = known.get(spec.name)
    if old is None:
        return spec
    words = tuple(sorted(set(spec.synonyms) - set(old.synonyms)))
    replaces = spec.description and spec.description != old.description and (describes or not old.description)
    return EntitySpec(spec.name, words, spec.description if replaces else "") if words or replaces else None


def entity_ids(connection: Connection, names: Iterable[str]) -> dict[str, int]:
    """The ids of entities; those that are new join the glossary. Only within a writing transaction."""
    wanted = list(dict.fromkeys(names))
    if not wanted:
        return {}
    found = {row.name: row.id for row in connection.execute(select(entity).where(entity.c.name.in_(wanted)))}
    missing = [name for name in wanted if name not in found]
    first = next_id(connection, entity) if missing else 0
    new = {name: first + number for number, name in enumerate(missing)}
    if new:
        connection.execute(insert(entity), [{"id": number, "name": n, "description": ""} for n, number in new.items()])
    return found | new


def apply_entity(connection: Connection, change: Mapping[str, Any]) -> None:
    entity_id = entity_ids(connection, [change["name"]])[change["name"]]
    if change["description"]:
        connection.execute(update(entity).where(entity.c.id == entity_id).values(description=change["description"]))
    known = set(connection.execute(select(synonym.c.word).where(synonym.c.entity_id == entity_id)).scalars())
    new = sorted(set(change["synonyms"]) - known)
    if new:
        connection.execute(insert(synonym), [{"entity_id": entity_id, "word": word} for word in new])
