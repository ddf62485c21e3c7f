"""Lineage graphs as people and programs read them: a tree for a terminal, Mermaid for a page, JSON values."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from rich.text import Text
from rich.tree import Tree

from catalog.lineage import Direction, Edge, Graph, Node

_SHAPES = {
    "stream": ('["', '"]'),
    "field": ('["', '"]'),
    "operator": ('("', '")'),
    "dataset": ('[("', '")]'),
    "service": ('{{"', '"}}'),
}


def lineage_tree(graph: Graph, direction: Direction) -> Tree:
    """The root, and below it what it came from (`up`) or went to (`down`); the operator between stands beside each."""
    growing = _Growing(graph, direction)
    tree = Tree(Text(graph.root.name, "bold cyan"))
    growing.grow(tree, graph.root)
    if graph.truncated:
        tree.add(Text("There is more: ask for more depth.", style="yellow"))
    elif not tree.children:
        nothing = "It comes from nothing that is known." if direction == "up" else "Nothing that is known reads it."
        tree.add(Text(nothing, style="dim"))
    return tree


def lineage_mermaid(graph: Graph) -> str:
    """The graph as Mermaid text, in the direction in which data flows; dotted where field lineage is coarse."""
    lines = ["graph LR"]
    for node in graph.nodes:
        opening, closing = _SHAPES[node.kind]
        lines.append(f"    n{node.id}{opening}{node.name}{closing}")
    drawn = set()
    for edge in graph.edges:
        via = f"|{edge.via}|" if edge.level == "field" and edge.via else ""
        line = f"    n{edge.source} {'-.->' if edge.coarse else '-->'}{via} n{edge.target}"
        if line not in drawn:
            drawn.add(line)
            lines.append(line)
    return "\n".join(lines)


def lineage_dict(graph: Graph) -> dict[str, Any]:
    """The graph as JSON values. Nodes are named by kind and name, edges run as the data flows."""
    known = {node.id: {"kind": node.kind, "name": node.name} for node in graph.nodes}
    return {
        "root": known[graph.root.id],
        "nodes": list(known.values()),
        "edges": [
            {
                "source": known[edge.source],
                "target": known[edge.target],
                "via": edge.via,
                "evidence": edge.evidence,
                "coarse": edge.coarse,
            }
            for edge in graph.edges
        ],
        "truncated": graph.truncated,
    }


class _Growing:
    def __init__(self, graph: Graph, direction: Direction) -> None:
        self._up = direction == "up"
        self._nodes = {node.id: node for node in graph.nodes}
        self._shown = {graph.root.id}
        # Declared and observed edges between two nodes are one line, as `_mark` says.
        self._beyond: dict[int, dict[int, list[Edge]]] = defaultdict(dict)
        for edge in graph.edges:
            near, far = (edge.target, edge.source) if self._up else (edge.source, edge.target)
            self._beyond[near].setdefault(far, []).append(edge)

    def grow(self, tree: Tree, node: Node) -> None:
        for far, edges in self._beyond[node.id].items():
            other = self._nodes[far]
            if other.kind == "operator" and self._beyond[far]:
                for further, more in self._beyond[far].items():
                    self._add(tree, self._nodes[further], other.name, [*edges, *more])
            else:
                self._add(tree, other, edges[0].via if other.kind == "field" else None, edges)

    def _add(self, tree: Tree, node: Node, via: str | None, edges: list[Edge]) -> None:
        text = Text(node.name, "bold" if node.kind in ("stream", "field") else "")
        if via is not None:
            text.append(f"  through {via}", style="dim")
        elif node.kind not in ("stream", "field"):
            text.append(f"  {self._role(node)}", style="dim")
        for mark in _marks(edges):
            text.append(f"  ({mark})", style="yellow")
        if node.id in self._shown:
            tree.add(text.append("  shown above" if self._beyond[node.id] else "", style="dim"))
            return
        self._shown.add(node.id)
        self.grow(tree.add(text), node)

    def _role(self, node: Node) -> str:
        if node.kind == "operator":
            return "a source: it reads from outside" if self._up else "an operator"
        if node.kind == "service":
            return "a service that publishes" if self._up else "a service that reads"
        return "a dataset"


def _marks(edges: list[Edge]) -> list[str]:
    marks = ["coarse"] if any(edge.coarse for edge in edges) else []
    if all(edge.level == "stream" and edge.via is not None for edge in edges):
        evidence = {edge.evidence for edge in edges}
        marks += ["not seen yet"] if evidence == {"declared"} else []
        marks += ["seen, not declared"] if evidence == {"observed"} else []
    return marks
