"""What a run leaves in a workspace, in a form in which two runs can be compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import headwater as hw
from operators.execution.digest import digest_state, digest_stream
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


def messages(workspace: Path) -> int:
    """How many messages of rows have been written."""
    own = (".progress", ".state", ".snapshots")
    log = EmbeddedLog(workspace / "log.db")
    try:
        names = [topic.name for topic in log.topics() if not topic.name.endswith(own)]
        return sum(end for name in names if name != "headwater.catalog" for _, end in log.bounds(name))
    finally:
        log.close()
