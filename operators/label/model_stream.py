"""The stream of a label model: one row an update, with everything that is needed to label by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from operators.alarms import UTC_TIME
from operators.label.estimate import Estimate
from operators.label.function import Class
from operators.label.pattern import Floats
from streams.schema import Schema
from streams.stream import Stream

_NUMBERS: Final = pa.list_(pa.field("item", pa.float64(), nullable=False))
_TEXTS: Final = pa.list_(pa.field("item", pa.string(), nullable=False))

MODEL_SCHEMA: Final = Schema(
    pa.schema(
        [
            pa.field("version", pa.int64(), nullable=False),
            pa.field("at", UTC_TIME, nullable=False),
            pa.field("rows", pa.int64(), nullable=False),
            pa.field("window", pa.float64(), nullable=False),
            pa.field("functions", _TEXTS, nullable=False),
            pa.field("classes", _TEXTS, nullable=False),
            pa.field("prior", _NUMBERS, nullable=False),
            pa.field("benefit", pa.float64(), nullable=False),
            *(
                pa.field(name, _NUMBERS, nullable=False)
                for name in (
                    "weight",
                    "silence",
                    "copies",
                    "precision",
                    "recall",
                    "accuracy",
                    "error",
                    "coverage",
                    "overlaps",
                    "conflicts",
                )
            ),
        ]
    )
).described(
    {
        "version": "Counts the updates from 1.",
        "at": "The event time of the last row that it learnt from; it holds for rows from then on.",
        "rows": "How many rows it has learnt from.",
        "window": "How many rows that is where older ones weigh less.",
        "functions": "The labelling functions, in the order of their columns of votes.",
        "classes": "The classes, by number.",
        "prior": "The share of each class.",
        "benefit": "Log odds that the class of the majority is given beyond the votes.",
        "weight": "Log odds that a vote adds to its class; function by function, class by class.",
        "silence": "Log odds that a function's silence adds to a class; function by function, class by class.",
        "copies": "How far the votes of a function repeat those of another, 0 to 1; function by function.",
        "precision": "The estimated share of right votes; function by function, class by class; 0 where it has none.",
        "recall": "The estimated share of a class's rows that it votes for; function by function, class by class.",
        "accuracy": "The estimated share of right votes of each function.",
        "error": "The standard error of the accuracy.",
        "coverage": "The share of rows on which a function votes.",
        "overlaps": "The share of rows on which it votes and another votes too.",
        "conflicts": "The share of rows on which it votes and another votes otherwise.",
    }
)
#: What labelling by a model needs of it.
IN_FORCE: Final = ("version", "prior", "benefit", "weight", "silence", "copies")


@dataclass(frozen=True)
class Described:
    """The functions and classes of a labelling by their names."""

    functions: tuple[str, ...]
    classes: tuple[Class, ...]

    @property
    def texts(self) -> list[str]:
        return [class_text(one) for one in self.classes]


def class_text(one: Class) -> str:
    """A class as it stands in names of columns: True is "true"."""
    return str(one).lower() if isinstance(one, bool) else str(one)


def model_stream(name: str, described: Described) -> Stream:
    return Stream(
        name,
        MODEL_SCHEMA,
        time="at",
        partitions=1,
        description=f"Label models of {len(described.functions)} functions",
        tags=("label model",),
    )


def model_rows(found: Estimate, described: Described, *, version: int, at: int, seen: int) -> pa.RecordBatch:
    """One row for an estimate."""
    values: dict[str, Any] = {
        "version": version,
        "rows": seen,
        "window": found.rows,
        "functions": list(described.functions),
        "classes": described.texts,
        "benefit": found.benefit,
    }
    columns = []
    for field in MODEL_SCHEMA.arrow:
        if field.name == "at":
            columns.append(pa.array([at], pa.int64()).cast(UTC_TIME))
        elif field.name in values:
            columns.append(pa.array([values[field.name]], field.type))
        else:
            columns.append(pa.array([np.asarray(getattr(found, field.name)).ravel().tolist()], field.type))
    return pa.RecordBatch.from_arrays(columns, schema=MODEL_SCHEMA.arrow)


def estimate_of(rows: Any, at: int, functions: int, classes: int) -> Estimate:
    """What labelling needs of the model in a row: its other parts are empty."""
    given = {name: rows.column(name)[at].as_py() for name in IN_FORCE}
    nothing: Floats = np.empty(0)
    return Estimate(
        prior=_shaped(given["prior"], (classes,)),
        weight=_shaped(given["weight"], (functions, classes)),
        silence=_shaped(given["silence"], (functions, classes)),
        copies=_shaped(given["copies"], (functions, functions)),
        benefit=given["benefit"],
        precision=nothing,
        recall=nothing,
        accuracy=nothing,
        error=nothing,
        coverage=nothing,
        overlaps=nothing,
        conflicts=nothing,
        rows=0.0,
    )


def _shaped(numbers: Sequence[float], shape: tuple[int, ...]) -> Floats:
    return np.asarray(numbers, dtype=np.float64).reshape(shape)
