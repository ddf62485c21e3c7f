"""The reference: how the watched columns, predictions and scores were when all was well, and counting against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from operators.drift.bins import Bins, as_floats, as_texts, counted, learnt_bins
from operators.drift.concept import UNIT
from operators.drift.expected import Scored, Worth
from operators.drift.plan import CUT, Plan

Ints = npt.NDArray[np.int64]

SCORE = "score"
PREDICTED = "predicted"
ERROR = "error"
SCORE_SUMS = "score sums"
_CLASSES = 50


@dataclass(frozen=True, slots=True)
class Reference:
    """`bins` of what is counted, by name: "column x" for each watched one, `score`, `predicted`. `counts` are the
    reference's own, with those of `error`: rows that have one, and their sum in parts of 1/UNIT. `worth` says what
    scores were worth, `confusion` counts (predicted, true) classes; `first` and `end` are its span of event time,
    `rows` its rows, `ranges` where they lie: (partition, first offset, end)."""

    bins: Mapping[str, Bins]
    counts: Mapping[str, Ints]
    classes: tuple[str, ...]
    confusion: Ints
    worth: Worth | None
    first: int
    end: int
    rows: int
    ranges: tuple[tuple[int, int, int], ...] = ()

    @property
    def sizes(self) -> dict[str, int]:
        """How many counts each part has."""
        return {name: len(counts) for name, counts in self.counts.items()}

    def flat(self) -> Ints:
        return np.concatenate([np.empty(0, dtype=np.int64), *self.counts.values()])

    def parted(self, flat: Ints) -> dict[str, Ints]:
        """The counts of each part in a vector that `count` made."""
        ends = np.cumsum(list(self.sizes.values()))
        return dict(zip(self.sizes, np.split(flat, ends[:-1]), strict=True))

    def renewed(
        self, flat: Ints, first: int, end: int, rows: int, ranges: tuple[tuple[int, int, int], ...]
    ) -> Reference:
        """The same bins with the counts of another window for the watched columns and errors. What labels taught about
        scores and predictions stays."""
        counts = {
            name: now if name == ERROR or name.startswith("column ") else self.counts[name]
            for name, now in self.parted(flat).items()
        }
        return replace(self, counts=counts, first=first, end=end, rows=rows, ranges=ranges)

    def to_bytes(self) -> bytes:
        return orjson.dumps(
            {
                "bins": {name: bins.to_json() for name, bins in self.bins.items()},
                "counts": {name: counts.tolist() for name, counts in self.counts.items()},
                "classes": self.classes,
                "confusion": self.confusion.tolist(),
                "worth": None if self.worth is None else self.worth.to_json(),
                "first": self.first,
                "end": self.end,
                "rows": self.rows,
                "ranges": self.ranges,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Reference:
        found = orjson.loads(data)
        classes = tuple(found["classes"])
        return cls(
            {name: Bins.from_json(bins) for name, bins in found["bins"].items()},
            {name: np.array(counts, dtype=np.int64) for name, counts in found["counts"].items()},
            classes,
            np.array(found["confusion"], dtype=np.int64).reshape(len(classes), len(classes)),
            None if found["worth"] is None else Worth.from_json(found["worth"]),
            found["first"],
            found["end"],
            found["rows"],
            tuple(tuple(one) for one in found["ranges"]),
        )


def learn(plan: Plan, rows: pa.Table, first: int, end: int, ranges: tuple[tuple[int, int, int], ...] = ()) -> Reference:
    """The reference from its rows, whose order does not matter."""
    batch = rows.combine_chunks()
    columns = {name: _array(batch.column(name)) for name in batch.column_names}
    bins = {
        name: plan.given[name] if name in plan.given else learnt_bins(columns[name], bins=plan.bins)
        for name in plan.watch
    }
    found: dict[str, Bins] = {f"column {name}": one for name, one in bins.items()}
    classes = _classes(plan, columns)
    if plan.score is not None:
        found[SCORE] = _score_bins(plan, columns[plan.score])
    if plan.predicted is not None or (plan.score is not None and len(classes) == 2):
        found[PREDICTED] = Bins(None, classes)
    bare = Reference(found, {}, classes, np.zeros((0, 0), dtype=np.int64), None, first, end, rows.num_rows, ranges)
    counts = count(bare, plan, columns, np.zeros(rows.num_rows, dtype=np.int64), 1)
    at, parted = 0, {}
    for name, one in found.items():
        parted[name] = counts[0, at : at + one.size + 1]
        at += one.size + 1
    if SCORE in found:
        parted[SCORE_SUMS] = counts[0, at : at + found[SCORE].size + 1]
        at += found[SCORE].size + 1
    if plan.error is not None:
        parted[ERROR] = counts[0, at:]
    worth, confusion = _taught(plan, bare, columns)
    return replace(bare, counts=parted, worth=worth, confusion=confusion)


def count(reference: Reference, plan: Plan, columns: Mapping[str, pa.Array], groups: Ints, many: int) -> Ints:
    """The counts of all parts, side by side, for each of `many` groups of rows; shape (many, counts). They can be added
    to those of other rows."""
    parts = []
    sums = None
    for name, bins in reference.bins.items():
        codes = _codes(reference, plan, name, bins, columns)
        parts.append(counted(codes, bins.size + 1, groups, many))
        if name == SCORE and plan.score is not None:
            sums = _score_sums(columns[plan.score], groups * (bins.size + 1) + codes, many * (bins.size + 1))
    if sums is not None:
        parts.append(sums.reshape(many, -1))
    if plan.error is not None:
        errors, known = errors_of(plan, columns[plan.error])
        totals = np.zeros((many, 2), dtype=np.int64)
        totals[:, 0] = np.bincount(groups[known], minlength=many)
        totals[:, 1] = np.bincount(groups[known], weights=np.rint(errors[known] * UNIT), minlength=many)
        parts.append(totals)
    return np.concatenate([np.zeros((many, 0), dtype=np.int64), *parts], axis=1)


def scored_of(counts: Mapping[str, Ints]) -> Scored:
    """The scores in counts, by bin."""
    return Scored(counts[SCORE][:-1], counts[SCORE_SUMS][:-1] / UNIT)


def errors_of(plan: Plan, column: pa.Array) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Errors as shares of `error_bound`, 0 to 1, and which of them are known."""
    values, missing = as_floats(column)
    known = np.ones(len(values), dtype=bool) if missing is None else ~missing
    return np.clip(values / plan.error_bound, 0.0, 1.0), known


def _codes(reference: Reference, plan: Plan, name: str, bins: Bins, columns: Mapping[str, pa.Array]) -> Ints:
    if name == SCORE:
        assert plan.score is not None
        return bins.codes(columns[plan.score])
    if name == PREDICTED:
        return bins.codes(_predicted(plan, reference.classes, columns))
    return bins.codes(columns[name.removeprefix("column ")])


def _predicted(plan: Plan, classes: tuple[str, ...], columns: Mapping[str, pa.Array]) -> pa.Array:
    """The predicted class as text: as it stands, or what the score says of two classes."""
    if plan.predicted is not None:
        return columns[plan.predicted]
    assert plan.score is not None
    values, missing = as_floats(columns[plan.score])
    texts = pa.array(classes, pa.string()).take(pa.array((values >= CUT).astype(np.int64)))
    return texts if missing is None else pc.if_else(pa.array(missing), None, texts)


def _classes(plan: Plan, columns: Mapping[str, pa.Array]) -> tuple[str, ...]:
    """All classes of labels and predictions, in the order of their text."""
    named = [name for name in (plan.label, plan.predicted) if name is not None]
    found = {text for name in named for text in pc.unique(as_texts(columns[name])).to_pylist() if text is not None}
    return tuple(sorted(found)[:_CLASSES])


def _score_bins(plan: Plan, column: pa.Array) -> Bins:
    """Bins with about equally many scores each, none of which reaches over the cut."""
    edges = learnt_bins(column, bins=plan.bins).edges or ()
    return Bins(tuple(sorted({*edges, CUT})))


def _taught(plan: Plan, reference: Reference, columns: Mapping[str, pa.Array]) -> tuple[Worth | None, Ints]:
    """What labels, or without them the scores themselves, teach about scores and predictions."""
    classes = reference.classes
    size = len(classes)
    confusion = np.zeros((size, size), dtype=np.int64)
    truth = right = None
    if plan.label is not None:
        codes = Bins(None, classes)
        truth = codes.codes(columns[plan.label])
        if PREDICTED in reference.bins:
            predicted = codes.codes(_predicted(plan, classes, columns))
            known = (truth < size) & (predicted < size)
            confusion = np.bincount(predicted[known] * size + truth[known], minlength=size**2).reshape(size, size)
            right = (predicted == truth) & known
    if plan.score is None:
        return None, confusion
    bins = reference.bins[SCORE]
    in_bin = bins.codes(columns[plan.score])
    rights = positives = np.zeros(bins.size, dtype=np.int64)
    known = np.zeros(len(in_bin), dtype=bool)
    if truth is not None and right is not None:
        known = (in_bin < bins.size) & (truth < size)
        rights = np.bincount(in_bin[known & right], minlength=bins.size)
        positives = np.bincount(in_bin[known & (truth == 1)], minlength=bins.size)
    rows = np.bincount(in_bin[known], minlength=bins.size)
    known_scores = columns[plan.score].filter(pa.array(known))
    sums = _score_sums(known_scores, in_bin[known], bins.size) / UNIT
    two = size == 2 or (plan.label is None and plan.predicted is None) or truth is None
    above = np.array([False, *(edge >= CUT for edge in bins.edges or ())])
    return Worth.learnt(Scored(rows, sums), rights, positives if two else None, above), confusion


def _score_sums(column: pa.Array, places: Ints, many: int) -> Ints:
    """The sums of scores by place, in parts of 1/UNIT; missing scores count as 0."""
    values, missing = as_floats(column)
    whole = np.rint(np.clip(values if missing is None else np.where(missing, 0.0, values), 0.0, 1.0) * UNIT)
    # Sums of whole numbers below 2**53 are exact, so their order does not matter.
    return np.bincount(places, weights=whole, minlength=many).astype(np.int64)


def _array(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks or [pa.array([], column.type)])
