"""Full-text search as a database does it: SQLite's FTS5. The rest of search is in search.py and knows no dialect.

A document is five texts under a node's id. Words are compared by their stem.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, Protocol

from sqlalchemy import Connection

from catalog.errors import CatalogError

PLACES: Final = ("name", "entities", "fields", "description", "about")
WEIGHTS: Final = (4.0, 4.0, 2.5, 2.0, 1.0)

_OPEN = "\x02"
_CLOSE = "\x03"


class Phrase(NamedTuple):
    """Words that must follow each other; with `prefix` the last one may go on."""

    words: tuple[str, ...]
    prefix: bool = False


class FullText(Protocol):
    def write(self, connection: Connection, node_id: int, texts: Mapping[str, str]) -> None:
        """Replace a node's document; a place that `texts` leaves out is empty. Without any text it has none."""

    def count(self, connection: Connection) -> int:
        """How many documents there are."""

    def match(self, connection: Connection, phrase: Phrase, total: int) -> dict[int, float]:
        """The nodes whose document has the phrase, and how strongly: by how often, where, and how much else
        there is; how rare the phrase is among the `total` documents does not count."""

    def places(self, connection: Connection, phrase: Phrase, ids: Iterable[int]) -> dict[int, dict[str, list[str]]]:
        """For each of the nodes, the words as written that match the phrase, by place."""

    def vocabulary(self, connection: Connection) -> list[str]:
        """Every word in the documents, as its stem."""


def full_text(dialect: str) -> FullText:
    """The full-text search of a database. CatalogError if there is none for it."""
    if dialect == "sqlite":
        return Fts5()
    raise CatalogError(
        f"There is no full-text search for {dialect} yet", where="catalog", fix="Keep the catalog in SQLite."
    )


def is_search_table(name: str | None) -> bool:
    """True for the tables that full-text search keeps for itself; models.py does not know them."""
    return name is not None and (name == "search" or name.startswith("search_"))


class Fts5:
    def write(self, connection: Connection, node_id: int, texts: Mapping[str, str]) -> None:
        connection.exec_driver_sql("DELETE FROM search WHERE rowid = ?", (node_id,))
        if not texts:
            return
        connection.exec_driver_sql(
            f"INSERT INTO search (rowid, {', '.join(PLACES)}) VALUES (?, ?, ?, ?, ?, ?)",
            (node_id, *(texts.get(place, "") for place in PLACES)),
        )

    def count(self, connection: Connection) -> int:
        return int(connection.exec_driver_sql("SELECT count(*) FROM search_docsize").scalar() or 0)

    def match(self, connection: Connection, phrase: Phrase, total: int) -> dict[int, float]:
        weights = ", ".join(str(weight) for weight in WEIGHTS)
        found = connection.exec_driver_sql(
            f"SELECT rowid, -bm25(search, {weights}) FROM search WHERE search MATCH ?", (_syntax(phrase),)
        ).all()
        if not found:
            return {}
        # FTS5 multiplies by the phrase's rarity in its own way, which is nothing for what half of the
        # documents hold; that factor is taken out again and search.py puts a smoother one in.
        rarity = math.log((total - len(found) + 0.5) / (len(found) + 0.5))
        factor = rarity if rarity > 0 else 1e-6
        return {node_id: score / factor for node_id, score in found}

    def places(self, connection: Connection, phrase: Phrase, ids: Iterable[int]) -> dict[int, dict[str, list[str]]]:
        marked = ", ".join(f"highlight(search, {number}, ?, ?)" for number in range(len(PLACES)))
        wanted = list(ids)
        rows: list[Any] = list(
            connection.exec_driver_sql(
                f"SELECT rowid, {marked} FROM search WHERE search MATCH ? AND rowid IN "
                f"({', '.join('?' * len(wanted))})",
                (*([_OPEN, _CLOSE] * len(PLACES)), _syntax(phrase), *wanted),
            )
        )
        return {
            row[0]: {place: words for place, text in zip(PLACES, row[1:], strict=True) if (words := _marked(text))}
            for row in rows
        }

    def vocabulary(self, connection: Connection) -> list[str]:
        return [row[0] for row in connection.exec_driver_sql("SELECT term FROM search_word")]


def _syntax(phrase: Phrase) -> str:
    quoted = " ".join(word.replace('"', " ") for word in phrase.words)
    return f'"{quoted}"' + ("*" if phrase.prefix else "")


def _marked(text: str) -> list[str]:
    words = (part.split(_CLOSE)[0].lower() for part in text.split(_OPEN)[1:])
    return list(dict.fromkeys(words))
