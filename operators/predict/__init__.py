"""Predict: rows are scored by the model that held at their event time, and say whether to trust it."""

from __future__ import annotations

from operators.predict.declare import CannotPredict, predict
from operators.predict.operator import Predict

__all__ = ["CannotPredict", "Predict", "predict"]
