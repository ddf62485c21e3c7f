"""What a drift operator watches, checked against the stream: its columns, windows, reference and thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import pyarrow as pa

from operators.drift.bins import Bins, DriftError, given_bins, is_numeric, refuse_unbinned
from streams.duration import Duration, duration_text, parse_duration
from streams.stream import Stream

#: "first", "previous", a number of rows, a length of time, or a table of rows.
Reference: TypeAlias = int | str | Any

#: A score from here on predicts the positive class.
CUT: Final = 0.5


@dataclass(frozen=True)
class Thresholds:
    """The least effects that raise an alarm. `column`: distance of a column's histograms (0…1). `nulls`: difference of
    null rates. `error`: difference of mean errors. `label`: summed difference of the classes' shares, halved.
    `performance`: fall of the expected accuracy or AUC."""

    column: float = 0.07
    nulls: float = 0.02
    error: float = 0.01
    label: float = 0.05
    performance: float = 0.02


@dataclass(frozen=True)
class Plan:
    """See `operators.drift.declare.drift`. `reference_rows` and `reference_span` say how long the reference lasts:
    whole windows until there are so many rows and so much event time; `known` holds the rows of one that was given."""

    source: Stream
    to: str
    watch: tuple[str, ...]
    window: int
    reference_rows: int
    reference_span: int
    previous: bool
    known: pa.Table | None
    given: Mapping[str, Bins]
    error: str | None
    error_bound: float
    label: str | None
    predicted: str | None
    score: str | None
    fdr: float
    thresholds: Thresholds
    quiet: float
    min_rows: int
    bins: int
    params: dict[str, Any] = field(default_factory=dict)

    @property
    def every(self) -> int:
        """How often, in event time, errors are taken: a part of a window of which it has a whole number."""
        parts = 1 if self.error is None else next(n for n in (24, 12, 8, 6, 4, 2, 1) if self.window % n == 0)
        return self.window // parts

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns that are read, each once, in the stream's order."""
        named = {*self.watch, self.error, self.label, self.predicted, self.score}
        return tuple(name for name in self.source.schema.arrow.names if name in named)

    @property
    def binned(self) -> tuple[str, ...]:
        """The columns that the reference needs the values of."""
        return tuple(name for name in self.reads if name != self.error or name in self.watch)


def plan(
    source: Stream,
    to: str,
    *,
    watch: Sequence[str],
    reference: Reference,
    window: Duration,
    error: str | None,
    error_bound: float,
    label: str | None,
    predicted: str | None,
    score: str | None,
    fdr: float,
    thresholds: Thresholds,
    quiet: float,
    min_rows: int,
    bins: int | Mapping[str, Sequence[Any]],
) -> Plan:
    """The plan, or DriftError with the reason why there is none."""
    schema = source.schema.arrow
    if source.time is None:
        raise DriftError(
            f"{source.name} has no event time, and windows are of event time", where=to, fix="Declare it with time=…."
        )
    if not watch and error is None and score is None and predicted is None:
        raise DriftError(
            "There is nothing to watch", where=to, fix="Name columns in watch=, or an error= or score= column."
        )
    for what, name in _named(watch, error, label, predicted, score):
        if name not in schema.names:
            raise DriftError(
                f"{what} names {name!r}, which {source.name} does not have",
                where=to,
                fix=f"Its fields are {', '.join(schema.names)}.",
            )
        kind = schema.field(name).type
        refuse_unbinned(name, kind, to)
        if what in ("error", "score") and not (is_numeric(kind) or pa.types.is_boolean(kind)):
            raise DriftError(f"{what} {name!r} is {kind}, not a number", where=to, fix="Make it a number with a map.")
    if len(set(watch)) != len(watch):
        raise DriftError("watch names a column twice", where=to, fix=f"It has {', '.join(watch)}.")
    if label is not None and score is None and predicted is None:
        raise DriftError("label needs predictions to be set against", where=to, fix="Name a score= or predicted=.")
    length = parse_duration(window)
    if not length:
        raise DriftError("A window of no length holds nothing", where=to, fix='Write for example window="1d".')
    if not 0.0 < fdr < 1.0:
        raise DriftError(f"fdr={fdr} is no rate between 0 and 1", where=to, fix="Write for example 0.05.")
    if quiet < 100:
        raise DriftError(
            f"error_quiet={quiet} rows would be one false alarm after the other", where=to, fix="Give 100 or more."
        )
    if error_bound <= 0:
        raise DriftError(
            f"error_bound={error_bound} is not above 0", where=to, fix="Give the largest error that counts in full."
        )
    edges = bins if isinstance(bins, Mapping) else {}
    for name in edges:
        if name not in watch:
            raise DriftError(f"bins names {name!r}, which is not watched", where=to, fix="Add it to watch=.")
    rows, span, previous, known, described = _reference(reference, schema, to)
    found = Plan(
        source=source, to=to, watch=tuple(watch), window=length, reference_rows=max(rows, min_rows),
        reference_span=max(span, length), previous=previous, known=known,
        given={name: given_bins(name, values, schema.field(name).type, to) for name, values in edges.items()},
        error=error, error_bound=error_bound, label=label, predicted=predicted, score=score, fdr=fdr,
        thresholds=thresholds, quiet=quiet, min_rows=min_rows, bins=bins if isinstance(bins, int) else 20,
    )  # fmt: skip
    if known is not None and (lacking := [name for name in found.binned if name not in known.column_names]):
        raise DriftError(f"The reference lacks {', '.join(lacking)}", where=to, fix="Give rows with all that is read.")
    found.params.update(
        source=source.name, watch=list(watch), window=duration_text(length), reference=described, error=error,
        error_bound=error_bound, label=label, predicted=predicted, score=score, fdr=fdr, quiet=quiet, min_rows=min_rows,
        bins=found.bins, given={name: one.to_json() for name, one in found.given.items()},
        thresholds={name: getattr(thresholds, name) for name in Thresholds.__dataclass_fields__},
    )  # fmt: skip
    return found


def _named(
    watch: Sequence[str], error: str | None, label: str | None, predicted: str | None, score: str | None
) -> list[tuple[str, str]]:
    single = {"error": error, "label": label, "predicted": predicted, "score": score}
    return [("watch", name) for name in watch] + [(what, name) for what, name in single.items() if name is not None]


def _reference(reference: Reference, schema: pa.Schema, to: str) -> tuple[int, int, bool, pa.Table | None, Any]:
    if isinstance(reference, pa.Table | pa.RecordBatch):
        table = pa.table({name: reference[name] for name in schema.names if name in reference.schema.names})
        try:
            known = table.cast(pa.schema([schema.field(name).with_nullable(True) for name in table.column_names]))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DriftError(f"The reference does not have the stream's types: {error}", where=to) from error
        if not known.num_rows:
            raise DriftError("The reference has no rows", where=to, fix="Give rows of a time when all was well.")
        return 0, 0, False, known, {"rows": known.num_rows}
    if reference in ("first", "previous"):
        return 0, 0, reference == "previous", None, reference
    if isinstance(reference, int) and not isinstance(reference, bool) and reference > 0:
        return reference, 0, False, None, reference
    if isinstance(reference, str):
        span = parse_duration(reference)
        return 0, span, False, None, duration_text(span)
    raise DriftError(
        f"reference={reference!r} is no reference",
        where=to,
        fix='It is "first" or "previous" (window), a number of rows, a length of time ("30d"), or a table of rows.',
    )
