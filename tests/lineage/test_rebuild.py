"""The catalog made anew from the log takes the old one's place: all of it or nothing, and it is the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from catalog import Catalog, CatalogError, DatasetSpec
from headwater import Config, Hub, Pipeline
from tests.lineage.compare import difference
from tests.lineage.conftest import hub_in
from tests.lineage.rows import ROWS, source_rows, table
from tests.services.databases import Databases


def pipeline() -> Pipeline:
    p = Pipeline("r", owner="somebody", partitions=2)
    s = p.stream("s", ROWS, key="key", time="at", entities={"key": "sensor"})
    p.filter(s, lambda rows: np.asarray(rows["n"]) % 2 == 0, reads=["n"], to="even")
    return p


@pytest.fixture
def make_hub(tmp_path: Path, databases: Databases, empty: str) -> Iterator[Callable[[], Hub]]:
    """Each call gives a hub in a folder of its own, its catalog on any kind of database."""
    with ExitStack() as stack:

        def make() -> Hub:
            url = databases.create(empty)
            stack.callback(databases.drop, url)
            return stack.enter_context(hub_in(tmp_path / uuid4().hex, url))

        yield make


@pytest.fixture
def hub(make_hub: Callable[[], Hub]) -> Hub:
    hub = make_hub()
    p = pipeline()
    hub.register(p)
    for call in range(3):
        hub.publish("r.s", table(source_rows("s", [(n % 3, 1, n) for n in range(20)], 20 * call, 20 * call)))
        hub.run(p, until="caught-up")
    hub.catalog.tag("r.even", "checked")
    hub.catalog.set_owner("r.s", "somebody-else")
    hub.catalog.register_dataset(DatasetSpec("d", {"streams": ["r.even"]}, {"ranges": {}}, "x", ("r.even",)))
    hub.sync()
    return hub


def test_the_rebuilt_catalog_is_the_same(hub: Hub) -> None:
    before = hub.catalog.dump()
    hits = hub.search("which streams know a sensor?")
    made_from = hub.rebuild()
    assert made_from > hub.catalog.last_change() > 0
    assert difference(hub.catalog.dump(), before) == {}
    assert hits
    assert hub.search("which streams know a sensor?") == hits
    assert not list(hub.config.workspace.glob("catalog.rebuild-*"))


def test_a_rebuilt_catalog_goes_on(hub: Hub) -> None:
    hub.rebuild()
    other = Pipeline("q")
    other.stream("later", ROWS, key="key")
    hub.register(other)
    hub.publish("r.s", table(source_rows("s", [(0, 1, 2)], 100, 100)))
    hub.run(pipeline(), until="caught-up")
    before = hub.catalog.dump()
    hub.rebuild()
    assert difference(hub.catalog.dump(), before) == {}
    assert hub.stream("q.later").name == "q.later"


def test_a_lost_catalog_comes_back(hub: Hub, make_hub: Callable[[], Hub]) -> None:
    before = hub.catalog.dump()
    empty = make_hub().config.catalog
    with Hub(Config(hub.config.workspace, hub.config.log, empty, hub.config.service)) as other:
        with pytest.raises(CatalogError, match="old copy or another log's catalog"):
            other.register(Pipeline("empty"))
        other.rebuild()
        assert difference(other.catalog.dump(), before) == {}


def test_changes_that_the_log_has_lost_are_not_thrown_away(hub: Hub, make_hub: Callable[[], Hub]) -> None:
    before = hub.catalog.dump()
    another = make_hub()
    with Hub(Config(hub.config.workspace, another.config.log, hub.config.catalog, "python")) as mixed:
        with pytest.raises(CatalogError, match="would lose"):
            mixed.rebuild()
        assert mixed.catalog.dump() == before


def test_a_catalog_with_newer_changes_adopts_nothing(hub: Hub, tmp_path: Path) -> None:
    with Catalog(f"sqlite:///{tmp_path / 'old.db'}") as old:
        old.adopt(hub.catalog)
        assert difference(old.dump(), hub.catalog.dump()) == {}
        hub.catalog.tag("r.s", "new")
        before = hub.catalog.dump()
        assert not hub.catalog.adopt(old)
        assert hub.catalog.dump() == before
        hub.sync()
        assert not hub.catalog.adopt(old)


REBUILD = """
import sys
from pathlib import Path
from headwater import Config, Hub
folder = Path(sys.argv[1])
with Hub(Config(folder, f"embedded://{folder / 'log.db'}", sys.argv[2], "python")) as hub:
    print("ready", flush=True)
    while True:
        hub.rebuild()
        print("rebuilt", flush=True)
"""


def test_files_of_a_rebuild_that_was_killed_are_removed(hub: Hub) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    folder = hub.config.workspace
    left = [folder / f"catalog.rebuild-{dead.pid}.db{suffix}" for suffix in ("", "-journal", "-wal", "-shm")]
    others = folder / f"catalog.rebuild-{os.getppid()}.db-journal"
    for path in [*left, others]:
        path.touch()
    hub.rebuild()
    assert list(folder.glob("catalog.rebuild-*")) == [others]


def test_a_rebuild_that_is_killed_leaves_a_whole_catalog(hub: Hub) -> None:
    before = hub.catalog.dump()
    folder = hub.config.workspace
    for attempt in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", REBUILD, str(folder), hub.config.catalog],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": os.getcwd()},
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(0.03 + 0.1 * attempt)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert difference(hub.catalog.dump(), before) == {}
    hub.rebuild()
    assert difference(hub.catalog.dump(), before) == {}
    assert not list(folder.glob("catalog.rebuild-*"))
