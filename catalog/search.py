"""Search: a person's question in, streams, operators, datasets and pipelines out, each with the reason why.

A question becomes terms. Each term may be met by its own word, by what the glossary says for it, or, if nothing has
it, by words that begin with it, that it is put together from, or that it comes close to. How words are found in
documents is fulltext.py's affair.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, NamedTuple

from sqlalchemy import Connection, select

from catalog.database import chunks, rows_where
from catalog.fulltext import FullText, Phrase
from catalog.glossary import entities
from catalog.models import dataset, node, pipeline, stream
from catalog.operator_records import operator_records_by_id
from catalog.specs import EntitySpec
from catalog.words import CATALOG_WORDS, QUESTION_WORDS, is_filler, singular, words

HitKind = Literal["stream", "dataset", "operator", "pipeline"]


@dataclass(frozen=True)
class Hit:
    """Something that answers a question. `score` compares hits of one question only; `why` says which of its words were
    met, and where."""

    name: str
    kind: HitKind
    score: float
    why: str
    description: str


#: How much of a hit's score counts if the question does not ask for its role or kind; 0 leaves it out.
_ROLES: Mapping[str, float] = {
    "data": 1.0,
    "model": 1.0,
    "quarantine": 0.5,
    "late": 0.5,
    "retry": 0.5,
    "platform": 0.3,
    "progress": 0.0,
    "state": 0.0,
}
_KINDS: Mapping[str, float] = {"stream": 1.0, "dataset": 0.8, "operator": 0.5, "pipeline": 0.5}

#: What people say for the platform's own words.
_OUR_WORDS: Mapping[str, str] = {
    "quarantined": "quarantine",
    "rejected": "quarantine",
    "invalid": "quarantine",
    "retried": "retry",
    "retries": "retry",
    "job": "operator",
    "jobs": "operator",
}

_GLOSSARY, _SAME_ENTITY, _PART, _BEGINNING, _COMPOUND = 0.95, 0.7, 0.5, 0.8, 0.9
#: An entity is what a question is about; its other words only say which side of it.
_ENTITY_COUNTS = 1.5
_LONGEST_SYNONYM = 4


class _Way(NamedTuple):
    """One way in which a term may be met."""

    phrase: Phrase
    weight: float
    reason: str = ""


@dataclass
class _Term:
    """Words of the question that belong together, the ways to meet them, and the nodes that do: score and way."""

    said: str
    ways: list[_Way]
    met: dict[int, tuple[float, _Way]] = field(default_factory=dict)
    counts: float = 1.0
    rarity: float = 0.0


def search(connection: Connection, text: FullText, question: str, limit: int = 10) -> list[Hit]:
    """The best answers first; none if no word of the question is known in any way."""
    spoken = words(question)
    total = text.count(connection)
    terms = [term for term in _terms(spoken, entities(connection)) if _meet(connection, text, term, total)]
    scores = _scores(terms)
    for node_id in _named(connection, question):
        scores[node_id] = 2 * max([*scores.values(), 1.0])
    subjects = _subjects(connection, scores)
    asked = {_OUR_WORDS.get(word, singular(word)) for word in spoken}
    ranked = sorted(
        (
            (scores[node_id] * weight, subject.name, node_id)
            for node_id, subject in subjects.items()
            if (weight := subject.weight(asked)) > 0
        ),
        key=lambda one: (-one[0], one[1]),
    )[:limit]
    best = [node_id for *_, node_id in ranked]
    reasons = _reasons(connection, text, terms, best)
    descriptions = _descriptions(connection, best)
    return [
        Hit(
            name=name,
            kind=subjects[node_id].kind,
            score=round(score, 4),
            why=reasons[node_id] or "it is what the question names",
            description=descriptions.get(node_id, ""),
        )
        for score, name, node_id in ranked
    ]


def _terms(spoken: Sequence[str], glossary: Sequence[EntitySpec]) -> list[_Term]:
    sayings = _sayings(glossary)
    terms: list[_Term] = []
    at = 0
    while at < len(spoken):
        for length in range(min(_LONGEST_SYNONYM, len(spoken) - at), 0, -1):
            said = tuple(spoken[at : at + length])
            meant = sayings.get(tuple(singular(word) for word in said), [])
            if meant and (length > 1 or not is_filler(spoken, at)):
                terms.append(_Term(" ".join(said), _glossary_ways(said, meant), counts=_ENTITY_COUNTS))
                break
        else:
            length = 1
            if not is_filler(spoken, at) and len(spoken[at]) > 1:
                terms.append(_Term(spoken[at], _plain_ways(spoken[at])))
        at += length
    telling = [term for term in terms if term.said not in CATALOG_WORDS]
    return _joined(list({term.said: term for term in telling or terms}.values()))


def _plain_ways(said: str) -> list[_Way]:
    ways = [_Way(Phrase((said,)), 1.0)]
    if said in _OUR_WORDS:
        ways.append(_Way(Phrase((_OUR_WORDS[said],)), _GLOSSARY, f"here called {_OUR_WORDS[said]}"))
    return ways


def _joined(terms: list[_Term]) -> list[_Term]:
    # "tail number" may be written tailnumber in a field's name.
    for one, other in pairwise(terms):
        if " " not in one.said + other.said:
            way = _Way(Phrase((one.said + other.said,), prefix=True), _COMPOUND, f"{one.said}{other.said}")
            one.ways.append(way)
            other.ways.append(way)
    return terms


def _sayings(glossary: Iterable[EntitySpec]) -> dict[tuple[str, ...], list[EntitySpec]]:
    found: dict[tuple[str, ...], list[EntitySpec]] = {}
    for entity in glossary:
        for saying in {entity.name, *entity.synonyms}:
            key = tuple(singular(word) for word in words(saying))
            if key and entity not in found.setdefault(key, []):
                found[key].append(entity)
    return found


def _glossary_ways(said: tuple[str, ...], meant: Iterable[EntitySpec]) -> list[_Way]:
    ways = [_Way(Phrase(said), 1.0)]
    for entity in meant:
        ways.append(_Way(Phrase(tuple(words(entity.name))), _GLOSSARY, f"the entity {entity.name}"))
        ways += [
            _Way(Phrase(tuple(words(saying))), _SAME_ENTITY, f"also said for {entity.name}")
            for saying in entity.synonyms
            if words(saying)
        ]
    if len(said) > 1:
        ways += [_Way(Phrase((word,)), _PART, f"part of it: {word}") for word in said if word not in QUESTION_WORDS]
    return ways


def _meet(connection: Connection, text: FullText, term: _Term, total: int) -> bool:
    """Find what meets the term; True if anything does."""
    _try(connection, text, term, term.ways, total)
    if not term.met and len(term.said) >= 3:
        _try(
            connection, text, term, [_Way(Phrase((term.said,), prefix=True), _BEGINNING, "words that begin so")], total
        )
    if not term.met and len(term.said) >= 4:
        _try(connection, text, term, _near_ways(connection, text, term.said), total)
    term.rarity = term.counts * math.log(1 + (total - len(term.met) + 0.5) / (len(term.met) + 0.5))
    return bool(term.met)


def _try(connection: Connection, text: FullText, term: _Term, ways: Iterable[_Way], total: int) -> None:
    for way in ways:
        for node_id, strength in text.match(connection, way.phrase, total).items():
            score = strength * way.weight
            if score > term.met.get(node_id, (0.0, way))[0]:
                term.met[node_id] = (score, way)


def _near_ways(connection: Connection, text: FullText, said: str) -> list[_Way]:
    vocabulary = set(text.vocabulary(connection))
    halves = [(said[:at], said[at:]) for at in range(2, len(said) - 1)]
    ways = [
        _Way(Phrase(pair, prefix=True), _COMPOUND, " ".join(pair))
        for pair in halves
        if _is_word(pair[0], vocabulary) and _is_word(pair[1], vocabulary)
    ]
    beginnings = [
        word for word in vocabulary if len(word) >= 4 and 2 * len(word) >= len(said) and said.startswith(word)
    ]
    if beginnings:
        word = max(beginnings, key=len)
        ways.append(_Way(Phrase((word,)), _BEGINNING, f"it begins with {word}"))
    glossary = entities(connection)
    sayings = {
        word: entity for entity in glossary for said_ in (entity.name, *entity.synonyms) for word in words(said_)
    }
    near = [word for word in {*vocabulary, *sayings} if abs(len(word) - len(said)) <= 3]
    for word in difflib.get_close_matches(said, near, n=3, cutoff=0.72):
        closeness = difflib.SequenceMatcher(None, said, word).ratio()
        ways.append(_Way(Phrase((word,), prefix=True), closeness, f"read as {word}"))
        if word in sayings:
            entity = sayings[word]
            phrase = Phrase(tuple(words(entity.name)))
            ways.append(_Way(phrase, closeness * _GLOSSARY, f"read as {word}, the entity {entity.name}"))
    return ways


def _is_word(said: str, vocabulary: Set[str]) -> bool:
    # The vocabulary has stems, which are up to two letters shorter.
    return said in vocabulary or any(said[:-cut] in vocabulary for cut in (1, 2) if len(said) - cut >= 3)


def _scores(terms: Iterable[_Term]) -> dict[int, float]:
    terms = list(terms)
    whole = sum(term.rarity for term in terms)
    scores: dict[int, float] = {}
    covered: dict[int, float] = {}
    for term in terms:
        for node_id, (strength, _) in term.met.items():
            scores[node_id] = scores.get(node_id, 0.0) + strength * term.rarity
            covered[node_id] = covered.get(node_id, 0.0) + term.rarity
    # A little of everything that was asked for answers a question better than much of one word of it.
    return {node_id: score * math.sqrt(covered[node_id] / whole) for node_id, score in scores.items()}


def _named(connection: Connection, question: str) -> list[int]:
    """Nodes whose whole name stands in the question."""
    tokens = {token.strip("?!.,;:'\"()`") for token in question.split()}
    names = [token for token in tokens if token and ("." in token or "_" in token)]
    return [row.id for row in rows_where(connection, node, node.c.name, names) if row.kind in _KINDS]


@dataclass(frozen=True)
class _Subject:
    name: str
    kind: HitKind
    role: str

    def weight(self, asked: set[str]) -> float:
        of_role = 1.0 if self.role in asked else _ROLES.get(self.role, 1.0)
        return of_role * (1.5 if self.kind != "stream" and self.kind in asked else _KINDS[self.kind])


def _subjects(connection: Connection, ids: Iterable[int]) -> dict[int, _Subject]:
    query = select(node.c.id, node.c.name, node.c.kind, stream.c.role).join(
        stream, stream.c.id == node.c.id, isouter=True
    )
    return {
        row.id: _Subject(row.name, row.kind, row.role or "")
        for piece in chunks(ids)
        for row in connection.execute(query.where(node.c.id.in_(piece)))
        if row.kind != "stream" or row.role is not None
    }


def _descriptions(connection: Connection, ids: Sequence[int]) -> dict[int, str]:
    found = {row.id: row.description for row in rows_where(connection, stream, stream.c.id, ids)}
    found |= {row.id: row.description for row in rows_where(connection, pipeline, pipeline.c.id, ids)}
    found |= {one.id: one.spec.description for one in operator_records_by_id(connection, ids)}
    for row in rows_where(connection, dataset, dataset.c.node_id, ids):
        found[row.node_id] = f"of {', '.join(row.streams)}"
    return found


def _reasons(connection: Connection, text: FullText, terms: Iterable[_Term], ids: Sequence[int]) -> dict[int, str]:
    said: dict[int, list[str]] = {node_id: [] for node_id in ids}
    for term in terms:
        ways: dict[_Way, list[int]] = {}
        for node_id in ids:
            if node_id in term.met:
                ways.setdefault(term.met[node_id][1], []).append(node_id)
        for way, some in ways.items():
            found = text.places(connection, way.phrase, some)
            for node_id in some:
                places = [f"{place} ({', '.join(seen[:3])})" for place, seen in found.get(node_id, {}).items()]
                reason = f" ({way.reason})" if way.reason else ""
                said[node_id].append(f"“{term.said}”{reason} in {', '.join(places)}")
    return {node_id: "; ".join(parts) for node_id, parts in said.items()}
