"""Several processes at one catalog: nothing lost, nothing twice, and a clear error when one waits too long."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import catalog as catalog_package
from catalog import Catalog, CatalogBusy, CatalogError, PipelineSpec
from tests.services.databases import Databases

ROOT = Path(catalog_package.__file__).parent.parent

WORK = """
import sys
from catalog import *
url, me = sys.argv[1], int(sys.argv[2])
def stream(name, *fields):
    text = ",".join(fields)
    return StreamSpec(name, tuple(FieldSpec(f, "int64") for f in fields), text, text)
catalog = Catalog(url)
for turn in range(4):
    own = stream(f"p{me}.out", "a", *(f"own{me}_{n}" for n in range(turn)))
    shared = stream("shared.in", "a", "b")
    operator = OperatorSpec(f"p{me}.map", "map", str(turn), inputs=(InputSpec("shared.in"),),
        outputs=(OutputSpec(f"p{me}.out", (FieldLink("a", (("shared.in", "a"),)),)),))
    entities = (EntitySpec("thing", (f"word{me}",)),)
    spec = PipelineSpec(f"p{me}", streams=(shared, own), operators=(operator,), entities=entities)
    catalog.register(spec, compatible=lambda old, new: [])
    catalog.register(spec, compatible=lambda old, new: [])
    catalog.observe("reads", "everyone", "shared.in")
    catalog.observe("reads", f"service{me}", "shared.in")
    row = dict(operator="shared.op", task=0, version="1", run="r", engine="e", seq=turn, at=turn, watermark=turn,
        rows_in={"shared.in": 1}, took=[["shared.in", 0, turn, turn + 1]])
    catalog.apply_progress("shared.progress", [(0, turn, row)])
catalog.close()
"""


def test_processes_register_side_by_side(url: str, anew: str) -> None:
    workers = [
        subprocess.Popen([sys.executable, "-c", WORK, url, str(number)], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        for number in range(4)
    ]
    said = [worker.communicate(timeout=120)[1] for worker in workers]
    assert said == [""] * 4
    with Catalog(url) as catalog:
        numbers = [number for number, _ in catalog.outbox(1000)]
        assert numbers == list(range(1, len(numbers) + 1))
        for number in range(4):
            versions = catalog.schema_versions(f"p{number}.out")
            assert [one.version for one in versions] == [1, 2, 3, 4]
            assert [one.spec.version for one in catalog.operator(f"p{number}.map").versions] == ["0", "1", "2", "3"]
        schemas = catalog.dump()["schema_text"]
        assert sorted(one["id"] for one in schemas) == list(range(1, len(schemas) + 1))
        consumers = catalog.stream("shared.in").consumers
        assert consumers == (
            "everyone",
            *(f"p{n}.map" for n in range(4)),
            *(f"service{n}" for n in range(4)),
            "shared.op",
        )
        assert catalog.run("r").rows_in == {"shared.in": 4}
        assert catalog.entities()[0].synonyms == ("word0", "word1", "word2", "word3")
        with Catalog(anew) as other:
            other.apply_changes(change for _, change in catalog.outbox(1000))
            assert other.dump()["stream"] == catalog.dump()["stream"]


def test_waiting_too_long_is_an_error_that_says_so(databases: Databases, anew: str) -> None:
    with Catalog(anew, patience=0.1) as catalog:
        with databases.holding(anew):
            with pytest.raises(CatalogBusy, match=r"more than 0\.1 s; nothing was changed.*Try again"):
                catalog.register(PipelineSpec("p"), compatible=lambda old, new: [])
            assert catalog.pipelines() == []
        catalog.register(PipelineSpec("p"), compatible=lambda old, new: [])
        assert [one.name for one in catalog.pipelines()] == ["p"]


def test_a_full_disk_is_an_error_and_nothing_is_lost(
    tmp_path: Path, plant: PipelineSpec, refuses_nothing: Callable[[str, str], list[str]]
) -> None:
    # Of SQLite alone: PostgreSQL's disk is not ours to fill.
    with Catalog(f"sqlite:///{tmp_path}/catalog.db") as catalog:
        before = catalog.dump()
        with catalog._database.writing() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 1")
        with pytest.raises(CatalogError, match=r"full.*disk is not full"):
            catalog.register(plant, compatible=refuses_nothing)
        assert catalog.dump() == before
        with catalog._database.writing() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 100000")
        assert catalog.register(plant, compatible=refuses_nothing).changed


def test_threads_may_share_a_catalog(
    catalog: Catalog, plant: PipelineSpec, refuses_nothing: Callable[[str, str], list[str]]
) -> None:
    catalog.register(plant, compatible=refuses_nothing)
    threads = [threading.Thread(target=catalog.tag, args=("plant.valid", f"tag-{number}")) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert catalog.stream("plant.valid").spec.tags == tuple(f"tag-{number}" for number in range(8))


OUTLIVE = """
import os, sys
from catalog import *
catalog = Catalog(sys.argv[1])
catalog.register_stream(StreamSpec("s", (FieldSpec("a", "int64"),), "a", "a"), compatible=lambda old, new: [])
child = os.fork()
if child:
    os.waitpid(child, 0)
    os._exit(0)
for tag in ("one", "two"):
    catalog.tag("s", tag)
    print(os.getpid(), flush=True)
    sys.stdin.readline()
"""


def test_a_child_that_outlives_its_parent_loses_nothing(url: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", OUTLIVE, url], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.kill()
    process.wait()
    try:
        for _ in range(2):
            with Catalog(url) as catalog:
                assert catalog.stream("s").spec.tags == ("one",)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == f"{child}\n"
        with Catalog(url) as catalog:
            assert catalog.stream("s").spec.tags == ("one", "two")
    finally:
        os.kill(child, signal.SIGKILL)
        process.communicate()
