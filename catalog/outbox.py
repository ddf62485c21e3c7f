"""The outbox: changes that are in the catalog and still have to be appended to the stream `headwater.catalog`."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, delete, select

from catalog.changes import Change
from catalog.database import chunks
from catalog.models import outbox


def waiting(connection: Connection, limit: int) -> list[tuple[int, Change]]:
    """The oldest changes that wait, in order. Append them in this order, then call `done`: a crash between
    the two appends them again, and `replay` passes over what it has."""
    rows = connection.execute(select(outbox).order_by(outbox.c.id).limit(limit))
    return [(row.id, row.body) for row in rows]


def done(connection: Connection, ids: Iterable[int]) -> None:
    for piece in chunks(ids):
        connection.execute(delete(outbox).where(outbox.c.id.in_(piece)))
