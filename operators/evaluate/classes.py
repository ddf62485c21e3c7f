"""Labels as places among the classes, for whole columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.evaluate.metrics import Codes, Floats

Class = bool | int | str


@dataclass(frozen=True)
class Classes:
    """The classes of a label in their order; of two, the second is the positive one."""

    values: tuple[Class, ...]
    type: Any

    @classmethod
    def of(cls, type: Any, values: Sequence[Class] | None) -> Classes | None:
        """The classes of a label column of this Arrow type; None if they have to be given, and ValueError if they
        do not fit the column."""
        if values is None:
            return cls((False, True), type) if pa.types.is_boolean(type) else None
        try:
            pa.array(list(values), type)
        except pa.ArrowException as error:
            raise ValueError(str(error)) from error
        if len(set(values)) != len(values) or len(values) < 2:
            raise ValueError("there have to be two or more, each once")
        return cls(tuple(values), type)

    def __len__(self) -> int:
        return len(self.values)

    def codes(self, column: Any) -> Codes:
        """The place of each value among the classes; -1 for null and for what is none of them."""
        if column.type != self.type:
            column = pc.cast(column, self.type, safe=False)
        places = pc.index_in(column, value_set=pa.array(list(self.values), self.type))
        if places.null_count:
            places = pc.fill_null(places, -1)
        found: Codes = places.to_numpy(zero_copy_only=False).astype(np.int64)
        return found

    def probabilities(self, score: Any, probabilities: Any | None) -> Floats | None:
        """Shape (n, classes), NaN where there is none: of two classes from the score of the positive one, of more
        from the column of lists; None if more are asked for and there is no such column."""
        if len(self) == 2:
            positive = np.clip(pc.fill_null(pc.cast(score, pa.float64()), np.nan).to_numpy(zero_copy_only=False), 0, 1)
            return np.column_stack([1.0 - positive, positive])
        if probabilities is None:
            return None
        whole = pc.equal(pc.list_value_length(probabilities), len(self)).fill_null(False).to_numpy(zero_copy_only=False)
        found = np.full((len(probabilities), len(self)), np.nan)
        values = pc.list_flatten(probabilities.filter(pa.array(whole)))
        found[whole] = np.clip(values.to_numpy(zero_copy_only=False).reshape(-1, len(self)), 0, 1)
        return found
