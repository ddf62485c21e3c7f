"""Fifty registrars at once at one catalog that is not there yet: ids, versions and edges without doubles or gaps."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

from sqlalchemy import Connection, Table, select

import catalog as catalog_package
from catalog import Catalog
from catalog.models import dataset, declaration, edge, node, schema_text

ROOT = Path(catalog_package.__file__).parent.parent
PROCESSES = 2
REGISTRARS = 50

#: A process with its share of registrars, each with a catalog, and so with connections, of its own.
WORK = """
import sys
from concurrent.futures import ThreadPoolExecutor
from catalog import *

url, mine = sys.argv[1], range(int(sys.argv[2]), int(sys.argv[3]))

def stream(name, *fields):
    text = ",".join(fields)
    return StreamSpec(name, tuple(FieldSpec(one, "int64") for one in fields), text, text)

def registers(me):
    with Catalog(url, patience=300) as catalog:
        shared = stream("shared.in", "a", "b")
        links = (FieldLink("a", (("shared.in", "a"),)), FieldLink("b", (("shared.in", "b"),)))
        maps = OperatorSpec(f"p{me}.map", "map", "1", inputs=(InputSpec("shared.in"),),
            outputs=(OutputSpec(f"p{me}.out", links),))
        pipeline = PipelineSpec(f"p{me}", streams=(shared, stream(f"p{me}.out", "a", "b")), operators=(maps,))
        catalog.register(pipeline, compatible=lambda old, new: [])
        catalog.register_stream(stream("shared.growing", "a", f"of{me}"), compatible=lambda old, new: [])
        catalog.observe("reads", "everyone", "shared.in")
        catalog.register_dataset(DatasetSpec("training", {}, {}, str(me), ("shared.in",)))

with ThreadPoolExecutor(len(mine)) as threads:
    list(threads.map(registers, mine))
"""


def numbers(connection: Connection, table: Table, column: str = "id") -> list[int]:
    return sorted(connection.execute(select(table.c[column])).scalars())


def test_fifty_registrars_at_once(url: str, anew: str) -> None:
    share = REGISTRARS // PROCESSES
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WORK, url, str(first), str(first + share)],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for first in range(0, REGISTRARS, share)
    ]
    said = [process.communicate(timeout=500)[1] for process in processes]
    assert said == [""] * PROCESSES
    everyone = range(REGISTRARS)
    with Catalog(url) as catalog:
        versions = catalog.schema_versions("shared.growing")
        assert [one.version for one in versions] == list(range(1, REGISTRARS + 1))
        assert {one.schema for one in versions} == {f"a,of{me}" for me in everyone}
        assert len({one.schema_id for one in versions}) == REGISTRARS
        assert [one.version for one in catalog.schema_versions("shared.in")] == [1]
        assert {one.name for one in catalog.pipelines()} == {f"p{me}" for me in everyone}
        assert set(catalog.stream("shared.in").consumers) == {"everyone", *(f"p{me}.map" for me in everyone)}
        assert {catalog.writer_of(f"p{me}.out") for me in everyone} == {f"p{me}.map" for me in everyone}

        changes = catalog.outbox(10_000)
        assert [number for number, _ in changes] == list(range(1, len(changes) + 1))
        times = [change["at"] for _, change in changes]
        assert times == sorted(times)
        with catalog._database.reading() as connection:
            for table in (node, schema_text, declaration, edge, dataset):
                found = numbers(connection, table)
                assert found == list(range(1, len(found) + 1)), table.name
            assert numbers(connection, dataset, "version") == list(range(1, REGISTRARS + 1))
            links = Counter(
                (row.source, row.target, row.via, row.evidence) for row in connection.execute(select(edge)).all()
            )
        assert set(links.values()) == {1}
        # By stream and by field: two edges each of an operator's; what `everyone` reads; what the dataset is made of.
        assert len(links) == 4 * REGISTRARS + 2

        # The order in which the changes came is the one in which they were numbered.
        with Catalog(anew) as other:
            other.apply_changes(change for _, change in changes)
            assert other.dump() == catalog.dump()
