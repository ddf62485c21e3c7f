"""Full-text search by SQLite's FTS5."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection

from catalog.fulltext import PLACES, WEIGHTS, Phrase

_OPEN = "\x02"
_CLOSE = "\x03"


class Fts5:
    def write(self, connection: Connection, documents: Mapping[int, Mapping[str, str]]) -> None:
        rows = [(node_id, *(texts.get(place, "") for place in PLACES)) for node_id, texts in documents.items() if texts]
        if documents:
            connection.exec_driver_sql("DELETE FROM search WHERE rowid = ?", [(node_id,) for node_id in documents])
        if rows:
            connection.exec_driver_sql(
                f"INSERT INTO search (rowid, {', '.join(PLACES)}) VALUES (?, ?, ?, ?, ?, ?)", rows
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
