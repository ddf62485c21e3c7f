"""Multi-layer perceptrons: their weights, the optimiser's momenta, and what decides how the next chunk is learnt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from operators.model.artefact import Array, ModelError
from operators.model.registry import copied, number
from operators.model.shapes import FORGED, Sizes, check_arrays, check_numbers

_NUMBERS: Final = {
    "t_": int,
    "n_iter_": int,
    "loss_": float,
    "best_loss_": float,
    "no_improvement": int,
    "learning_rate": float,
}
MOST_LAYERS: Final = 12


def is_network(part: Any) -> bool:
    return type(part).__name__ in ("MLPClassifier", "MLPRegressor")


def saved(part: Any) -> tuple[dict[str, Any], dict[str, Array]]:
    optimizer = part._optimizer
    numbers = {
        "t_": number(part.t_),
        "n_iter_": number(part.n_iter_),
        "loss_": number(part.loss_),
        "best_loss_": number(part.best_loss_),
        "no_improvement": number(part._no_improvement_count),
        "learning_rate": number(optimizer.learning_rate),
    }
    if part.solver == "adam":
        numbers["steps"] = number(optimizer.t)
    arrays: dict[str, Array] = {}
    for name, values in _parts(part).items():
        arrays |= {f"{name}.{at:02d}": copied(one) for at, one in enumerate(values)}
    return numbers, arrays


def restore(part: Any, sizes: Sizes, numbers: Mapping[str, Any], arrays: Mapping[str, Array], where: str) -> None:
    hidden = part.hidden_layer_sizes
    layers = [hidden] if isinstance(hidden, int) else list(hidden)
    if part.solver not in ("adam", "sgd") or len(layers) > MOST_LAYERS:
        raise ModelError(f"A network with solver={part.solver!r} is refused"[:200], where=where, fix=FORGED)
    units = [sizes.columns, *layers, sizes.outputs]
    weights = [(units[at], units[at + 1]) for at in range(len(units) - 1)]
    shapes: dict[str, tuple[int, ...]] = {}
    for at, (fan_in, fan_out) in enumerate(weights):
        shapes |= {f"coefs.{at:02d}": (fan_in, fan_out), f"intercepts.{at:02d}": (fan_out,)}
    for name in _momenta(part.solver):
        for at, fans in enumerate(weights):
            shapes |= {f"{name}.{at:02d}": fans, f"{name}.{at + len(weights):02d}": fans[1:]}
    check_arrays(arrays, shapes, where)
    check_numbers(numbers, _NUMBERS | ({"steps": int} if part.solver == "adam" else {}), where)

    def listed(name: str, count: int) -> list[Array]:
        return [copied(arrays[f"{name}.{at:02d}"]) for at in range(count)]

    part.coefs_, part.intercepts_ = listed("coefs", len(weights)), listed("intercepts", len(weights))
    part._best_coefs = [values.copy() for values in part.coefs_]
    part._best_intercepts = [values.copy() for values in part.intercepts_]
    part.t_, part.n_iter_ = numbers["t_"], numbers["n_iter_"]
    part.loss_, part.best_loss_ = np.float64(numbers["loss_"]), np.float64(numbers["best_loss_"])
    part.loss_curve_ = [part.loss_]
    part.validation_scores_ = part.best_validation_score_ = None
    part._no_improvement_count = numbers["no_improvement"]
    part.n_layers_, part.n_outputs_ = len(units), sizes.outputs
    part.out_activation_ = _activation(part, sizes)
    part._random_state = np.random.RandomState(part.random_state)
    if sizes.classes:
        from sklearn.preprocessing import LabelBinarizer

        part._label_binarizer = LabelBinarizer().fit(np.arange(sizes.classes))
    _restore_optimizer(part, numbers, {name: listed(name, 2 * len(weights)) for name in _momenta(part.solver)})


def _activation(part: Any, sizes: Sizes) -> str:
    if sizes.classes:
        return "softmax" if sizes.classes > 2 else "logistic"
    return "exp" if getattr(part, "loss", "squared_error") == "poisson" else "identity"


def _restore_optimizer(part: Any, numbers: Mapping[str, Any], momenta: Mapping[str, list[Array]]) -> None:
    from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer

    weights = part.coefs_ + part.intercepts_
    if part.solver == "adam":
        optimizer = AdamOptimizer(weights, part.learning_rate_init, part.beta_1, part.beta_2, part.epsilon)
        optimizer.t = numbers["steps"]
    else:
        optimizer = SGDOptimizer(
            weights,
            part.learning_rate_init,
            part.learning_rate,
            part.momentum,
            part.nesterovs_momentum,
            part.power_t,
        )
    optimizer.learning_rate = numbers["learning_rate"]
    for name, values in momenta.items():
        setattr(optimizer, name, values)
    part._optimizer = optimizer


def _momenta(solver: str) -> tuple[str, ...]:
    return ("ms", "vs") if solver == "adam" else ("velocities",)


def _parts(part: Any) -> dict[str, list[Array]]:
    found = {"coefs": part.coefs_, "intercepts": part.intercepts_}
    return found | {name: getattr(part._optimizer, name) for name in _momenta(part.solver)}
