"""The live display of a run: rows and rates of every operator, its event time, and what went to quarantine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from headwater.learning_display import Learning
from operators.execution.plan import Node, Plan
from operators.execution.progress import Progress, decode_all, progress_topic
from streams.log import Log
from streams.message import BEGINNING, END
from streams.schema import Schema

#: Seconds between two looks at the log.
EVERY = 0.2
#: Seconds between two lines where there is no terminal to draw on.
EVERY_LINE = 5.0
#: Lines that a terminal has to have beside those of operators.
BESIDE = 6


@dataclass
class Counts:
    """What an operator or source has done since the display began. `watermarks` are by task, microseconds of event
    time; `latest` is when it last had rows, in seconds of the display's clock."""

    node: Node
    rows_in: int = 0
    rows_out: int = 0
    quarantined: int = 0
    late: int = 0
    watermarks: dict[int, int] = field(default_factory=dict)
    latest: float | None = None

    @property
    def rows(self) -> int:
        """The rows that it worked on: taken, or published by a source."""
        return self.rows_out if self.node.operator is None else self.rows_in

    @property
    def watermark(self) -> int:
        """The earliest of its tasks' watermarks; END once all have ended."""
        if len(self.watermarks) < self.node.tasks:
            return BEGINNING
        return min(self.watermarks.values())

    def add(self, progress: Progress, now: float) -> None:
        """Count one transaction."""
        roles = {stream.name: stream.role for stream in self.node.outputs}
        for name, rows in progress.rows_out.items():
            if roles.get(name) == "quarantine":
                self.quarantined += rows
            else:
                self.rows_out += rows
        self.rows_in += sum(progress.rows_in.values())
        self.late += sum(progress.late.values())
        self.watermarks[progress.task] = progress.watermark
        if progress.rows_in or progress.rows_out:
            self.latest = now


class Display:
    """Shows a run while it goes on; call it often, from the thread that runs the job.

    It reads what tasks commit to their progress streams, so it counts what is done, by whichever worker. It starts no
    thread, so that a job with it may fork its workers. On a terminal it draws a table (which goes when the run is
    over if it is `transient`); elsewhere it prints a line now and then. With `schemas` it also shows the newest
    measures of predictions and the newest alarms. `clock` gives seconds.
    """

    def __init__(
        self,
        plan: Plan,
        log: Log,
        console: Console,
        *,
        schemas: Callable[[int], Schema] | None = None,
        transient: bool = False,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.console = console
        self.counts = {node.name: Counts(node) for node in plan.here()}
        self._pipeline = plan.name
        self._log = log
        self._clock = clock
        self._started = self._looked = self._said = clock()
        self._version = log.version()
        self._positions: dict[tuple[str, int], int] = {}
        for one in self.counts.values():
            for number in range(one.node.tasks):
                self._begin(one, number)
        self._learning = None if schemas is None else Learning(plan, log, schemas)
        self._live = Live(console=console, auto_refresh=False, transient=transient) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._look()
        if self._live is not None:
            self._live.update(self.drawn(), refresh=True)
            self._live.stop()
        elif kind is None:
            self._print()

    def __call__(self) -> None:
        now = self._clock()
        if now - self._looked < EVERY:
            return
        self._look()
        if self._live is not None:
            self._live.update(self.drawn(), refresh=True)
        elif now - self._said >= EVERY_LINE:
            self._said = now
            self._print()

    @property
    def rows(self) -> int:
        """Rows that operators have taken so far, and sources published."""
        return sum(one.rows for one in self.counts.values())

    def line(self) -> str:
        """The run so far in one line."""
        seconds = max(self._clock() - self._started, 1e-3)
        reached = [one.watermark for one in self.counts.values() if one.watermark not in (BEGINNING, END)]
        until = f", up to {_date(min(reached))}" if reached else ""
        quarantined = sum(one.quarantined for one in self.counts.values())
        aside = f", {quarantined:,} in quarantine" if quarantined else ""
        return f"{self.rows:,} rows in {seconds:.1f} s, {self.rows / seconds:,.0f} rows/s{until}{aside}"

    def drawn(self) -> Group:
        """The run so far, a line an operator; if the terminal is too small for all, without some that have ended."""
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for heading in ("operator", "rows in", "rows out", "rows/s", "event time", "quarantined", "late"):
            right = heading not in ("operator", "event time")
            table.add_column(heading, justify="right" if right else "left", no_wrap=True)
        shown = list(self.counts.values())
        learnt = [] if self._learning is None else self._learning.lines()
        beyond = len(shown) - max(self.console.height - BESIDE - len(learnt), 3)
        left_out = [one for one in shown if one.watermark == END][: beyond + 1] if beyond > 0 else []
        if left_out:
            table.add_row(Text(f"{len(left_out)} that have ended", "dim"), "", "", "", Text("end", "green"), "", "")
        for one in shown:
            if one not in left_out:
                table.add_row(*self._cells(one))
        return Group(table, *learnt, Text(self.line(), "bold"))

    def _print(self) -> None:
        self.console.print(self.line(), highlight=False)
        for line in [] if self._learning is None else self._learning.lines():
            self.console.print(Text("  ").append(line), highlight=False)

    def _cells(self, one: Counts) -> list[Text]:
        is_source = one.node.operator is None
        style = "cyan" if is_source else "dim" if one.watermark == BEGINNING else "bold"
        rate = one.rows / max(one.latest - self._started, 1e-3) if one.latest is not None else 0.0
        return [
            Text(one.node.name.removeprefix(f"{self._pipeline}."), style),
            Text("" if is_source else f"{one.rows_in:,}"),
            Text(f"{one.rows_out:,}"),
            Text(f"{rate:,.0f}" if rate else ""),
            Text("end", "green") if one.watermark == END else Text(_date(one.watermark)),
            Text(f"{one.quarantined:,}" if one.quarantined else "", "yellow"),
            Text(f"{one.late:,}" if one.late else "", "yellow"),
        ]

    def _begin(self, one: Counts, number: int) -> None:
        """Behind what the task has committed in earlier runs."""
        fetched = self._log.last(progress_topic(one.node.name), number)
        self._positions[one.node.name, number] = fetched.next if len(fetched) else 0
        if len(fetched):
            one.watermarks[number] = decode_all(fetched, one.node.name)[-1].watermark

    def _look(self) -> None:
        self._looked = self._clock()
        version = self._log.version()
        if version == self._version:
            return
        self._version = version
        for (name, number), position in self._positions.items():
            fetched = self._log.read(progress_topic(name), number, position)
            for progress in decode_all(fetched, name):
                self.counts[name].add(progress, self._looked)
            self._positions[name, number] = fetched.next
        if self._learning is not None:
            self._learning.look()


def _date(watermark: int) -> str:
    """The day of an event time; nothing for "before all"."""
    if watermark in (BEGINNING, END):
        return ""
    return datetime.fromtimestamp(watermark / 1e6, UTC).strftime("%Y-%m-%d")
