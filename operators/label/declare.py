"""How weak labelling is declared: one function that makes the three operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from operators.label.function import Class, LabelError, LabelingFunction
from operators.label.labels import Labels
from operators.label.model import LabelModel
from operators.label.model_stream import Described, class_text
from operators.label.pattern import MOST_CLASSES, Floats
from operators.label.votes import Votes
from operators.operator import Operator
from streams.duration import Duration, parse_duration
from streams.stream import Stream

Prior = Mapping[Class, float] | Literal["learn"] | None
ModelKind = Literal["patterns", "majority"]


def label(
    source: Stream,
    functions: Sequence[LabelingFunction],
    *,
    to: str,
    classes: Sequence[Class] | None = None,
    prior: Prior = "learn",
    model: ModelKind = "patterns",
    keep: Sequence[str] = (),
    update_every: int = 5_000,
    forgetting: int | None = 100_000,
    lag: Duration = 0,
    version: str = "1",
) -> tuple[Operator, ...]:
    """The operators that label `source`: of `<to>.votes`, of `<to>.model` (not for the majority), and of `<to>`.

    `functions` vote for `classes` (default: those that they name, in their order). `prior` is the share of each class:
    a mapping, "learn", or None for equal shares. model="patterns" estimates what each vote is worth after every
    `update_every` rows, of which those `forgetting` rows ago count half (None: all count alike); a model holds from the
    event time of its last row and `lag` on. model="majority" takes the class with most votes. `keep` are columns of the
    source that go with the labels, beside its key and event time. LabelError for what cannot be made.
    """
    described = Described(tuple(one.name for one in functions), _classes(functions, classes, to))
    known = _prior(prior, described, to)
    if model not in ("patterns", "majority"):
        raise LabelError(f"There is no label model {model!r}", where=to, fix='Choose "patterns" or "majority".')
    votes = Votes(source, functions, described.classes, keep, f"{to}.votes", version=version)
    if model == "majority":
        return votes, Labels(votes, described, None, to, prior=known, lag=0, version=version)
    if source.time is None:
        raise LabelError(
            f"{source.name} has no event time, so it is not said which rows come before a model",
            where=to,
            fix='Declare its time=…, or take model="majority".',
        )
    if update_every < 1 or (forgetting is not None and forgetting < 1):
        raise LabelError("update_every= and forgetting= are numbers of rows", where=to, fix="Give at least 1.")
    learnt = LabelModel(
        votes, described, to, prior=known, update_every=update_every, forgetting=forgetting, version=version
    )
    made = Labels(votes, described, learnt.outputs[0], to, prior=known, lag=parse_duration(lag), version=version)
    return votes, learnt, made


def _classes(functions: Sequence[LabelingFunction], classes: Sequence[Class] | None, where: str) -> tuple[Class, ...]:
    if classes is None:
        silent = [one.name for one in functions if one.named is None]
        if silent:
            raise LabelError(
                f"{', '.join(silent)} may vote for any class, and the classes are not said",
                where=where,
                fix="Give classes=[…], in the order that the functions' numbers mean.",
            )
        classes = list(dict.fromkeys(label for one in functions for label in one.named or ()))
    found = tuple(classes)
    if not 2 <= len(found) <= MOST_CLASSES or len({class_text(one) for one in found}) < len(found):
        raise LabelError(
            f"These are no classes: {list(found)}", where=where, fix=f"Give 2 to {MOST_CLASSES} different ones."
        )
    if len({type(one) for one in found}) > 1:
        raise LabelError(
            f"The classes are of several types: {list(found)}",
            where=where,
            fix="Make them all text, integers or truth values.",
        )
    return found


def _prior(prior: Prior, described: Described, where: str) -> Floats | None:
    if prior == "learn":
        return None
    count = len(described.classes)
    if prior is None:
        return np.full(count, 1.0 / count)
    shares = [prior.get(one) for one in described.classes] if isinstance(prior, Mapping) else []
    known = np.array([np.nan if one is None else one for one in shares], dtype=np.float64)
    if len(known) != count or len(prior) != count or not (known > 0).all() or abs(known.sum() - 1.0) > 1e-6:
        raise LabelError(
            f"This is no prior: {prior!r}",
            where=where,
            fix=f"Give each of {list(described.classes)} its share; they sum to 1.",
        )
    return known / known.sum()
