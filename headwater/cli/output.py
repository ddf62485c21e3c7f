"""What commands print: aligned tables for people, tab-separated lines for programs that read a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from streams.message import BEGINNING, END

#: A cell of a table on a terminal shows at most so many letters; in a pipe it is never cut.
LETTERS = 60
#: Wide enough that nothing is ever folded in a pipe.
ENDLESS = 100_000

_ESCAPED = str.maketrans({"\t": "\\t", "\n": "\\n", "\r": "\\r"})


def moment(microseconds: int | None) -> datetime | None:
    """Microseconds since 1970 as a UTC time; None for none, and for "before all" and "after all"."""
    if microseconds is None or microseconds in (BEGINNING, END):
        return None
    return datetime.fromtimestamp(microseconds // 1_000_000, UTC).replace(microsecond=microseconds % 1_000_000)


def second(microseconds: int | None) -> datetime | None:
    """The same, to the second: for when things happened."""
    found = moment(microseconds)
    return None if found is None else found.replace(microsecond=0)


class _Terminal(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class Output:
    """Prints to standard output. `plain` where that is not a terminal: no colours, no cuts, numbers without
    separators, tables as lines of tab-separated cells under a line of names."""

    def __init__(self) -> None:
        self.console: Console = _Terminal(file=sys.stdout, highlight=False)
        self.plain = not self.console.is_terminal
        if self.plain:
            self.console = _Terminal(file=sys.stdout, highlight=False, width=ENDLESS, no_color=True)

    def line(self, text: str = "", style: str = "") -> None:
        if self.plain:
            # Past Rich, which would make spaces of tabs.
            print(text, flush=True)
        else:
            self.console.print(Text(text, style), soft_wrap=True)

    def heading(self, text: str) -> None:
        """Begins a part of an answer that has several."""
        self.line()
        self.line(f"# {text}" if self.plain else text, "bold")

    def facts(self, facts: Iterable[tuple[str, Any]]) -> None:
        """Names and values, one a line; what has no value is left out."""
        known = [(name, value) for name, value in facts if value not in (None, "", (), [])]
        if self.plain:
            for name, value in known:
                self.line(f"{name}\t{self.cell(value)}")
            return
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(overflow="fold")
        for name, value in known:
            grid.add_row(name, Text(self.cell(value)))
        self.console.print(grid)

    def table(
        self,
        columns: Sequence[str],
        rows: Iterable[Sequence[Any]],
        *,
        wrap: str | None = None,
        named: bool = True,
    ) -> None:
        """Rows under their column names (not if not `named`); numbers stand to the right. On a terminal the first
        column and numbers are kept whole, the one named `wrap` may take several lines, others are cut."""
        given = [list(row) for row in rows]
        if self.plain:
            if named:
                self.line("\t".join(columns))
            for row in given:
                self.line("\t".join(self.cell(value) for value in row))
            return
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", show_header=named)
        for index, name in enumerate(columns):
            numbers = [row[index] for row in given if row[index] is not None]
            right = bool(numbers) and all(isinstance(value, int | float) for value in numbers)
            wraps = name == wrap
            whole = right or index == 0
            table.add_column(
                name,
                justify="right" if right else "left",
                no_wrap=not wraps,
                overflow="fold" if wraps else "ellipsis",
                style="bold" if index == 0 else "",
                min_width=max([len(name), *(len(self.cell(row[index])) for row in given if whole)]),
            )
        for row in given:
            cells = [self.cell(value) for value in row]
            table.add_row(
                *(Text(cell if columns[index] == wrap or not index else _cut(cell)) for index, cell in enumerate(cells))
            )
        self.console.print(table)

    def fitting(self, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
        """How many of the first columns fit the terminal side by side; in a pipe all do."""
        if self.plain:
            return len(columns)
        widths = [len(name) for name in columns]
        for row in rows:
            widths = [max(width, len(_cut(self.cell(cell)))) for width, cell in zip(widths, row, strict=True)]
        used = 0
        for count, width in enumerate(widths):
            used += width + 2
            if used > self.console.width:
                return max(count, 1)
        return len(columns)

    @contextmanager
    def working(self, what: str) -> Iterator[Callable[[str], None]]:
        """Says on a terminal that something goes on; what is yielded changes the words."""
        if self.plain:
            yield lambda words: None
            return
        with self.console.status(what) as status:
            yield status.update

    def show(self, renderable: RenderableType) -> None:
        """Something that Rich can draw."""
        self.console.print(renderable)

    def cell(self, value: Any) -> str:
        """A value as people read it, on one line."""
        if value is None:
            return "" if self.plain else "-"
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, int):
            return str(value) if self.plain else f"{value:,}"
        if isinstance(value, float):
            return repr(value) if self.plain else f"{value:,.6g}"
        if isinstance(value, datetime):
            return time_text(value)
        if isinstance(value, date):
            return value.isoformat()
        if isinstance(value, bytes):
            return value.hex() if self.plain else f"{len(value)} bytes"
        if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
            return ", ".join(value) or self.cell(None)
        return str(value).translate(_ESCAPED)


def time_text(value: datetime) -> str:
    """2024-03-01 09:30:00Z, with a fraction only if there is one."""
    known = value.astimezone(UTC) if value.tzinfo else value
    text = known.strftime("%Y-%m-%d %H:%M:%S")
    if known.microsecond:
        text += f".{known.microsecond:06d}".rstrip("0")
    return text + ("Z" if value.tzinfo else "")


def minute_text(value: datetime | None) -> str | None:
    """2024-03-01 09:30Z: for tables with little room."""
    return None if value is None else value.astimezone(UTC).strftime("%Y-%m-%d %H:%MZ")


def age(microseconds: int | None, now: int) -> str | None:
    """How long ago something was: 12 s ago, 3 h ago."""
    if microseconds is None:
        return None
    seconds = max(now - microseconds, 0) // 1_000_000
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit} ago"
    return f"{seconds} s ago"


def counted(count: int, what: str) -> str:
    """1 row, 2,000 rows."""
    return f"{count:,} {what if count == 1 else f'{what}s'}"


def _cut(text: str) -> str:
    return text if len(text) <= LETTERS else text[: LETTERS - 1] + "…"
