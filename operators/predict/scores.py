"""The columns of predictions: what a model says of rows, whether to trust it, and why not."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.model.encoder import Doubt
from operators.model.learner import Class
from operators.predict.models import Loaded

Bools = npt.NDArray[np.bool_]

NO_MODEL: Final = "no model yet"
LOW_CONFIDENCE: Final = "low confidence"
NOT_FINITE: Final = "no finite score"


class Verdicts:
    """Why rows are not usable; of several reasons the first that was given stands."""

    def __init__(self, rows: int) -> None:
        self._codes = np.zeros(rows, dtype=np.int32)
        self._reasons: list[str | None] = [None]

    def add(self, doubt: Doubt) -> None:
        reason, rows = doubt
        new = rows & (self._codes == 0)
        if new.any():
            self._codes[new] = len(self._reasons)
            self._reasons.append(reason)

    def columns(self) -> dict[str, pa.Array]:
        reasons = pa.array(self._reasons, pa.string()).take(pa.array(self._codes))
        return {"usable": pa.array(self._codes == 0), "reason": reasons}


class Scores:
    """Makes the columns of predictions for one declaration: classes (None for numbers) and least confidence."""

    def __init__(self, classes: tuple[Class, ...] | None, min_confidence: float) -> None:
        self._classes = classes
        self._least = min_confidence
        self.many = classes is not None and len(classes) > 2
        self.type = pa.float64() if classes is None else pa.array(list(classes)).type

    def fields(self) -> list[pa.Field]:
        listed = [pa.field("probabilities", pa.list_(pa.float64()))] if self.many else []
        return [
            pa.field("model_version", pa.int64()),
            pa.field("score", pa.float64()),
            *listed,
            pa.field("predicted", self.type),
            pa.field("usable", pa.bool_(), nullable=False),
            pa.field("reason", pa.string()),
        ]

    def columns(self, rows: pa.RecordBatch, model: Loaded | None) -> dict[str, pa.Array]:
        """The columns of `fields`, one value a row."""
        count = rows.num_rows
        verdicts = Verdicts(count)
        every = np.ones(count, dtype=bool)
        if model is None:
            verdicts.add((NO_MODEL, every))
            empty = {field.name: pa.nulls(count, field.type) for field in self.fields()}
            return {**empty, **verdicts.columns()}
        found = model.learner.score(rows)
        for doubt in found.doubts:
            verdicts.add(doubt)
        version = pa.repeat(pa.scalar(model.version, pa.int64()), count)
        if found.probabilities is None:
            assert found.values is not None
            broken = ~np.isfinite(found.values)
            verdicts.add((NOT_FINITE, broken))
            values = pa.array(found.values, mask=broken)
            return {"model_version": version, "score": values, "predicted": values, **verdicts.columns()}
        assert self._classes is not None
        probabilities = found.probabilities
        broken = np.logical_not(np.isfinite(probabilities).all(axis=1))
        verdicts.add((NOT_FINITE, broken))
        best = probabilities.argmax(axis=1)
        if self._least > 0.0:
            verdicts.add((LOW_CONFIDENCE, probabilities[np.arange(count), best] < self._least))
        score = probabilities[np.arange(count), best] if self.many else probabilities[:, 1]
        columns = {"model_version": version, "score": pa.array(np.ascontiguousarray(score), mask=broken)}
        if self.many:
            columns["probabilities"] = _lists(probabilities, broken)
        predicted = pa.array(list(self._classes)).take(pa.array(best, mask=broken))
        return {**columns, "predicted": predicted, **verdicts.columns()}


def _lists(probabilities: Any, broken: Bools) -> pa.Array:
    width = probabilities.shape[1]
    if broken.any():
        return pa.array(
            [None if bad else row for bad, row in zip(broken.tolist(), probabilities.tolist(), strict=True)],
            pa.list_(pa.float64()),
        )
    offsets = pa.array(np.arange(0, probabilities.size + 1, width, dtype=np.int32))
    return pa.ListArray.from_arrays(offsets, pa.array(np.ascontiguousarray(probabilities).ravel()))
