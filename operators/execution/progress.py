"""Progress: what one transaction of a task took and made, as one row of the operator's progress stream."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from streams.log.protocol import Corrupt, Log
from streams.message import BEGINNING, END, Fetched


def progress_topic(operator: str) -> str:
    return f"{operator}.progress"


def state_topic(operator: str) -> str:
    return f"{operator}.state"


def snapshot_topic(operator: str) -> str:
    return f"{operator}.snapshots"


def task_name(operator: str, number: int) -> str:
    return f"{operator}/{number}"


def task_of(name: str) -> tuple[str, int]:
    """The operator and number in a task's name."""
    operator, _, number = name.rpartition("/")
    return operator, int(number)


@dataclass(slots=True)
class Progress:
    """One row of a progress stream. Times are microseconds; offset ranges exclude their end.

    `took`: [stream, partition, first, end]; `made` likewise; `parents`: [output stream, output partition, input
    stream, input partition, first, end]; `order`: every batch in the order taken as [input, partition, writer, first,
    end], a tick as [-1, key]; `positions`: for every channel [input, partition, writer, position, key, watermark and
    latest event time of an outside stream]; `ends`: where the task's own writing ends, as {stream: {partition:
    offset}}. `forced`: channels that were not waited for as [input, partition, writer], and ranges that were gone
    before they were read as [input, partition, "", first, end]. `watermark`: no batch that the task writes from now on
    has an earlier bound.
    """

    operator: str
    task: int
    version: str
    run: str
    engine: str
    seq: int
    at: int
    watermark: int = BEGINNING
    clock: int = BEGINNING
    bound: int = BEGINNING
    holds: int = END
    stalled: bool = False
    ended: bool = False
    rows_in: dict[str, int] = field(default_factory=dict)
    rows_out: dict[str, int] = field(default_factory=dict)
    late: dict[str, int] = field(default_factory=dict)
    unattributed: dict[str, int] = field(default_factory=dict)
    forced: list[list[Any]] = field(default_factory=list)
    took: list[list[Any]] = field(default_factory=list)
    made: list[list[Any]] = field(default_factory=list)
    parents: list[list[Any]] = field(default_factory=list)
    order: list[list[Any]] = field(default_factory=list)
    positions: list[list[Any]] = field(default_factory=list)
    ends: dict[str, dict[str, int]] = field(default_factory=dict)
    cursor: int = 0
    state_version: str = ""

    def encode(self) -> bytes:
        return orjson.dumps(self)

    @classmethod
    def decode(cls, data: bytes | None, where: str = "") -> Progress:
        try:
            return cls(**orjson.loads(data or b""))
        except (ValueError, TypeError) as error:
            raise Corrupt(
                f"A progress row cannot be decoded ({error})",
                where=where,
                fix="It is damaged, or of a newer version of Headwater: restore the log from a copy, or upgrade.",
            ) from error

    def end_in(self, stream: str, partition: int) -> int:
        """The offset up to which the task has written this partition."""
        return self.ends.get(stream, {}).get(str(partition), 0)


def decode_all(fetched: Fetched, where: str) -> list[Progress]:
    return [Progress.decode(value, f"{where}:{at}") for at, value in zip(fetched.offsets, fetched.values, strict=True)]


def last_progress(log: Log, operator: str, task: int) -> Progress | None:
    """The newest progress row of a task, or None before its first commit."""
    topic = progress_topic(operator)
    fetched = log.last(topic, task)
    found = decode_all(fetched, f"{topic} {task}")
    return found[-1] if found else None


class ProgressReader:
    """Follows the progress of one task, to learn how far its watermark has come."""

    def __init__(self, log: Log, operator: str, task: int) -> None:
        self._log = log
        self._topic = progress_topic(operator)
        self._operator = operator
        self._task = task
        self._position: int | None = None
        self.latest: Progress | None = None

    def poll(self) -> Progress | None:
        """The newest progress row known, after looking for newer ones."""
        if self._position is None:
            fetched = self._log.last(self._topic, self._task)
        else:
            fetched = self._log.read(self._topic, self._task, self._position)
        if len(fetched):
            self._position = fetched.next
            self.latest = Progress.decode(fetched.values[-1], f"{self._topic} {self._task}:{fetched.offsets[-1]}")
        return self.latest


def merged_ranges(ranges: Iterable[tuple[Any, ...]]) -> list[list[Any]]:
    """Ranges (*what, first, end), one for each `what`, from the smallest first to the largest end."""
    found: dict[tuple[Any, ...], tuple[int, int]] = {}
    for *what, first, end in ranges:
        known = found.get(tuple(what))
        found[tuple(what)] = (first, end) if known is None else (min(known[0], first), max(known[1], end))
    return [[*what, first, end] for what, (first, end) in sorted(found.items())]


__all__ = [
    "BEGINNING",
    "END",
    "Progress",
    "ProgressReader",
    "decode_all",
    "last_progress",
    "merged_ranges",
    "progress_topic",
    "snapshot_topic",
    "state_topic",
    "task_name",
    "task_of",
]
