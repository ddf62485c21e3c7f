"""Candidates with equal encoders share one: it encodes and learns a chunk once for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from operators.evaluate.metrics import Floats
from operators.model.columns import Columns
from operators.model.encoder import Encoder, OneHot, matrix
from operators.train.candidate import Candidate


class Encoded:
    """One chunk as the encoders of some candidates see it, before and after they have learnt from it."""

    def __init__(self, rows: pa.RecordBatch) -> None:
        self.rows = rows
        self._columns: dict[int, Columns] = {}

    def forecasts(self, candidates: Iterable[Candidate]) -> dict[str, Floats]:
        """What each trained candidate says of the rows: probabilities of shape (n, classes), by its name."""
        found = {}
        blocks: dict[int, Any] = {}
        for one in candidates:
            if one.is_trained:
                encoder = one.learner.encoder
                if id(encoder) not in blocks:
                    blocks[id(encoder)] = encoder.blocks(self._of(encoder))
                found[one.name] = one.learner.probabilities(blocks[id(encoder)], self.rows.num_rows)
        return found

    def learn(self, candidates: Iterable[Candidate]) -> dict[str, Floats]:
        """Let every encoder learn the rows, and give each candidate the matrix that it learns from."""
        matrices: dict[int, Floats] = {}
        found = {}
        for one in candidates:
            encoder = one.learner.encoder
            if id(encoder) not in matrices:
                columns = self._of(encoder)
                encoder.learn(columns)
                matrices[id(encoder)] = matrix(encoder.blocks(columns), self.rows.num_rows)
            found[one.name] = matrices[id(encoder)]
        return found

    def _of(self, encoder: Encoder) -> Columns:
        if id(encoder) not in self._columns:
            self._columns[id(encoder)] = encoder.columns(self.rows)
        return self._columns[id(encoder)]


def share_encoders(candidates: Sequence[Candidate]) -> None:
    """Give candidates whose encoders are declared alike and have learnt the same one encoder in common."""
    known: list[Encoder] = []
    for one in candidates:
        encoder = one.learner.encoder
        same = next((other for other in known if _equal(encoder, other)), None)
        if same is None:
            known.append(encoder)
        else:
            one.learner.encoder = same


def _equal(one: Encoder, other: Encoder) -> bool:
    return one.declared == other.declared and one.kinds == other.kinds and _learnt(one) == _learnt(other)


def _learnt(encoder: Encoder) -> list[Any]:
    words = [part.vocabulary.to_pylist() for part in encoder.parts if isinstance(part, OneHot)]
    return [[part.known.values() for part in encoder.parts], words]
