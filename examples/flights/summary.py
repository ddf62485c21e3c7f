"""What is there after the flights job: streams, quarantine, one row followed to its sources, and what to try next."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

import headwater as hw
from examples.flights.learnt import predicted_row, show_learnt
from headwater.status import stream_statuses

QUESTION = "which streams know anything about an aircraft?"


def show_summary(hub: hw.Hub, pipeline: hw.Pipeline, console: Console, workspace: Path) -> None:
    _show_streams(hub, pipeline, console)
    _show_quarantine(hub, console)
    show_learnt(hub, console)
    commands = [f"search {shlex.quote(QUESTION)}", "lineage flights.training.late", "quarantine list"]
    row = joined_row(hub)
    if row is not None:
        found = hub.trace(row)
        console.print(f"\n[bold]Where a row of {row.address.stream} comes from[/]")
        console.print(_tree(found))
        plane = next((address for address in found.rows if address.stream == "flights.planes"), None)
        if plane is not None:
            commands[2] = f"impact {plane.stream} {plane.partition}:{plane.offset}"
    told = predicted_row(hub)
    if told is not None:
        console.print("\n[bold]Where a prediction comes from[/]: its features, the model, what that was trained on")
        console.print(_short_tree(hub.trace(told, depth=2)))
        commands.append(f"trace {shlex.quote(str(told.address))}")
    _show_commands(commands, console, workspace)


def joined_row(hub: hw.Hub) -> hw.Row | None:
    """A training row for which everything was found: plan, weather, aircraft, airline, destination, a late arrival."""
    needed = ("published", "temp", "plane_seats", "airline", "dest_lat", "arrived")
    for partition in range(hub.stream("flights.training").partitions):
        # The first messages are enough: about a thousand flights each.
        for row in hub.read("flights.training", ranges={partition: (0, 2)}):
            if row["late"] and all(row[name] is not None for name in needed):
                return row
    return None


def _tree(found: Any) -> Tree:
    """The rows that a row was made from, a line each: source rows with their values, the others with who made them."""

    def grow(tree: Tree, row: Any) -> None:
        for parent in row.parents:
            grow(tree.add(_row_text(found[parent])), found[parent])

    tree = Tree(_row_text(found[found.root], values=found[found.root].values))
    grow(tree, found[found.root])
    return tree


def _short_tree(found: Any) -> Tree:
    """Two steps up from a prediction; for ranges of rows, where they lie."""
    root = found[found.root]
    tree = Tree(_row_text(root, values=_some(root.values)))
    for address in root.parents:
        row = found[address]
        above = tree.add(_row_text(row, values=_some(row.values)))
        for descent in row.descents:
            if not descent.spans:
                above.add(Text(", ".join(map(str, descent.rows)), "bold cyan"))
            for stream in dict.fromkeys(span.stream for span in descent.spans):
                spans = [span for span in descent.spans if span.stream == stream]
                messages = ", ".join(f"{span.partition}:{span.first} to {span.end - 1}" for span in spans)
                above.add(
                    Text(stream, "bold cyan").append(f"  every row of the messages {messages}", "default not bold")
                )
    return tree


def _some(values: Any) -> Any:
    """What matters most of a prediction, a departure and a model."""
    wanted = (
        *("flight_id", "score", "predicted", "model_version", "dep_delay", "expected_delay", "carrier", "visib"),
        *("estimator", "version", "event", "role", "trained_rows"),
    )
    return {name: values[name] for name in wanted if name in values}


def _row_text(row: Any, values: Any = None) -> Text:
    text = Text(str(row.address), "bold cyan", no_wrap=True, overflow="ellipsis")
    known = values if row.parents else row.values
    if known is None:
        return text.append(f"  made by version {row.maker.version.rpartition('-')[2]} of its operator", "dim")
    shown = (f"{name} {_value(value)}" for name, value in known.items() if value is not None)
    return text.append("  " + ", ".join(shown), "default not bold")


def _value(value: Any) -> str:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M")
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _show_streams(hub: hw.Hub, pipeline: hw.Pipeline, console: Console) -> None:
    found = [one for one in stream_statuses(hub) if one.stream in pipeline.streams]
    others = len(stream_statuses(hub, ["progress", "state", "platform"]))
    console.print(
        f"\n[bold]{len(found)} streams are registered[/], and {others} in which operators keep their own books."
    )
    rows = []
    for one in found:
        if one.rows:
            stream = hub.stream(one.stream)
            rows.append((one.stream, f"{one.rows:,}", stream.owner, stream.description))
    _show_table(console, ("stream", "rows", "owner", "what it is"), rows)


def _show_quarantine(hub: hw.Hub, console: Console) -> None:
    found = sorted(hub.quarantine(), key=lambda broken: -broken.rows)
    rows = sum(one.rows or 0 for one in stream_statuses(hub, ["quarantine"]))
    console.print(f"\n[bold]{rows:,} rows are in quarantine[/], each with the rule that it broke.")
    shown = [
        (f"{broken.rows:,}", broken.rule, broken.stream.removesuffix(".clean.quarantine"), _example(broken))
        for broken in found
    ]
    if shown:
        _show_table(console, ("rows", "rule", "of", "for example"), shown)


def _example(broken: Any) -> str:
    """What the rule saw in the first row that broke it."""
    if not broken.sample:
        return ""
    row = broken.sample[0]
    listed = row.get("violations") or []
    value = next((one["value"] for one in listed if one["rule"] == broken.rule), row.get("value"))
    name = broken.field or ""
    shown = "nothing" if value is None else str(value)
    return shown if "=" in shown or not name else f"{name} {shown}"


def _show_commands(commands: list[str], console: Console, workspace: Path) -> None:
    program = "headwater"
    if shutil.which(program) is None:
        program = str(_beside_python(program))
    console.print("\n[bold]Try next[/]")
    for command in commands:
        console.print(Text(f"  {program} {command} --workspace {shlex.quote(str(workspace))}"), soft_wrap=True)


def _beside_python(program: str) -> Path:
    path = Path(sys.executable).with_name(program)
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _show_table(console: Console, names: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Columns are shown whole but for the last, which is cut where the line ends; numbers stand to the right."""
    widths = [max(len(row[place]) for row in [names, *rows]) + 2 for place in range(len(names) - 1)]
    room = max(console.width - sum(widths), 10)
    table = Table.grid(padding=(0, 2, 0, 0))
    for place, name in enumerate(names):
        number = rows[0][place].replace(",", "").isdigit() if rows else False
        last = place == len(names) - 1
        table.add_column(name, no_wrap=True, justify="right" if number else "left", style="dim" if last else "")
    for row in [names, *rows]:
        text = row[-1] if len(row[-1]) <= room else f"{row[-1][: room - 1]}…"
        table.add_row(*(Text(cell, "dim" if row is names else "") for cell in (*row[:-1], text)))
    console.print(table)
