"""A trap: the worker whose task comes to a moment of its transactions sends itself a signal there, once."""

from __future__ import annotations

import json
import os
import signal
from fnmatch import fnmatch
from pathlib import Path
from time import sleep
from typing import Final, Literal, get_args

from streams.log.kafka import KafkaLog
from streams.log.kafka.writer import KafkaWriter
from streams.log.protocol import Placed

#: A task was taken over and is not restored yet; its rows are with the broker; so are its state and progress, and
#: nothing but the commit is missing; the commit is done and the task has not noticed.
Moment = Literal["taken over", "rows sent", "all sent", "committed"]
MOMENTS: Final[tuple[Moment, ...]] = get_args(Moment)


class Traps:
    """The traps of one job, one at a time, in a folder that its workers look at."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._set = folder / "set"

    def set(self, tasks: str, moment: Moment, number: signal.Signals) -> None:
        """For the first task whose name fits (`*` fits anything)."""
        self.clear()
        written = self._folder / "written"
        written.write_text(json.dumps([tasks, moment, int(number)]))
        written.rename(self._set)

    def clear(self) -> None:
        """Nobody is caught any more."""
        self._set.unlink(missing_ok=True)

    def is_set(self) -> bool:
        return self._set.exists()

    def caught(self, pid: int) -> str | None:
        """The task with which this process was caught, and at which moment."""
        found = self._folder / str(pid)
        return found.read_text() if found.exists() else None

    def forget(self, pid: int) -> None:
        """This process may be caught once more."""
        (self._folder / str(pid)).unlink(missing_ok=True)

    def come_to(self, task: str, moment: Moment) -> None:
        """A task of this process has come to this moment."""
        number = self._waits_for(task, moment)
        if number is None:
            return
        try:
            self._set.rename(self._folder / f"met by {os.getpid()}")
        except FileNotFoundError:
            # Another worker was faster.
            return
        # Another worker may still read the file of the trap: this is another one.
        told = self._folder / f"told by {os.getpid()}"
        told.write_text(f"{task}: {moment}")
        told.rename(self._folder / str(os.getpid()))
        os.kill(os.getpid(), number)

    def _waits_for(self, task: str, moment: Moment) -> int | None:
        """The signal that a trap for this moment of the task would send; None if there is none."""
        try:
            tasks, where, number = json.loads(self._set.read_text())
        except FileNotFoundError:
            return None
        return int(number) if where == moment and fnmatch(task, tasks) else None

    def watch(self, pause: float = 0.0) -> None:
        """Have all writers of this process look at the traps, and pause for so many seconds behind a commit."""
        opened, flushed, committed = KafkaLog.writer, KafkaWriter.flush, KafkaWriter.commit

        def writer(log: KafkaLog, task: str, owner: str = "") -> KafkaWriter:
            found = opened(log, task, owner)
            self.come_to(task, "taken over")
            return found

        def flush(writer: KafkaWriter) -> list[Placed]:
            placed = flushed(writer)
            if placed:
                self.come_to(writer.task, "rows sent")
            return placed

        def commit(writer: KafkaWriter, *, seen: bool = True) -> None:
            if self._waits_for(writer.task, "all sent") and flushed(writer):
                # By itself a commit sends the last and ends the transaction in one go.
                self.come_to(writer.task, "all sent")
            committed(writer, seen=seen)
            self.come_to(writer.task, "committed")
            sleep(pause)

        KafkaLog.writer, KafkaWriter.flush, KafkaWriter.commit = writer, flush, commit  # type: ignore[method-assign]
