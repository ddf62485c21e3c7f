"""Scores of a trained estimator, the same to the bit however rows are cut into batches.

Library matrix products add up in an order that depends on how many rows there are. Here every row's sum runs over the
columns in their order, one vectorised step a column, so that a row's score depends on nothing but the row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from operators.model.artefact import Array
from operators.model.columns import Floats
from operators.model.encoder import Block, Dense, matrix

_LINEAR: Final = frozenset(
    {
        "SGDClassifier",
        "Perceptron",
        "PassiveAggressiveClassifier",
        "SGDRegressor",
        "PassiveAggressiveRegressor",
    }
)
#: Networks are asked about so many rows at a time, the last ones filled up, since a matrix product is not row by row.
_TOGETHER: Final = 256


def values_of(estimator: Any, blocks: Sequence[Block], rows: int) -> Floats:
    """What a regressor predicts. Shape (rows,)."""
    if type(estimator).__name__ in _LINEAR:
        return linear(blocks, rows, estimator.coef_, float(estimator.intercept_[0]))
    return _padded(estimator.predict, matrix(blocks, rows))


def probabilities_of(estimator: Any, blocks: Sequence[Block], rows: int) -> Floats:
    """The probability of each class. Shape (rows, classes). Estimators that know no probabilities (hinge loss,
    Perceptron, passive-aggressive) give the logistic function of their decision value: an order, not a frequency."""
    name = type(estimator).__name__
    if name in _LINEAR:
        return _from_decisions(estimator, _decisions(estimator, blocks, rows))
    if name == "MultinomialNB":
        return _softmax(_joint(blocks, rows, estimator.feature_log_prob_, estimator.class_log_prior_))
    if name == "BernoulliNB":
        return _softmax(_bernoulli(estimator, blocks, rows))
    if name == "GaussianNB":
        return _softmax(_gaussian(estimator, matrix(blocks, rows)))
    return _padded(estimator.predict_proba, matrix(blocks, rows))


def linear(blocks: Sequence[Block], rows: int, weights: Array, start: float) -> Floats:
    """start + Σ value · weight over the columns, in their order. Shape (rows,)."""
    total = np.full(rows, start)
    at = 0
    for block in blocks:
        if isinstance(block, Dense):
            total += block.values * weights[at]
        else:
            total += weights[at : at + block.width][block.codes]
        at += block.width
    return total


def columns_of(values: Floats) -> list[Block]:
    """A matrix as blocks, one a column."""
    return [Dense(column) for column in np.ascontiguousarray(values.T)]


def _decisions(estimator: Any, blocks: Sequence[Block], rows: int) -> Floats:
    found = [
        linear(blocks, rows, weights, float(start))
        for weights, start in zip(estimator.coef_, estimator.intercept_, strict=True)
    ]
    return np.stack(found, axis=1)


def _from_decisions(estimator: Any, decisions: Floats) -> Floats:
    if getattr(estimator, "loss", "") == "modified_huber":
        each = (np.clip(decisions, -1.0, 1.0) + 1.0) / 2.0
    else:
        each = _logistic(decisions)
    if each.shape[1] == 1:
        return np.concatenate([1.0 - each, each], axis=1)
    total = _sum(each)
    return np.where(total > 0.0, each / np.where(total > 0.0, total, 1.0), 1.0 / each.shape[1])


def _logistic(values: Floats) -> Floats:
    small = np.exp(-np.abs(values))
    return np.where(values >= 0.0, 1.0, small) / (1.0 + small)


def _joint(blocks: Sequence[Block], rows: int, weights: Array, start: Array) -> Floats:
    return np.stack([linear(blocks, rows, row, float(one)) for row, one in zip(weights, start, strict=True)], axis=1)


def _bernoulli(estimator: Any, blocks: Sequence[Block], rows: int) -> Floats:
    absent = np.log(1.0 - np.exp(estimator.feature_log_prob_))
    if estimator.binarize is not None:
        values = matrix(blocks, rows)
        blocks = columns_of((values > estimator.binarize).astype(np.float64))
    return _joint(blocks, rows, estimator.feature_log_prob_ - absent, estimator.class_log_prior_ + absent.sum(axis=1))


def _gaussian(estimator: Any, values: Floats) -> Floats:
    found = []
    for mean, variance, prior in zip(estimator.theta_, estimator.var_, estimator.class_prior_, strict=True):
        total = np.full(len(values), np.log(prior) - 0.5 * np.log(2.0 * np.pi * variance).sum())
        for column, centre, width in zip(np.ascontiguousarray(values.T), mean, variance, strict=True):
            total -= 0.5 * np.square(column - centre) / width
        found.append(total)
    return np.stack(found, axis=1)


def _softmax(joint: Floats) -> Floats:
    each = np.exp(joint - joint.max(axis=1, keepdims=True))
    return each / _sum(each)


def _sum(each: Floats) -> Floats:
    total = np.zeros(len(each))
    for column in each.T:
        total += column
    return total[:, np.newaxis]


def _padded(predict: Callable[[Floats], Any], values: Floats) -> Floats:
    parts = []
    for first in range(0, len(values), _TOGETHER):
        part = values[first : first + _TOGETHER]
        block = np.zeros((_TOGETHER, values.shape[1]))
        block[: len(part)] = part
        parts.append(np.asarray(predict(block), dtype=np.float64)[: len(part)])
    return np.concatenate(parts) if parts else np.asarray(predict(np.zeros((1, values.shape[1]))))[:0]
