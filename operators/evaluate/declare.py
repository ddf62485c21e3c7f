"""How an evaluation is declared: predictions meet their truth, then windows of them are measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from operators.evaluate.classes import Class, Classes
from operators.evaluate.errors import CannotEvaluate
from operators.evaluate.operator import Columns, Evaluate, Rule
from operators.join.columns import On, pairs_of
from operators.join.declare import join
from operators.operator import Operator
from streams.duration import Duration, parse_duration
from streams.stream import Stream

#: What predictions say beside their score, where they say it.
_OPTIONAL = {"usable": "usable", "version": "model_version"}


def evaluate(
    scores: Stream,
    truth: Stream,
    *,
    label: str,
    to: str,
    on: On | None = None,
    censored: str | None = None,
    classes: Sequence[Class] | None = None,
    window: Duration = "1d",
    by: Sequence[str] = (),
    baselines: Mapping[str, Rule] | None = None,
    score: str = "score",
    predicted: str = "predicted",
    tolerance: Duration | None = None,
    tick: Duration | None = None,
    most_slices: int = 50,
    alarm_windows: int = 7,
    alarm_rows: int = 200,
    version: str = "1",
) -> tuple[Operator, Operator]:
    """Two operators: `<to>.judged` gives each row of `truth` the newest prediction of its key in `scores` that was made
    by then; `to` measures them by windows of event time, those of the truth. With `tick`, truth waits at most
    so long (of event time) for what comes next.

    `on` is the column that both are keyed by (without it the key of `scores`), `label` the column of what came true,
    `censored` a column that is true where that will never be known. `classes` are needed for labels that are not
    true or false; of two, the second is the positive one. `by` are columns (of either stream) whose values are
    measured one by one as well. `baselines` are rules to be beaten: a column with a predicted class, or a column and a
    threshold above which the positive class is predicted. No-change and majority are always there; they predict
    from the labels that came before, in the order in which they were known. On `<to>.alarms` there is an alarm when the
    predictions were right no more often than a baseline over the last `alarm_windows` windows, if those hold
    `alarm_rows` rows. CannotEvaluate, CannotJoin.
    """
    arrow = truth.schema.arrow
    both = {*arrow.names, *scores.schema.arrow.names}
    rules = dict(baselines or {})
    ruled = [rule if isinstance(rule, str) else rule[0] for rule in rules.values()]
    _refuse_unknown(truth, [label, *([censored] if censored else [])], arrow.names)
    _refuse_unknown(scores, [score, predicted], scores.schema.arrow.names)
    _refuse_unknown(scores, [*by, *ruled], sorted(both))
    named = [name for name in rules if not name.isidentifier() or name in ("no_change", "majority")]
    if named:
        raise CannotEvaluate(
            f"A baseline cannot be called {named[0]!r}", where=to, fix="Give it a name that can be part of a column's."
        )
    found = _classes(arrow.field(label).type, classes, label, to)
    span = parse_duration(window)
    if span <= 0:
        raise CannotEvaluate("A window has a length", where=to, fix='For example window="1d".')
    wanted = {score, predicted, *([] if len(found) == 2 else ["probabilities"]), *_OPTIONAL.values()}
    wanted |= {name for name in (*by, *ruled) if name not in arrow.names}
    fields = {name: name for name in scores.schema.arrow.names if name in wanted}
    keys = on if on is not None else list(scores.key)
    kept = [label, *([censored] if censored else []), *(name for name in (*by, *ruled) if name in arrow.names)]
    clash = sorted(set(fields) & {*kept, *truth.key, truth.time, *(one for one, _ in pairs_of(keys))})
    if clash:
        raise CannotEvaluate(
            f"Both the predictions and the truth have a column {clash[0]!r}",
            where=to,
            fix="Rename one of them, for example with a map.",
        )
    judged = join(
        truth,
        scores,
        how="asof",
        on=keys,
        fields=fields,
        left_fields=kept,
        tolerance=tolerance,
        tick=tick,
        to=f"{to}.judged",
        version=version,
    )
    stream = judged.outputs[0]
    columns = Columns(
        label,
        score,
        predicted,
        probabilities="probabilities" if "probabilities" in fields else None,
        usable="usable" if "usable" in fields else None,
        version="model_version" if "model_version" in fields else None,
        censored=censored,
    )
    measured = Evaluate(
        stream,
        to,
        columns,
        found,
        window=span,
        by=by,
        rules=rules,
        most_slices=most_slices,
        alarm_windows=alarm_windows,
        alarm_rows=alarm_rows,
        version=version,
    )
    return judged, measured


def _classes(type: Any, classes: Sequence[Class] | None, label: str, to: str) -> Classes:
    try:
        found = Classes.of(type, classes)
    except ValueError as error:
        raise CannotEvaluate(
            f"The classes {list(classes or ())} do not fit the label {label!r} ({type}): {error}",
            where=to,
            fix="List the values that the label can have.",
        ) from error
    if found is None:
        raise CannotEvaluate(
            f"The label {label!r} is {type}, and its classes are not given",
            where=to,
            fix="List them with classes=[…]; of two, the second is the positive one.",
        )
    if not (pa.types.is_boolean(type) or pa.types.is_integer(type) or pa.types.is_string(type)):
        raise CannotEvaluate(
            f"The label {label!r} is {type}", where=to, fix="A label is true or false, text, or a whole number."
        )
    return found


def _refuse_unknown(stream: Stream, names: Sequence[str], known: Sequence[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise CannotEvaluate(
            f"There is no column {', '.join(map(repr, unknown))}",
            where=stream.name,
            fix=f"It has {', '.join(map(repr, known))}.",
        )
