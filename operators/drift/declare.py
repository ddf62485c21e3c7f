"""How a drift operator is declared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from operators.drift.operator import Drift
from operators.drift.plan import Reference, Thresholds, plan
from streams.duration import Duration
from streams.stream import Stream


def drift(
    source: Stream,
    *,
    watch: Sequence[str] = (),
    reference: Reference = "first",
    window: Duration = "1d",
    error: str | None = None,
    error_bound: float = 1.0,
    label: str | None = None,
    predicted: str | None = None,
    score: str | None = None,
    fdr: float = 0.05,
    effect: float = 0.07,
    null_effect: float = 0.02,
    error_effect: float = 0.01,
    label_effect: float = 0.05,
    performance_effect: float = 0.02,
    error_quiet: int = 300_000,
    min_rows: int = 50,
    bins: int | Mapping[str, Sequence[Any]] = 20,
    to: str = "drift",
    version: str = "1",
) -> Drift:
    """Compare each window of `source` with a reference, column by column; alarms go to `<to>.alarms`.

    - `watch`: the distribution of each of these columns, and its null rate.
    - `error`: a column of errors (0 and 1, or losses up to `error_bound`), watched row by row for a rise.
    - `score`: the probability of the positive class (of the predicted one, if there are more than two): what accuracy,
      and AUC, may be expected of the window without labels.
    - `label`, the true class where it is known in the reference, with `predicted` (or `score`): the classes' shares in
      windows without labels; and what scores were worth.

    Windows have the length `window` of event time and begin at multiples of it. `reference` is "first" (the first
    window), a number of rows or a length of time (as many whole windows), "previous" (always the window before, in the
    first one's bins), or a table of rows. `bins` is how many bins numeric columns get from the reference's quantiles,
    or edges (categories) by column.

    Of all that is tested in a window, alarms are a share of at most `fdr` false on average, and each is at least as
    large as its effect: `effect` for distributions (Jensen-Shannon distance above chance, 0 to 1), `null_effect` and
    `error_effect` for rates, `label_effect` for the classes' shares, `performance_effect` for accuracy and AUC. Smaller
    windows than `min_rows` are not tested. False alarms of the error detector are at least `error_quiet` rows
    apart on average. DriftError for what cannot be declared.
    """
    thresholds = Thresholds(effect, null_effect, error_effect, label_effect, performance_effect)
    made = plan(
        source, to, watch=watch, reference=reference, window=window, error=error, error_bound=error_bound, label=label,
        predicted=predicted, score=score, fdr=fdr, thresholds=thresholds, quiet=error_quiet, min_rows=min_rows,
        bins=bins,
    )  # fmt: skip
    return Drift(made, version)
