"""How a prediction is declared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pyarrow as pa

from catalog.errors import HeadwaterError
from operators.model.columns import kinds_of
from operators.model.features import kind_of
from operators.model.learner import Class
from operators.model.stream import MODEL_SCHEMA, Learns
from operators.predict.operator import Declared, Outputs, Predict
from operators.predict.scores import Scores
from streams.duration import Duration, parse_duration
from streams.schema import Schema
from streams.stream import Stream

_DESCRIPTIONS = {
    "model": "The model stream whose champion scored the row.",
    "estimator": "The challenger that scored the row.",
    "model_version": "Which of its versions; null before the first.",
    "score": "Probability of the positive class, of more than two classes that of the predicted one; or the number.",
    "probabilities": "Of each class, in their order.",
    "predicted": "The class with the highest probability.",
    "usable": "False if the model should not have been asked: see reason.",
    "reason": "Why the prediction is not usable.",
    "features_digest": "One number for the features as the model saw them: equal ones have equal digests.",
}

_REFUSED = pa.schema(
    [
        pa.field("model", pa.string()),
        pa.field("version", pa.int64()),
        pa.field("at", pa.timestamp("us", "UTC")),
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
    ]
)


class CannotPredict(HeadwaterError):
    """A prediction was declared that cannot be made."""

    exit_code = 2


def predict(
    source: Stream,
    model: Stream,
    *,
    to: str,
    features: Sequence[str] | None = None,
    classes: Sequence[Class] | Literal["model"] | None = "model",
    learns: Learns | None = None,
    keep: Sequence[str] = (),
    shadows: bool = True,
    min_confidence: float = 0.0,
    lag: Duration = 0,
    tick: Duration | None = None,
    wait: bool = True,
    version: str = "1",
) -> Predict:
    """Score each row of `source` by the champion that `model` names at the row's event time.

    `features` are the columns that models may read, `classes` what they predict (None: numbers); without them they are
    what the trainer says that it `learns`. A model of other classes is refused. Predictions have the source's key and
    event time, the columns `keep` and `features`, and those that docs/reference/operators-learning.md lists.
    Challengers are scored too, to `<to>.shadow`, unless `shadows` is False. A prediction whose class has a probability
    below `min_confidence` is not usable. `lag`: a model holds from so much event time after its own on, so that live
    rows need not wait for the trainer. `tick`: rows wait at most so long (of event time) for the next ones.

    Rows wait until the clock has passed them, since only then it is known which model holds. With wait=False they are
    scored as they come, by the model that holds where their batch begins: at a change of models it then matters how
    rows were cut into batches. CannotPredict.
    """
    arrow = source.schema.arrow
    if source.time is None:
        raise CannotPredict(
            f"{source.name} has no event time, so that no model holds for its rows",
            where=to,
            fix="Declare the stream with time=…, the column that says when a row was true.",
        )
    if model.schema.arrow.names != MODEL_SCHEMA.names:
        raise CannotPredict(f"{model.name} is no model stream", where=to, fix="Give the stream that train returns.")
    if learns is None and (features is None or classes == "model"):
        raise CannotPredict(
            f"Who trains {model.name} is not declared here, so that its features and classes are not known",
            where=to,
            fix='Name them, for example features=["age"], classes=[False, True]; classes=None for numbers.',
        )
    if features is None:
        assert learns is not None
        features = learns.features
    read = (features,) if isinstance(features, str) else tuple(dict.fromkeys(features))
    unknown = [name for name in (*read, *keep) if name not in arrow.names]
    if unknown or not read:
        raise CannotPredict(
            f"{source.name} has no column {', '.join(map(repr, unknown))}" if unknown else "No features are named",
            where=to,
            fix=f"It has {', '.join(map(repr, arrow.names))}.",
        )
    odd = [name for name in read if not kind_of(arrow.field(name).type)]
    if odd:
        raise CannotPredict(
            f"{odd[0]!r} is {arrow.field(odd[0]).type}, which no model reads",
            where=to,
            fix="Features are numbers, truth values and text: make such a column of it with p.map.",
        )
    if not 0.0 <= min_confidence <= 1.0:
        raise CannotPredict(f"min_confidence is {min_confidence}", where=to, fix="It is a probability, from 0 to 1.")
    own = tuple(dict.fromkeys((*source.key, source.time, *keep, *read)))
    predicted = _classes(classes, learns, to)
    declared = Declared(
        source,
        model,
        own,
        read,
        kinds_of(arrow, read),
        predicted,
        min_confidence,
        parse_duration(lag),
        None if tick is None else parse_duration(tick),
        wait,
    )
    return Predict(declared, _outputs(declared, to, keep, shadows), version)


def _classes(
    classes: Sequence[Class] | Literal["model"] | None, learns: Learns | None, to: str
) -> tuple[Class, ...] | None:
    if classes == "model":
        assert learns is not None
        return learns.classes
    if classes is None:
        return None
    if isinstance(classes, str) or len(set(classes)) < 2 or len({type(one) for one in classes}) != 1:
        raise CannotPredict(
            f"The classes {classes!r} are not two or more of one kind",
            where=to,
            fix="For example classes=[False, True].",
        )
    return tuple(classes)


def _outputs(declared: Declared, to: str, keep: Sequence[str], shadows: bool) -> Outputs:
    source = declared.source
    fields = Scores(declared.classes, declared.min_confidence).fields()
    own = [source.schema.arrow.field(name) for name in declared.own]
    model = pa.field("model", pa.string(), nullable=False)
    digest = pa.field("features_digest", pa.int64(), nullable=False)
    entities = {name: entity for name, entity in source.entities.items() if name in declared.own}

    def stream(name: str, columns: list[pa.Field], described: str) -> Stream:
        return Stream(
            name,
            _schema(columns, name),
            key=source.key,
            time=source.time,
            partitions=source.partitions,
            entities=entities,
            description=described,
        )

    front = [field for field in own if field.name not in declared.features]
    behind = [field for field in own if field.name in declared.features]
    scores = stream(to, [*front, model, *fields, *behind, digest], f"Predictions of {declared.model.name}.")
    shadow = None
    if shadows:
        estimator = pa.field("estimator", pa.string(), nullable=False)
        beside = {*source.key, source.time, *keep}
        columns = [*(field for field in own if field.name in beside), model, estimator, *fields]
        shadow = stream(f"{to}.shadow", columns, f"Predictions of the challengers of {declared.model.name}.")
    refused = Stream(
        f"{to}.refused",
        Schema(_REFUSED).described(
            {"partition": "Of the model message.", "offset": "Of the model message.", "reason": "Why it is refused."}
        ),
        partitions=source.partitions,
        description=f"Messages of {declared.model.name} that were refused; each task has its own row of it.",
        role="quarantine",
        addresses=("partition", "offset"),
    )
    return Outputs(scores, shadow, refused)


def _schema(columns: list[pa.Field], name: str) -> Schema:
    names = [column.name for column in columns]
    twice = sorted({one for one in names if names.count(one) > 1})
    if twice:
        raise CannotPredict(
            f"The column {twice[0]!r} of the rows has the name of one that predictions have",
            where=name,
            fix="Rename it before, with p.map or p.clean(rename=…).",
        )
    described = {column: text for column, text in _DESCRIPTIONS.items() if column in names}
    return Schema(pa.schema(columns)).described(described)
