"""Provenance for people: rows, named in any handy way, traced up to their sources or down to what they touched."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.tree import Tree

from headwater.render import impact_tree, trace_html, trace_tree
from streams import impact as impact_of
from streams import trace as trace_of
from streams.address import BadAddress, parse_address
from streams.message import RowAddress
from streams.parents import Addresses
from streams.rows import Row, Rows
from streams.stream import Stream

if TYPE_CHECKING:
    from headwater.connection import Connection

#: A row that was read, its address, or the address as text: "plant.placed 0:1042:17".
OneRow = Row | RowAddress | str


class Trace(trace_of.Trace):
    """A trace that shows itself: `tree()` for a terminal, in a notebook as it is."""

    def tree(self) -> Tree:
        """The row and what it was made from, with values abbreviated, for `rich.print`."""
        return trace_tree(self)

    def __rich__(self) -> Tree:
        return self.tree()

    def _repr_html_(self) -> str:
        return trace_html(self)


class Impact(impact_of.Impact):
    """An impact that shows itself: `tree()` for a terminal, in a notebook as it is."""

    def tree(self) -> Tree:
        """The bad rows and what was made from them, for `rich.print`."""
        return impact_tree(self)

    def __rich__(self) -> Tree:
        return self.tree()

    def _repr_html_(self) -> str:
        return _html(self.tree())


def trace(hub: Connection, row: OneRow, *, depth: int | None = None, limit: int = trace_of.ROWS) -> Trace:
    """See `Hub.trace`."""
    address = _address(row)
    hub.readable(address.stream)
    hub.sync()
    found = trace_of.trace(hub.log, hub.catalog, hub.stream, hub.schema, address, depth=depth, limit=limit)
    return Trace(**{one.name: getattr(found, one.name) for one in fields(found)})


def impact(
    hub: Connection,
    what: Stream | Rows | OneRow | Iterable[Row | RowAddress],
    *,
    partition: int | None = None,
    first: int | None = None,
    end: int | None = None,
) -> Impact:
    """See `Hub.impact`."""
    name, start = _start(hub, what, partition, first, end)
    hub.sync()
    found = impact_of.impact(hub.log, hub.catalog, hub.stream, hub.schema, name, start)
    return Impact(**{one.name: getattr(found, one.name) for one in fields(found)})


def _address(row: OneRow) -> RowAddress:
    if isinstance(row, Row):
        return row.address
    if isinstance(row, RowAddress):
        return row
    return parse_address(row)


def _start(
    hub: Connection, what: Any, partition: int | None, first: int | None, end: int | None
) -> tuple[str, impact_of.Start]:
    if isinstance(what, Stream) or (isinstance(what, str) and len(what.split()) == 1):
        stream = hub.readable(what)
        if partition is None and (first is not None or end is not None):
            raise BadAddress(
                "Offsets count within a partition", where=stream.name, fix="Say which: partition=0, first=10, end=20."
            )
        bounds = hub.log.bounds(stream.name)
        chosen = range(len(bounds)) if partition is None else [partition]
        ranges = {}
        for number in chosen:
            oldest, newest = bounds[number] if number < len(bounds) else (0, 0)
            span = (oldest if first is None else first, newest if end is None else end)
            if span[0] < span[1] or partition is not None:
                ranges[number] = span
        return stream.name, ranges
    if partition is not None or first is not None or end is not None:
        raise BadAddress(
            "Rows have their addresses with them.", fix="Give rows, or a stream with partition and offsets."
        )
    if isinstance(what, Rows):
        found = what.addresses
    else:
        rows = [_address(one) for one in ([what] if isinstance(what, OneRow) else what)]
        if len({one.stream for one in rows}) > 1:
            raise BadAddress("These rows are of several streams.", fix="Ask for one stream at a time.")
        columns = np.array([one[1:] for one in rows], dtype=np.int64).reshape(-1, 3)
        found = Addresses(rows[0].stream if rows else "", *columns.T)
    if not len(found):
        raise BadAddress("There are no rows to ask for.", fix="Give at least one.")
    hub.readable(found.stream)
    return found.stream, found


def _html(tree: Tree) -> str:
    from html import escape
    from io import StringIO

    from rich.console import Console

    console = Console(file=StringIO(), width=160, color_system=None)
    with console.capture() as captured:
        console.print(tree)
    return f"<pre>{escape(captured.get())}</pre>"
