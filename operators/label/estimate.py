"""The label model: what each vote is worth, estimated from counted patterns of votes without any truth.

Method of moments: the agreement of pairs beyond chance gives skills (skill.py); a skill, with the shares of the votes,
gives how much likelier a vote makes its class, and the silence of a function that votes for some classes only the
others. A vote (or silence) that repeats what copies of its function said counts in part. Where neither a prior is given
nor, among three or more functions, two vote on all classes, nothing of that can be told: all votes count alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from operators.label.pattern import Coding, Counted, Floats, Votes
from operators.label.skill import LARGEST, Agreement, Bools, Skill, skills

#: No vote counts against its own class: a function that seems worse than chance is worth this skill.
LEAST_SKILL: Final = 0.02
_MOST_SKILL: Final = 0.9
_LARGEST_WEIGHT: Final = 6.0
_SMALLEST_WEIGHT: Final = 0.02
#: Errors of a function go to every class at least in this share of evenly.
_EVEN_ERRORS: Final = 0.35
#: Pairs that voted together on fewer rows say nothing.
_FEWEST_TOGETHER: Final = 8
#: What the majority's class is given beyond the votes (log odds), as the estimates may be wrong: always, and for each
#: unit of the skills' standard error.
BENEFIT: Final = 0.2
BENEFIT_OF_ERROR: Final = 3.0
#: So many functions have to vote on all classes for a class prior to be learnt from them, and so many there have to be.
_FEWEST_EVERYWHERE: Final = 2
_FEWEST_FUNCTIONS: Final = 3
#: Rounds in which a learnt class prior is fitted to the votes, how many rows its first value weighs, and its floor.
_PRIOR_ROUNDS: Final = 8
_PRIOR_ROWS: Final = 20.0
_LEAST_SHARE: Final = 0.002
#: A function is silent on every class at least in this share of how often it is silent.
_EVEN_SILENCE: Final = 0.3
#: So many patterns are scored at once.
_AT_ONCE: Final = 8192


@dataclass(frozen=True)
class Estimate:
    """What a label model knows, for m functions and k classes.

    `prior` (k,): share of each class. `weight` (m, k): log odds that a vote adds to its class, above zero. `silence`
    (m, k): log odds that it adds to a class if the function does not vote; 0 of functions that vote on all classes.
    `copies` (m, m): from 0 to 1, how far one function repeats another. `benefit`: log odds that the majority's class is
    given. `precision` (m, k): share of a function's votes for a class that are right; `recall` (m, k): share of a
    class's rows on which it votes for it; 0 where it does not vote. `accuracy` and `error` (m,): share of its votes
    that are right, and the standard error of that. `coverage`, `overlaps`, `conflicts` (m,): share of the rows on which
    it votes, votes together with another, votes otherwise than another. `rows`: how many rows this was learnt from.
    """

    prior: Floats
    weight: Floats
    silence: Floats
    copies: Floats
    benefit: float
    precision: Floats
    recall: Floats
    accuracy: Floats
    error: Floats
    coverage: Floats
    overlaps: Floats
    conflicts: Floats
    rows: float


def estimate(coding: Coding, counted: Counted, classes: int, prior: Floats | None = None) -> Estimate:
    """A label model from counted patterns; `prior` is the share of each class where that is known."""
    votes, counts = coding.decode(counted.patterns), counted.weight
    moments = _Moments.of(votes, counts, classes)
    everywhere: Bools = np.asarray(moments.own.all(axis=1))
    worth = _Worth.of(moments, everywhere, prior if prior is not None else _prior(votes, counts, everywhere, classes))
    if prior is None:
        voting = int(np.count_nonzero(moments.fires))
        if np.count_nonzero(everywhere) < _FEWEST_EVERYWHERE or voting < _FEWEST_FUNCTIONS:
            # Neither skills nor prior can be told: every vote counts alike, as for the majority.
            worth = _Worth.alike(moments, worth.skill)
        else:
            worth = _Worth.of(moments, everywhere, _sharpened(worth, votes, counts))
    return _described(moments, votes, counts, worth)


def scores(estimated: Estimate, votes: Votes) -> Floats:
    """Log odds of each class for patterns of votes, shape (patterns, classes), up to a constant for each row."""
    found = np.empty((len(votes), len(estimated.prior)))
    for start in range(0, len(votes), _AT_ONCE):
        found[start : start + _AT_ONCE] = _scores(estimated, votes[start : start + _AT_ONCE])
    return found


def probabilities(estimated: Estimate, votes: Votes) -> Floats:
    """The probability of each class for patterns of votes, shape (patterns, classes)."""
    found = scores(estimated, votes)
    found -= found.max(axis=1, keepdims=True)
    np.exp(found, out=found)
    found /= found.sum(axis=1, keepdims=True)
    return found


def majority(votes: Votes, classes: int) -> Floats:
    """The share of each class among the votes of each pattern; even where nobody votes."""
    counts = np.stack([np.count_nonzero(votes == number, axis=1) for number in range(classes)], axis=1)
    cast = counts.sum(axis=1, keepdims=True)
    return np.where(cast > 0, counts / np.maximum(cast, 1), 1.0 / classes)


def _scores(estimated: Estimate, votes: Votes) -> Floats:
    found = _log_odds(estimated, votes)
    counts = np.stack([(votes == number).sum(axis=1) for number in range(len(estimated.prior))], axis=1)
    most = counts.max(axis=1, keepdims=True)
    found += estimated.benefit * ((counts == most) & (most > 0))
    return found


def _log_odds(worth: _Worth | Estimate, votes: Votes) -> Floats:
    """What the prior, the votes and the silence say, up to a constant for each row."""
    found = np.tile(np.log(worth.prior), (len(votes), 1))
    for number in range(len(worth.prior)):
        here = (votes == number).astype(np.float64)
        found[:, number] += (here * worth.weight[:, number] / _repeated(here, worth.copies)).sum(axis=1)
    if worth.silence.any():
        silent = (votes < 0).astype(np.float64)
        silent /= _repeated(silent, worth.copies)
        for one in np.flatnonzero(worth.silence.any(axis=1)):
            found += silent[:, one, None] * worth.silence[one]
    return found


def _repeated(here: Floats, copies: Floats) -> Floats:
    """By how many each function is counted where it and its copies are `here`. Summed up function by function: a matrix
    product may round a row otherwise with other rows beside it."""
    found = np.ones(here.shape)
    for one in np.flatnonzero(copies.any(axis=1)):
        found += here[:, one, None] * copies[one]
    return found


@dataclass(frozen=True)
class _Moments:
    """How often functions vote, by themselves and in pairs, for m functions and k classes.

    `share` (m, k): of all rows; `given` (m, k): of the rows on which the function votes; `together` (m, m): rows on
    which both vote; `same` (m, m, k): rows on which both vote for the class; `beside` (m, m, k): rows on which the
    first votes for the class and the second votes; `own` (m, k): which classes a function votes for at all.
    """

    rows: float
    fires: Floats
    share: Floats
    given: Floats
    together: Floats
    same: Floats
    beside: Floats
    own: Bools

    @classmethod
    def of(cls, votes: Votes, weight: Floats, classes: int) -> _Moments:
        functions = votes.shape[1]
        width = functions * classes
        joint = np.zeros((width, width))
        for start in range(0, len(votes), _AT_ONCE):
            piece = votes[start : start + _AT_ONCE]
            cast = (piece[:, :, None] == np.arange(classes, dtype=np.int8)).reshape(len(piece), width)
            ones = cast.astype(np.float64)
            joint += ones.T @ (ones * weight[start : start + _AT_ONCE, None])
        four = joint.reshape(functions, classes, functions, classes)
        same = np.einsum("fcgc->fgc", four).copy()
        single = np.einsum("ffc->fc", same)
        fires = single.sum(axis=1)
        rows = float(weight.sum())
        return cls(
            rows=rows,
            fires=fires,
            share=single / max(rows, 1e-9),
            given=single / np.maximum(fires, 1e-9)[:, None],
            together=four.sum(axis=(1, 3)),
            same=same,
            beside=four.sum(axis=3).transpose(0, 2, 1),
            own=single > np.maximum(0.001 * fires, 0.5)[:, None],
        )

    def agreement(self, prior: Floats, everywhere: Bools, scale: Floats) -> tuple[Agreement, Floats]:
        """Agreement beyond chance of each pair, on the scale of the product of their skills, and the most that it could
        be. Between functions that vote on all classes it is taken among the rows on which both vote, where it
        does not matter why they do; otherwise among all rows."""
        spread = prior * (1.0 - prior)
        shared = self.own[:, None, :] & self.own[None, :, :]
        inside = everywhere[:, None] & everywhere[None, :]
        rows = max(self.rows, 1e-9)
        both = np.maximum(self.together, 1e-9)
        one = self.beside / both[:, :, None]
        other = one.transpose(1, 0, 2)
        chance = np.where(inside[:, :, None], one * other, self.share[:, None, :] * self.share[None, :, :])
        seen = np.where(inside[:, :, None], self.same / both[:, :, None], self.same / rows)
        reach = np.where(everywhere[:, None], (self.fires / rows)[:, None], scale)
        pair = np.where(inside[:, :, None], 1.0, reach[:, None, :] * reach[None, :, :])
        unit = np.maximum((shared * pair * spread).sum(axis=2), 1e-12)
        excess = ((seen - chance) * shared).sum(axis=2) / unit
        expected = np.maximum(chance + 0.25 * pair * spread, seen)
        noise = np.where(
            inside,
            (chance * (1.0 - chance)).sum(axis=2) / np.maximum(self.together, 1.0),
            (expected * shared).sum(axis=2) / rows,
        )
        told = shared.any(axis=2) & (~inside | (self.together >= _FEWEST_TOGETHER))
        np.fill_diagonal(told, False)
        top = np.where(inside[:, :, None], np.minimum(one, other), np.minimum(self.share[:, None], self.share[None]))
        most = ((top - chance) * shared).sum(axis=2) / unit
        return Agreement(np.where(told, excess, 0.0), np.where(told, noise / unit**2, np.inf)), most


@dataclass(frozen=True)
class _Worth:
    """What votes are worth, as in an `Estimate`, and the skills behind that."""

    prior: Floats
    weight: Floats
    silence: Floats
    copies: Floats
    skill: Skill

    @classmethod
    def of(cls, moments: _Moments, everywhere: Bools, prior: Floats) -> _Worth:
        scale = np.where(everywhere[:, None], 1.0, np.where(moments.own, moments.share / prior, 0.0))
        scale = np.minimum(scale, 1.0)
        agreement, most = moments.agreement(prior, everywhere, scale)
        found = skills(agreement)
        skill = np.clip(found.value, LEAST_SKILL, _MOST_SKILL)
        weight = _weights(moments, prior, everywhere, skill, scale)
        silence = _silence(moments, prior, everywhere, weight)
        return cls(prior, weight, silence, _copies(agreement, most, skill), found)

    @classmethod
    def alike(cls, moments: _Moments, skill: Skill) -> _Worth:
        functions, classes = moments.own.shape
        weight = np.where(moments.own, np.log(classes + 1.0), 0.0)
        nothing = np.zeros((functions, classes)), np.zeros((functions, functions))
        return cls(np.full(classes, 1.0 / classes), weight, *nothing, skill)


def _prior(votes: Votes, weight: Floats, everywhere: Bools, classes: int) -> Floats:
    """The share of each class by the majority of the functions that vote on all classes, if there are any."""
    chosen = votes[:, everywhere] if everywhere.any() else votes
    counts = np.stack([np.count_nonzero(chosen == number, axis=1) for number in range(classes)], axis=1)
    most = counts.max(axis=1, keepdims=True)
    first = (counts == most) & (most > 0)
    cast = first / np.maximum(first.sum(axis=1, keepdims=True), 1)
    found = weight @ cast
    return np.asarray((found + 1.0) / (found.sum() + classes))


def _sharpened(worth: _Worth, votes: Votes, counts: Floats) -> Floats:
    """The share of each class among the rows with votes that fits them best, beginning with the one that is known: the
    majority errs more often for rare classes, so by its labels they are too frequent."""
    cast = (votes >= 0).any(axis=1)
    weight, voted = counts[cast], votes[cast]
    likely = np.empty((len(voted), len(worth.prior)))
    for start in range(0, len(voted), _AT_ONCE):
        likely[start : start + _AT_ONCE] = _log_odds(worth, voted[start : start + _AT_ONCE])
    likely -= np.log(worth.prior)
    likely = np.exp(likely - likely.max(axis=1, keepdims=True))
    prior = worth.prior
    for _ in range(_PRIOR_ROUNDS):
        share = weight @ (likely * prior / (likely @ prior)[:, None])
        prior = share + _PRIOR_ROWS * worth.prior
        prior = prior / prior.sum()
    floor: Floats = np.maximum(prior, _LEAST_SHARE)
    return floor / floor.sum()


def _copies(agreement: Agreement, most: Floats, worth: Floats) -> Floats:
    """What two functions agree on beyond what their skills explain, and beyond what chance may do, as a share of what
    there is beyond them."""
    told = np.isfinite(agreement.variance)
    explained = np.outer(worth, worth)
    doubt = 2.0 * np.sqrt(np.where(told, agreement.variance, 0.0) + 0.02**2)
    share = (agreement.value - doubt - explained) / np.maximum(most - explained, 1e-3)
    return np.where(told, np.clip(share, 0.0, 1.0), 0.0)


def _weights(moments: _Moments, prior: Floats, everywhere: Bools, worth: Floats, scale: Floats) -> Floats:
    """How much likelier a vote is if its class is the right one, as log odds."""
    inside = everywhere[:, None]
    skill = worth[:, None] * scale
    votes = np.where(inside, moments.given, moments.share)
    unseen = 1.0 / np.maximum(np.where(inside, moments.fires[:, None], moments.rows), 1.0)
    right = np.minimum(votes + (1.0 - prior) * skill, 1.0) + unseen
    errors = _EVEN_ERRORS * (1.0 - worth)[:, None] * np.where(inside, np.minimum(votes, 1.0 / len(prior)), votes)
    wrong = np.maximum(votes - prior * skill, errors) + unseen
    return np.where(moments.own, np.clip(np.log(right / wrong), _SMALLEST_WEIGHT, _LARGEST_WEIGHT), 0.0)


def _silence(moments: _Moments, prior: Floats, everywhere: Bools, weight: Floats) -> Floats:
    """How much likelier silence is on rows of a class, as log odds: whatever a function does not vote on a class it is
    silent there. What votes on all classes is silent for reasons of its own."""
    silent = np.maximum(1.0 - moments.share.sum(axis=1), 0.0)[:, None]
    likelier = np.exp(weight) - 1.0
    otherwise = moments.share / (1.0 + prior * likelier)
    quiet = np.maximum(1.0 - otherwise.sum(axis=1, keepdims=True) - otherwise * likelier, _EVEN_SILENCE * silent)
    told = (silent > 1e-9) & ~everywhere[:, None] & moments.own.any(axis=1, keepdims=True)
    found: Floats = np.where(told, np.log(np.where(told, quiet, 1.0)), 0.0)
    return np.clip(found - (found @ prior)[:, None], -_LARGEST_WEIGHT, _LARGEST_WEIGHT)


def _described(moments: _Moments, votes: Votes, counts: Floats, worth: _Worth) -> Estimate:
    prior, weight, found = worth.prior, worth.weight, worth.skill
    odds = np.exp(weight) * prior / (1.0 - prior)
    precision = np.where(moments.own, odds / (1.0 + odds), 0.0)
    recall = np.minimum(moments.share * precision / prior, 1.0)
    accuracy = (moments.given * precision).sum(axis=1)
    # Skill is accuracy on the scale from what chance gives to always.
    by_chance = (moments.given * prior).sum(axis=1)
    cast = votes >= 0
    several = cast.sum(axis=1) > 1
    low = np.where(cast, votes, np.int8(127)).min(axis=1)
    differ = several & (low != votes.max(axis=1))
    rows = max(moments.rows, 1e-9)
    return Estimate(
        prior=prior,
        weight=weight,
        silence=worth.silence,
        copies=worth.copies,
        benefit=_benefit(moments, found),
        precision=precision,
        recall=recall,
        accuracy=accuracy,
        error=found.error * np.maximum(1.0 - by_chance, 0.0) / LARGEST,
        coverage=moments.fires / rows,
        overlaps=(counts * several) @ cast / rows,
        conflicts=_conflicts(votes, counts * differ) / rows,
        rows=moments.rows,
    )


def _benefit(moments: _Moments, found: Skill) -> float:
    """What the majority's class is given; more where less is known of the functions that vote."""
    typical = float(moments.fires @ found.error / max(float(moments.fires.sum()), 1e-9))
    return BENEFIT + BENEFIT_OF_ERROR * typical


def _conflicts(votes: Votes, counts: Floats) -> Floats:
    """For each function the rows on which another votes otherwise."""
    cast = votes >= 0
    others = cast.sum(axis=1)
    found = np.zeros(votes.shape[1])
    for one in range(votes.shape[1]):
        alike = np.count_nonzero(votes == votes[:, one : one + 1], axis=1)
        found[one] = counts @ (cast[:, one] & (alike < others))
    return found
