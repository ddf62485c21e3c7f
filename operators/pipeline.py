"""A pipeline: a named set of streams, sources and operators. Declaring runs nothing; every output is named.

What an operator does is said where it is made (operators/clean, operators/join, …); here it gets its name and place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from operators.clean import clean
from operators.clean.impute import Imputer
from operators.clean.normalise import Normaliser
from operators.execution.plan import OnError
from operators.filter import Predicate
from operators.filter import filter as filter_rows
from operators.graph import Graph
from operators.join import join
from operators.join.columns import Fields, On
from operators.join.declare import How
from operators.map import Function
from operators.map import map as map_rows
from operators.model.learner import Class
from operators.model.stream import Learns
from operators.operator import Input
from operators.predict import predict
from operators.repartition import repartition
from streams.duration import Duration
from streams.rule import Rule
from streams.schema import Schema
from streams.stream import Stream

if TYPE_CHECKING:
    from operators.model.features import Features
    from operators.train.gates import Gate


class Pipeline(Graph):
    """Declares streams and what is done to them.

    Names are given without the pipeline's own, which is put in front: `Pipeline("plant").stream("readings", …)` is
    the stream `plant.readings`. `partitions` is what streams get unless they say otherwise.

    All operators take `on_error` ("quarantine": a batch on which a step fails is listed in `<name>.failed` and passed
    over; otherwise the task stops there), and `description`, `owner` and `tags` of their outputs in the catalog.
    """

    def clean(
        self,
        source: Stream,
        *,
        to: str,
        expect: Sequence[Rule] = (),
        normalise: Mapping[str, Normaliser | Sequence[Normaliser]] | None = None,
        impute: Mapping[str, Imputer] | None = None,
        flag_imputed: bool = False,
        tables: Sequence[Stream] = (),
        drop: Sequence[str] = (),
        rename: Mapping[str, str] | None = None,
        version: str = "1",
        on_error: OnError = "stop",
        description: str = "",
        owner: str = "",
        tags: Iterable[str] = (),
    ) -> Stream:
        """Normalise, check and impute rows; what fails goes to `<to>.quarantine`.

        In this order: `normalise` brings fields into their normal form (hw.normalise), the contract's rules and those
        of `expect` are judged, `impute` fills nulls (hw.impute; with `flag_imputed` a column says where), `drop` and
        `rename` shape the output. `tables` are those that `references` rules name. Rows published to `<to>.retry` take
        the same path. CleanError or ContractError for what does not fit the schema.
        """
        made = clean(
            source, to=self._full(to), expect=expect, normalise=normalise, impute=impute, flag_imputed=flag_imputed,
            tables=tables, drop=drop, rename=rename, version=version,
        )  # fmt: skip
        return self.add(made, on_error=on_error, description=description, owner=owner, tags=tags)

    def join(
        self,
        left: Stream,
        right: Stream | Mapping[str, Stream],
        *,
        on: On | Mapping[str, On],
        to: str,
        how: How | None = None,
        kind: Literal["left", "inner"] = "left",
        fields: Fields | Mapping[str, Fields] = None,
        left_fields: Sequence[str] | None = None,
        prefix: str | None = None,
        broadcast: bool = False,
        tolerance: Duration | None = None,
        allow_exact: bool = True,
        before: Duration | None = None,
        after: Duration | None = None,
        many: Literal["one", "all"] = "all",
        time_name: str = "joined_at",
        lateness: Duration = 0,
        tick: Duration | None = None,
        version: str = "1",
        on_error: OnError = "stop",
        description: str = "",
        owner: str = "",
        tags: Iterable[str] = (),
    ) -> Stream:
        """Bring rows of `left` together with those of `right` that have equal values in `on` ("site", or
        ("dest", "faa") where the names differ, or a list of both).

        how="table" (if the right side is a table): the table's row that held at the left row's time; several tables
        at once by a map of names. how="asof": the newest right row at or before the left row's time, not older
        than `tolerance`. how="window": right rows up to `before` earlier and `after` later, all or (many="one") the
        first. `fields` chooses and names the right columns, `left_fields` the left ones; kind="inner" drops rows that
        found nothing. What comes later than `lateness` goes to `<to>.late`. CannotJoin, NotCoPartitioned.
        """
        made = join(
            left, right, on=on, to=self._full(to), how=how, kind=kind, fields=fields, left_fields=left_fields,
            prefix=prefix, broadcast=broadcast, tolerance=tolerance, allow_exact=allow_exact, before=before,
            after=after, many=many, time_name=time_name, lateness=lateness, tick=tick, version=version,
        )  # fmt: skip
        return self.add(made, on_error=on_error, description=description, owner=owner, tags=tags)

    def map(
        self,
        source: Stream,
        function: Function,
        *,
        reads: Sequence[str],
        to: str,
        schema: Schema | pa.Schema | None = None,
        key: str | Sequence[str] | None = None,
        time: str | None = None,
        add: bool = False,
        derives: Mapping[str, Sequence[str]] | None = None,
        row_wise: bool = False,
        version: str = "1",
        on_error: OnError = "stop",
        description: str = "",
        owner: str = "",
        tags: Iterable[str] = (),
    ) -> Stream:
        """Apply a plain function to batches; it sees the columns in `reads` and no others.

        It gives back a RecordBatch or Table, alone or as hw.Mapped with the input row of each output row. With `add`
        the source's columns are carried over beside those that it makes. `schema` is what it makes, `derives` what each
        made column depends on; `row_wise` promises that it treats each row by itself. CannotMap for what cannot be
        declared.
        """
        made = map_rows(
            source, function, reads=reads, to=self._full(to), schema=schema, key=key, time=time, add=add,
            derives=derives, row_wise=row_wise, version=version,
        )  # fmt: skip
        return self.add(made, on_error=on_error, description=description, owner=owner, tags=tags)

    def filter(
        self,
        source: Stream,
        predicate: Predicate,
        *,
        reads: Sequence[str],
        to: str,
        row_wise: bool = True,
        version: str = "1",
        on_error: OnError = "stop",
        description: str = "",
        owner: str = "",
        tags: Iterable[str] = (),
    ) -> Stream:
        """Keep the rows for which the predicate is true: an Arrow expression, or a function of a batch with the
        columns `reads` that gives one truth value a row."""
        made = filter_rows(source, predicate, reads=reads, to=self._full(to), row_wise=row_wise, version=version)
        return self.add(made, on_error=on_error, description=description, owner=owner, tags=tags)

    def repartition(
        self,
        source: Stream,
        key: str | Sequence[str],
        to: str,
        *,
        partitions: int | None = None,
        version: str = "1",
        description: str = "",
        owner: str = "",
        tags: Iterable[str] = (),
    ) -> Stream:
        """The same rows under another key, each in the partition of its new key; without one, in `<to>.keyless`."""
        made = repartition(source, key, self._full(to), partitions=partitions, version=version)
        return self.add(made, description=description, owner=owner, tags=tags)

    def predict(
        self,
        source: Stream,
        model: Stream,
        *,
        to: str,
        features: Sequence[str] | None = None,
        classes: Sequence[Class] | Literal["model"] | None = "model",
        keep: Sequence[str] = (),
        shadows: bool = True,
        min_confidence: float = 0.0,
        lag: Duration = 0,
        tick: Duration | None = None,
        wait: bool = True,
        version: str = "1",
        on_error: OnError = "stop",
        description: str = "",
        owner: str = "",
        tags: Iterable[str] = (),
    ) -> Stream:
        """Score rows by the champion that the model stream named at their event time, and say whether to trust it.

        `features` and `classes` (None: numbers) are those of the trainer, if it is part of this pipeline; otherwise
        name them. `keep` are further columns of the rows. Challengers are scored to `<to>.shadow`, unless `shadows` is
        False; model messages that cannot be taken are listed in `<to>.refused`, and the champion goes on. Below
        `min_confidence` a prediction is not usable. `lag`: a model holds from so much event time later on, so that
        live rows need not wait for the trainer; `tick`: rows wait at most so long for the next ones. wait=False scores
        rows as they come, by the model that holds where their batch begins. CannotPredict.
        """
        made = predict(
            source, model, to=self._full(to), features=features, classes=classes, learns=self._learns(model),
            keep=keep, shadows=shadows, min_confidence=min_confidence, lag=lag, tick=tick, wait=wait,
            version=version,
        )  # fmt: skip
        return self.add(made, on_error=on_error, description=description, owner=owner, tags=tags)

    def _learns(self, model: Stream) -> Learns | None:
        """What the trainer of the model declares, if this pipeline has it."""
        for node in self.nodes.values():
            if model.name in [stream.name for stream in node.outputs]:
                return getattr(node.operator, "learns", None)
        return None

    def evaluate(
        self,
        scores: Stream,
        truth: Stream,
        *,
        label: str,
        to: str,
        on: On | None = None,
        censored: str | None = None,
        classes: Sequence[bool | int | str] | None = None,
        window: Duration = "1d",
        by: Sequence[str] = (),
        baselines: Mapping[str, str | tuple[str, float]] | None = None,
        score: str = "score",
        predicted: str = "predicted",
        tolerance: Duration | None = None,
        most_slices: int = 50,
        alarm_windows: int = 7,
        alarm_rows: int = 200,
        version: str = "1",
        description: str = "",
        owner: str = "",
        tags: Iterable[str] = (),
    ) -> Stream:
        """Measure predictions against the truth: `<to>.judged` has each row of `truth` with the newest prediction of
        its key that had been made by then, `to` the measures of each window of event time.

        Accuracy, log-loss, AUC, PR-AUC, kappa-temporal and calibration over all rows and by the values of the columns
        `by`, beside no-change, majority and your rules (`baselines`: a column with a class, or one and a threshold).
        On `<to>.alarms` it says when predictions do no better than a baseline. CannotEvaluate, CannotJoin.
        """
        from operators.evaluate.declare import evaluate

        judged, measured = evaluate(
            scores, truth, label=label, to=self._full(to), on=on, censored=censored, classes=classes, window=window,
            by=by, baselines=baselines, score=score, predicted=predicted, tolerance=tolerance, most_slices=most_slices,
            alarm_windows=alarm_windows, alarm_rows=alarm_rows, version=version,
        )  # fmt: skip
        self.add(judged, description="Predictions with what came true.", owner=owner, tags=tags)
        return self.add(measured, description=description, owner=owner, tags=tags)

    def train(
        self,
        examples: Stream,
        *,
        target: str,
        to: str,
        features: Features | Iterable[str],
        estimator: Any = None,
        candidates: Mapping[str, Any] | None = None,
        classes: Sequence[bool | int | str] | None = None,
        censored: str | None = None,
        weight: str | None = None,
        weak: Stream | None = None,
        weak_probability: str = "probability",
        weak_until: int | None = None,
        chunk: int = 500,
        checkpoint_every: int | None = None,
        retrain_on: Input | None = None,
        on_alarm: Literal["challenger", "reset"] = "challenger",
        most_challengers: int = 2,
        gates: Sequence[Gate] = (),
        promote_error: float = 0.05,
        probation: int | None = None,
        compare_over: int | None = None,
        version: str = "1",
        description: str = "",
        owner: str = "",
        tags: Iterable[str] = (),
    ) -> Stream:
        """Learn from examples as they come; `to` is the stream of models, `<to>.alarms` what the trainer reports.

        Every chunk of exactly `chunk` rows is predicted by champion and challengers before they learn it. A challenger
        that loses less takes over, wrongly in at most `promote_error` of a champion's reigns and not against the
        objection of `gates` (hw.gate), and the one before comes back if that proves a mistake. `retrain_on` (hw.later)
        are alarms after which a fresh challenger begins, or the champion anew. Rows without a target or with a true
        `censored` are left out. `weak` labels are learnt while there is little truth. CannotTrain, CannotLearn.
        """
        from operators.train.declare import train

        made = train(
            examples, target=target, to=self._full(to), features=features, estimator=estimator, candidates=candidates,
            classes=classes, censored=censored, weight=weight, weak=weak, weak_probability=weak_probability,
            weak_until=weak_until, chunk=chunk, checkpoint_every=checkpoint_every, retrain_on=retrain_on,
            on_alarm=on_alarm, most_challengers=most_challengers, gates=gates, promote_error=promote_error,
            probation=probation, compare_over=compare_over, version=version,
        )  # fmt: skip
        control = made.control
        self.streams.setdefault(control.name, self._owned(control))
        return self.add(made, description=description, owner=owner, tags=tags)
