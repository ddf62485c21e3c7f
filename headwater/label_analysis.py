"""What weak labels are worth: each function's coverage, overlaps, conflicts and accuracy; each class's recall and
calibration where the truth is known."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import pyarrow as pa


@dataclass(frozen=True)
class FunctionAnalysis:
    """One labelling function. `votes_for` are the classes that it voted for. Shares of all rows: `coverage` (it votes),
    `overlaps` (another votes too), `conflicts` (another votes otherwise). `accuracy` is what the label model
    estimates of its last rows, with its standard error, None where it cannot tell; `correct`, `incorrect` and
    `true_accuracy` are against the truth."""

    name: str
    votes_for: tuple[str, ...]
    coverage: float
    overlaps: float
    conflicts: float
    accuracy: float | None
    error: float | None
    correct: int | None
    incorrect: int | None
    true_accuracy: float | None


@dataclass(frozen=True)
class ClassAnalysis:
    """One class: how many rows got it, the share that the model expects. Against the truth: how many `rows` are of it,
    the share of those that got it (`recall`), the share of rows with the label that are of it (`precision`),
    and how far its probability lies from how often it is true (`calibration_error`, mean over ten bins)."""

    name: str
    labelled: int
    prior: float | None
    rows: int | None
    recall: float | None
    precision: float | None
    calibration_error: float | None


@dataclass(frozen=True)
class LabelAnalysis:
    """What weak labels are worth. `accuracy` and `majority_accuracy` are against the truth, over the rows that have a
    label; where a majority is tied it counts as a draw among the tied."""

    stream: str
    rows: int
    labelled: int
    model_version: int | None
    functions: tuple[FunctionAnalysis, ...]
    classes: tuple[ClassAnalysis, ...]
    accuracy: float | None
    majority_accuracy: float | None

    def to_arrow(self) -> pa.Table:
        """One row a function."""
        return _table(self.functions)

    def classes_to_arrow(self) -> pa.Table:
        """One row a class."""
        return _table(self.classes)

    def to_pandas(self) -> Any:
        """One row a function, as a DataFrame (needs pandas)."""
        return self.to_arrow().to_pandas()

    def summary(self) -> str:
        """Rows, labels and accuracy in one line."""
        found = f"{self.labelled:,} of {self.rows:,} rows have a label"
        by = "by the majority" if self.model_version is None else f"by label model {self.model_version}"
        if self.accuracy is not None:
            by += f"; accuracy {self.accuracy:.4f}, of the majority {self.majority_accuracy:.4f}"
        return f"{found}, the last {by}"

    def __repr__(self) -> str:
        lines = [f"LabelAnalysis({self.stream!r}): {self.summary()}"]
        for one in self.functions:
            known = f", accuracy {one.accuracy:.3f} ± {one.error:.3f}" if one.accuracy is not None else ""
            true = f", {one.true_accuracy:.3f} by the truth" if one.true_accuracy is not None else ""
            shares = f"coverage {one.coverage:.3f}, overlaps {one.overlaps:.3f}, conflicts {one.conflicts:.3f}"
            lines.append(f"  {one.name}: {shares}{known}{true}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        tables = _html(self.functions) + _html(self.classes)
        return f"<b>{html.escape(self.stream)}</b><p>{self.summary()}</p>{tables}"


def _table(records: Sequence[Any]) -> pa.Table:
    return pa.Table.from_pylist([asdict(one) for one in records])


def _html(records: Sequence[Any]) -> str:
    if not records:
        return ""
    names = [field.name for field in fields(records[0])]
    head = "".join(f"<th>{name}</th>" for name in names)
    body = ""
    for one in records:
        body += "<tr>" + "".join(f"<td>{html.escape(_text(getattr(one, name)))}</td>" for name in names) + "</tr>"
    return f"<table><tr>{head}</tr>{body}</table>"


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ", ".join(value)
    return f"{value:.4f}" if isinstance(value, float) else str(value)
