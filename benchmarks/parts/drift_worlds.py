"""Worlds of many columns, of which a few change: for the power and the false discoveries of what compares columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.drift.judge import DISTRIBUTION, judge
from operators.drift.operator import Drift
from operators.drift.reference import count, learn

COLUMNS = 50
CHANGED = 10
REFERENCE_ROWS = 2000
WINDOW_ROWS = 1000


@dataclass(frozen=True)
class World:
    """Rows of the reference and of a window, and the columns that are not what they were."""

    reference: pa.Table
    window: pa.Table
    changed: frozenset[str]


def world(seed: int, *, changed: int = CHANGED, rows: tuple[int, int] = (REFERENCE_ROWS, WINDOW_ROWS)) -> World:
    """Fifty columns: normal, skewed, whole numbers and categories in turn; of the changed ones a normal is moved by 0.3
    to 0.8 standard deviations or widened by 1.3 to 2, the others likewise."""
    random = np.random.default_rng([seed, 50])
    moved = set(random.choice(COLUMNS, changed, replace=False).tolist())
    before, after = {}, {}
    for number in range(COLUMNS):
        name = f"c{number:02d}"
        strength = random.uniform(0.3, 0.8) if number in moved else 0.0
        before[name], after[name] = _column(random, number % 4, strength, rows)
    return World(pa.table(before), pa.table(after), frozenset(f"c{number:02d}" for number in moved))


def _column(
    random: np.random.Generator, kind: int, strength: float, rows: tuple[int, int]
) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]]:
    n, m = rows
    if kind == 0:
        wider = strength > 0 and random.random() < 0.5
        now = random.normal(0.0 if wider else strength, 1.0 + 1.25 * strength if wider else 1.0, m)
        return random.normal(size=n), now
    if kind == 1:
        return random.exponential(1.0, n), random.exponential(1.0 + strength, m)
    if kind == 2:
        return random.poisson(4.0, n), random.poisson(4.0 + 2.0 * strength, m)
    shares = random.dirichlet(np.full(8, 4.0))
    names = np.array([f"v{number}" for number in range(8)])
    other = (1 - strength / 1.5) * shares + strength / 1.5 * np.roll(shares, 1) if strength else shares
    return random.choice(names, n, p=shares), random.choice(names, m, p=other / other.sum())


def raised(operator: Drift, given: World) -> set[str]:
    """The columns that a drift operator would raise an alarm for."""
    plan = operator.plan
    reference = learn(plan, given.reference, 0, 1)
    columns = {name: given.window.column(name).combine_chunks() for name in given.window.column_names}
    counts = count(reference, plan, columns, np.zeros(given.window.num_rows, dtype=np.int64), 1)
    findings = judge(plan, reference, counts[0], changed=False)
    return {one.column for one in findings if one.alarm and one.measure == DISTRIBUTION}


def rates(found: set[str], given: World) -> tuple[float, float]:
    """The share of the changed columns that were found, and of what was found that had not changed."""
    power = len(found & given.changed) / len(given.changed) if given.changed else np.nan
    return power, len(found - given.changed) / max(len(found), 1)
