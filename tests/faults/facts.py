"""What a run leaves in a workspace, in a form in which two runs can be compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import headwater as hw
from operators.execution.digest import digest_state, digest_stream, rows_by_writer
from operators.execution.progress import decode_all, progress_topic
from operators.execution.restore import restored_state
from streams.log import EmbeddedLog, Log
from tests.lineage.compare import difference

Build = Callable[[], hw.Pipeline]


class Facts(NamedTuple):
    """The digests of streams and states, and the catalog without what differs from run to run."""

    rows: dict[str, Any]
    catalog: dict[str, Any]

    def missed_by(self, other: Facts) -> dict[str, Any]:
        """What another run has otherwise; nothing if both are equal."""
        return {**differing(self.rows, other.rows), **difference(self.catalog, other.catalog)}


class Rows(NamedTuple):
    """Every row that lies in a job's streams, by its stream, partition, writer and values; every row that a task took,
    by the task and its input; and both lists and all states as digests."""

    written: Counter[tuple[Any, ...]]
    taken: Counter[tuple[str, str]]
    digests: dict[str, Any]

    @classmethod
    def of(cls, hub: hw.Hub, pipeline: hw.Pipeline) -> Rows:
        written: Counter[tuple[Any, ...]] = Counter()
        for stream in pipeline.streams.values():
            for who, rows in rows_by_writer(hub.log, stream, hub.schema).items():
                columns = (column.to_pylist() for column in rows.columns)
                written.update((stream.name, who, *map(str, values)) for values in zip(*columns, strict=True))
        return cls(written, taken(hub.log, pipeline), digests(hub, pipeline))

    def against(self, wanted: Rows) -> Compared:
        """How it differs from an undisturbed run."""
        pairs = ((wanted.written, self.written), (wanted.taken, self.taken))
        return Compared(
            rows=wanted.written.total(),
            taken=wanted.taken.total(),
            lost=sum((theirs - ours).total() for theirs, ours in pairs),
            twice=sum((ours - theirs).total() for theirs, ours in pairs),
            differing=differing(wanted.digests, self.digests),
        )


@dataclass(frozen=True)
class Compared:
    """How many rows an undisturbed run wrote and took, how many of them are missing and how many are there too often,
    and the digests that differ."""

    rows: int = 0
    taken: int = 0
    lost: int = 0
    twice: int = 0
    differing: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return (
            f"{self.rows:,} rows of streams and {self.taken:,} takings of rows compared, {self.lost} lost, "
            f"{self.twice} twice, {len(self.differing)} digests of streams and states differ"
        )

    def __add__(self, other: Compared) -> Compared:
        return Compared(
            self.rows + other.rows,
            self.taken + other.taken,
            self.lost + other.lost,
            self.twice + other.twice,
            {**self.differing, **other.differing},
        )

    @property
    def equal(self) -> bool:
        return not (self.lost or self.twice or self.differing)


def differing(wanted: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    names = sorted(wanted.keys() | found.keys())
    return {name: [wanted.get(name), found.get(name)] for name in names if wanted.get(name) != found.get(name)}


def digests(hub: hw.Hub, pipeline: hw.Pipeline) -> dict[str, Any]:
    """Digests of all streams and states of a pipeline."""
    found: dict[str, Any] = {}
    for stream in pipeline.streams.values():
        found[stream.name] = digest_stream(hub.log, stream, hub.schema)
    for node in pipeline.nodes.values():
        if node.operator is not None:
            for number in range(node.tasks):
                found[f"state {node.name}/{number}"] = digest_state(restored_state(hub.log, node.name, number))
    return found


def facts(workspace: Path, build: Build) -> Facts:
    with hw.connect(workspace) as hub:
        hub.sync()
        return Facts(digests(hub, build()), hub.catalog.dump(without_runs=True))


def taken(log: Log, pipeline: hw.Pipeline) -> Counter[tuple[str, str]]:
    """How many rows each task has taken of each input, by its progress."""
    found: Counter[tuple[str, str]] = Counter()
    for node in pipeline.nodes.values():
        for number in range(node.tasks):
            position = 0
            while (fetched := log.read(progress_topic(node.name), number, position)).next > position:
                position = fetched.next
                for one in decode_all(fetched, node.name):
                    for name, count in one.rows_in.items():
                        found[f"{node.name}/{number}", name] += count
    return found


def rows_taken(workspace: Path, build: Build) -> int:
    """How many rows operators have taken, by their progress."""
    with EmbeddedLog(workspace / "log.db") as log:
        return taken(log, build()).total()
