"""What search.py asks of a database's full-text search. Each database has its own way to do it.

A document is five texts under a node's id. Words are compared by their stem.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, Protocol

from sqlalchemy import Connection

PLACES: Final = ("name", "entities", "fields", "description", "about")
WEIGHTS: Final = (4.0, 4.0, 2.5, 2.0, 1.0)


class Phrase(NamedTuple):
    """Words that must follow each other; with `prefix` the last one may go on."""

    words: tuple[str, ...]
    prefix: bool = False


class FullText(Protocol):
    def write(self, connection: Connection, documents: Mapping[int, Mapping[str, str]]) -> None:
        """Replace nodes' documents: texts by place, one that is left out is empty. A node without any text has none."""

    def count(self, connection: Connection) -> int:
        """How many documents there are."""

    def match(self, connection: Connection, phrase: Phrase, total: int) -> dict[int, float]:
        """The nodes whose document has the phrase, and how strongly: by how often, where, and how much else
        there is; how rare the phrase is among the `total` documents does not count."""

    def places(self, connection: Connection, phrase: Phrase, ids: Iterable[int]) -> dict[int, dict[str, list[str]]]:
        """For each of the nodes, the words as written that match the phrase, by place."""

    def vocabulary(self, connection: Connection) -> list[str]:
        """Every word in the documents, as its stem."""


def is_search_table(name: str | None) -> bool:
    """True for the tables that full-text search keeps for itself; models.py does not know them."""
    return name is not None and (name == "search" or name.startswith("search_"))
