"""How much a function knows: from how often pairs of functions agree beyond chance, with copies told apart.

If two functions err independently, they agree beyond chance in proportion to the product of their skills. Functions
that copy each other agree more, so agreement that is too large for a pair counts against neither of the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from operators.label.pattern import Floats

Bools = npt.NDArray[np.bool_]

#: What a function is believed to be worth before anything was seen, on the scale from 0 (chance) to 1 (always right),
#: how far functions lie apart, and how many functions that belief weighs.
BELIEF: Final = 0.5
_SPREAD: Final = 0.25
_BELIEF_WEIGHT: Final = 2.0
#: No function is believed to be always right, or always wrong.
LARGEST: Final = 0.97
#: Agreement is never known better than this: functions do not err quite independently.
_SOFTNESS: Final = 0.03
#: Agreement that is larger by so many standard errors is a copy's; the other way it counts a little less from here on.
_TOO_MUCH: Final = 3.5
_TOO_LITTLE: Final = 3 * _TOO_MUCH
_ROUNDS: Final = 25
_FIRST_ROUNDS: Final = 6
_ERROR_ROUNDS: Final = 3
_DRAWS: Final = 32
#: Solutions that explain the agreements about as well count too, the less the worse they do.
_TEMPERATURE: Final = 4.0


@dataclass(frozen=True)
class Agreement:
    """Pairwise agreement beyond chance, shape (functions, functions): about the product of two skills. `variance` is
    infinite for pairs that say nothing (and for a function with itself)."""

    value: Floats
    variance: Floats


@dataclass(frozen=True)
class Skill:
    """`value`: skill of each function, negative if it is worse than chance; `error`: its standard error."""

    value: Floats
    error: Floats


def skills(agreement: Agreement) -> Skill:
    """The skills that explain the agreements, found from many beginnings, as every set of functions that copy each
    other could be taken for those that know."""
    count = len(agreement.value)
    told = np.isfinite(agreement.variance)
    weight = np.where(told, 1.0 / (np.where(told, agreement.variance, 1.0) + _SOFTNESS**2), 0.0)
    value = np.where(told, agreement.value, 0.0)
    skill, mask = _beginnings(value, told)
    belief = np.full(len(skill), BELIEF)
    for turn in range(_ROUNDS):
        trusted = weight * mask if turn < _FIRST_ROUNDS else weight * _trust(_residuals(value, weight, skill))
        for one in range(count):
            above = (trusted[:, one] * value[one] * skill).sum(axis=1) + belief / _SPREAD**2
            below = (trusted[:, one] * skill * skill).sum(axis=1) + 1.0 / _SPREAD**2
            skill[:, one] = np.clip(above / below, -LARGEST, LARGEST)
        known = (trusted * (skill * skill)[:, None, :]).sum(axis=2)
        share = known / (known + 1.0 / _SPREAD**2)
        told_by_others = (share * np.clip(skill, 0.0, 1.0)).sum(axis=1)
        belief = (BELIEF * _BELIEF_WEIGHT + told_by_others) / (_BELIEF_WEIGHT + share.sum(axis=1))
    residuals = _residuals(value, weight, skill)
    loss = _loss(residuals, skill, belief)
    best = _among_the_best(skill, loss)
    if float(np.tanh(best / 0.1).sum()) < 0.0:
        best = -best
    trusted = weight * _trust(_residuals(value, weight, best[None]))[0]
    return Skill(best, _errors(best, trusted))


def _beginnings(value: Floats, told: Bools) -> tuple[Floats, Bools]:
    """First skills, and the pairs that are believed at first: all, those that agree less, those of a few functions."""
    count = len(value)
    first = [np.full(count, level) for level in (0.15, 0.35, 0.6, 0.85)]
    masks = [told] * len(first)
    agreed = value[told]
    if len(agreed):
        masks += [told & (value <= np.quantile(agreed, share)) for share in (0.5, 0.75, 0.9)]
        chosen = np.random.default_rng(count)
        for _ in range(_DRAWS if count > 3 else 0):
            size = max(3, int(chosen.integers(count // 4, count // 2 + 2)))
            some = np.zeros(count, dtype=bool)
            some[chosen.permutation(count)[:size]] = True
            masks.append(told & some[None, :])
        first += [np.full(count, BELIEF)] * (len(masks) - len(first))
    return np.array(first), np.array(masks)


def _residuals(value: Floats, weight: Floats, skill: Floats) -> Floats:
    return (value - skill[:, :, None] * skill[:, None, :]) * np.sqrt(weight)


def _trust(residuals: Floats) -> Floats:
    """None for pairs that agree far too much, a little less for those that agree far too little."""
    little = np.where(residuals < -_TOO_LITTLE, _TOO_LITTLE / np.maximum(-residuals, 1e-9), 1.0)
    return np.where(residuals > _TOO_MUCH, 0.0, little)


def _errors(skill: Floats, trusted: Floats) -> Floats:
    """Standard errors. What a pair says of one skill is only as sure as the other skill is known: two functions say of
    each other little, however often they vote together."""
    count = len(skill)
    square = np.maximum(skill * skill, 1e-6)
    noise = np.where(trusted > 0, 1.0 / np.maximum(trusted, 1e-12), np.inf) / square
    error = np.full(count, _SPREAD)
    for _ in range(_ERROR_ROUNDS):
        spread = noise + square[:, None] / square[None, :] * (error * error)[None, :]
        error = 1.0 / np.sqrt((1.0 / spread).sum(axis=1) + 1.0 / _SPREAD**2)
    return error


def _loss(residuals: Floats, skill: Floats, belief: Floats) -> Floats:
    """How badly each solution explains the agreements. A function that copies is paid for once, not for each pair."""
    much = (np.clip(residuals, 0.0, _TOO_MUCH) ** 2).sum(axis=2)
    little = (np.clip(-residuals, 0.0, _TOO_LITTLE) ** 2).sum(axis=2)
    pairs = np.minimum(much, _TOO_MUCH**2) + np.minimum(little, 3 * _TOO_LITTLE**2)
    odd = ((skill - belief[:, None]) / _SPREAD) ** 2
    found: Any = pairs.sum(axis=1) / 2 + odd.sum(axis=1) + _BELIEF_WEIGHT * ((belief - BELIEF) / _SPREAD) ** 2
    return np.asarray(found)


def _among_the_best(skill: Floats, loss: Floats) -> Floats:
    """The mean of the solutions, each once, weighted by how well they do."""
    weight = np.exp(-(loss - loss.min()) / _TEMPERATURE)
    chosen: list[int] = []
    for at in np.argsort(loss, kind="stable").tolist():
        if weight[at] < 0.01:
            break
        if all(float(np.abs(skill[at] - skill[other]).max()) > 0.05 for other in chosen):
            chosen.append(at)
    share = weight[chosen] / weight[chosen].sum()
    return np.asarray(share @ skill[chosen])
