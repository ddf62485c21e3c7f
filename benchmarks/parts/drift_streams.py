"""Streams whose concept changes at known rows, and the errors that a simple online learner makes on them.

The generators are the usual ones: SINE1, MIXED and CIRCLES (Gama et al. 2004), SEA (Street and Kim 2001), STAGGER
(Schlimmer and Granger 1986). Ten of a hundred labels are wrong, whatever the concept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

#: Rows that the learner is shown at a time, after it was tested on them.
CHUNK = 10
NOISE = 0.1
#: The learner's rate is half of the first one after so many rows, a third after twice as many.
SLOWS = 500


@dataclass(frozen=True)
class Generator:
    """Features of shape (rows, n), and the labels under each of `concepts`; `seen` is what the learner sees of them."""

    name: str
    features: Callable[[np.random.Generator, int], Floats]
    label: Callable[[Floats, int], Bools]
    concepts: int
    seen: Callable[[Floats], Floats]


@dataclass(frozen=True)
class World:
    """`errors` (0 or 1), and the rows at which the concept begins to change; each change takes `width` rows."""

    generator: str
    errors: Floats
    changes: tuple[int, ...]
    width: int


def _unit(random: np.random.Generator, rows: int) -> Floats:
    return random.random((rows, 2))


def _sine1(x: Floats, concept: int) -> Bools:
    return (x[:, 1] <= np.sin(x[:, 0])) ^ bool(concept % 2)


def _mixed_features(random: np.random.Generator, rows: int) -> Floats:
    return np.column_stack([random.integers(0, 2, (rows, 2)), random.random((rows, 2))])


def _mixed(x: Floats, concept: int) -> Bools:
    below = x[:, 3] < 0.5 + 0.3 * np.sin(3 * np.pi * x[:, 2])
    return (x[:, 0] + x[:, 1] + below >= 2) ^ bool(concept % 2)


def _circles(x: Floats, concept: int) -> Bools:
    centre, radius = ((0.2, 0.15), (0.4, 0.2), (0.6, 0.25), (0.8, 0.3))[concept % 4]
    return (x[:, 0] - centre) ** 2 + (x[:, 1] - 0.5) ** 2 <= radius**2


def _sea(x: Floats, concept: int) -> Bools:
    return 10 * (x[:, 0] + x[:, 1]) <= (8.0, 9.0, 7.0, 9.5)[concept % 4]


def _stagger_features(random: np.random.Generator, rows: int) -> Floats:
    return random.integers(0, 3, (rows, 3)).astype(np.float64)


def _stagger(x: Floats, concept: int) -> Bools:
    size, colour, shape = x.T
    return ((size == 0) & (colour == 0), (colour == 1) | (shape == 1), (size == 1) | (size == 2))[concept % 3]


def _curved(x: Floats) -> Floats:
    """Values around 0, their squares, cubes and products, and a grid of bumps for what is not so simple."""
    centred = 2.0 * x - 1.0
    grid = np.linspace(0.0, 1.0, 6)
    bumps = np.exp(-((x[:, None, -2] - grid[:, None].repeat(6, 1).ravel()) ** 2) * 20) * np.exp(
        -((x[:, None, -1] - np.tile(grid, 6)) ** 2) * 20
    )
    products = centred[:, :1] * centred[:, 1:]
    return np.column_stack([centred, products, bumps, np.ones(len(x))])


def _pairs(x: Floats) -> Floats:
    """One column a value and one a pair of values."""
    one_hot = (x[:, :, None] == np.arange(3)).reshape(len(x), -1).astype(np.float64)
    pairs = np.einsum("ri,rj->rij", one_hot, one_hot).reshape(len(x), -1)
    return np.column_stack([pairs, np.ones(len(x))])


GENERATORS = {
    one.name: one
    for one in (
        Generator("SINE1", _unit, _sine1, 2, _curved),
        Generator("MIXED", _mixed_features, _mixed, 2, _curved),
        Generator("CIRCLES", _unit, _circles, 4, _curved),
        Generator("SEA", lambda random, rows: random.random((rows, 3)), _sea, 4, _curved),
        Generator("STAGGER", _stagger_features, _stagger, 3, _pairs),
    )
}


def worlds(
    name: str, *, seeds: int, rows: int = 20_000, every: int = 5_000, width: int = 1, first: int = 0
) -> list[World]:
    """The errors of `seeds` learners, each on a stream of its own that changes its concept `every` so many rows, all at
    once or, with a `width`, little by little. `every` = 0: it never changes."""
    generator = GENERATORS[name]
    changes = tuple(range(every, rows, every)) if every else ()
    seen, labels = [], []
    for seed in range(first, first + seeds):
        random = np.random.default_rng([seed, *name.encode()])
        x = generator.features(random, rows)
        at = np.arange(rows)
        passed = np.zeros(rows, dtype=np.int64)
        for change in changes:
            passed += random.random(rows) < np.clip((at - change + 1) / width, 0.0, 1.0)
        label = np.zeros(rows, dtype=bool)
        for concept in np.unique(passed).tolist():
            inside = passed == concept
            label[inside] = generator.label(x[inside], concept)
        seen.append(generator.seen(x))
        labels.append(label ^ (random.random(rows) < NOISE))
    errors = errors_of(np.stack(seen), np.stack(labels))
    return [World(name, errors[number], changes, width) for number in range(seeds)]


def errors_of(seen: Floats, labels: Bools, *, rate: float = 0.5) -> Floats:
    """0 and 1 for each row: logistic regression by stochastic gradients, tested on each chunk before it learns from it.
    `seen` has shape (streams, rows, features), `labels` (streams, rows); all streams are learnt side by side."""
    streams, rows, features = seen.shape
    weights = np.zeros((streams, features))
    errors = np.zeros((streams, rows))
    norm = np.mean(np.sum(seen[:, : 10 * CHUNK] ** 2, axis=2))
    for start in range(0, rows, CHUNK):
        x, y = seen[:, start : start + CHUNK], labels[:, start : start + CHUNK]
        score = np.einsum("srf,sf->sr", x, weights)
        errors[:, start : start + CHUNK] = (score > 0) != y
        gradient = np.einsum("srf,sr->sf", x, y - 1.0 / (1.0 + np.exp(-np.clip(score, -30, 30))))
        weights += rate / (1.0 + start / SLOWS) / norm * gradient
    return errors
