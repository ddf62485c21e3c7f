"""Compares what the catalog, traces and impacts say with the truth that a job's declaration and its rows carry."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from catalog import Catalog
from catalog.lineage import Direction, Evidence, Node
from headwater import Hub, platform
from streams.impact import impact
from streams.message import RowAddress
from streams.trace import Trace, Tracer
from tests.lineage.graphs import Truth, called
from tests.lineage.rows import ids

ENDLESS = 10**9
EXACT = {"identity", "bitmap", "index"}


class Known:
    """Every row of every stream with its address and its true descent."""

    def __init__(self, hub: Hub) -> None:
        self.exact: dict[RowAddress, frozenset[str]] = {}
        self.wide: dict[RowAddress, frozenset[str]] = {}
        self.streams: dict[str, list[RowAddress]] = {}
        for name in streams_of(hub):
            rows = hub.read(name)
            columns = rows.table.column_names
            found = list(rows.addresses)
            self.streams[name] = found
            for what, kept in (("exact", self.exact), ("wide", self.wide)):
                chosen = [column for column in columns if column == what or column.endswith(f"_{what}")]
                texts = zip(*(rows.table[column].to_pylist() for column in chosen), strict=True)
                kept.update(zip(found, (ids(*one) for one in texts), strict=True))


def streams_of(hub: Hub) -> list[str]:
    """The streams that hold rows of the job."""
    own = {"progress", "state", "platform"}
    return [one.name for one in hub.catalog.streams(limit=10_000) if one.spec.role not in own]


def check_graph(hub: Hub, truth: Truth) -> None:
    """The catalog's graph of streams and operators is the declared one; what was seen to flow is part of it, and all of
    it wherever rows have been."""
    names = streams_of(hub)
    declared = _edges(hub, names, "declared")
    assert declared == truth.edges
    for name in names:
        graph = hub.lineage(name, direction="up")
        above = truth.upstream(name) - {name}
        assert {*graph.names("stream"), *map(called, graph.names("operator"))} == above
    filled = {name for name in names if len(hub.read(name))}
    flowed = {(source, target) for source, target in truth.edges if {source, target} & filled}
    observed = _edges(hub, names, "observed")
    assert observed | truth.later == flowed | truth.later


def _edges(hub: Hub, names: list[str], evidence: Evidence) -> set[tuple[str, str]]:
    found = set()
    ways: tuple[Direction, ...] = ("up", "down")
    for name, direction in product(names, ways):
        graph = hub.lineage(name, direction=direction, evidence=evidence)
        nodes = {node.id: node for node in graph.nodes if node.kind != "service"}
        found |= {
            (_called(nodes[edge.source]), _called(nodes[edge.target]))
            for edge in graph.edges
            if edge.source in nodes and edge.target in nodes
        }
    return found


def _called(node: Node) -> str:
    return called(node.name) if node.kind == "operator" else node.name


def check_fields(hub: Hub, truth: Truth) -> None:
    """Each field depends on the fields that the operator's declaration says, coarse ones marked."""
    for name in streams_of(hub):
        expected = truth.fields.get(name, {})
        for field in hub.stream(name).schema.arrow.names:
            graph = hub.lineage(name, field=field, direction="up", depth=1)
            names = {node.id: node.name for node in graph.nodes}
            found = {(names[edge.source], edge.coarse) for edge in graph.edges if edge.target == graph.root.id}
            assert found == expected.get(field, frozenset()), f"{name}.{field}"


def check_traces(hub: Hub, known: Known, stream: str | None = None) -> None:
    """From each row, the trace comes to exactly the source rows that its declared granularity lets it be made from."""
    tracer = Tracer(hub.log, hub.catalog, hub.stream, hub.schema)
    for address in known.streams[stream] if stream else known.exact:
        found = tracer.trace(address, limit=ENDLESS, rows_of_range=ENDLESS)
        assert not found.truncated
        sources = {row.values["id"] for row in found.sources() if row.values is not None}
        assert sources == known.wide[address], str(address)
        assert known.exact[address] <= sources, str(address)
        if granularities(found) <= EXACT:
            assert sources == known.exact[address], str(address)


def granularities(found: Trace) -> set[str]:
    return {descent.granularity for row in found for descent in row.descents}


def check_impact(hub: Hub, known: Known, stream: str, partition: int, first: int, end: int) -> None:
    """Bad rows touch exactly the rows that descend from them, at the declared granularity, and those that they
    surely touch do descend from them."""
    bad = [one for one in known.streams[stream] if one.partition == partition and first <= one.offset < end]
    sought = frozenset().union(*(known.wide[one] for one in bad))
    found = impact(hub.log, hub.catalog, hub.stream, hub.schema, stream, {partition: (first, end)})
    assert set(found.addresses(stream)) == set(bad)
    for name, rows in known.streams.items():
        if name != stream:
            touched = set(found.addresses(name))
            assert touched == {one for one in rows if known.wide[one] & sought}, name
    for (name, number), one in found._found.items():
        for offset, row in zip(one.sure.offsets.tolist(), one.sure.rows.tolist(), strict=True):
            assert known.exact[RowAddress(name, number, offset, row)] & sought
    assert found.followed.behind == 0


def source_ranges(hub: Hub, truth: Truth) -> Iterator[tuple[str, int, int]]:
    """Partitions of streams that are filled from outside, with their end."""
    written = {target for _, target in truth.edges}
    sourced = {target for source, target in truth.edges if source.endswith(".source()")}
    for name in streams_of(hub):
        if name not in written or name in sourced:
            for partition, (_, end) in enumerate(hub.log.bounds(name)):
                if end:
                    yield name, partition, end


def check_rebuilt(hub: Hub, path: Path) -> None:
    """A catalog made anew from the log is the same."""
    hub.sync()
    with Catalog(f"sqlite:///{path}") as fresh:
        platform.rebuild(fresh, hub.log)
        assert difference(fresh.dump(), hub.catalog.dump()) == {}


def difference(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The tables in which two dumps differ, with the rows that only one of them has."""
    return {
        name: (
            [row for row in one[name] if row not in other[name]],
            [row for row in other[name] if row not in one[name]],
        )
        for name in one.keys() | other.keys()
        if one[name] != other[name]
    }
