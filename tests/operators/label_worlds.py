"""Worlds of votes with a known truth: seeded, wide, and hostile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class World:
    seed: int
    truth: np.ndarray  # (n,) class
    votes: np.ndarray  # (n, m) int8, -1 abstain
    prior: np.ndarray  # (k,) true
    given_prior: bool
    kinds: tuple[str, ...]
    facts: dict


def world(seed: int, rows: int = 12_000) -> World:
    rng = np.random.default_rng([seed, 20261])
    m = int(rng.integers(2, 31))
    k = 2 if rng.random() < 0.5 else int(rng.integers(3, 11))
    # One class has a prior from 1 % to 50 %, the others share the rest.
    rare = float(np.exp(rng.uniform(np.log(0.01), np.log(0.5))))
    rest = rng.dirichlet(np.full(k - 1, 5.0)) * (1 - rare)
    prior = np.append(rest, rare)
    prior = np.maximum(prior, 0.01)
    prior /= prior.sum()
    prior = prior[rng.permutation(k)]
    truth = rng.choice(k, rows, p=prior)
    base = float(np.exp(rng.uniform(np.log(0.02), np.log(1.0))))
    if rng.random() < 0.15:
        base = 1.0
    adversarial_share = rng.choice([0, 0, 0.1, 0.2, 0.3])
    correlated = rng.random() < 0.5
    drifting = rng.random() < 0.4
    votes = np.full((rows, m), -1, dtype=np.int8)
    kinds = []
    when = np.arange(rows) / rows
    n_adv = int(min(np.floor(adversarial_share * m), (m - 1) // 3))
    adversaries = set(rng.permutation(m)[:n_adv].tolist())
    one_sided_world = rng.random() < 0.3
    low = rng.uniform(0.05, 0.5)  # skill: how far from chance to always right
    for f in range(m):
        coverage = float(np.clip(base * np.exp(rng.normal(0, 0.5)), 0.02, 1.0)) if base < 1 else 1.0
        skill = np.full(rows, rng.uniform(low, 0.95))
        kind = "both"
        if f in adversaries:
            kind = "adversary"
        if drifting and rng.random() < 0.4:
            other = rng.uniform(0.0, 0.95)
            at = rng.uniform(0.2, 0.8)
            gradual = rng.random() < 0.5
            mix = np.clip((when - at) / 0.3 + 0.5, 0, 1) if gradual else (when >= at).astype(float)
            skill = skill * (1 - mix) + other * mix
            kind += " drifting"
        right = rng.random(rows) < skill
        if f in adversaries:
            # Says a wrong class whenever its skill would have had it right; always the same wrong one.
            shift = int(rng.integers(1, k))
            said = np.where(right, (truth + shift) % k, rng.integers(0, k, rows))
        elif rng.random() < 0.5:
            said = np.where(right, truth, rng.integers(0, k, rows))  # errors evenly over classes
        else:
            said = np.where(right, truth, rng.choice(k, rows, p=prior))  # errors as the classes are
        fires = rng.random(rows) < coverage
        if one_sided_world and rng.random() < 0.7:
            own = rng.permutation(k)[: int(rng.integers(1, max(k // 2, 1) + 1))]
            fires &= np.isin(said, own)
            kind += " one-sided"
        votes[:, f] = np.where(fires, said, -1)
        kinds.append(kind)
    if correlated and m >= 3:
        # Copies of a leader: at most half of the functions belong to groups that copy.
        left = [f for f in rng.permutation(m).tolist()]
        budget = m // 2
        while budget >= 2:
            size = int(rng.integers(2, budget + 1))
            group, left = left[:size], left[size:]
            budget -= size
            strength = rng.uniform(0.4, 1.0)
            for f in group[1:]:
                copy = rng.random(rows) < strength
                if rng.random() < 0.5:
                    copy &= votes[:, group[0]] >= 0  # copies votes, keeps its own where the leader abstains
                votes[copy, f] = votes[copy, group[0]]
                kinds[f] += " copy"
            if rng.random() < 0.5:
                break
    return World(
        seed,
        truth,
        votes,
        prior,
        bool(rng.random() < 0.5),
        tuple(kinds),
        dict(m=m, k=k, base=base, rare=rare, adv=n_adv, corr=correlated, drift=drifting, one=one_sided_world, low=low),
    )
