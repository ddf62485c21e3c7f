"""Which shapes a model's arrays must have, and the refusal of everything else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from operators.model.artefact import Array, ModelError

FORGED: Final = "The model was damaged or forged, or made with another version of scikit-learn."


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the shapes of a model's arrays follow from: its columns, and its classes (0: none)."""

    columns: int
    classes: int = 0

    @property
    def outputs(self) -> int:
        """Rows of coefficients: two classes need one."""
        return 1 if self.classes <= 2 else self.classes


def row(sizes: Sizes) -> tuple[int, ...]:
    return (sizes.columns,)


def coefficients(sizes: Sizes) -> tuple[int, ...]:
    return (sizes.outputs, sizes.columns)


def intercepts(sizes: Sizes) -> tuple[int, ...]:
    return (sizes.outputs,)


def averaged(sizes: Sizes) -> tuple[int, ...]:
    return (sizes.columns,) if sizes.classes <= 2 else (sizes.classes, sizes.columns)


def by_class(sizes: Sizes) -> tuple[int, ...]:
    return (sizes.classes,)


def class_rows(sizes: Sizes) -> tuple[int, ...]:
    return (sizes.classes, sizes.columns)


def check_arrays(arrays: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]], where: str) -> None:
    """ModelError unless these are exactly the float64 arrays of those shapes."""
    if set(arrays) != set(shapes):
        odd = sorted(set(arrays) ^ set(shapes))
        raise ModelError(f"The arrays {', '.join(odd)[:200]} are missing or unknown", where=where, fix=FORGED)
    for name, shape in shapes.items():
        values = arrays[name]
        if values.shape != shape or values.dtype != np.float64:
            raise ModelError(
                f"The array {name!r} is {values.dtype} of shape {values.shape}; it must be float64 of {shape}",
                where=where,
                fix=FORGED,
            )


def check_numbers(numbers: Any, kinds: Mapping[str, type], where: str) -> None:
    """ModelError unless these are exactly those numbers, finite and not negative."""
    if not isinstance(numbers, dict) or set(numbers) != set(kinds):
        raise ModelError(f"Expected are the numbers {sorted(kinds)}", where=where, fix=FORGED)
    for name, kind in kinds.items():
        value = numbers[name]
        fits = type(value) is int or (kind is float and type(value) is float)
        if not fits or not 0 <= value < np.inf:
            raise ModelError(f"The number {name!r} is {str(value)[:80]}", where=where, fix=FORGED)
