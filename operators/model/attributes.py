"""What a trained part has learnt, as numbers and named arrays, and back: predicting and learning go on to the bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from operators.model import neural
from operators.model.artefact import Array, ModelError
from operators.model.registry import Entry, copied, number
from operators.model.shapes import Sizes, averaged, check_arrays, check_numbers, intercepts


def saved(part: Any, entry: Entry) -> tuple[dict[str, Any], dict[str, Array]]:
    """The numbers and arrays of a trained part. ModelError if training has made them something else than numbers."""
    if neural.is_network(part):
        numbers, arrays = neural.saved(part)
    else:
        numbers = {name: number(getattr(part, name)) for name in entry.numbers}
        arrays = {name: copied(getattr(part, name)) for name in entry.arrays}
        if _averages(part, entry):
            arrays |= {name: copied(getattr(part, name)) for name in _AVERAGES}
    for name, values in arrays.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ModelError(
                f"{type(part).__name__} has diverged: its {name} is no longer finite",
                where=type(part).__name__,
                fix="Scale the features (hw.features does), or choose a smaller learning rate.",
            )
    return numbers, arrays


def restore(
    part: Any, entry: Entry, sizes: Sizes, numbers: Mapping[str, Any], arrays: Mapping[str, Array], where: str
) -> None:
    """Give an untrained part what was saved. ModelError if anything is missing, left over, or of another shape."""
    if entry.kind == "classifier":
        part.classes_ = np.arange(sizes.classes, dtype=np.int64)
    part.n_features_in_ = sizes.columns
    if neural.is_network(part):
        neural.restore(part, sizes, numbers, arrays, where)
        return
    shapes = {name: shape(sizes) for name, shape in entry.arrays.items()}
    averages = _averages(part, entry)
    if averages:
        shapes |= {name: shape(sizes) for name, shape in _AVERAGES.items()}
    check_arrays(arrays, shapes, where)
    check_numbers(numbers, entry.numbers, where)
    for name in entry.arrays:
        setattr(part, name, copied(arrays[name]))
    for name, value in numbers.items():
        setattr(part, name, np.float64(value) if type(value) is float else value)
    if averages:
        _restore_averages(part, arrays)


def _averages(part: Any, entry: Entry) -> bool:
    return entry.averages and bool(getattr(part, "average", False))


_AVERAGES = {
    "_standard_coef": averaged,
    "_standard_intercept": intercepts,
    "_average_coef": averaged,
    "_average_intercept": intercepts,
}


def _restore_averages(part: Any, arrays: Mapping[str, Array]) -> None:
    """scikit-learn goes on in place in whichever of the two it shows as `coef_`, so that must be the same memory."""
    for name in _AVERAGES:
        setattr(part, name, copied(arrays[name]))
    shown = "_average" if part.average <= part.t_ - 1 else "_standard"
    part.coef_ = getattr(part, f"{shown}_coef").reshape(arrays["coef_"].shape)
    part.intercept_ = getattr(part, f"{shown}_intercept")
