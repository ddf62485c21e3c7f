"""Encoders: what was learnt about each feature so far, and how its values become columns of numbers.

Every way of encoding has a fixed width, so that an estimator sees the same columns from its first row to its last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from operators.model.columns import Columns, Floats
from operators.model.features import Features
from streams.fingerprints import hashes

Codes = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

#: A standardised value is cut off at so many deviations: one broken value must not undo what was learnt.
FURTHEST: Final = 10.0
#: Values may lie outside of the range that was learnt by this part of its width before they count as foreign to it.
MARGIN: Final = 0.5

#: What is remembered about each encoded column, in this order.
STATISTICS: Final = ("rows", "missing", "mean", "squares", "low", "high", "others")


@dataclass(frozen=True, slots=True)
class Dense:
    """One column of values. Shape (n,)."""

    values: Floats

    @property
    def width(self) -> int:
        return 1


@dataclass(frozen=True, slots=True)
class Coded:
    """`width` columns, of which each row has a 1 in one. Codes of shape (n,)."""

    codes: Codes
    width: int


Block: TypeAlias = Dense | Coded
#: Rows that the model should not be asked about, and why.
Doubt: TypeAlias = tuple[str, Bools]


class Statistics:
    """What was learnt about one encoded column."""

    def __init__(self, values: Sequence[float] = (0.0,) * len(STATISTICS)) -> None:
        self.rows, self.missing, self.mean, self.squares, self.low, self.high, self.others = map(float, values)

    def values(self) -> list[float]:
        return [getattr(self, name) for name in STATISTICS]

    @property
    def deviation(self) -> float:
        """1 for a constant column, which is then 0 in every row."""
        present = self.rows - self.missing
        variance = self.squares / present if present else 0.0
        return float(np.sqrt(variance)) if variance > 0.0 else 1.0

    def learn(self, values: Floats) -> None:
        """Chan's update of mean and squared deviations by a batch; NaN counts as missing."""
        present = values[~np.isnan(values)]
        before = self.rows - self.missing
        self.rows += len(values)
        self.missing += len(values) - len(present)
        if not len(present):
            return
        mean = float(present.mean())
        apart = mean - self.mean
        total = before + len(present)
        self.squares += float(np.square(present - mean).sum()) + apart * apart * before * len(present) / total
        self.mean += apart * len(present) / total
        low, high = float(present.min()), float(present.max())
        self.low, self.high = (min(self.low, low), max(self.high, high)) if before else (low, high)

    def foreign(self, values: Floats) -> Bools:
        """Where a value lies far from everything that was learnt."""
        if self.rows <= self.missing:
            return ~np.isnan(values)
        margin = MARGIN * (self.high - self.low)
        return (values < self.low - margin) | (values > self.high + margin)


class Encoded:
    """One column in one way. Subclasses say how wide it is and what its blocks are."""

    width = 2

    def __init__(self, name: str) -> None:
        self.name = name
        self.known = Statistics()

    def learn(self, columns: Columns) -> None:
        self.known.learn(columns.numbers(self.name))

    def blocks(self, columns: Columns) -> list[Block]:
        raise NotImplementedError

    def missing(self, columns: Columns) -> Bools:
        return np.isnan(columns.numbers(self.name))

    def doubts(self, columns: Columns) -> list[Doubt]:
        """Rows with a missing value where none was missing before, and values far from all that were learnt."""
        if self.name in columns.problems:
            return [(columns.problems[self.name], np.ones(len(columns), dtype=bool))]
        found: list[Doubt] = []
        if not self.known.missing:
            found.append((f"feature missing: {self.name}", self.missing(columns)))
        return [*found, *self._foreign(columns)]

    def _foreign(self, columns: Columns) -> list[Doubt]:
        return [(f"out of distribution: {self.name}", self.known.foreign(columns.numbers(self.name)))]


class Numeric(Encoded):
    """The value in deviations from the mean learnt so far, and whether it is missing."""

    def blocks(self, columns: Columns) -> list[Block]:
        values = columns.numbers(self.name)
        missing = np.isnan(values)
        scaled = np.clip((values - self.known.mean) / self.known.deviation, -FURTHEST, FURTHEST)
        return [Dense(np.where(missing, 0.0, scaled)), Dense(missing.astype(np.float64))]


class Plain(Encoded):
    """The value itself, and whether it is missing."""

    def blocks(self, columns: Columns) -> list[Block]:
        values = columns.numbers(self.name)
        missing = np.isnan(values)
        return [Dense(np.where(missing, 0.0, values)), Dense(missing.astype(np.float64))]


class Binned(Encoded):
    """The span between fixed edges that the value lies in (an edge belongs to the span above it), or missing."""

    def __init__(self, name: str, edges: tuple[float, ...]) -> None:
        super().__init__(name)
        self._edges = np.array(edges)
        self.width = len(edges) + 2

    def blocks(self, columns: Columns) -> list[Block]:
        # searchsorted puts NaN behind every edge, in the last bin: it has a place of its own.
        values = columns.numbers(self.name)
        codes = np.searchsorted(self._edges, values, side="right")
        return [Coded(np.where(np.isnan(values), self.width - 1, codes), self.width)]

    def _foreign(self, columns: Columns) -> list[Doubt]:
        return []


class OneHot(Encoded):
    """One of the values seen so far, another one, or missing."""

    def __init__(self, name: str, limit: int) -> None:
        super().__init__(name)
        self.limit = limit
        self.width = limit + 2
        self.vocabulary = pa.array([], pa.string())

    def learn(self, columns: Columns) -> None:
        texts = columns.texts(self.name)
        self.known.rows += len(texts)
        self.known.missing += texts.null_count
        strange = self._codes(columns) == self.limit
        room = self.limit - len(self.vocabulary)
        if room and strange.any():
            new = pc.unique(texts.filter(pa.array(strange)))
            self.vocabulary = pa.concat_arrays([self.vocabulary, new.slice(0, room)])
            strange = self._codes(columns) == self.limit
        if len(self.vocabulary) == self.limit:
            self.known.others += int(strange.sum())

    def blocks(self, columns: Columns) -> list[Block]:
        return [Coded(self._codes(columns), self.width)]

    def missing(self, columns: Columns) -> Bools:
        return columns.texts(self.name).is_null().to_numpy(zero_copy_only=False)

    def _foreign(self, columns: Columns) -> list[Doubt]:
        if self.known.others:
            return []
        return [(f"unseen category: {self.name}", self._codes(columns) == self.limit)]

    def _codes(self, columns: Columns) -> Codes:
        """Looked up once for each vocabulary: it hardly ever grows."""
        known = columns.looked_up.get(self.name)
        if known is not None and known[0] is self.vocabulary:
            return known[1]
        found = self._look_up(columns.texts(self.name))
        columns.looked_up[self.name] = self.vocabulary, found
        return found

    def _look_up(self, texts: pa.Array) -> Codes:
        places = pc.index_in(texts, value_set=self.vocabulary)
        if places.null_count:
            places = pc.fill_null(places, self.limit)
        found: Codes = places.to_numpy().astype(np.int64)
        if texts.null_count:
            found[texts.is_null().to_numpy(zero_copy_only=False)] = self.limit + 1
        return found


class Hashed(Encoded):
    """The bucket that the value's hash falls into, or missing."""

    def __init__(self, name: str, buckets: int) -> None:
        super().__init__(name)
        self._buckets = buckets
        self.width = buckets + 1

    def learn(self, columns: Columns) -> None:
        texts = columns.texts(self.name)
        self.known.rows += len(texts)
        self.known.missing += texts.null_count

    def blocks(self, columns: Columns) -> list[Block]:
        texts = columns.texts(self.name)
        words = hashes([texts.dictionary_encode()], len(texts))
        codes = (words % np.uint64(self._buckets)).astype(np.int64)
        return [Coded(np.where(self.missing(columns), self._buckets, codes), self.width)]

    def missing(self, columns: Columns) -> Bools:
        return columns.texts(self.name).is_null().to_numpy(zero_copy_only=False)

    def _foreign(self, columns: Columns) -> list[Doubt]:
        return []


class Encoder:
    """All features of a model, in the order of their declaration. `kinds` says what each column is."""

    def __init__(self, declared: Features, kinds: Mapping[str, str]) -> None:
        self.declared = declared
        self.kinds = dict(kinds)
        self.parts: list[Encoded] = [
            *(Numeric(name) for name in declared.numeric),
            *(Plain(name) for name in declared.plain),
            *(Binned(name, edges) for name, edges in declared.binned.items()),
            *(OneHot(name, limit) for name, limit in declared.onehot.items()),
            *(Hashed(name, buckets) for name, buckets in declared.hashed.items()),
        ]
        self.width = sum(part.width for part in self.parts)

    def columns(self, rows: pa.RecordBatch) -> Columns:
        return Columns(rows, self.kinds)

    def learn(self, columns: Columns) -> None:
        """Take a chunk of rows into means, ranges and vocabularies."""
        for part in self.parts:
            part.learn(columns)

    def blocks(self, columns: Columns) -> list[Block]:
        return [block for part in self.parts for block in part.blocks(columns)]

    def doubts(self, columns: Columns) -> list[Doubt]:
        return [doubt for part in self.parts for doubt in part.doubts(columns)]


def matrix(blocks: Sequence[Block], rows: int) -> Floats:
    """The blocks side by side. Shape (rows, total width)."""
    made = np.zeros((rows, sum(block.width for block in blocks)))
    at = 0
    every = np.arange(rows)
    for block in blocks:
        if isinstance(block, Dense):
            made[:, at] = block.values
        else:
            made[every, at + block.codes] = 1.0
        at += block.width
    return made


def names_of(encoder: Encoder) -> list[str]:
    """What each column of the matrix stands for, for people."""
    found: list[str] = []
    for part in encoder.parts:
        name = part.name
        if isinstance(part, Binned):
            found += [f"{name} bin {at}" for at in range(part.width - 1)]
        elif isinstance(part, OneHot):
            words: list[Any] = part.vocabulary.to_pylist()
            unused = part.limit - len(words)
            found += [*(f"{name}={word}" for word in words), *[f"{name} unused"] * unused, f"{name} other"]
        elif isinstance(part, Hashed):
            found += [f"{name} bucket {at}" for at in range(part.width - 1)]
        else:
            found.append(name)
        found.append(f"{name} missing")
    return found
