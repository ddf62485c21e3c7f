"""The closed registry: which estimators and transformers a model may be made of, and what of each is kept.

A model names a class by a word of this registry; nothing in it is ever imported, called or unpickled. What is not here
can be neither saved nor loaded.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Literal

import numpy as np

from catalog.errors import HeadwaterError
from operators.model.artefact import Array, ModelError
from operators.model.shapes import Sizes, by_class, class_rows, coefficients, intercepts, row

Kind = Literal["classifier", "regressor", "transformer"]
Shape = Callable[[Sizes], tuple[int, ...]]

#: Parameters that say how to work, not what comes out: they are not kept.
_WORK: Final = frozenset({"n_jobs", "verbose", "copy", "warm_start"})
#: Parameters that would make what comes out depend on more than rows and state.
_OFF: Final = ("early_stopping", "warm_start")


class CannotLearn(HeadwaterError):
    """A model was declared that cannot be trained, saved and restored to the bit."""

    exit_code = 2


@dataclass(frozen=True)
class Entry:
    """One class of the registry: how to get at it, and which attributes are kept, each with its shape or type."""

    kind: Kind
    get: Callable[[], type]
    arrays: Mapping[str, Shape] = field(default_factory=dict)
    numbers: Mapping[str, type] = field(default_factory=dict)
    averages: bool = False


def _linear(name: str) -> Callable[[], type]:
    def get() -> type:
        from sklearn import linear_model

        return _class_of(linear_model, name)

    return get


def _bayes(name: str) -> Callable[[], type]:
    def get() -> type:
        from sklearn import naive_bayes

        return _class_of(naive_bayes, name)

    return get


def _neural(name: str) -> Callable[[], type]:
    def get() -> type:
        from sklearn import neural_network

        return _class_of(neural_network, name)

    return get


def _preparing(name: str) -> Callable[[], type]:
    def get() -> type:
        from sklearn import preprocessing

        return _class_of(preprocessing, name)

    return get


def _class_of(module: Any, name: str) -> type:
    found = getattr(module, name, None)
    if found is None:
        from sklearn import __version__

        raise CannotLearn(
            f"scikit-learn {__version__} has no {name}", where=name, fix="Use an estimator that the version here has."
        )
    return found


_LINEAR: Final = {"coef_": coefficients, "intercept_": intercepts}
_REGRESSION: Final = {"coef_": row, "intercept_": intercepts}
_STEPS: Final = {"t_": float, "n_iter_": int}
_COUNTED: Final = {"class_count_": by_class, "feature_count_": class_rows, "feature_log_prob_": class_rows}
_SEEN: Final = {"n_samples_seen_": float}

REGISTRY: Final[Mapping[str, Entry]] = {
    "SGDClassifier": Entry("classifier", _linear("SGDClassifier"), _LINEAR, _STEPS, averages=True),
    "Perceptron": Entry("classifier", _linear("Perceptron"), _LINEAR, _STEPS),
    "PassiveAggressiveClassifier": Entry(
        "classifier", _linear("PassiveAggressiveClassifier"), _LINEAR, _STEPS, averages=True
    ),
    "SGDRegressor": Entry("regressor", _linear("SGDRegressor"), _REGRESSION, _STEPS, averages=True),
    "PassiveAggressiveRegressor": Entry(
        "regressor", _linear("PassiveAggressiveRegressor"), _REGRESSION, _STEPS, averages=True
    ),
    "MultinomialNB": Entry("classifier", _bayes("MultinomialNB"), {**_COUNTED, "class_log_prior_": by_class}),
    "BernoulliNB": Entry("classifier", _bayes("BernoulliNB"), {**_COUNTED, "class_log_prior_": by_class}),
    "GaussianNB": Entry(
        "classifier",
        _bayes("GaussianNB"),
        {"class_count_": by_class, "class_prior_": by_class, "theta_": class_rows, "var_": class_rows},
        {"epsilon_": float},
    ),
    "MLPClassifier": Entry("classifier", _neural("MLPClassifier")),
    "MLPRegressor": Entry("regressor", _neural("MLPRegressor")),
    "StandardScaler": Entry(
        "transformer", _preparing("StandardScaler"), {"mean_": row, "var_": row, "scale_": row}, _SEEN
    ),
    "MinMaxScaler": Entry(
        "transformer",
        _preparing("MinMaxScaler"),
        dict.fromkeys(("data_max_", "data_min_", "data_range_", "min_", "scale_"), row),
        _SEEN,
    ),
    "MaxAbsScaler": Entry("transformer", _preparing("MaxAbsScaler"), {"max_abs_": row, "scale_": row}, _SEEN),
    "Normalizer": Entry("transformer", _preparing("Normalizer")),
}


def entry_of(part: Any) -> tuple[str, Entry]:
    """The registry's word for an estimator or transformer, and its entry. CannotLearn if it is not of the registry:
    a subclass, or a class of the same name from elsewhere, is not."""
    name = type(part).__name__
    entry = REGISTRY.get(name)
    if entry is None or entry.get() is not type(part):
        raise CannotLearn(
            f"{type(part).__module__}.{name} is not in the registry of what can be saved and restored",
            where=name,
            fix=f"Use one of {', '.join(REGISTRY)}, or a Pipeline of them.",
        )
    return name, entry


def parameters_of(part: Any, where: str) -> dict[str, Any]:
    """What the part was made with, as JSON values. CannotLearn if two runs over the same rows could differ."""
    given: dict[str, Any] = part.get_params(deep=False)
    if "random_state" in given and (type(given["random_state"]) is not int or given["random_state"] < 0):
        raise CannotLearn(
            f"{where} has random_state={given['random_state']!r}, so that two runs would learn two different models",
            where=where,
            fix="Give it a whole number, for example random_state=0.",
        )
    for name in _OFF:
        if given.get(name):
            raise CannotLearn(
                f"{where} has {name}=True, which has no meaning for a model that goes on learning",
                where=where,
                fix=f"Leave {name} at False.",
            )
    return {name: _plain(value, name, where) for name, value in sorted(given.items()) if name not in _WORK}


def made(name: str, parameters: Mapping[str, Any], where: str) -> tuple[Entry, Any]:
    """A part of that word with those parameters, not trained. ModelError for what the registry does not hold."""
    entry = REGISTRY.get(name) if isinstance(name, str) else None
    if entry is None:
        raise ModelError(
            f"A model of the class {str(name)[:80]!r} is refused: it is not in the registry",
            where=where,
            fix=f"Known are {', '.join(REGISTRY)}. A model chooses by these words alone.",
        )
    cls: Any = entry.get()
    known = set(cls._get_param_names()) - _WORK
    if not isinstance(parameters, dict) or set(parameters) - known:
        unknown = sorted(set(parameters) - known) if isinstance(parameters, dict) else parameters
        raise ModelError(
            f"{name} has no parameters {str(unknown)[:200]}",
            where=where,
            fix="The model was made with another version of scikit-learn: its manifest says which.",
        )
    try:
        # Every version of a candidate comes with the same parameters, and scikit-learn takes its time to look at them.
        part = _checked(name, json.dumps(parameters, sort_keys=True))
    except (CannotLearn, ValueError, TypeError) as error:
        raise ModelError(
            f"The parameters of {name} are refused: {error}", where=where, fix="The model was damaged or forged."
        ) from error
    return entry, copy.copy(part)


@lru_cache(maxsize=64)
def _checked(name: str, parameters: str) -> Any:
    """A part that nobody trains: to be copied."""
    part: Any = REGISTRY[name].get()(**{key: _given(key, value) for key, value in json.loads(parameters).items()})
    parameters_of(part, name)
    part._validate_params()
    return part


def is_trained(part: Any) -> bool:
    return hasattr(part, "n_features_in_")


def number(value: Any) -> int | float:
    """A numpy or Python number as a JSON one."""
    return float(value) if isinstance(value, float | np.floating) else int(value)


def copied(values: Any) -> Array:
    """An array of its own, whole and in C order: what an estimator changes later is not changed here."""
    return np.array(values, order="C", copy=True)


def _plain(value: Any, name: str, where: str) -> Any:
    if isinstance(value, np.bool_ | np.integer | np.floating):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and np.isfinite(value):
        return value
    if isinstance(value, tuple | list | np.ndarray):
        return [_plain(item, name, where) for item in value]
    if isinstance(value, dict):
        return {"pairs": [[_plain(key, name, where), _plain(item, name, where)] for key, item in value.items()]}
    raise CannotLearn(
        f"{where} has {name}={value!r}, which has no exact form in a model's manifest",
        where=where,
        fix="Use text, finite numbers, true, false, None, or lists of them.",
    )


def _given(name: str, value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {"pairs"}:
        return {_given(name, key): _given(name, item) for key, item in value["pairs"]}
    if isinstance(value, list):
        values = [_given(name, item) for item in value]
        return np.array(values, dtype=float) if name in ("class_prior", "priors") else tuple(values)
    return value
