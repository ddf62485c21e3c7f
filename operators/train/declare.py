"""How a trainer is declared."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from operators.alarms import SCHEMA as ALARMS
from operators.evaluate.classes import Class, Classes
from operators.label.model_stream import class_text
from operators.model.features import Features, described, features_of
from operators.model.learner import learner
from operators.model.registry import parameters_of
from operators.operator import Input
from operators.train.design import Design, OnAlarm, Weak
from operators.train.errors import CannotTrain
from operators.train.gates import Gate
from operators.train.operator import Train
from streams.duration import Duration, parse_duration
from streams.stream import Stream

Candidates = Mapping[str, Any]
Given = Features | Iterable[str]


def train(
    examples: Stream,
    *,
    target: str,
    to: str,
    features: Given,
    estimator: Any = None,
    candidates: Candidates | None = None,
    classes: Sequence[Class] | None = None,
    censored: str | None = None,
    weight: str | None = None,
    weak: Stream | None = None,
    weak_probability: str | None = None,
    weak_until: int | None = None,
    chunk: int = 500,
    checkpoint_every: int | None = None,
    retrain_on: Input | None = None,
    on_alarm: OnAlarm = "challenger",
    most_challengers: int = 2,
    gates: Sequence[Gate] = (),
    promote_error: float = 0.05,
    probation: int | None = None,
    compare_over: int | None = None,
    tick: Duration | None = None,
    version: str = "1",
) -> Train:
    """An operator that learns from `examples` as they come, and writes what it has learnt to the model stream `to`.

    `candidates` are named estimators of scikit-learn with a `partial_fit` (or pairs of an estimator and its own
    features); the first one, or the only `estimator`, is champion at first. Every chunk of exactly `chunk` rows is
    predicted by all of them before they learn it; losses are Brier scores. A challenger becomes champion when a
    paired test says so: in at most `promote_error` of a champion's reigns it is replaced by one that is no better. For
    `probation` rows (20 chunks) the one before may come back, by the same test; for all others `gates` (hw.gate) may
    object. A comparison without a decision begins anew after `compare_over` rows (50 chunks).

    Rows with a null target, or where `censored` is true, are left out; `weight` names a column of sample weights.
    `classes` are needed for targets that are not true or false. `weak` are weak labels: a stream with the features and
    a column `weak_probability` of the second class (default: as `p.label` names it, such as p_true); they are learnt
    until `weak_until` (20 chunks) true rows were.
    After an alarm on `retrain_on` (hw.later) a fresh copy of the champion begins as challenger (at most
    `most_challengers` are alive), or with on_alarm="reset" the champion begins anew. Versions are written every
    `checkpoint_every` rows (10 chunks), and at promotions. With `tick`, examples wait at most so long (of event time)
    for the next ones before they are learnt. CannotTrain, CannotLearn.
    """
    arrow = examples.schema.arrow
    _refuse_unknown(examples, [target, *(name for name in (censored, weight) if name is not None)], to)
    for gate in gates:
        _refuse_unknown(examples, gate.columns, to)
    if examples.time is None:
        raise CannotTrain(f"{examples.name} has no event time", where=to, fix="Declare it with time=.")
    found = _classes(arrow.field(target).type, classes, target, to)
    named = _named(estimator, candidates, to)
    made: dict[str, tuple[Any, Features]] = {}
    for name, one in named.items():
        given, columns = one if isinstance(one, tuple) else (one, features)
        declared = features_of(columns, arrow, f"{to}, {name}")
        if target in declared.columns:
            raise CannotTrain(
                f"The target {target!r} is among the features", where=f"{to}, {name}", fix="Leave it out."
            )
        fresh = learner(given, declared, arrow, classes=found.values, where=f"{to}, {name}")
        if weight is not None or weak is not None:
            _refuse_unweighted(fresh.estimator, f"{to}, {name}")
        made[name] = given, declared
    lengths = {
        "chunk": chunk,
        "checkpoint_every": checkpoint_every,
        "probation": probation,
        "compare_over": compare_over,
    }
    for what, rows in lengths.items():
        if rows is not None and (type(rows) is not int or rows < 1):
            raise CannotTrain(f"{what}={rows!r} is no number of rows", where=to, fix="A whole number from 1.")
    if not 0.0 < promote_error < 1.0:
        raise CannotTrain(f"promote_error={promote_error} is no probability", where=to, fix="For example 0.05.")
    if on_alarm not in ("challenger", "reset"):
        raise CannotTrain(f"on_alarm={on_alarm!r} is not known", where=to, fix='It is "challenger" or "reset".')
    listens = None if retrain_on is None else _listening(retrain_on, to)
    design = Design(
        model=to,
        examples=examples,
        target=target,
        classes=found,
        candidates=made,
        gates=tuple(gates),
        censored=censored,
        weight=weight,
        weak=None if weak is None else _weak(weak, weak_probability, weak_until or 20 * chunk, made, found, to),
        chunk=chunk,
        checkpoint_every=checkpoint_every or 10 * chunk,
        promote_error=promote_error,
        probation=probation or 20 * chunk,
        compare_over=compare_over or 50 * chunk,
        on_alarm=on_alarm,
        most_challengers=most_challengers,
        tick=None if tick is None else parse_duration(tick),
    )
    return Train(design, listens, _params(design, listens), version)


def _named(estimator: Any, candidates: Candidates | None, to: str) -> dict[str, Any]:
    if (estimator is None) == (candidates is None):
        raise CannotTrain("A trainer needs an estimator, or candidates by name, and not both", where=to)
    named = {"champion": estimator} if candidates is None else dict(candidates)
    if not named:
        raise CannotTrain("There are no candidates", where=to, fix="Name at least one.")
    for name in named:
        if not isinstance(name, str) or not name or "." in name or " " in name:
            raise CannotTrain(f"A candidate cannot be called {name!r}", where=to, fix="Without dots and spaces.")
    return named


def _classes(type: Any, classes: Sequence[Class] | None, target: str, to: str) -> Classes:
    if pa.types.is_floating(type):
        raise CannotTrain(
            f"The target {target!r} is {type}: regression is not supported",
            where=to,
            fix="Make classes of it, for example with p.map: above a threshold or not.",
        )
    try:
        found = Classes.of(type, classes)
    except ValueError as error:
        raise CannotTrain(
            f"The classes {list(classes or ())} do not fit the target {target!r} ({type}): {error}",
            where=to,
            fix="List the values that it can have.",
        ) from error
    if found is None:
        raise CannotTrain(
            f"The target {target!r} is {type}, and its classes are not given",
            where=to,
            fix="List them with classes=[…]; of two, the second is the positive one.",
        )
    return found


def _refuse_unweighted(estimator: Any, where: str) -> None:
    if "sample_weight" not in inspect.signature(estimator.partial_fit).parameters:
        raise CannotTrain(
            f"{type(estimator).__name__} takes no sample weights, and weight= and weak= need them",
            where=where,
            fix="Use SGDClassifier or a naive Bayes, or leave them out.",
        )


def _weak(
    stream: Stream, given: str | None, until: int, made: Mapping[str, tuple[Any, Features]], classes: Classes, to: str
) -> Weak:
    if len(classes) != 2:
        raise CannotTrain("Weak labels are learnt from with two classes only", where=to, fix="Leave weak= out.")
    probability = given or f"p_{class_text(classes.values[1])}"
    columns = dict.fromkeys(name for _, declared in made.values() for name in declared.columns)
    _refuse_unknown(stream, [probability, *columns], to)
    if stream.time is None:
        raise CannotTrain(f"{stream.name} has no event time", where=to, fix="Declare it with time=.")
    return Weak(stream, probability, until)


def _listening(given: Input, to: str) -> Input:
    wanted = ("source", "at", "kind", "column")
    names = ALARMS.names if given.named else given.stream.schema.names
    if not set(wanted) <= set(names):
        raise CannotTrain(
            f"{given.stream.name} is no stream of alarms",
            where=to,
            fix="Listen to the `.alarms` of drift, evaluate, label or monitor: hw.later(alarms, delay=…).",
        )
    return replace(given, reads=wanted, mode="gathered")


def _refuse_unknown(stream: Stream, names: Iterable[str], to: str) -> None:
    unknown = [name for name in names if name not in stream.schema.arrow.names]
    if unknown:
        raise CannotTrain(
            f"{stream.name} has no column {', '.join(map(repr, unknown))}",
            where=to,
            fix=f"It has {', '.join(map(repr, stream.schema.arrow.names))}.",
        )


def _params(design: Design, listens: Input | None) -> dict[str, Any]:
    """As JSON values, for people and the version."""
    told = {}
    for name, (_, declared) in design.candidates.items():
        fresh = design.fresh(name)
        parts = [[type(part).__name__, parameters_of(part, name)] for part in (*fresh.steps, fresh.estimator)]
        told[name] = {"parts": parts, "features": described(declared)}
    plain = ("target", "censored", "weight", "chunk", "checkpoint_every", "promote_error", "probation")
    more = ("compare_over", "on_alarm", "most_challengers", "tick")
    weak = None if design.weak is None else [design.weak.stream.name, design.weak.probability, design.weak.until]
    return {
        "examples": design.examples.name,
        "candidates": told,
        "classes": list(design.classes.values),
        **{name: getattr(design, name) for name in (*plain, *more)},
        "gates": [gate.params for gate in design.gates],
        "weak": weak,
        "retrain_on": None if listens is None else [listens.stream.name, listens.delay],
    }
