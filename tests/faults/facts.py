"""What a run leaves in a workspace, in a form in which two runs can be compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import headwater as hw
from operators.execution.digest import digest_state, digest_stream
from operators.execution.progress import decode_all, progress_topic
from operators.execution.restore import restored_state
from streams.log import EmbeddedLog
from tests.lineage.compare import difference

Build = Callable[[], hw.Pipeline]


class Facts(NamedTuple):
    """The digests of streams and states, and the catalog without what differs from run to run."""

    rows: dict[str, Any]
    catalog: dict[str, Any]

    def missed_by(self, other: Facts) -> dict[str, Any]:
        """What another run has otherwise; nothing if both are equal."""
        names = sorted(self.rows.keys() | other.rows.keys())
        rows = {
            name: [self.rows.get(name), other.rows.get(name)]
            for name in names
            if self.rows.get(name) != other.rows.get(name)
        }
        return {**rows, **difference(self.catalog, other.catalog)}


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


def rows_taken(workspace: Path, build: Build) -> int:
    """How many rows operators have taken, by their progress."""
    taken = 0
    with EmbeddedLog(workspace / "log.db") as log:
        for node in build().nodes.values():
            for number in range(node.tasks):
                fetched = log.read(progress_topic(node.name), number, 0, max_bytes=1 << 30)
                taken += sum(sum(one.rows_in.values()) for one in decode_all(fetched, node.name))
    return taken
