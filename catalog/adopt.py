"""Taking over the content of another catalog: how one that was made anew from the log takes the old one's place."""

from __future__ import annotations

from itertools import islice

from sqlalchemy import Connection, delete, insert, select

from catalog.documents import index
from catalog.fulltext import FullText
from catalog.models import applied, metadata, node, outbox

#: Rows that are copied with one statement.
_ROWS = 10_000


def adopt(connection: Connection, text: FullText, other: Connection) -> bool:
    """Replace all content by that of the other catalog. False, and nothing done, if changes have been recorded
    here that the other one does not have. Only within a writing transaction."""
    here = connection.execute(select(applied.c.change)).scalar_one()
    there = other.execute(select(applied.c.change)).scalar_one()
    waits = connection.execute(select(outbox.c.id)).first() is not None
    if here > there or (waits and here == there):
        return False
    text.write(connection, {node_id: {} for node_id in connection.execute(select(node.c.id)).scalars()})
    for table in reversed(metadata.sorted_tables):
        connection.execute(delete(table))
    for table in metadata.sorted_tables:
        rows = (dict(row._mapping) for row in other.execution_options(yield_per=_ROWS).execute(select(table)))
        while some := list(islice(rows, _ROWS)):
            connection.execute(insert(table), some)
    index(connection, text, connection.execute(select(node.c.id)).scalars().all())
    return True
