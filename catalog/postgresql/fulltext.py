"""Full-text search by PostgreSQL's tsvector: the server finds, we count and weigh, as FTS5 does for SQLite.

A row of `search` is one place of a document: its words as written, and their stems with positions.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, text

from catalog.fulltext import PLACES, WEIGHTS, Phrase

_WORD: Final = re.compile(r"[^\W_]+")
#: Longer words are no words; a tsvector takes none of more than 2,046 bytes.
_LONGEST: Final = 200
#: Positions beyond this one are all the same to a tsvector.
_LAST: Final = 16_383

#: How fast a word's weight levels off as it comes more often, and how much a long document loses by its length: the
#: usual values of BM25 (Robertson, Walker: Okapi at TREC-3, 1994), and FTS5's.
_K: Final = 1.2
_B: Final = 0.75

_STEM: Final = "coalesce((ts_lexize('english_stem', word))[1], word)"
_WRITE: Final = text(
    f"""
    INSERT INTO search (node_id, place, body, document_size, stems)
    SELECT CAST(:node_id AS integer), CAST(:place AS smallint), CAST(:body AS text), CAST(:size AS integer),
        coalesce(CAST(string_agg(quote_literal({_STEM}) || ':' || least(at, {_LAST}), ' ') AS tsvector), '')
    FROM unnest(string_to_array(CAST(:plain AS text), ' ')) WITH ORDINALITY AS spoken (word, at)
    """
)
_STEMS: Final = text(f"SELECT {_STEM} FROM unnest(CAST(:words AS text[])) WITH ORDINALITY AS s (word, at) ORDER BY at")
_FOUND: Final = """
    SELECT node_id, place, document_size, lexeme, positions{more}
    FROM search, unnest(stems) AS stem (lexeme, positions, letters)
    WHERE stems @@ CAST(:asked AS tsquery)
        AND (lexeme = ANY(CAST(:exact AS text[])) OR starts_with(lexeme, CAST(:beginning AS text)))
    """
_MATCH: Final = text(_FOUND.format(more=""))
_PLACES: Final = text(_FOUND.format(more=", body") + " AND node_id = ANY(CAST(:ids AS integer[]))")


class Tsvector:
    def write(self, connection: Connection, documents: Mapping[int, Mapping[str, str]]) -> None:
        connection.execute(
            text("DELETE FROM search WHERE node_id = ANY(CAST(:ids AS integer[]))"), {"ids": list(documents)}
        )
        rows = [row for node_id, texts in documents.items() if texts for row in _rows(node_id, texts)]
        if rows:
            connection.execute(_WRITE, rows)

    def count(self, connection: Connection) -> int:
        return int(connection.execute(text("SELECT count(*) FROM search WHERE place = 0")).scalar_one())

    def match(self, connection: Connection, phrase: Phrase, total: int) -> dict[int, float]:
        found = _find(connection, _MATCH, phrase)
        if not found:
            return {}
        usual = connection.execute(text("SELECT avg(document_size) FROM search WHERE place = 0")).scalar_one()
        often: dict[int, float] = defaultdict(float)
        sizes: dict[int, int] = {}
        for one in found:
            often[one.node_id] += WEIGHTS[one.place] * len(one.starts)
            sizes[one.node_id] = one.document_size
        return {
            node_id: times * (_K + 1) / (times + _K * (1 - _B + _B * sizes[node_id] / float(usual)))
            for node_id, times in often.items()
        }

    def places(self, connection: Connection, phrase: Phrase, ids: Iterable[int]) -> dict[int, dict[str, list[str]]]:
        seen: dict[int, dict[str, list[str]]] = defaultdict(dict)
        for one in sorted(_find(connection, _PLACES, phrase, ids=list(ids)), key=lambda one: one.place):
            written = one.body.split(" ")
            phrases = [" ".join(written[start - 1 : start - 1 + len(phrase.words)]) for start in one.starts]
            seen[one.node_id][PLACES[one.place]] = list(dict.fromkeys(phrases))
        return dict(seen)

    def vocabulary(self, connection: Connection) -> list[str]:
        return list(connection.execute(text("SELECT word FROM ts_stat('SELECT stems FROM search')")).scalars())


@dataclass(frozen=True)
class _Found:
    """A place of a document that has a phrase, and the positions, from 1, at which it begins there."""

    node_id: int
    place: int
    document_size: int
    starts: list[int]
    body: str = ""


def _rows(node_id: int, texts: Mapping[str, str]) -> list[dict[str, Any]]:
    spoken = [[word[:_LONGEST].lower() for word in _WORD.findall(texts.get(place, ""))] for place in PLACES]
    size = sum(len(words) for words in spoken)
    return [
        {"node_id": node_id, "place": number, "body": " ".join(words), "plain": " ".join(_plain(words)), "size": size}
        for number, words in enumerate(spoken)
        # The first place stands for the document.
        if words or number == 0
    ]


def _plain(words: Iterable[str]) -> list[str]:
    """Words without accents, which people leave out."""
    apart = (unicodedata.normalize("NFKD", word) for word in words)
    return ["".join(letter for letter in word if not unicodedata.combining(letter)) for word in apart]


def _find(connection: Connection, query: Any, phrase: Phrase, **more: Any) -> list[_Found]:
    spoken = [word for said in phrase.words for word in _WORD.findall(said)]
    if not spoken:
        return []
    stems = list(connection.execute(_STEMS, {"words": _plain(word[:_LONGEST].lower() for word in spoken)}).scalars())
    exact, beginning = (stems[:-1], stems[-1]) if phrase.prefix else (stems, None)
    asked = " <-> ".join(f"'{stem}'" for stem in stems) + (":*" if phrase.prefix else "")
    told = {"asked": asked, "exact": exact, "beginning": beginning, **more}
    at: dict[tuple[int, int], dict[str, list[int]]] = defaultdict(dict)
    rows: dict[tuple[int, int], Any] = {}
    for row in connection.execute(query, told):
        at[row.node_id, row.place][row.lexeme] = row.positions
        rows[row.node_id, row.place] = row
    return [
        _Found(row.node_id, row.place, row.document_size, _starts(at[key], exact, beginning), getattr(row, "body", ""))
        for key, row in rows.items()
    ]


def _starts(at: Mapping[str, Sequence[int]], exact: Sequence[str], beginning: str | None) -> list[int]:
    """Where the stems, and at last one with this beginning, follow each other."""
    following = [set(at.get(stem, ())) for stem in exact]
    if beginning is not None:
        following.append({p for stem, places in at.items() if stem.startswith(beginning) for p in places})
    return sorted(p for p in following[0] if all(p + step in one for step, one in enumerate(following[1:], 1)))
