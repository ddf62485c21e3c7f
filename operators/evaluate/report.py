"""The rows of an evaluation: their schema, and how a window's judged rows become them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.evaluate.baselines import NO_CHANGE
from operators.evaluate.metrics import Codes, Mask, Predictions, against_chance, measures
from streams.schema import Schema

UTC_TIME: Final = pa.timestamp("us", tz="UTC")
ALL: Final = "all"
_BIN: Final = pa.struct(
    [("upto", pa.float64()), ("rows", pa.int64()), ("stated", pa.float64()), ("observed", pa.float64())]
)
_DESCRIBED: Final = {
    "at": "The end of the window.",
    "since": "The beginning of the window.",
    "slice": "Which rows: all, or those with one value of a column.",
    "rows": "Predictions whose truth came in this window.",
    "unscored": "Rows with a truth for which there was no prediction at the time.",
    "unusable": "Predictions that said themselves that they should not be used; they count all the same.",
    "censored": "Rows whose truth will never be known; they count in nothing else.",
    "unknown": "Rows whose truth is none of the classes; they count as wrong.",
    "model_version": "The model of the last prediction.",
    "accuracy": "Share of predictions that were right.",
    "log_loss": "Mean negative logarithm of the probability given to the truth, in nats.",
    "brier": "Mean Brier score: 0 is perfect, 1 is always wrong and sure of it.",
    "auc": "Area under the ROC curve, exact within the window.",
    "pr_auc": "Average precision, exact within the window.",
    "kappa_temporal": "How much of what no-change leaves to be gained is gained: 0 is no better, 1 is perfect.",
    "calibration_error": "How far stated and observed shares are apart, averaged over predictions.",
    "calibration": "By stated probability: upper edge, rows, mean stated and observed share.",
}


def quality_schema(baselines: Sequence[str]) -> Schema:
    """The schema of an evaluation's rows, with the accuracy of each baseline as `accuracy_<name>`."""
    counts = [pa.field(name, pa.int64(), nullable=False) for name in ("rows", "unscored", "unusable", "censored")]
    arrow = pa.schema(
        [
            pa.field("at", UTC_TIME, nullable=False),
            pa.field("since", UTC_TIME, nullable=False),
            pa.field("slice", pa.string(), nullable=False),
            *counts,
            pa.field("unknown", pa.int64(), nullable=False),
            pa.field("model_version", pa.int64()),
            *(pa.field(name, pa.float64()) for name in ("accuracy", "log_loss", "brier", "auc", "pr_auc")),
            *(pa.field(name, pa.float64()) for name in ("kappa_temporal", "calibration_error")),
            *(pa.field(f"accuracy_{name}", pa.float64()) for name in baselines),
            pa.field("calibration", pa.list_(pa.field("item", _BIN))),
        ]
    )
    said = {f"accuracy_{name}": f"Accuracy of the baseline {name} on the same rows." for name in baselines}
    return Schema(arrow).described({**_DESCRIBED, **said})


@dataclass(frozen=True)
class Judged:
    """The rows of one window, in their order. `counted` marks those that have a truth and a prediction, `truth` and
    `scored` those that have one of them; `baselines` are the classes that each baseline predicts."""

    predictions: Predictions
    truth: Mask
    scored: Mask
    usable: Mask
    censored: Mask
    version: Codes
    baselines: Mapping[str, Codes]

    @property
    def counted(self) -> Mask:
        return self.truth & self.scored

    def take(self, at: Any) -> Judged:
        return Judged(
            self.predictions.take(at),
            self.truth[at],
            self.scored[at],
            self.usable[at],
            self.censored[at],
            self.version[at],
            {name: codes[at] for name, codes in self.baselines.items()},
        )


def described_by(judged: Judged, name: str, since: int, at: int) -> dict[str, Any]:
    """One row of the evaluation: these rows under the slice's name."""
    counted = judged.counted
    given = judged.predictions.take(counted)
    found = measures(given)
    accuracies = {
        f"accuracy_{baseline}": float((codes[counted] == given.truth).mean()) if found.rows else float("nan")
        for baseline, codes in judged.baselines.items()
    }
    versions = judged.version[counted]
    return {
        "at": at,
        "since": since,
        "slice": name,
        "rows": found.rows,
        "unscored": int((judged.truth & ~judged.scored).sum()),
        "unusable": int((counted & ~judged.usable).sum()),
        "censored": int(judged.censored.sum()),
        "unknown": int((given.truth < 0).sum()),
        "model_version": int(versions[-1]) if len(versions) and versions[-1] >= 0 else None,
        "accuracy": found.accuracy,
        "log_loss": found.log_loss,
        "brier": found.brier,
        "auc": found.auc,
        "pr_auc": found.pr_auc,
        "kappa_temporal": against_chance(found.accuracy, accuracies[f"accuracy_{NO_CHANGE}"]),
        "calibration_error": found.calibration.error,
        **accuracies,
        "calibration": found.calibration.shown(),
    }


def slices(columns: Mapping[str, Any], most: int) -> Iterator[tuple[str, Any]]:
    """For each column its values with the most rows (at most `most`, those with equally many in the order of their
    text): the slice's name and the places of its rows."""
    for column, value in columns.items():
        encoded = pc.cast(value, pa.string()).dictionary_encode()
        codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
        values = encoded.dictionary.to_pylist()
        counts = np.bincount(codes[codes >= 0], minlength=len(values))
        chosen = sorted(range(len(values)), key=lambda code: (-counts[code], values[code]))[:most]
        order = np.argsort(codes, kind="stable")
        starts = np.searchsorted(codes[order], np.arange(len(values) + 1))
        for code in sorted(chosen, key=values.__getitem__):
            yield f"{column}={values[code]}", order[starts[code] : starts[code + 1]]


def as_rows(described: Sequence[Mapping[str, Any]], schema: Schema) -> pa.RecordBatch:
    """Rows of the evaluation; what is not a number is null."""
    columns = []
    for field in schema.arrow:
        values = [one[field.name] for one in described]
        if field.type == UTC_TIME:
            columns.append(pa.array(values, pa.int64()).cast(UTC_TIME))
        else:
            columns.append(pa.array(values, field.type, from_pandas=True))
    return pa.RecordBatch.from_arrays(columns, schema=schema.arrow)
