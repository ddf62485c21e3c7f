"""Traces and impacts as trees for a terminal, and as lists for a notebook."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from html import escape
from typing import Any

from rich.text import Text
from rich.tree import Tree

from streams.impact import Impact, Touched
from streams.message import RowAddress
from streams.shown import moment
from streams.trace import Descent, Span, Trace, TracedRow

#: A value is shown in at most so many letters, a row in at most so many fields.
LETTERS = 28
FIELDS = 8
#: So many separate offset ranges of a partition are shown.
RANGES = 4


def trace_tree(found: Trace) -> Tree:
    """A row, and below it what it was made from, down to the source rows."""
    tree = Tree(_row_text(found, found.root))
    _grow(tree, found, found.root, set())
    if found.truncated:
        tree.add(Text("There is more: ask for more rows (limit), or more depth.", style="yellow"))
    return tree


def impact_tree(found: Impact) -> Tree:
    """The bad rows, and below them each stream that was touched, under the first stream that it was made from."""
    tree = Tree(_touched_text(found.start, "asked about"))
    places = {found.start.stream: tree}
    for one in found.streams:
        above = next((stream for stream, _ in one.made_from if stream in places), found.start.stream)
        places[one.stream] = places[above].add(_touched_text(one, f"by {', '.join(o for _, o in one.made_from)}"))
    for dataset in found.datasets:
        rows = ", ".join(f"{count:,} rows of {stream}" for stream, count in dataset.rows.items())
        tree.add(Text.assemble("dataset ", (dataset.name, "bold"), f" version {dataset.version}: ranges with {rows}"))
    if not found.streams:
        tree.add(Text("Nothing was made from these rows so far.", style="dim"))
    at = moment(found.followed.at)
    known = f"The catalog knows the log up to {at}" if at else "The catalog knows of no transaction yet"
    behind = f", {found.followed.behind:,} transactions behind" if found.followed.behind else ""
    tree.add(Text(f"{known}{behind}.", style="dim"))
    return tree


def shortened(value: Any, letters: int = LETTERS) -> str:
    """A value in few letters."""
    if isinstance(value, datetime):
        text = (
            value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f").rstrip("0").rstrip(".")
            if value.tzinfo
            else str(value)
        )
    elif isinstance(value, date):
        text = value.isoformat()
    elif isinstance(value, float):
        text = f"{value:.6g}"
    elif isinstance(value, bytes):
        text = f"{len(value)} bytes"
    else:
        text = " ".join(str(value).split())
    return text if len(text) <= letters else text[: letters - 1] + "…"


def shown_values(values: Mapping[str, Any] | None, fields: int = FIELDS) -> str:
    """A row's first fields with their values, abbreviated; nulls come last."""
    if values is None:
        return ""
    names = sorted(values, key=lambda name: values[name] is None)
    shown = " ".join(f"{name}={shortened(values[name])}" for name in names[:fields])
    return shown + (f" +{len(names) - fields}" if len(names) > fields else "")


def _grow(tree: Tree, found: Trace, address: RowAddress, shown: set[RowAddress]) -> None:
    shown.add(address)
    for descent in found[address].descents:
        below = tree.add(_ranges_text(descent)) if descent.spans else tree
        for parent in descent.rows:
            if parent in shown:
                below.add(Text.assemble((str(parent), "bold"), (" shown above", "dim")))
            elif parent not in found.rows:
                below.add(Text.assemble((str(parent), "bold"), (" not followed", "yellow")))
            else:
                _grow(below.add(_row_text(found, parent, descent)), found, parent, shown)
        if descent.truncated:
            below.add(Text("… and more", style="yellow"))


def _row_text(found: Trace, address: RowAddress, descent: Descent | None = None) -> Text:
    row = found[address]
    hop = "" if descent is None or descent.spans else f" [{descent.granularity}]"
    text = Text.assemble((str(address), "bold cyan"), (hop, "green"))
    if row.values is not None:
        text.append(f"  {shown_values(row.values)}")
    text.append(f"\n{_told(row)}", style="dim")
    if row.gone is not None:
        text.append(f"\n{_gone_text(row)}", style="yellow")
    return text


def _told(row: TracedRow) -> str:
    maker = row.maker
    when = f", {shortened(datetime.fromtimestamp(row.when / 1e6, UTC), 40)}" if row.when is not None else ""
    if row.ending == "unattributed":
        return f"written by somebody who did not say who{when}"
    if maker.producer.startswith("service:"):
        return f"published by {maker.producer.removeprefix('service:')}{when}"
    if maker.operator is None:
        return f"nobody knows who wrote it{when}"
    ran = f"run {(maker.run or 'not known').partition(':')[0]} ({maker.engine or 'engine not known'})"
    if maker.is_source:
        return f"published by {maker.producer}, {ran}{when}"
    unknown = ", its parents were not recorded" if row.ending == "unrecorded" else ""
    unknown = ", the record of its parents is gone" if row.ending == "gone" and row.gone is None else unknown
    return f"made by {maker.task or maker.operator}, version {maker.version}, {ran}{when}{unknown}"


def _gone_text(row: TracedRow) -> str:
    gone = row.gone
    assert gone is not None
    if gone.why in ("missing", "unregistered"):
        return "There is no such row." if gone.why == "missing" else "The catalog does not hold this stream."
    since = f" since {moment(gone.since)}" if gone.since is not None else ""
    first = f"; the first readable offset is {gone.readable}" if gone.readable is not None else ""
    at = f", appended {moment(gone.readable_from)}" if gone.readable_from is not None else ""
    return f"gone by {gone.why}{since}{first}{at}"


def _ranges_text(descent: Descent) -> Text:
    spans = ", ".join(_span_text(span) for span in descent.spans)
    return Text.assemble((f"[{descent.granularity}]", "green"), f" one or more of {spans}")


def _span_text(span: Span) -> str:
    last = f" to {span.end - 1}" if span.end - span.first > 1 else ""
    rows = "rows not counted" if span.rows is None else counted(span.rows)
    return f"{span.stream} {span.partition}:{span.first}{last} ({rows}{', some are gone' if span.gone else ''})"


def counted(rows: int) -> str:
    return f"{rows:,} row" if rows == 1 else f"{rows:,} rows"


def _touched_text(one: Touched, how: str) -> Text:
    coarse = f", {one.coarse:,} of them perhaps" if one.coarse else ""
    text = Text.assemble((one.stream, "bold cyan"), f"  {counted(one.rows)}{coarse}", (f"  {how}", "dim"))
    for number, spans in one.partitions.items():
        ranges = ", ".join(
            f"{number}:{first}" + (f" to {end - 1}" if end - first > 1 else "") for first, end in spans[:RANGES]
        )
        more = f" and {len(spans) - RANGES} more ranges" if len(spans) > RANGES else ""
        text.append(f"\n  {ranges}{more}", style="dim")
    return text


def trace_html(found: Trace) -> str:
    """The trace as nested lists."""
    return f"<ul>{_row_html(found, found.root, set())}</ul>" + ("<p>There is more.</p>" if found.truncated else "")


def _row_html(found: Trace, address: RowAddress, shown: set[RowAddress]) -> str:
    if address not in found.rows or address in shown:
        why = "shown above" if address in shown else "not followed"
        return f"<li><b>{escape(str(address))}</b> <i>{why}</i></li>"
    shown.add(address)
    row = found[address]
    gone = f"<br><i>{escape(_gone_text(row))}</i>" if row.gone is not None else ""
    parts = []
    for descent in row.descents:
        rows = "".join(_row_html(found, parent, shown) for parent in descent.rows)
        more = "<li>… and more</li>" if descent.truncated else ""
        said = _ranges_text(descent).plain if descent.spans else f"[{descent.granularity}]"
        parts.append(f"<li>{escape(said)}<ul>{rows}{more}</ul></li>" if rows or more else "")
    below = f"<ul>{''.join(parts)}</ul>" if any(parts) else ""
    return (
        f"<li><b>{escape(str(address))}</b> {escape(shown_values(row.values))}<br><small>{escape(_told(row))}</small>"
        f"{gone}{below}</li>"
    )
