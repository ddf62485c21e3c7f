"""Finds what weak labels are worth: counts votes and labels, and compares them with the truth where it is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from catalog import NotRegistered
from catalog.specs import OperatorSpec
from headwater.label_analysis import ClassAnalysis, FunctionAnalysis, LabelAnalysis
from operators.label.estimate import majority
from operators.label.function import Class, LabelError
from operators.label.model_stream import class_text
from operators.label.pattern import Coding, Counted, Floats, Integers
from operators.label.votes import PATTERN
from streams.read import PartitionReader
from streams.stream import Stream

if TYPE_CHECKING:
    from headwater.connection import Connection

KIND = "label"
_BINS = 10


def labelings(connection: Connection) -> list[str]:
    """The streams of weak labels, by name."""
    return [one.name for one in connection.catalog.operators() if one.spec.kind == KIND]


def analyse(
    connection: Connection,
    stream: str,
    *,
    truth: str | tuple[str, str] | None = None,
    on: str | None = None,
    meaning: Mapping[Any, Class] | None = None,
) -> LabelAnalysis:
    """See `Hub.labels`."""
    declared = _Declared.of(connection, stream)
    known = None if truth is None else _Truth(connection, declared, truth, on, meaning or {})
    counted, right = _votes(connection, declared, known)
    model = _last_model(connection, declared)
    outcome = _Outcome.of(connection, declared, known)
    votes = declared.coding.decode(counted.patterns)
    share = majority(votes, len(declared.classes))
    tops = share >= share.max(axis=1, keepdims=True) - 1e-12
    silent = (votes < 0).all(axis=1)
    by_majority = None
    if right is not None and right[~silent].sum():
        by_majority = float((right * tops / tops.sum(axis=1, keepdims=True))[~silent].sum() / right[~silent].sum())
    return LabelAnalysis(
        stream=declared.labels.name,
        rows=outcome.rows,
        labelled=int(outcome.labelled.sum()),
        model_version=None if model is None else int(model["version"]),
        functions=tuple(_functions(declared, counted, votes, right, model)),
        classes=tuple(_classes(declared, outcome, model, known is not None)),
        accuracy=None if known is None or not outcome.judged else float(outcome.right.sum() / outcome.judged),
        majority_accuracy=by_majority,
    )


@dataclass(frozen=True)
class _Declared:
    """A labelling as the catalog has it."""

    labels: Stream
    votes: Stream
    model: Stream | None
    functions: tuple[str, ...]
    classes: tuple[Class, ...]
    coding: Coding

    @classmethod
    def of(cls, connection: Connection, name: str) -> _Declared:
        labels = connection.readable(name)
        specs = {one.name: one.spec for one in connection.catalog.operators()}
        spec: OperatorSpec | None = specs.get(name)
        if spec is None or spec.kind != KIND:
            known = ", ".join(labelings(connection)) or "none"
            raise NotRegistered("This is no stream of weak labels", where=name, fix=f"There are {known}.")
        votes = specs[spec.params["votes"]]
        model = spec.params["model"]
        return cls(
            labels,
            connection.stream(votes.name),
            None if model is None else connection.stream(model),
            tuple(one["name"] for one in votes.params["functions"]),
            tuple(spec.params["classes"]),
            Coding(tuple(tuple(one) for one in votes.params["voices"])),
        )

    @property
    def texts(self) -> list[str]:
        return [class_text(one) for one in self.classes]


class _Truth:
    """Finds the number of the true class of rows, -1 where it is not known."""

    def __init__(
        self,
        connection: Connection,
        declared: _Declared,
        truth: str | tuple[str, str],
        on: str | None,
        meaning: Mapping[Any, Class],
    ) -> None:
        self._classes = declared.classes
        self._meaning = meaning
        names = declared.labels.schema.names
        if isinstance(truth, str):
            self.reads: str = truth
            self._keys: pa.Array | None = None
            if truth not in names:
                raise LabelError(
                    f"{declared.labels.name} has no column {truth!r}",
                    where="truth",
                    fix=f"Keep it with the labels (keep=[{truth!r}]), or name its stream: truth=(stream, {truth!r}).",
                )
            return
        stream = connection.readable(truth[0])
        key = on or (declared.labels.key[0] if len(declared.labels.key) == 1 else "")
        if key not in names or key not in stream.schema.names or truth[1] not in stream.schema.names:
            raise LabelError(
                f"{stream.name} and {declared.labels.name} do not meet in {key!r}, or {truth[1]!r} is not there",
                where="truth",
                fix="Name a column that both have: on=…",
            )
        self.reads = key
        batches = list(_batches(connection, stream, [key, truth[1]]))
        table = pa.Table.from_batches(
            batches, schema=pa.schema([stream.schema.arrow.field(n) for n in (key, truth[1])])
        )
        # The newest value of a key is looked for first.
        backwards = table.take(pa.array(np.arange(table.num_rows)[::-1])).combine_chunks()
        self._keys = _whole(backwards.column(0))
        self._numbers = self._numbered(_whole(backwards.column(1)))

    def of(self, rows: pa.RecordBatch) -> Integers:
        column = rows.column(self.reads)
        if self._keys is None:
            return self._numbered(column)
        places = pc.index_in(column, value_set=self._keys)
        found = pa.array(self._numbers).take(places)
        return np.asarray(pc.fill_null(found, -1).to_numpy(), dtype=np.int64)

    def _numbered(self, values: pa.Array) -> Integers:
        """Told by value: by `meaning`, or as one of the classes."""
        encoded = values.dictionary_encode()
        numbers = np.full(len(encoded.dictionary) + 1, -1, dtype=np.int64)
        for place, value in enumerate(encoded.dictionary.to_pylist()):
            said = self._meaning.get(value, value)
            if said in self._classes:
                numbers[place] = self._classes.index(said)
            elif value is not None:
                raise LabelError(
                    f"The truth {value!r} is none of the classes {list(self._classes)}",
                    where=f"truth {self.reads}",
                    fix="Say what it means: meaning={True: 'late', False: 'on_time'}.",
                )
        return np.asarray(numbers[pc.fill_null(encoded.indices, len(encoded.dictionary)).to_numpy()])


@dataclass(frozen=True)
class _Outcome:
    """Labels counted by class, and beside the truth where it is known; `bins` (classes, bins, 3) sums rows, probability
    and truth."""

    rows: int
    labelled: Integers
    judged: int
    true: Integers
    right: Integers
    told: Integers
    bins: Floats

    @classmethod
    def of(cls, connection: Connection, declared: _Declared, known: _Truth | None) -> _Outcome:
        count = len(declared.classes)
        chances = [f"p_{text}" for text in declared.texts]
        columns = ["label", "abstained", *chances, *([] if known is None else [known.reads])]
        rows, judged = 0, 0
        labelled, true, right, told = (np.zeros(count, dtype=np.int64) for _ in range(4))
        bins = np.zeros((count, _BINS, 3))
        for batch in _batches(connection, declared.labels, list(dict.fromkeys(columns))):
            label = _numbers(batch.column("label"), declared.classes)
            rows += batch.num_rows
            labelled += np.bincount(label[label >= 0], minlength=count)
            if known is None:
                continue
            truth = known.of(batch)
            both = (truth >= 0) & (label >= 0)
            judged += int(both.sum())
            true += np.bincount(truth[both], minlength=count)
            told += np.bincount(label[both], minlength=count)
            right += np.bincount(truth[both & (truth == label)], minlength=count)
            for number, name in enumerate(chances):
                chance = batch.column(name).to_numpy()[both]
                place = np.minimum((chance * _BINS).astype(np.int64), _BINS - 1)
                for at, weight in enumerate((None, chance, (truth[both] == number).astype(np.float64))):
                    bins[number, :, at] += np.bincount(place, weight, _BINS)
        return cls(rows, labelled, judged, true, right, told, bins)


def _votes(connection: Connection, declared: _Declared, known: _Truth | None) -> tuple[Counted, Floats | None]:
    """The patterns of all rows and, against the truth, how many rows of each pattern are of each class."""
    columns = [PATTERN, *([] if known is None else [known.reads])]
    patterns, truths = [], []
    counted = Counted.nothing(declared.coding)
    for batch in _batches(connection, declared.votes, columns):
        found, places = declared.coding.distinct(batch.column(PATTERN))
        counted = counted.plus(Counted(found, np.bincount(places, minlength=len(found)).astype(np.float64)))
        if known is not None:
            number = known.of(batch)
            sums = np.zeros((len(found), len(declared.classes)))
            np.add.at(sums, (places[number >= 0], number[number >= 0]), 1.0)
            patterns.append(found)
            truths.append(sums)
    if known is None:
        return counted, None
    right = np.zeros((len(counted.weight), len(declared.classes)))
    for found, sums in zip(patterns, truths, strict=True):
        np.add.at(right, pc.index_in(found, value_set=counted.patterns).to_numpy(), sums)
    return counted, right


def _functions(
    declared: _Declared, counted: Counted, votes: Any, right: Floats | None, model: Mapping[str, Any] | None
) -> Iterator[FunctionAnalysis]:
    rows = max(counted.rows, 1.0)
    cast = votes >= 0
    others = cast.sum(axis=1)
    for at, name in enumerate(declared.functions):
        own = cast[:, at]
        alike = np.count_nonzero(votes == votes[:, at : at + 1], axis=1)
        correct = incorrect = None
        if right is not None:
            hit = float(right[np.flatnonzero(own), votes[own, at]].sum())
            correct, incorrect = int(hit), int(right[own].sum() - hit)
        judged = (correct or 0) + (incorrect or 0)
        yield FunctionAnalysis(
            name=name,
            votes_for=tuple(declared.texts[number] for number in np.unique(votes[own, at]).tolist()),
            coverage=float(counted.weight[own].sum() / rows),
            overlaps=float(counted.weight[own & (others > 1)].sum() / rows),
            conflicts=float(counted.weight[own & (alike < others)].sum() / rows),
            accuracy=None if model is None else model["accuracy"][at],
            error=None if model is None else model["error"][at],
            correct=correct,
            incorrect=incorrect,
            true_accuracy=correct / judged if correct is not None and judged else None,
        )


def _classes(
    declared: _Declared, outcome: _Outcome, model: Mapping[str, Any] | None, judged: bool
) -> Iterator[ClassAnalysis]:
    for number, text in enumerate(declared.texts):
        count, chance, true = outcome.bins[number].T
        error = float(np.abs(chance - true).sum() / count.sum()) if count.sum() else None
        rows, told = int(outcome.true[number]), int(outcome.told[number])
        yield ClassAnalysis(
            name=text,
            labelled=int(outcome.labelled[number]),
            prior=None if model is None else model["prior"][number],
            rows=rows if judged else None,
            recall=int(outcome.right[number]) / rows if judged and rows else None,
            precision=int(outcome.right[number]) / told if judged and told else None,
            calibration_error=error if judged else None,
        )


def _last_model(connection: Connection, declared: _Declared) -> Mapping[str, Any] | None:
    """The newest model's row; without accuracies if it can tell none: those are estimated alike for all functions."""
    if declared.model is None:
        return None
    last: dict[str, Any] | None = None
    for batch in _batches(connection, declared.model, ["version", "prior", "accuracy", "error", "silence"]):
        last = batch.slice(batch.num_rows - 1).to_pylist()[0]
    if last is not None and not any(last["silence"]) and len(set(last["accuracy"])) == 1:
        last["accuracy"] = last["error"] = [None] * len(last["accuracy"])
    return last


def _numbers(values: pa.Array, classes: Sequence[Class]) -> Integers:
    places = pc.index_in(values, value_set=pa.array(classes, values.type))
    return np.asarray(pc.fill_null(places, -1).to_numpy(), dtype=np.int64)


def _batches(connection: Connection, stream: Stream, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """All rows of a stream, batch by batch, up to where each partition ended when it was begun with."""
    for partition, (first, end) in enumerate(connection.log.bounds(stream.name)):
        reader = PartitionReader(
            connection.log, stream, partition, connection.schema, position=first, columns=list(columns)
        )
        while reader.position < end and (found := reader.fetch(until=end)):
            for batch in found:
                if batch.failure is not None:
                    raise batch.failure
                yield batch.rows.select(list(columns))


def _whole(column: pa.ChunkedArray) -> npt.NDArray[Any] | Any:
    whole = column.combine_chunks()
    return whole.combine_chunks() if isinstance(whole, pa.ChunkedArray) else whole
