"""A model card: what a model is, learnt from, is measured at and is used for, on one page, from what is recorded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from headwater.model_skew import skew_of
from operators.model.encoder import OneHot
from operators.model.learner import Learner
from operators.model.registry import parameters_of
from streams.message import PARENTS, header
from streams.parents import Addresses, OffsetRange, decode_parents, ranges_of
from streams.read import PartitionReader
from streams.shown import json_value

if TYPE_CHECKING:
    from headwater.hub import Hub
    from headwater.models import Model, Version

#: So many messages of a trainer are shown.
MESSAGES = 20
#: Columns of an evaluation that are no measures.
_NO_MEASURES = ("rows", "unscored", "unusable", "censored", "unknown", "model_version")


@dataclass(frozen=True)
class Section:
    """A part of a card: a table."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Card:
    """A model card. `to_markdown`, `to_html` and `to_dict` (JSON values) show the same facts."""

    model: str
    sections: tuple[Section, ...]

    def section(self, title: str) -> Section | None:
        return next((one for one in self.sections if one.title == title), None)

    def to_dict(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "sections": {
                one.title: [dict(zip(one.columns, map(json_value, row), strict=True)) for row in one.rows]
                for one in self.sections
            },
        }

    def to_json(self) -> str:
        return orjson.dumps(self.to_dict(), option=orjson.OPT_INDENT_2).decode()

    def to_markdown(self) -> str:
        lines = [f"# Model card: {self.model}", ""]
        for one in self.sections:
            lines += [f"## {one.title}", ""]
            if one.note:
                lines += [one.note, ""]
            lines.append(_markdown_row(one.columns))
            lines.append(_markdown_row(["---"] * len(one.columns)))
            lines += [_markdown_row(map(_shown, row)) for row in one.rows]
            lines.append("")
        return "\n".join(lines)

    def to_html(self) -> str:
        """A page by itself."""
        title = escape(f"Model card: {self.model}")
        body = "".join(
            f"<h2>{escape(one.title)}</h2>"
            + (f"<p>{escape(one.note)}</p>" if one.note else "")
            + table_html(one.columns, one.rows)
            for one in self.sections
        )
        return (
            '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            f"<title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>{body}</html>\n"
        )

    def _repr_html_(self) -> str:
        return self.to_html()


_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1a1a1a;"
    "background:#fff}table{border-collapse:collapse;display:block;overflow-x:auto}th,td{padding:.2rem .8rem .2rem 0;"
    "text-align:left;vertical-align:top;border-bottom:1px solid #ddd}"
    "@media(prefers-color-scheme:dark){body{color:#eee;background:#161616}th,td{border-color:#444}}"
)


def card_of(hub: Hub, model: Model, learner: Learner | None) -> Card:
    """The card of a model whose champion is `learner`, from the catalog and the streams around it."""
    sections = [_about(hub, model, learner)]
    if learner is not None and model.champion is not None:
        sections += [_parts(learner), _features(learner), _learnt_from(hub, model.champion)]
    sections += [
        *_quality(hub, model.name),
        _skew(hub, model.name),
        *_uses(hub, model.name),
        _lineage(hub, model.name),
        _messages(model),
    ]
    return Card(model.name, tuple(one for one in sections if one.rows))


def table_html(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(_shown(value))}</td>" for value in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def evaluations_of(hub: Hub, model: str) -> list[str]:
    """The streams with measures of what the model predicted."""
    records = hub.catalog.operators()
    scores = {_output(one.spec) for one in records if one.spec.kind == "predict" and one.spec.params["model"] == model}
    judged = {_output(one.spec) for one in records if scores & {given.stream for given in one.spec.inputs}}
    found = (one.spec for one in records if one.spec.kind == "evaluate")
    return sorted(_output(spec) for spec in found if judged & {given.stream for given in spec.inputs})


def _output(spec: Any) -> str:
    return str(spec.outputs[0].stream)


def _about(hub: Hub, model: Model, learner: Learner | None) -> Section:
    record = hub.catalog.stream(model.name)
    trainer = hub.catalog.writer_of(model.name)
    champion = model.champion
    facts: list[tuple[str, Any]] = [
        ("owner", model.owner),
        ("what it is", model.description),
        ("tags", ", ".join(record.spec.tags)),
        ("pipeline", record.spec.pipeline),
        ("trained by", trainer),
        ("trainer's version", hub.catalog.operator(trainer).spec.version if trainer else None),
        ("champion", champion.estimator if champion else "none"),
    ]
    if champion is not None and learner is not None:
        facts += [
            ("version", champion.version),
            ("holds since", champion.at),
            ("learnt rows", champion.trained_rows),
            ("predicts", "numbers" if learner.classes is None else ", ".join(map(str, learner.classes))),
            ("SHA-256", champion.sha256),
            ("lies at", str(champion.address)),
        ]
    facts += [("challengers", ", ".join(f"{one.estimator} (version {one.version})" for one in model.challengers))]
    return Section("About", ("fact", "value"), tuple((name, value) for name, value in facts if value not in (None, "")))


def _parts(learner: Learner) -> Section:
    rows = []
    for part in (*learner.steps, learner.estimator):
        name = type(part).__name__
        given = ", ".join(f"{key}={value}" for key, value in parameters_of(part, name).items() if value is not None)
        rows.append((name, given))
    return Section("Estimator", ("class", "parameters"), tuple(rows))


def _features(learner: Learner) -> Section:
    rows = []
    for part in learner.encoder.parts:
        known = part.known
        values = f"{len(part.vocabulary)} values" if isinstance(part, OneHot) else None
        span = values is None and known.rows > known.missing and type(part).__name__ != "Hashed"
        rows.append(
            (
                part.name,
                type(part).__name__.lower(),
                part.width,
                known.low if span else None,
                known.high if span else None,
                known.mean if span else None,
                known.missing / known.rows if known.rows else None,
                values,
            )
        )
    columns = ("feature", "encoded", "columns", "from", "to", "mean", "missing", "vocabulary")
    return Section("Features, as they were learnt", columns, tuple(rows))


def _learnt_from(hub: Hub, version: Version) -> Section:
    rows = []
    for span in _parents(hub, version):
        first, last = _times(hub, span)
        rows.append((span.stream, span.partition, span.first, span.end, first, last))
    columns = ("stream", "partition", "offset from", "to before", "from", "to")
    return Section(
        "Learnt from", columns, tuple(rows), "Offset ranges that hold all rows that this version learnt from."
    )


def _parents(hub: Hub, version: Version) -> list[OffsetRange]:
    address = version.address
    fetched = hub.log.read(address.stream, address.partition, address.offset, max_bytes=1)
    if not len(fetched) or fetched.offsets[0] != address.offset:
        return []
    packed = header(fetched.headers[0], PARENTS)
    found: list[OffsetRange] = []
    for part in decode_parents(packed) if packed else ():
        found += (ranges_of(part) if isinstance(part, Addresses) else part).ranges
    return found


def _times(hub: Hub, span: OffsetRange) -> tuple[datetime | None, datetime | None]:
    """The event times of the first and the last message of a range; None where they are gone, or have none."""
    stream = hub.stream(span.stream)
    if stream.time is None:
        return None, None
    columns = [stream.time]
    reader = PartitionReader(hub.log, stream, span.partition, hub.schema, position=span.first, columns=columns)
    first = next(iter(reader.fetch(1)), None)
    last = None
    reader = PartitionReader(hub.log, stream, span.partition, hub.schema, position=span.end - 1, columns=columns)
    last = next(iter(reader.fetch(1)), None)
    if first is None or last is None or not first.rows.num_rows or not last.rows.num_rows:
        return None, None
    return pc.min(first.rows.column(0)).as_py(), pc.max(last.rows.column(0)).as_py()


def _quality(hub: Hub, model: str) -> list[Section]:
    sections = []
    for name in evaluations_of(hub, model):
        table = hub.read(name).table
        if not table.num_rows:
            continue
        measures = [
            field.name
            for field in table.schema
            if pa.types.is_floating(field.type) and field.name not in _NO_MEASURES and field.name != "brier"
        ]
        rows = [_over(table, part, measures) for part in sorted(set(table["slice"].to_pylist()), key=_all_first)]
        latest = table.filter(pc.equal(table["slice"], "all")).sort_by("at")
        note = f"Over {len(set(table['at'].to_pylist())):,} windows of {name}; means of windows, weighted by rows."
        columns = ("rows of", "rows", *measures)
        if latest.num_rows:
            last = latest.slice(latest.num_rows - 1)
            rows.insert(1, _over(last, "all", measures, f"all, window to {last['at'][0].as_py():%Y-%m-%d %H:%M}"))
        sections.append(Section(f"Quality: {name}", columns, tuple(rows), note))
    return sections


def _skew(hub: Hub, model: str) -> Section:
    rows = [
        (one.scores, one.examples, one.rows, one.different, ", ".join(f"{n}: {c}" for n, c in one.by_feature.items()))
        for one in skew_of(hub, model)
    ]
    columns = ("predictions", "examples", "rows of one key", "with other features", "which, in how many")
    return Section("Features in training and in serving", columns, tuple(rows))


def _all_first(part: str) -> tuple[bool, str]:
    return part != "all", part


def _over(table: pa.Table, part: str, measures: Sequence[str], shown: str | None = None) -> tuple[Any, ...]:
    """The mean of each measure over windows, weighted by rows; windows without it aside."""
    here = table.filter(pc.equal(table["slice"], part))
    rows = here["rows"].to_numpy().astype(float)
    found: list[Any] = [shown or part, int(rows.sum())]
    for name in measures:
        values = pc.fill_null(here[name], float("nan")).to_numpy()
        known = ~np.isnan(values) & (rows > 0)
        found.append(float(np.average(values[known], weights=rows[known])) if known.any() else None)
    return tuple(found)


def _uses(hub: Hub, model: str) -> list[Section]:
    rows = []
    for record in hub.catalog.operators():
        if record.spec.kind != "predict" or record.spec.params["model"] != model:
            continue
        refused = len(hub.read(f"{record.name}.refused", columns=["offset"]))
        least = record.spec.params["min_confidence"]
        rows.append((record.name, record.spec.params["source"], least or None, refused))
    columns = ("predictions", "of", "least confidence", "refused messages")
    return [Section("Used for", columns, tuple(rows))]


def _lineage(hub: Hub, model: str) -> Section:
    graph = hub.lineage(model, direction="up")
    rows = []
    for name in graph.names():
        stream = hub.catalog.stream(name).spec
        if stream.role == "data":
            rows.append((name, stream.owner, stream.description))
    return Section("Made from these streams", ("stream", "owner", "description"), tuple(rows))


def _messages(model: Model) -> Section:
    rows = [
        (one.at, one.event, one.role, one.estimator, one.version, one.trained_rows, one.reason)
        for one in reversed(model.history[-MESSAGES:])
    ]
    columns = ("at", "event", "role", "candidate", "version", "learnt rows", "why")
    return Section("What the trainer said last", columns, tuple(rows))


def _markdown_row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    return str(value)
