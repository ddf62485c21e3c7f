"""Full-text search by PostgreSQL's tsvector: the server finds, we count and weigh, as FTS5 does for SQLite.

A row of `search` is one place of a document: its words as written, and their stems with positions.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
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
_FOUND: Final = f"""
    WITH said AS (
        SELECT {_STEM} AS stem, at FROM unnest(CAST(:words AS text[])) WITH ORDINALITY AS spoken (word, at)
    ), asked AS (
        SELECT array_agg(stem ORDER BY at) AS said,
            CAST(string_agg(quote_literal(stem), ' <-> ' ORDER BY at) || CAST(:end AS text) AS tsquery) AS query
        FROM said
    )
    SELECT node_id, place, document_size, lexeme, positions, said{{more}}
    FROM asked, search, unnest(stems) AS stem (lexeme, positions, letters)
    WHERE stems @@ query
        AND (lexeme = ANY(said) OR (CAST(:prefix AS boolean) AND starts_with(lexeme, said[cardinality(said)])))
    """
_MATCH: Final = text(_FOUND.format(more=", (SELECT avg(document_size) FROM search WHERE place = 0) AS usual_size"))
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
        often: dict[int, float] = defaultdict(float)
        lengths: dict[int, float] = {}
        for row, starts in _find(connection, _MATCH, phrase):
            often[row.node_id] += WEIGHTS[row.place] * len(starts)
            lengths[row.node_id] = row.document_size / float(row.usual_size)
        return {
            node_id: times * (_K + 1) / (times + _K * (1 - _B + _B * lengths[node_id]))
            for node_id, times in often.items()
        }

    def places(self, connection: Connection, phrase: Phrase, ids: Iterable[int]) -> dict[int, dict[str, list[str]]]:
        seen: dict[int, dict[str, list[str]]] = defaultdict(dict)
        found = _find(connection, _PLACES, phrase, ids=list(ids))
        for row, starts in sorted(found, key=lambda one: one[0].place):
            written = row.body.split(" ")
            phrases = [" ".join(written[start - 1 : start - 1 + len(row.said)]) for start in starts]
            seen[row.node_id][PLACES[row.place]] = list(dict.fromkeys(phrases))
        return dict(seen)

    def vocabulary(self, connection: Connection) -> list[str]:
        return list(connection.execute(text("SELECT word FROM ts_stat('SELECT stems FROM search')")).scalars())


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


def _find(connection: Connection, query: Any, phrase: Phrase, **more: Any) -> list[tuple[Any, list[int]]]:
    """A row for each place of a document that has the phrase, and the positions, from 1, at which it begins there."""
    spoken = [word[:_LONGEST].lower() for said in phrase.words for word in _WORD.findall(said)]
    if not spoken:
        return []
    told = {"words": _plain(spoken), "prefix": phrase.prefix, "end": ":*" if phrase.prefix else "", **more}
    positions: dict[tuple[int, int], dict[str, list[int]]] = defaultdict(dict)
    rows: dict[tuple[int, int], Any] = {}
    for row in connection.execute(query, told):
        positions[row.node_id, row.place][row.lexeme] = row.positions
        rows[row.node_id, row.place] = row
    return [(row, _starts(positions[key], row.said, phrase.prefix)) for key, row in rows.items()]


def _starts(positions: Mapping[str, Sequence[int]], said: Sequence[str], prefix: bool) -> list[int]:
    """Where the stems follow each other; the last one, with `prefix`, may go on."""
    following = [set(positions.get(stem, ())) for stem in said]
    if prefix:
        following[-1] = {at for stem, places in positions.items() if stem.startswith(said[-1]) for at in places}
    return sorted(at for at in following[0] if all(at + step in one for step, one in enumerate(following[1:], 1)))
