"""Label shift: how often each class must be there now, from predictions alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

#: Predictions that tell classes apart worse than this say nothing about their shares.
_WORST_CONDITION = 200.0


def estimated_shares(confusion: Ints, predicted: Ints) -> Floats | None:
    """The share of each class among rows of which only predictions are known, shape (classes,).

    `confusion` counts rows of the reference by (predicted class, true class), `predicted` the window's predictions. If
    classes look as they did and only their shares change, the predictions' shares are a known mixture of them, which is
    solved (Lipton, Wang and Smola 2018). None if a class is missing in the reference, or the predictions
    do not tell classes apart.
    """
    by_class = confusion.sum(axis=0)
    rows = int(predicted.sum())
    if rows == 0 or len(by_class) < 2 or (by_class == 0).any():
        return None
    given_class = confusion / by_class
    if np.linalg.cond(given_class) > _WORST_CONDITION:
        return None
    shares = np.clip(np.linalg.solve(given_class, predicted / rows), 0.0, None)
    return shares / shares.sum()
