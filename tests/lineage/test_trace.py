"""Traces of single rows: what each says of who made it, and what it says when there is nothing more to find."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from catalog import NotRegistered
from headwater import Hub, Pipeline
from headwater.render import shortened
from operators.engines import embedded
from streams.address import BadAddress, NoSuchRow, parse_address
from streams.log.protocol import Corrupt, Log
from streams.message import PARENTS, RowAddress
from streams.rules import between
from streams.stream import Stream
from streams.trace import trace
from tests.lineage.compare import check_rebuilt
from tests.lineage.rows import ROWS, Copy, kept, source_rows, summed, table

NUMBERS = [(n % 3, 1, n) for n in range(12)]
DAY = 24 * 3600 * 1_000_000


def rows_of(stream: str, count: int = 12, first: int = 0) -> pa.Table:
    return table(source_rows(stream, NUMBERS[:count], first, first))


def ran(hub: Hub, p: Pipeline, **published: pa.Table) -> None:
    hub.register(p)
    for name, rows in published.items():
        hub.publish(f"{p.name}.{name}", rows)
    hub.run(p, until="caught-up")


def shown(found: Any) -> str:
    console = Console(width=200, color_system=None)
    with console.capture() as captured:
        console.print(found.tree())
    return captured.get()


@pytest.fixture
def hub(make_hub: Callable[[], Hub]) -> Hub:
    return make_hub()


def plant_pipeline() -> Pipeline:
    """A cleaned stream, joined with a table."""
    p = Pipeline("p", partitions=1)
    valid = p.clean(p.stream("s", ROWS, key="key", time="at"), to="valid", expect=[between("n", 0, 9)])
    p.join(valid, p.table("t", ROWS, key="key"), on="key", to="joined")
    return p


@pytest.fixture(scope="module")
def plant(shared_hub: Hub) -> Hub:
    ran(shared_hub, plant_pipeline(), t=rows_of("t", 3), s=rows_of("s"))
    return shared_hub


def test_a_joined_row_comes_from_both_sides(plant: Hub) -> None:
    row = plant.read("p.joined").row(4)
    found = plant.trace(row)
    root = found[row.address]
    assert dict(root.values or {}) == dict(row)
    assert root.maker.operator == "p.joined"
    assert root.maker.version == plant.catalog.operator("p.joined").spec.version
    assert root.maker.engine == "embedded"
    assert root.maker.task == "p.joined/0"
    assert root.maker.run == plant.catalog.runs("p.joined")[0].id
    assert [(one.stream, one.granularity) for one in root.descents] == [("p.valid", "identity"), ("p.t", "index")]
    sources = {(one.stream, one.values["id"], one.maker.producer) for one in found.sources() if one.values}
    assert sources == {("p.s", row["id"], "service:python"), ("p.t", row["t_id"], "service:python")}
    assert root.when is not None
    assert abs(root.when - plant.clock()) < DAY


def test_a_row_can_be_named_in_three_ways(plant: Hub) -> None:
    row = plant.read("p.joined").row(0)
    by_row = plant.trace(row).to_dict()
    assert plant.trace(row.address).to_dict() == by_row
    assert plant.trace(str(row.address)).to_dict() == by_row


def test_a_quarantined_row_leads_to_the_row_that_broke_the_rule(plant: Hub) -> None:
    row = plant.read("p.valid.quarantine").row(0)
    found = plant.trace(row)
    (source,) = found.sources()
    assert source.values is not None
    assert (source.values["n"], source.values["id"]) == (row["n"], row["id"])
    assert row["n"] > 9


def test_a_mended_row_leads_to_where_it_was_published_again(hub: Hub) -> None:
    p = plant_pipeline()
    ran(hub, p, s=rows_of("s"))
    bad = hub.read("p.valid.quarantine").table.select(ROWS.names).slice(0, 1)
    mended = bad.set_column(bad.schema.get_field_index("n"), "n", pa.array([1]))
    hub.publish("p.valid.retry", mended)
    before = len(hub.read("p.valid"))
    hub.run(p, until="caught-up")
    rows = hub.read("p.valid")
    assert len(rows) == before + 1
    (source,) = hub.trace(rows.row(-1)).sources()
    assert source.stream == "p.valid.retry"
    assert source.maker.producer == "service:python"


def test_a_replayed_row_leads_through_the_quarantine_to_the_row_that_broke_the_rule(hub: Hub) -> None:
    p = plant_pipeline()
    ran(hub, p, s=rows_of("s"))
    bad = hub.read("p.valid.quarantine").row(0)
    assert hub.replay_quarantine("p.valid", fix={"n": 1}, limit=1).sent == 1
    hub.run(p, until="caught-up")
    found = hub.trace(hub.read("p.valid").row(-1))
    assert [row.stream for row in found] == ["p.valid", "p.valid.retry", "p.valid.quarantine", "p.s"]
    assert bad.address in found.rows
    (source,) = found.sources()
    assert source.values is not None
    assert source.values["id"] == bad["id"]
    again = hub.impact(source.address)
    assert [one.stream for one in again.streams] == ["p.valid.quarantine", "p.valid.retry", "p.valid", "p.joined"]
    check_rebuilt(hub, hub.config.workspace / "fresh.db")


def test_the_row_of_a_source_says_which(hub: Hub) -> None:
    p = Pipeline("p", partitions=1)
    s = p.stream("s", ROWS, key="key", time="at", codec="json")
    p.source(s, rows_of("s"), chunk=5)
    ran(hub, p)
    found = hub.trace("p.s 0:7:0")
    (source,) = found.sources()
    assert source.maker.producer == "p.s.source@1"
    assert source.maker.is_source
    assert source.maker.engine == "embedded"
    assert "published by p.s.source@1" in shown(found)


@pytest.mark.parametrize("codec", ["json", "avro"])
def test_rows_of_one_message_each_find_their_parents_at_the_end_of_their_batch(hub: Hub, codec: str) -> None:
    p = Pipeline("p", partitions=1)
    s = p.stream("s", ROWS, key="key", time="at")
    p.add(Copy(s, "p.copy", codec))
    hub.register(p)
    for first in (0, 12):
        hub.publish(s, rows_of("s", first=first))
    hub.run(p, until="caught-up")
    rows = hub.read("p.copy")
    assert len(rows) == 24
    for row in rows:
        (source,) = hub.trace(row).sources()
        assert source.values == dict(row)


class Counting:
    """A log that counts how often each message was read from it."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.read_at: list[tuple[str, int, int]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def read(self, topic: str, partition: int, offset: int, *, max_bytes: int = 4 << 20) -> Any:
        fetched = self._log.read(topic, partition, offset, max_bytes=max_bytes)
        self.read_at += [(topic, partition, at) for at in fetched.offsets]
        return fetched


def test_a_message_is_read_once(plant: Hub) -> None:
    p = Pipeline("w", partitions=1)
    s = p.stream("s", ROWS, key="key", time="at", codec="json")
    p.map(p.add(Copy(s, "w.copy", "json")), summed, reads=ROWS.names, to="sums", schema=ROWS)
    ran(plant, p, s=rows_of("s"))
    log = Counting(plant.log)
    row = plant.read("w.sums").row(0)
    found = trace(log, plant.catalog, plant.stream, plant.schema, row.address, rows_of_range=100)  # type: ignore[arg-type]
    assert len(found.sources()) == 12
    assert len(log.read_at) == len(set(log.read_at)) == 1 + 12 + 12


def test_a_function_without_a_mapping_leads_to_the_whole_batch(hub: Hub) -> None:
    p = Pipeline("p", partitions=1)
    p.map(p.stream("s", ROWS, key="key", time="at", codec="arrow"), summed, reads=ROWS.names, to="sums", schema=ROWS)
    ran(hub, p, s=rows_of("s"))
    found = hub.trace("p.sums 0:0:3")
    (descent,) = found[found.root].descents
    assert descent.granularity == "batch"
    assert [(span.first, span.end, span.rows) for span in descent.spans] == [(0, 1, 12)]
    assert len(descent.rows) == 5
    assert descent.truncated
    assert found.truncated
    text = shown(found)
    assert "[batch] one or more of p.s 0:0 (12 rows)" in text
    assert "… and more" in text


def test_depth_and_limit_cut_a_trace_short(plant: Hub) -> None:
    row = plant.read("p.joined").row(0)
    assert not plant.trace(row).truncated
    near = plant.trace(row, depth=1)
    assert {one.stream for one in near} == {"p.joined", "p.valid", "p.t"}
    assert near.truncated
    few = plant.trace(row, limit=2)
    assert len(few) == 2
    assert few.truncated
    assert "not followed" in shown(few)
    assert '"truncated": true' in json.dumps(few.to_dict())


def test_a_parent_that_two_rows_share_is_there_once(hub: Hub) -> None:
    p = Pipeline("p", partitions=1)
    s = p.stream("s", ROWS, key="key", time="at")
    left = p.map(s, kept, reads=["id", "n", "exact", "wide"], to="left")
    right = p.filter(s, lambda rows: np.asarray(rows["n"]) >= 0, reads=["n"], to="right")
    p.join(left, right, on="key", how="asof", to="both")
    ran(hub, p, s=rows_of("s"))
    ran(hub, p, s=rows_of("s", first=12))
    row = next(row for row in hub.read("p.both") if row["right_id"] == row["id"][:-1])
    found = hub.trace(row)
    assert len(found) == 4
    assert len(found.sources()) == 1
    assert "shown above" in shown(found)
    assert '"repeated": true' in json.dumps(found.to_dict())


def test_without_a_match_there_is_no_right_parent(hub: Hub) -> None:
    p = Pipeline("p", partitions=1)
    p.join(p.stream("s", ROWS, key="key", time="at"), p.table("t", ROWS, key="key"), on="key", to="joined")
    ran(hub, p, s=rows_of("s"))
    found = hub.trace("p.joined 0:0:0")
    assert [descent.rows for descent in found[found.root].descents] == [(RowAddress("p.s", 0, 0, 0),), ()]


def test_a_parent_lost_to_retention_is_said_to_be_gone_and_since_when(hub: Hub) -> None:
    p = Pipeline("p", partitions=1)
    s = p.stream("s", ROWS, key="key", time="at")
    short = p.map(s, kept, reads=["id", "n", "exact", "wide"], to="short")
    p.streams["p.short"] = Stream(**{**vars(short), "retention": DAY})
    p.filter(short, lambda rows: np.asarray(rows["n"]) >= 0, reads=["n"], to="kept")
    ran(hub, p, s=rows_of("s"))
    made = hub.trace("p.kept 0:0:4")
    lost = next(row for row in made if row.stream == "p.short")
    assert hub.log.sweep(hub.clock() + 2 * DAY) > 0  # type: ignore[attr-defined]
    found = hub.trace("p.kept 0:0:4")
    gone = found[lost.address]
    assert gone.values is None
    assert gone.gone is not None
    assert gone.gone.why == "retention"
    assert lost.when is not None
    assert gone.gone.since is not None
    assert abs(gone.gone.since - (lost.when + DAY)) < 60_000_000
    assert gone.gone.readable == hub.log.bounds("p.short")[0][0] > lost.address.offset
    assert gone.maker.operator == "p.short"
    assert gone.maker.engine == "embedded"
    (descent,) = gone.descents
    assert descent.granularity == "range"
    assert descent.stream == "p.s"
    assert "gone by retention since" in shown(found)
    assert hub.trace(lost.address)[lost.address].gone is not None


def test_a_parent_that_compaction_took_is_said_to_be_gone(hub: Hub) -> None:
    p = Pipeline("p", partitions=1)
    t = p.table("t", ROWS, key="key")
    p.join(p.stream("s", ROWS, key="key", time="at"), t, on="key", to="joined")
    ran(hub, p, t=rows_of("t", 3), s=rows_of("s"))
    hub.publish(t, rows_of("t", 3, first=3))
    assert hub.log.compact("p.t") == 3  # type: ignore[attr-defined]
    found = hub.trace(hub.read("p.joined").row(0))
    (right,) = (row for row in found if row.stream == "p.t")
    assert right.values is None
    assert right.gone is not None
    assert right.gone.why == "compaction"
    assert right.gone.readable == 3
    assert "gone by compaction" in shown(found)


def test_a_batch_whose_record_of_parents_compaction_took_falls_back_to_the_catalog(hub: Hub) -> None:
    p = Pipeline("p", partitions=1)
    t = p.table("t", ROWS, key="key")
    p.clean(t, to="clean")
    ran(hub, p, t=rows_of("t", 3))
    last = list(hub.read("p.clean"))[-1]
    again = rows_of("t", 3, first=3).filter(pa.array([key == last["key"] for key in ("k0", "k1", "k2")]))
    hub.publish(t, again)
    hub.run(p, until="caught-up")
    assert hub.log.compact("p.clean") == 1  # type: ignore[attr-defined]
    found = hub.trace("p.clean 0:0:0")
    (descent,) = found[found.root].descents
    assert descent.granularity == "range"
    assert {row.values["id"] for row in found.sources() if row.values} == {"t-0", "t-1", "t-2"}


def test_parents_that_were_not_recorded_are_said_to_be_missing(hub: Hub) -> None:
    p = Pipeline("p", partitions=1)
    p.filter(p.stream("s", ROWS, key="key", time="at"), lambda rows: np.asarray(rows["n"]) > 1, reads=["n"], to="out")
    hub.register(p)
    hub.publish("p.s", rows_of("s"))
    plan = hub.plan(p)
    embedded.run(plan, hub.context(plan, parents=False), until="caught-up")
    found = hub.trace("p.out 0:0:0")
    assert found[found.root].ending == "unrecorded"
    assert "its parents were not recorded" in shown(found)


def test_a_message_of_somebody_else_is_unattributed(hub: Hub) -> None:
    p = Pipeline("p", partitions=1)
    p.stream("s", ROWS, key="key", codec="json")
    hub.register(p)
    hub.publish("p.s", rows_of("s", 1))
    value = hub.log.read("p.s", 0, 0).values[0]
    writer = hub.log.writer("somebody/0")
    writer.append("p.s", 0, [b"k"], [value], ())
    writer.commit()
    writer.close()
    found = hub.trace("p.s 0:1:0")
    assert found[found.root].ending == "unattributed"
    assert found[found.root].values is not None
    assert "somebody who did not say who" in shown(found)


def test_damaged_parents_are_reported_with_their_place(hub: Hub) -> None:
    p = Pipeline("p", partitions=1)
    p.filter(p.stream("s", ROWS, key="key", time="at"), lambda rows: np.asarray(rows["n"]) > 1, reads=["n"], to="out")
    ran(hub, p, s=rows_of("s"))
    message = hub.log.read("p.out", 0, 0)
    damaged = tuple((name, value[:-4] if name == PARENTS else value) for name, value in message.headers[0])
    writer = hub.log.writer("p.out/0")
    writer.append("p.out", 0, [None], message.values, damaged)
    writer.commit()
    writer.close()
    with pytest.raises(Corrupt, match=r"parents header cannot be decoded \[p\.out 0:1\]"):
        hub.trace("p.out 0:1:0")


@pytest.mark.parametrize("text", ["", "p.joined", "p.joined 0", "p.joined 0:1", "p.joined 0:1:x", "0:1:2", "a b 0:1:2"])
def test_a_text_that_is_no_address_is_refused(plant: Hub, text: str) -> None:
    with pytest.raises(BadAddress, match=r"plant\.placed 0:1042:17"):
        plant.trace(text)


def test_an_address_reads_as_it_is_written() -> None:
    address = RowAddress("plant.placed", 0, 1042, 17)
    assert parse_address(f"  {address} ") == address


@pytest.mark.parametrize("place", ["1:0:0", "0:99:0", "0:0:12345"])
def test_an_address_without_a_row_names_what_can_be_read(plant: Hub, place: str) -> None:
    with pytest.raises(NoSuchRow, match=r"Readable in p\.joined .*0:0 to 0:0"):
        plant.trace(f"p.joined {place}")


def test_an_unknown_stream_is_refused_with_names_that_are_close(plant: Hub) -> None:
    with pytest.raises(NotRegistered, match=r"p\.joined"):
        plant.trace("p.joind 0:0:0")


def test_a_trace_shows_itself(plant: Hub) -> None:
    found = plant.trace(plant.read("p.joined").row(0))
    text = shown(found)
    assert "p.joined 0:0:0  key=k0 at=2024-01-01 00:00:01" in text
    assert "p.s 0:" in text
    assert "[index]" in text
    assert "published by python" in text
    assert repr(found).startswith("Trace('p.joined 0:0:0', 4 rows of p.joined, p.valid, p.t, p.s; 2 sources")
    html = found._repr_html_()
    assert html.count("<li>") == html.count("</li>")
    assert "p.t 0:0:0" in html
    nested = found.to_dict()["row"]
    assert nested["values"]["at"] == "2024-01-01T00:00:01+00:00"
    assert [parent["stream"] for parent in nested["parents"]] == ["p.valid", "p.t"]
    json.dumps(nested)


def test_values_are_shown_in_few_letters() -> None:
    assert shortened("a" * 100) == "a" * 27 + "…"
    assert shortened(0.1 + 0.2) == "0.3"
    assert shortened(b"abc") == "3 bytes"
    assert shortened("two\nlines") == "two lines"
