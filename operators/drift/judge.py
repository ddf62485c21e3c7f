"""From a window's counts to its rows: every measure with its effect, its p-value among all others, and whether it is an
alarm."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from operators.alarms import CONCEPT, DATA, LABEL, PERFORMANCE
from operators.drift.concept import UNIT
from operators.drift.distance import adjusted, compare, rates_differ
from operators.drift.expected import expected_accuracy, expected_auc, fall
from operators.drift.label_shift import estimated_shares
from operators.drift.plan import Plan
from operators.drift.reference import ERROR, PREDICTED, Reference, scored_of
from streams.schema import Schema

Ints = npt.NDArray[np.int64]

_UTC = pa.timestamp("us", tz="UTC")
DISTRIBUTION: Final = "distribution"
NULL_RATE: Final = "null_rate"
CLASS_SHARES: Final = "class_shares"
ACCURACY: Final = "expected_accuracy"
AUC: Final = "expected_auc"
MEAN_ERROR: Final = "mean_error"

SCHEMA: Final = Schema(
    pa.schema(
        [
            pa.field("at", _UTC, nullable=False),
            pa.field("start", _UTC, nullable=False),
            pa.field("kind", pa.string(), nullable=False),
            pa.field("column", pa.string(), nullable=False),
            pa.field("measure", pa.string(), nullable=False),
            pa.field("rows", pa.int64(), nullable=False),
            pa.field("value", pa.float64()),
            pa.field("reference", pa.float64()),
            pa.field("statistic", pa.float64()),
            pa.field("p_value", pa.float64()),
            pa.field("adjusted_p", pa.float64()),
            pa.field("effect", pa.float64()),
            pa.field("threshold", pa.float64(), nullable=False),
            pa.field("alarm", pa.bool_(), nullable=False),
            pa.field("detail", pa.string(), nullable=False),
        ]
    )
).described(
    {
        "at": "The end of the window.",
        "start": "Its beginning.",
        "kind": "data, label, performance or concept.",
        "column": "The column that was measured.",
        "measure": "distribution, null_rate, class_shares, expected_accuracy, expected_auc or mean_error.",
        "rows": "Rows of the window that have a value.",
        "value": "The measure in the window; of a distribution its Jensen-Shannon distance (0 to 1).",
        "reference": "The same in the reference.",
        "statistic": "What was tested: chi-square, or standard errors.",
        "p_value": "How often chance alone would show as much.",
        "adjusted_p": "The same in view of all that was tested in this window (Benjamini and Hochberg).",
        "effect": "How large the change is, whatever the number of rows; compared with the threshold.",
        "threshold": "The effect from which on an alarm is raised.",
        "alarm": "True if the effect reaches the threshold and the adjusted p-value the false-discovery rate.",
        "detail": "What else was seen, as JSON.",
    }
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One measure of one window."""

    kind: str
    column: str
    measure: str
    rows: int
    threshold: float
    value: float | None = None
    reference: float | None = None
    statistic: float | None = None
    p_value: float | None = None
    adjusted_p: float | None = None
    effect: float | None = None
    alarm: bool = False
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def subject(self) -> str:
        """What an alarm that goes on is recognised by."""
        return f"{self.kind} {self.measure} {self.column}"


def judge(plan: Plan, reference: Reference, flat: Ints, *, changed: bool) -> list[Finding]:
    """The findings of one window; `changed`: the error detector raised an alarm in it."""
    now = reference.parted(flat)
    findings = [*_columns(plan, reference, now), *_labels(plan, reference, now), *_performance(plan, reference, now)]
    tested = np.array([np.nan if one.p_value is None else one.p_value for one in findings])
    for number, value in enumerate(adjusted(tested).tolist()):
        one = findings[number]
        if not np.isnan(value) and one.effect is not None:
            alarm = value <= plan.fdr and one.effect >= one.threshold
            findings[number] = replace(one, adjusted_p=value, alarm=alarm)
    return [*findings, *_errors(plan, reference, now, changed)]


def rows_of(findings: Sequence[Finding], start: int, end: int) -> pa.RecordBatch:
    count = len(findings)
    columns: list[pa.Array] = []
    for wanted in SCHEMA.arrow:
        if wanted.name in ("at", "start"):
            columns.append(pa.array([end if wanted.name == "at" else start] * count, pa.int64()).cast(_UTC))
        elif wanted.name == "detail":
            columns.append(pa.array([detail_text(one.detail) for one in findings], pa.string()))
        else:
            columns.append(pa.array([getattr(one, wanted.name) for one in findings], wanted.type))
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA.arrow)


def detail_text(detail: dict[str, Any]) -> str:
    return orjson.dumps(detail, option=orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY).decode()


def moment_text(microseconds: int) -> str:
    """An event time as ISO 8601 text in UTC."""
    return f"{np.datetime64(microseconds, 'us')}Z"


def _columns(plan: Plan, reference: Reference, now: dict[str, Ints]) -> Iterable[Finding]:
    if not plan.watch:
        return []
    names = [f"column {name}" for name in plan.watch]
    widest = max(reference.bins[name].size for name in names)
    known, seen = (
        np.stack([np.pad(counts[name][:-1], (0, widest - reference.bins[name].size)) for name in names])
        for counts in (reference.counts, now)
    )
    nulls_known, nulls_seen = (np.array([counts[name][-1] for name in names]) for counts in (reference.counts, now))
    found = compare(known, seen, np.array([reference.bins[name].numeric for name in names]))
    valid_known, valid_seen = known.sum(axis=1), seen.sum(axis=1)
    all_known, all_seen = valid_known + nulls_known, valid_seen + nulls_seen
    statistic, p_value = rates_differ(nulls_known, all_known, nulls_seen, all_seen)
    findings = []
    for number, (column, name) in enumerate(zip(plan.watch, names, strict=True)):
        tested = min(valid_known[number], valid_seen[number]) >= plan.min_rows
        detail: dict[str, Any] = {"psi": _or_none(found.psi[number])}
        if reference.bins[name].numeric:
            detail["ks"] = _or_none(found.ks[number])
        if valid_known[number] and valid_seen[number]:
            detail["most_changed"] = _most_changed(reference.bins[name].labels(), known[number], seen[number])
        shares = Finding(
            DATA, column, DISTRIBUTION, int(valid_seen[number]), plan.thresholds.column,
            value=_or_none(found.distance[number]), reference=0.0 if valid_known[number] else None,
            statistic=_or_none(found.statistic[number]), p_value=_or_none(found.p_value[number]) if tested else None,
            effect=_or_none(found.effect[number]), detail=detail,
        )  # fmt: skip
        findings.append(shares)
        if not all_known[number] or not all_seen[number]:
            continue
        some = nulls_known[number] + nulls_seen[number] > 0
        tested = some and min(all_known[number], all_seen[number]) >= plan.min_rows
        before, after = nulls_known[number] / all_known[number], nulls_seen[number] / all_seen[number]
        nulls = Finding(
            DATA, column, NULL_RATE, int(all_seen[number]), plan.thresholds.nulls, value=float(after),
            reference=float(before), statistic=_or_none(statistic[number]),
            p_value=_or_none(p_value[number]) if tested else None, effect=float(abs(after - before)),
        )  # fmt: skip
        findings.append(nulls)
    return findings


def _most_changed(labels: list[str], known: Ints, seen: Ints) -> dict[str, list[float]]:
    """The three bins whose shares changed most: label -> [share before, share now]."""
    before, after = known / known.sum(), seen / seen.sum()
    order = np.argsort(-np.abs(after - before), kind="stable")[:3]
    return {labels[at]: [round(float(before[at]), 6), round(float(after[at]), 6)] for at in order if at < len(labels)}


def _labels(plan: Plan, reference: Reference, now: dict[str, Ints]) -> Iterable[Finding]:
    if plan.label is None:
        return
    if PREDICTED not in reference.bins:
        why = f"the reference has {len(reference.classes)} classes, a score alone predicts two"
        yield Finding(LABEL, plan.label, CLASS_SHARES, 0, plan.thresholds.label, detail={"not_estimated": why})
        return
    seen, known = now[PREDICTED][:-1], reference.counts[PREDICTED][:-1]
    rows = int(seen.sum())
    bare = Finding(LABEL, plan.label, CLASS_SHARES, rows, plan.thresholds.label)
    shares = estimated_shares(reference.confusion, seen[: len(reference.classes)])
    if shares is None or rows < plan.min_rows:
        why = "too few rows" if rows < plan.min_rows else "predictions do not tell the classes apart in the reference"
        yield replace(bare, detail={"not_estimated": why})
        return
    before = reference.confusion.sum(axis=0) / reference.confusion.sum()
    most = 1 if len(shares) == 2 else int(np.argmax(np.abs(shares - before)))
    found = compare(known[None, :], seen[None, :], np.array([False]))
    yield replace(
        bare,
        value=float(shares[most]),
        reference=float(before[most]),
        statistic=_or_none(found.statistic[0]),
        p_value=_or_none(found.p_value[0]),
        effect=float(np.abs(shares - before).sum() / 2.0),
        detail={
            "class": reference.classes[most],
            "shares": {name: round(float(share), 6) for name, share in zip(reference.classes, shares, strict=True)},
        },
    )


def _performance(plan: Plan, reference: Reference, now: dict[str, Ints]) -> Iterable[Finding]:
    if plan.score is None or reference.worth is None:
        return
    seen, known = scored_of(now), scored_of(reference.counts)
    measures = {ACCURACY: expected_accuracy, AUC: expected_auc}
    for measure, expected in measures.items():
        before, after = expected(reference.worth, known), expected(reference.worth, seen)
        if before is not None and after is not None:
            rows = int(seen.rows.sum())
            z, p_value = fall(reference.worth, before, after)
            yield Finding(
                PERFORMANCE, plan.score, measure, rows, plan.thresholds.performance, value=after.value,
                reference=before.value, statistic=z, p_value=p_value if rows >= plan.min_rows else None,
                effect=before.value - after.value,
            )  # fmt: skip


def _errors(plan: Plan, reference: Reference, now: dict[str, Ints], changed: bool) -> Iterable[Finding]:
    if plan.error is None:
        return
    (rows, total), (rows_known, total_known) = now[ERROR].tolist(), reference.counts[ERROR].tolist()
    after = total / UNIT / rows * plan.error_bound if rows else None
    before = total_known / UNIT / rows_known * plan.error_bound if rows_known else None
    yield Finding(
        CONCEPT, plan.error, MEAN_ERROR, rows, plan.thresholds.error, value=after, reference=before,
        effect=None if after is None or before is None else after - before, alarm=changed,
    )  # fmt: skip


def _or_none(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)
