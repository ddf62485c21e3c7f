"""How far apart two histograms are, how often chance alone would do that, and which of many columns to believe.

Rows of the arrays are columns of the data; all of them are compared at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

#: Bins with fewer expected rows than this are taken together before they are tested.
_EXPECTED: Final = 5.0
_LN2: Final = math.log(2.0)


@dataclass(frozen=True, slots=True)
class Compared:
    """All of shape (columns,). `distance` is Jensen and Shannon's (0: equal, 1: nothing in common), `effect` the same
    less what two samples of one distribution would show. `ks` is the largest difference of the cumulated shares,
    NaN where bins have no order. `psi` is the population stability index. `p_value` is NaN without rows."""

    distance: Floats
    effect: Floats
    psi: Floats
    ks: Floats
    statistic: Floats
    p_value: Floats


def compare(reference: Ints, window: Ints, ordered: Bools) -> Compared:
    """Compare counts of shape (columns, bins), padded with zeros; `ordered` says which columns have ordered bins.

    Tested are the shares of the bins (chi-square) and, where they have an order, also the cumulated shares
    (Kolmogorov and Smirnov), which finds shifts sooner; then the p-value is twice the smaller one.
    """
    known, now = reference.astype(np.float64), window.astype(np.float64)
    rows_known, rows_now = known.sum(axis=1), now.sum(axis=1)
    some = (rows_known > 0) & (rows_now > 0)
    p = known / np.maximum(rows_known, 1.0)[:, None]
    q = now / np.maximum(rows_now, 1.0)[:, None]
    used = ((known + now) > 0).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        divergence = jensen_shannon(p, q)
        by_chance = np.maximum(used - 1, 0) * (1.0 / rows_known + 1.0 / rows_now) / (8.0 * _LN2)
        ks = np.where(ordered, np.abs(np.cumsum(p, axis=1) - np.cumsum(q, axis=1)).max(axis=1, initial=0.0), np.nan)
        effective = rows_known * rows_now / (rows_known + rows_now)
        statistic, freedom = chi_square(known, now)
        by_shares = chi_square_tail(statistic, freedom)
        by_order = kolmogorov_tail((np.sqrt(effective) + 0.12 + 0.11 / np.sqrt(effective)) * np.nan_to_num(ks))
        p_value = np.where(ordered, np.minimum(2.0 * np.minimum(by_shares, by_order), 1.0), by_shares)
    nothing = np.where(some, 0.0, np.nan)
    return Compared(
        distance=np.sqrt(divergence) + nothing,
        effect=np.sqrt(np.maximum(divergence - by_chance, 0.0)) + nothing,
        psi=stability_index(known, now) + nothing,
        ks=ks + nothing,
        statistic=statistic + nothing,
        p_value=p_value + nothing,
    )


def jensen_shannon(p: Floats, q: Floats) -> Floats:
    """Jensen and Shannon's divergence of shares, in bits (0 to 1), along the last axis."""
    middle = (p + q) / 2.0
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.where(p > 0, p * np.log2(p / middle), 0.0).sum(axis=-1)
        right = np.where(q > 0, q * np.log2(q / middle), 0.0).sum(axis=-1)
    return np.clip((left + right) / 2.0, 0.0, 1.0)


def stability_index(known: Floats, now: Floats) -> Floats:
    """The population stability index, with half a row more in each bin, so that no bin is empty."""
    used = (known + now) > 0
    smooth_known = np.where(used, known + 0.5, 0.0)
    smooth_now = np.where(used, now + 0.5, 0.0)
    p = smooth_known / np.maximum(smooth_known.sum(axis=-1, keepdims=True), 0.5)
    q = smooth_now / np.maximum(smooth_now.sum(axis=-1, keepdims=True), 0.5)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(used, (q - p) * np.log(q / p), 0.0).sum(axis=-1)


def chi_square(known: Floats, now: Floats) -> tuple[Floats, Floats]:
    """The statistic of two samples and its degrees of freedom; bins that are too small for it are taken together."""
    rows_known, rows_now = known.sum(axis=1, keepdims=True), now.sum(axis=1, keepdims=True)
    total = known + now
    fewer = np.minimum(rows_known, rows_now) / np.maximum(rows_known + rows_now, 1.0)
    small = (total * fewer < _EXPECTED) & (total > 0)
    rest_known, rest_now = (np.where(small, one, 0.0).sum(axis=1, keepdims=True) for one in (known, now))
    known = np.append(np.where(small, 0.0, known), rest_known, axis=1)
    now = np.append(np.where(small, 0.0, now), rest_now, axis=1)
    total = known + now
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.sqrt(rows_now / rows_known)
        parts = np.where(total > 0, (known * scale - now / scale) ** 2 / total, 0.0)
    return np.nan_to_num(parts.sum(axis=1)), np.maximum((total > 0).sum(axis=1) - 1.0, 0.0)


def chi_square_tail(statistic: Floats, freedom: Floats) -> Floats:
    """The chance of a chi-square value of at least `statistic`, for whole degrees of `freedom` (0 gives 1)."""
    half = np.maximum(statistic, 0.0) / 2.0
    odd = freedom % 2 == 1
    tail = np.where(odd, _erfc(np.sqrt(half)), np.exp(-half))
    with np.errstate(divide="ignore"):
        logarithm = np.log(half)
    order = np.where(odd, 0.5, 1.0)
    while (open_still := order < freedom / 2.0).any():
        gammas = np.array([math.lgamma(value + 1.0) for value in order.tolist()])
        tail = tail + np.where(open_still, np.exp(order * logarithm - half - gammas), 0.0)
        order = np.where(open_still, order + 1.0, order)
    return np.where(freedom < 1, 1.0, np.minimum(tail, 1.0))


def kolmogorov_tail(scaled: Floats) -> Floats:
    """The chance of a scaled largest difference of at least this (Kolmogorov's limit)."""
    k = np.arange(1, 101, dtype=np.float64)
    signs = np.where(k % 2 == 1, 2.0, -2.0)
    series = (signs * np.exp(-2.0 * (k * np.asarray(scaled)[..., None]) ** 2)).sum(axis=-1)
    return np.where(np.asarray(scaled) < 0.2, 1.0, np.clip(series, 0.0, 1.0))


def normal_tail(z: Floats) -> Floats:
    """The chance of a normal value of at least z."""
    return 0.5 * _erfc(np.asarray(z, dtype=np.float64) / math.sqrt(2.0))


def rates_differ(first: Ints, rows_first: Ints, second: Ints, rows_second: Ints) -> tuple[Floats, Floats]:
    """Chi-square with Yates' correction and p-value for two shares; NaN where one has no rows."""
    a, n, b, m = (np.asarray(one, dtype=np.float64) for one in (first, rows_first, second, rows_second))
    both = n + m
    with np.errstate(divide="ignore", invalid="ignore"):
        inner = np.maximum(np.abs(a * (m - b) - b * (n - a)) - both / 2.0, 0.0)
        statistic = both * inner**2 / (n * m * (a + b) * (both - a - b))
    statistic = np.where(((a + b) == 0) | (a + b == both), 0.0, statistic)
    p_value = chi_square_tail(np.nan_to_num(statistic), np.ones_like(statistic))
    return statistic, np.where((n > 0) & (m > 0), p_value, np.nan)


def adjusted(p_values: Floats) -> Floats:
    """Benjamini and Hochberg's adjusted p-values: those up to q, taken together, are false in a share of at most q on
    average. NaN stays NaN and does not count."""
    found = np.full(len(p_values), np.nan)
    known = np.flatnonzero(~np.isnan(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    count = len(order)
    raised = p_values[order] * count / np.arange(1, count + 1)
    found[order] = np.minimum(np.minimum.accumulate(raised[::-1])[::-1], 1.0)
    return found


def _erfc(values: Floats) -> Floats:
    return np.array([math.erfc(value) for value in np.ravel(values).tolist()]).reshape(np.shape(values))
