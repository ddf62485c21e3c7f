"""A learner: encoders, transformers and an estimator that learn together, chunk by chunk, from named columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from operators.model.artefact import ModelError
from operators.model.columns import Columns, Floats, kinds_of
from operators.model.encoder import Block, Doubt, Encoder, matrix
from operators.model.features import Features, features_of
from operators.model.registry import CannotLearn, entry_of, is_trained, made, parameters_of
from operators.model.scoring import columns_of, probabilities_of, values_of

Class: TypeAlias = bool | int | float | str
Codes = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Scored:
    """What a model says of rows: `probabilities` of shape (n, classes), or `values` of shape (n,) of a regressor, and
    the rows about which it should not have been asked."""

    probabilities: Floats | None
    values: Floats | None
    doubts: list[Doubt]


class UnknownClass(CannotLearn):
    """A label that is none of the classes with which a model was declared."""


class Learner:
    """Learns from chunks of rows and predicts; made with `learner`, saved with `format.dump`.

    `classes` are the labels in the order of their probabilities; None for a regressor. Equal chunks in equal order
    give equal learners, to the bit, also if one was saved and restored in between.
    """

    def __init__(
        self, encoder: Encoder, steps: Sequence[Any], estimator: Any, classes: tuple[Class, ...] | None
    ) -> None:
        self.encoder = encoder
        self.steps = tuple(steps)
        self.estimator = estimator
        self.classes = classes
        self.trained_rows = 0

    @property
    def is_trained(self) -> bool:
        return is_trained(self.estimator)

    @property
    def features(self) -> tuple[str, ...]:
        """The columns that it reads."""
        return self.encoder.declared.columns

    def codes(self, labels: Any) -> Codes:
        """The position of each label in `classes`; -1 for a null, and for a label that is none of them. Shape (n,)."""
        assert self.classes is not None, "a regressor has no classes"
        known = pa.array(self.classes)
        given = labels if isinstance(labels, pa.Array | pa.ChunkedArray) else pa.array(labels)
        if isinstance(given, pa.ChunkedArray):
            given = given.combine_chunks()
        if pa.types.is_dictionary(given.type):
            given = given.cast(given.type.value_type)
        if given.type != known.type:
            given = given.cast(known.type)
        found = pc.fill_null(pc.index_in(given, value_set=known), -1)
        return found.to_numpy().astype(np.int64)

    def partial_fit(self, rows: pa.RecordBatch, labels: Any, weight: Any = None) -> None:
        """Learn from one chunk. `labels` are classes, or numbers for a regressor; `weight` counts each row.
        UnknownClass for a label that is none of the classes; ModelError if it diverges, and is of no use any more."""
        columns = self.encoder.columns(rows)
        targets = self._targets(labels)
        self.encoder.learn(columns)
        self.learn_encoded(matrix(self.encoder.blocks(columns), len(columns)), targets, weight)

    def learn_encoded(self, values: Floats, targets: Any, weight: Any = None) -> None:
        """Learn from rows that the encoder has learnt and made a matrix of; `targets` are codes of classes, or numbers.
        Learners that share an encoder pay for it once. ModelError as above."""
        from sklearn import config_context

        options: dict[str, Any] = {}
        if self.classes is not None and not self.is_trained:
            options["classes"] = np.arange(len(self.classes))
        if weight is not None:
            options["sample_weight"] = np.asarray(weight, dtype=np.float64)
        try:
            # Encoders give finite numbers, and parameters were checked when the learner was made.
            with config_context(assume_finite=True, skip_parameter_validation=True):
                for step in self.steps:
                    step.partial_fit(values) if hasattr(step, "partial_fit") else step.fit(values)
                    values = step.transform(values)
                self.estimator.partial_fit(values, targets, **options)
        except ValueError as error:
            raise ModelError(
                f"{type(self.estimator).__name__} could not learn from these rows: {error}",
                where=f"after {self.trained_rows} rows",
                fix="What it has learnt is not to be used. Scale the features, or choose a smaller learning rate.",
            ) from error
        self.trained_rows += len(targets)

    def predict_proba(self, rows: pa.RecordBatch) -> Floats:
        """The probability of each class. Shape (n, classes). The learner must have learnt from a chunk."""
        found = self.score(rows, doubts=False).probabilities
        assert found is not None, "a regressor has no probabilities"
        return found

    def predict(self, rows: pa.RecordBatch) -> Floats:
        """What a regressor predicts. Shape (n,)."""
        found = self.score(rows, doubts=False).values
        assert found is not None, "a classifier predicts probabilities"
        return found

    def score(self, rows: pa.RecordBatch, *, doubts: bool = True) -> Scored:
        """Predictions, and where they should not be trusted."""
        columns = self.encoder.columns(rows)
        blocks = self._transformed(columns)
        found = self.encoder.doubts(columns) if doubts else []
        if self.classes is None:
            return Scored(None, values_of(self.estimator, blocks, rows.num_rows), found)
        return Scored(probabilities_of(self.estimator, blocks, rows.num_rows), None, found)

    def probabilities(self, blocks: Sequence[Block], rows: int) -> Floats:
        """The probability of each class of rows that the encoder has encoded. Shape (rows, classes)."""
        return probabilities_of(self.estimator, self._stepped(blocks, rows), rows)

    def _transformed(self, columns: Columns) -> Sequence[Block]:
        return self._stepped(self.encoder.blocks(columns), len(columns))

    def _stepped(self, blocks: Sequence[Block], rows: int) -> Sequence[Block]:
        if not self.steps or not rows:
            return blocks
        values = matrix(blocks, rows)
        for step in self.steps:
            values = step.transform(values)
        return columns_of(values)

    def _targets(self, labels: Any) -> Any:
        if self.classes is None:
            return np.asarray(labels, dtype=np.float64)
        codes = self.codes(labels)
        if len(codes) and codes.min() < 0:
            at = int(np.argmin(codes))
            raise UnknownClass(
                f"The label {labels[at]!s} is none of the classes {list(self.classes)}",
                where=type(self.estimator).__name__,
                fix="Declare it: classes=[...]. A model of other classes begins anew.",
            )
        return codes


def learner(
    estimator: Any,
    features: Features | Iterable[str],
    schema: pa.Schema,
    *,
    classes: Sequence[Class] | None = None,
    where: str = "learner",
) -> Learner:
    """A new learner like `estimator` (an estimator of the registry, or a scikit-learn Pipeline that ends in one; it
    is not changed) over columns of `schema`. CannotLearn for what cannot be trained, saved and restored to the bit."""
    declared = features_of(features, schema, where)
    steps, last = _parts(estimator)
    name, entry = entry_of(last)
    if entry.kind == "transformer" or not hasattr(last, "partial_fit"):
        raise CannotLearn(f"{name} cannot learn chunk by chunk", where=where, fix="End in a classifier or regressor.")
    kept = _classes(classes, name, entry.kind, where)
    copies = []
    for step in steps:
        step_name, step_entry = entry_of(step)
        if step_entry.kind != "transformer":
            raise CannotLearn(f"{step_name} stands before the last step", where=where, fix="Only transformers may.")
        copies.append(_copy(step, step_name, where))
    if (
        name == "MultinomialNB"
        and declared.numeric
        and not any(type(step).__name__ == "MinMaxScaler" for step in copies)
    ):
        raise CannotLearn(
            "MultinomialNB takes no negative numbers, and standardised features are negative below their mean",
            where=where,
            fix="Bin them (hw.features(binned=...)), put MinMaxScaler(clip=True) before it, or use GaussianNB.",
        )
    return Learner(Encoder(declared, kinds_of(schema, declared.columns)), copies, _copy(last, name, where, kept), kept)


def _parts(estimator: Any) -> tuple[list[Any], Any]:
    if type(estimator).__name__ == "Pipeline" and hasattr(estimator, "steps"):
        parts = [part for _, part in estimator.steps if part is not None and part != "passthrough"]
        if not parts:
            raise CannotLearn("The Pipeline has no steps", where="Pipeline", fix="End it in a classifier or regressor.")
        return parts[:-1], parts[-1]
    return [], estimator


def _copy(part: Any, name: str, where: str, classes: tuple[Class, ...] | None = None) -> Any:
    parameters = parameters_of(part, name)
    weights = parameters.get("class_weight")
    if isinstance(weights, dict) and classes is not None:
        try:
            pairs = [[classes.index(label), weight] for label, weight in weights["pairs"]]
        except ValueError as error:
            raise CannotLearn(
                f"class_weight names a class that is none of {list(classes)}", where=where, fix="Name those."
            ) from error
        parameters["class_weight"] = {"pairs": pairs}
    try:
        return made(name, parameters, where)[1]
    except ModelError as error:
        raise CannotLearn(error.what, where=where, fix="Correct the parameter that it names.") from error


def _classes(classes: Sequence[Class] | None, name: str, kind: str, where: str) -> tuple[Class, ...] | None:
    if kind == "regressor":
        if classes is not None:
            raise CannotLearn(f"{name} predicts numbers and has no classes", where=where, fix="Leave classes= out.")
        return None
    given = tuple(value.item() if isinstance(value, np.generic) else value for value in classes or ())
    kinds = {type(value) for value in given}
    if len(given) < 2 or len(set(given)) < len(given) or len(kinds) != 1 or kinds - {bool, int, float, str}:
        raise CannotLearn(
            f"{name} needs the classes that labels may be, and got {classes!r}",
            where=where,
            fix="Name at least two, all truth values, numbers or texts: classes=[False, True].",
        )
    return given
