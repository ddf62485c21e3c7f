"""The live display of a run: rows and rates of every operator, its event time, and what went to quarantine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic

from rich.console import Console
from rich.live import Live
from rich.table import Table

from operators.execution.plan import Node, Plan
from operators.execution.progress import decode_all, progress_topic
from streams.log import Log
from streams.message import BEGINNING, END

#: Seconds between two looks at the log.
EVERY = 0.25
#: Seconds between two lines where there is no terminal to draw on.
EVERY_LINE = 10.0


@dataclass
class Counts:
    """What an operator has done since the display began."""

    rows_in: int = 0
    rows_out: int = 0
    quarantined: int = 0
    late: int = 0


class Display:
    """Shows a run while it goes on; call it often, from the thread that runs the job.

    It starts no thread, so that a job with it may fork its workers. On a terminal it draws a table; elsewhere it
    prints a line now and then.
    """

    def __init__(self, plan: Plan, log: Log, console: Console, *, clock: Callable[[], float] = monotonic) -> None:
        self._plan = plan
        self._log = log
        self._clock = clock
        self._console = console
        self._started = clock()
        self._looked = 0.0
        self._said = self._started
        self._positions: dict[tuple[str, int], int] = {}
        self._watermarks: dict[tuple[str, int], int] = {}
        self.counts = {name: Counts() for name in plan.nodes}
        for node in plan.nodes.values():
            for number, (_, end) in enumerate(log.bounds(progress_topic(node.name))):
                self._positions[node.name, number] = end
        self._live = Live(console=console, auto_refresh=False, transient=False) if console.is_terminal else None

    def __enter__(self) -> Display:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._look()
        if self._live is not None:
            self._live.update(self.table(), refresh=True)
            self._live.stop()

    def __call__(self) -> None:
        now = self._clock()
        if now - self._looked < EVERY:
            return
        self._look()
        if self._live is not None:
            self._live.update(self.table(), refresh=True)
        elif now - self._said >= EVERY_LINE:
            self._said = now
            self._console.print(self.line())

    @property
    def rows(self) -> int:
        """Rows that operators and sources have written so far."""
        return sum(counts.rows_out for counts in self.counts.values())

    def line(self) -> str:
        """The run so far in one line."""
        seconds = max(self._clock() - self._started, 1e-9)
        quarantined = sum(counts.quarantined for counts in self.counts.values())
        return (
            f"{seconds:5.1f} s  {self.rows:>12,} rows written  {self.rows / seconds:>10,.0f} rows/s  "
            f"{quarantined:,} in quarantine"
        )

    def table(self) -> Table:
        """The run so far, a row an operator."""
        seconds = max(self._clock() - self._started, 1e-9)
        table = Table(caption=self.line(), caption_justify="left", box=None, header_style="bold", pad_edge=False)
        table.add_column("operator", no_wrap=True)
        for heading in ("rows in", "rows out", "rows/s", "event time", "quarantined", "late"):
            table.add_column(heading, justify="right", no_wrap=True)
        for node in self._plan.nodes.values():
            counts = self.counts[node.name]
            busy = counts.rows_in or counts.rows_out
            rate = max(counts.rows_in, counts.rows_out) / seconds
            table.add_row(
                node.name,
                "" if node.operator is None else f"{counts.rows_in:,}",
                f"{counts.rows_out:,}",
                f"{rate:,.0f}" if busy else "",
                self._event_time(node),
                f"{counts.quarantined:,}" if counts.quarantined else "",
                f"{counts.late:,}" if counts.late else "",
            )
        return table

    def _event_time(self, node: Node) -> str:
        reached = [self._watermarks.get((node.name, number), BEGINNING) for number in range(node.tasks)]
        lowest = min(reached)
        if lowest == BEGINNING:
            return ""
        if lowest == END:
            return "done"
        return datetime.fromtimestamp(lowest / 1_000_000, UTC).strftime("%Y-%m-%d")

    def _look(self) -> None:
        self._looked = self._clock()
        for (name, number), position in self._positions.items():
            fetched = self._log.read(progress_topic(name), number, position)
            if not len(fetched):
                continue
            self._positions[name, number] = fetched.next
            counts = self.counts[name]
            roles = {stream.name: stream.role for stream in self._plan.nodes[name].outputs}
            for progress in decode_all(fetched, name):
                self._watermarks[name, number] = progress.watermark
                counts.rows_in += sum(progress.rows_in.values())
                counts.late += sum(progress.late.values())
                for stream, rows in progress.rows_out.items():
                    if roles.get(stream) == "quarantine":
                        counts.quarantined += rows
                    else:
                        counts.rows_out += rows
