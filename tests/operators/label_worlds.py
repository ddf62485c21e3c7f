"""Worlds of votes whose truth is known: seeded, of every kind that a label model may meet, some of them hostile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """`truth` (rows,) and `votes` (rows, functions) are class numbers, -1 where a function abstains. `prior` is the
    share of each class, which the label model is told or (`prior_known` false) has to learn. `facts` say what kind it
    is."""

    seed: int
    truth: npt.NDArray[np.int64]
    votes: npt.NDArray[np.int8]
    prior: Floats
    prior_known: bool
    facts: dict[str, Any]


def world(seed: int, rows: int = 12_000) -> World:
    """2 to 30 functions, 2 to 10 classes (half of the worlds: 2), coverage from 2 % to 100 %, one class with a prior
    from 1 % to 50 %. In some worlds up to 30 % of the functions (at most a third) are adversaries, which say a wrong
    class where they know the right one; in half of them up to half of the functions copy others; in some most functions
    vote for some of the classes only; in some the accuracy of two fifths of the functions changes, at once or
    gradually."""
    random = np.random.default_rng([seed, 20261])
    functions = int(random.integers(2, 31))
    classes = 2 if random.random() < 0.5 else int(random.integers(3, 11))
    prior = _prior(random, classes)
    truth = random.choice(classes, rows, p=prior)
    coverage = float(np.exp(random.uniform(np.log(0.02), np.log(1.0))))
    if random.random() < 0.15:
        coverage = 1.0
    hostile = random.choice([0, 0, 0.1, 0.2, 0.3])
    correlated = bool(random.random() < 0.5)
    drifting = bool(random.random() < 0.4)
    adversaries = set(random.permutation(functions)[: int(min(hostile * functions, (functions - 1) // 3))].tolist())
    one_sided = bool(random.random() < 0.3)
    least = random.uniform(0.05, 0.5)
    votes = np.full((rows, functions), -1, dtype=np.int8)
    for function in range(functions):
        own = float(np.clip(coverage * np.exp(random.normal(0, 0.5)), 0.02, 1.0)) if coverage < 1 else 1.0
        right = random.random(rows) < _skill(random, rows, least, drifting)
        if function in adversaries:
            said = np.where(right, (truth + random.integers(1, classes)) % classes, random.integers(0, classes, rows))
        elif random.random() < 0.5:
            said = np.where(right, truth, random.integers(0, classes, rows))
        else:
            said = np.where(right, truth, random.choice(classes, rows, p=prior))
        fires = random.random(rows) < own
        if one_sided and random.random() < 0.7:
            some = random.permutation(classes)[: int(random.integers(1, max(classes // 2, 1) + 1))]
            fires &= np.isin(said, some)
        votes[:, function] = np.where(fires, said, -1)
    if correlated and functions >= 3:
        _copy(random, votes)
    facts = {
        "functions": functions,
        "classes": classes,
        "coverage": round(coverage, 3),
        "adversaries": len(adversaries),
        "correlated": correlated,
        "drifting": drifting,
        "one_sided": one_sided,
    }
    return World(seed, truth, votes, prior, bool(random.random() < 0.5), facts)


def _prior(random: np.random.Generator, classes: int) -> Floats:
    rare = float(np.exp(random.uniform(np.log(0.01), np.log(0.5))))
    rest = random.dirichlet(np.full(classes - 1, 5.0)) * (1 - rare)
    prior = np.maximum(np.append(rest, rare), 0.01)
    return np.asarray((prior / prior.sum())[random.permutation(classes)])


def _skill(random: np.random.Generator, rows: int, least: float, drifting: bool) -> Floats:
    """How often a function knows the class; where it does not, it guesses."""
    skill = np.full(rows, random.uniform(least, 0.95))
    if not drifting or random.random() >= 0.4:
        return skill
    when = np.arange(rows) / rows
    other, change, gradual = random.uniform(0.0, 0.95), random.uniform(0.2, 0.8), random.random() < 0.5
    share = np.clip((when - change) / 0.3 + 0.5, 0, 1) if gradual else (when >= change).astype(float)
    return np.asarray(skill * (1 - share) + other * share)


def _copy(random: np.random.Generator, votes: npt.NDArray[np.int8]) -> None:
    """Groups of functions that repeat what the first of them says, its silence too or only its votes."""
    rows, functions = votes.shape
    left = random.permutation(functions).tolist()
    budget = functions // 2
    while budget >= 2:
        size = int(random.integers(2, budget + 1))
        group, left = left[:size], left[size:]
        budget -= size
        strength = random.uniform(0.4, 1.0)
        for function in group[1:]:
            copied = random.random(rows) < strength
            if random.random() < 0.5:
                copied &= votes[:, group[0]] >= 0
            votes[copied, function] = votes[copied, group[0]]
        if random.random() < 0.5:
            return
