"""The methods of a pipeline that learn, measure and watch: label, train, predict, evaluate, drift, profile, monitor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from operators.drift import drift
from operators.drift.plan import Reference
from operators.execution.plan import OnError
from operators.graph import Graph
from operators.join.columns import On
from operators.label import label as label_rows
from operators.label.declare import ModelKind, Prior
from operators.label.function import LabelingFunction
from operators.model.learner import Class
from operators.model.stream import Learns
from operators.monitor import declare as monitors
from operators.monitor import monitor
from operators.operator import Input
from operators.predict import predict
from operators.profile import profile
from streams.duration import Duration
from streams.stream import Stream

if TYPE_CHECKING:
    from operators.model.features import Features
    from operators.train.gates import Gate


class Learning(Graph):
    """What is learnt is a stream like any other: labels, models, predictions, measures, alarms."""

    def drift(
        self,
        source: Stream,
        *,
        watch: Sequence[str] = (),
        reference: Reference = "first",
        window: Duration = "1d",
        error: str | None = None,
        error_bound: float = 1.0,
        label: str | None = None,
        predicted: str | None = None,
        score: str | None = None,
        fdr: float = 0.05,
        effect: float = 0.07,
        null_effect: float = 0.02,
        error_effect: float = 0.01,
        label_effect: float = 0.05,
        performance_effect: float = 0.02,
        error_quiet: int = 300_000,
        min_rows: int = 50,
        bins: int | Mapping[str, Sequence[Any]] = 20,
        to: str = "drift",
        version: str = "1",
        on_error: OnError = "stop",
        description: str = "",
        owner: str = "",
        tags: Iterable[str] = (),
    ) -> Stream:
        """Compare each window of a stream with a reference, and raise alarms in `<to>.alarms`.

        `watch`: columns whose distribution and null rate are compared ("first" or "previous" window, so many rows, a
        length of time, or a table of rows as `reference`). `error`: a column of errors, watched row by row. `score`,
        `label`, `predicted`: what accuracy to expect and how often each class is there, without labels. What raises an
        alarm is at least as large as its effect, and false in a share of at most `fdr`. DriftError.
        """
        made = drift(
            source, watch=watch, reference=reference, window=window, error=error, error_bound=error_bound, label=label,
            predicted=predicted, score=score, fdr=fdr, effect=effect, null_effect=null_effect,
            error_effect=error_effect, label_effect=label_effect, performance_effect=performance_effect,
            error_quiet=error_quiet, min_rows=min_rows, bins=bins, to=self._full(to), version=version,
        )  # fmt: skip
        return self.add(made, on_error=on_error, description=description, owner=owner, tags=tags)

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
        tick: Duration | None = None,
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
            by=by, baselines=baselines, score=score, predicted=predicted, tolerance=tolerance, tick=tick,
            most_slices=most_slices, alarm_windows=alarm_windows, alarm_rows=alarm_rows, version=version,
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
        weak_probability: str | None = None,
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
        tick: Duration | None = None,
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
        `censored` are left out. `weak` labels are learnt while there is little truth. `tick`: rows wait at most so long
        for the next ones. CannotTrain, CannotLearn.
        """
        from operators.train.declare import train

        made = train(
            examples, target=target, to=self._full(to), features=features, estimator=estimator, candidates=candidates,
            classes=classes, censored=censored, weight=weight, weak=weak, weak_probability=weak_probability,
            weak_until=weak_until, chunk=chunk, checkpoint_every=checkpoint_every, retrain_on=retrain_on,
            on_alarm=on_alarm, most_challengers=most_challengers, gates=gates, promote_error=promote_error,
            probation=probation, compare_over=compare_over, tick=tick, version=version,
        )  # fmt: skip
        control = made.control
        self.streams.setdefault(control.name, self._owned(control))
        return self.add(made, description=description, owner=owner, tags=tags)

    def profile(
        self,
        source: Stream,
        *,
        window: Duration = "1d",
        columns: Sequence[str] | None = None,
        to: str | None = None,
        lateness: Duration = 0,
        on_error: OnError = "stop",
        description: str = "",
        owner: str = "",
        tags: Iterable[str] = (),
    ) -> Stream:
        """What each of the columns (all without them) holds, window by window: rows, nulls, moments, quantiles,
        different and most frequent values, in a form that can be merged. `to` is `<source>.profile` unless said
        otherwise. `headwater streams NAME` and `hub.profile(name)` show the windows put together."""
        name = self._full(f"{source.name}.profile" if to is None else to)
        made = profile(source, to=name, window=window, columns=columns, lateness=lateness)
        return self.add(made, on_error=on_error, description=description, owner=owner, tags=tags)

    def monitor(
        self,
        source: Stream,
        function: monitors.Function | Sequence[monitors.Function],
        *,
        window: Duration,
        to: str,
        by: str | Sequence[str] = (),
        reads: Sequence[str] | None = None,
        alarm: monitors.Alarms = None,
        lateness: Duration = 0,
        limit: int = monitors.LIMIT,
        version: str = "1",
        on_error: OnError = "stop",
        description: str = "",
        owner: str = "",
        tags: Iterable[str] = (),
    ) -> Stream:
        """What functions give for the rows of each window and segment: a number or a dict of them; hw.metrics has some.

        They see the columns in `reads` (all without it). `by` names the columns whose values are the segments. Where
        `alarm` holds (`"> 0.2"`, `"< 10 or > 500"`, or one by metric name) a row goes to `<to>.alarms`, rows that come
        after their window has closed go to `<to>.late`. A window may have `limit` rows.
        """
        made = monitor(
            source, function, window=window, to=self._full(to), by=by, reads=reads, alarm=alarm, lateness=lateness,
            limit=limit, version=version,
        )  # fmt: skip
        return self.add(made, on_error=on_error, description=description, owner=owner, tags=tags)

    def label(
        self,
        source: Stream,
        functions: Sequence[LabelingFunction],
        *,
        to: str,
        classes: Sequence[bool | int | str] | None = None,
        prior: Prior = "learn",
        model: ModelKind = "patterns",
        keep: Sequence[str] = (),
        update_every: int = 5_000,
        forgetting: int | None = 100_000,
        lag: Duration = 0,
        version: str = "1",
        on_error: OnError = "stop",
        description: str = "",
        owner: str = "",
        tags: Iterable[str] = (),
    ) -> Stream:
        """Label rows by what `functions` (hw.labeling_function, hw.rule, …) say of them: votes in `<to>.votes`, what
        each vote is worth in `<to>.model`, alarms about functions in `<to>.alarms`, and probabilities in `<to>`.

        `classes` (default: those that the functions name), `prior`: the share of each, "learn", or None for equal ones.
        model="patterns" is learnt without truth, anew after every `update_every` rows; rows `forgetting` rows ago
        count half. model="majority" counts votes. `keep`: columns that go with the labels. LabelError.
        """
        made = label_rows(
            source, functions, to=self._full(to), classes=classes, prior=prior, model=model, keep=keep,
            update_every=update_every, forgetting=forgetting, lag=lag, version=version,
        )  # fmt: skip
        for part in made[:-1]:
            self.add(part, on_error=on_error, owner=owner, tags=tags)
        return self.add(made[-1], on_error=on_error, description=description, owner=owner, tags=tags)
