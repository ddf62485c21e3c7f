"""How a run goes, while it goes: a table that renews itself on a terminal, now and then a line where there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from operators.execution.progress import decode_all, progress_topic
from streams.log.protocol import UnknownTopic
from streams.message import BEGINNING, END

if TYPE_CHECKING:
    from headwater.hub import Hub
    from operators.execution.progress import Progress
    from operators.pipeline import Pipeline

#: Seconds between two looks at what the tasks have committed.
EVERY = 0.2
EVERY_PLAIN = 5.0
#: Lines that the terminal has to have beside those of operators.
BESIDE = 6


@dataclass
class OperatorCount:
    """What one operator or source has taken and made in this run. `watermarks` are by task, microseconds of event
    time, `latest` is when it last had rows, in seconds of the display's clock."""

    name: str
    is_source: bool
    tasks: int
    rows_in: int = 0
    rows_out: int = 0
    quarantined: int = 0
    late: int = 0
    watermarks: dict[int, int] = field(default_factory=dict)
    latest: float | None = None

    @property
    def rows(self) -> int:
        """The rows that it worked on: taken, or published by a source."""
        return self.rows_out if self.is_source else self.rows_in

    @property
    def watermark(self) -> int:
        """The earliest of its tasks' watermarks; END once all have ended."""
        if len(self.watermarks) < self.tasks:
            return BEGINNING
        return min(self.watermarks.values())

    def add(self, progress: Progress, quarantines: frozenset[str], now: float) -> None:
        """Count one transaction."""
        self.rows_in += sum(progress.rows_in.values())
        aside = sum(rows for name, rows in progress.rows_out.items() if name in quarantines)
        self.quarantined += aside
        self.rows_out += sum(progress.rows_out.values()) - aside
        self.late += sum(progress.late.values())
        self.watermarks[progress.task] = progress.watermark
        if progress.rows_in or progress.rows_out:
            self.latest = now

    def rate(self, started: float) -> float:
        """Rows a second from the start of the run to its latest transaction with rows."""
        if self.latest is None or self.latest <= started:
            return 0.0
        return self.rows / (self.latest - started)


class RunDisplay:
    """Shows a run of a pipeline. Use it in a `with` block and give it to `hub.run(..., watch=display)`.

    It reads what tasks commit to their progress streams, so it counts what is done, by whichever worker. It draws
    from within `watch` and has no thread of its own, since workers are forked. `transient`: the table goes
    when the run is over. `clock` gives seconds.
    """

    def __init__(
        self,
        hub: Hub,
        pipeline: Pipeline,
        *,
        console: Console | None = None,
        transient: bool = False,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.console = console or Console()
        self.operators = {
            node.name: OperatorCount(node.name, node.operator is None, node.tasks) for node in pipeline.nodes.values()
        }
        self._pipeline = pipeline.name
        self._quarantines = frozenset(s.name for s in pipeline.streams.values() if s.role == "quarantine")
        self._log = hub.log
        self._clock = clock
        self._transient = transient
        self._positions: dict[tuple[str, int], int] = {}
        self._live: Live | None = None
        self._version: int | None = None
        self._started = self._looked = 0.0

    @property
    def rows(self) -> int:
        """Rows that operators have taken in this run, and sources published."""
        return sum(one.rows for one in self.operators.values())

    def __enter__(self) -> Self:
        self._started = self._looked = self._clock()
        for one in self.operators.values():
            for number in range(one.tasks):
                self._begin(one, number)
        if self.console.is_terminal:
            self._live = Live(self._drawn(), console=self.console, auto_refresh=False, transient=self._transient)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.follow()
        if self._live is not None:
            self._live.update(self._drawn(), refresh=True)
            self._live.stop()
            self._live = None
        elif kind is None:
            self.console.print(self._line(), highlight=False)

    def __call__(self) -> None:
        """Look what has been committed and show it, if the last look was long enough ago."""
        now = self._clock()
        if now - self._looked < (EVERY if self._live is not None else EVERY_PLAIN):
            return
        self._looked = now
        self.follow()
        if self._live is not None:
            self._live.update(self._drawn(), refresh=True)
        else:
            self.console.print(self._line(), highlight=False)

    def follow(self) -> None:
        """Count what was committed since the last look."""
        version = self._log.version()
        if version == self._version:
            return
        self._version = version
        now = self._clock()
        for (name, number), position in self._positions.items():
            topic = progress_topic(name)
            fetched = self._log.read(topic, number, position)
            for progress in decode_all(fetched, f"{topic} {number}"):
                self.operators[name].add(progress, self._quarantines, now)
            self._positions[name, number] = fetched.next

    def _begin(self, one: OperatorCount, number: int) -> None:
        """Behind what the task has committed in earlier runs."""
        end = 0
        try:
            fetched = self._log.last(progress_topic(one.name), number)
        except UnknownTopic:
            fetched = None
        if fetched is not None and len(fetched):
            end = fetched.next
            one.watermarks[number] = decode_all(fetched, one.name)[-1].watermark
        self._positions[one.name, number] = end

    def _drawn(self) -> Any:
        now = self._clock()
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column("operator", no_wrap=True)
        for name in ("rows in", "rows out", "rows/s"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("event time", no_wrap=True)
        table.add_column("quarantined", justify="right", no_wrap=True)
        shown = list(self.operators.values())
        room = max(self.console.height - BESIDE, 3)
        ended = [one for one in shown if one.watermark == END]
        left_out = ended[: max(len(shown) - room + 1, 0)] if len(shown) > room else []
        if left_out:
            table.add_row(Text(f"{len(left_out)} that have ended", "dim"), "", "", "", Text("end", "green"), "")
        for one in shown:
            if one not in left_out:
                table.add_row(*self._cells(one))
        return Group(table, Text(self._line(now), "bold"))

    def _cells(self, one: OperatorCount) -> list[Text]:
        label = one.name.removeprefix(f"{self._pipeline}.")
        rate = one.rate(self._started)
        waits = one.watermark == BEGINNING
        return [
            Text(label, "cyan" if one.is_source else "bold" if not waits else "dim"),
            Text("" if one.is_source else f"{one.rows_in:,}"),
            Text(f"{one.rows_out:,}"),
            Text(f"{rate:,.0f}" if one.latest is not None else ""),
            Text("end", "green") if one.watermark == END else Text(date_text(one.watermark)),
            Text(f"{one.quarantined:,}", "yellow") if one.quarantined else Text(""),
        ]

    def _line(self, now: float | None = None) -> str:
        seconds = max((self._clock() if now is None else now) - self._started, 1e-3)
        reached = [one.watermark for one in self.operators.values() if one.watermark not in (BEGINNING, END)]
        until = f", up to {date_text(min(reached))}" if reached else ""
        aside = sum(one.quarantined for one in self.operators.values())
        put_aside = f", {aside:,} in quarantine" if aside else ""
        return f"{self.rows:,} rows in {seconds:.1f} s, {self.rows / seconds:,.0f} rows/s{until}{put_aside}"


def date_text(watermark: int) -> str:
    """The day of an event time; nothing for "before all"."""
    if watermark in (BEGINNING, END):
        return ""
    return datetime.fromtimestamp(watermark / 1e6, UTC).strftime("%Y-%m-%d")
