"""`headwater observe`: what lies in a log that nobody declared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

import headwater as hw
from headwater.observe import LooseTopic, Unattributed, observe
from streams.log import Topic
from streams.message import Headers
from tests.headwater.plant import Plant

START = datetime(2024, 3, 1, tzinfo=UTC)


@dataclass
class Reading:
    sensor: str
    at: datetime


def pipeline() -> hw.Pipeline:
    p = hw.Pipeline("boiler", partitions=1)
    raw = p.stream("readings", Reading, key="sensor", time="at", codec="json")
    p.clean(raw, to="valid", on_error="quarantine")
    return p


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[hw.Hub]:
    with hw.connect(tmp_path / "boiler") as opened:
        opened.run(pipeline(), until="caught-up")
        yield opened


def send(hub: hw.Hub, topic: str, *values: bytes, headers: Headers = ()) -> None:
    """As a program does that knows nothing of us."""
    writer = hub.log.writer("others")
    writer.append(topic, 0, [None] * len(values), values, headers)
    writer.commit()
    writer.close()


def test_nothing_stands_out_where_all_is_declared(hub: hw.Hub) -> None:
    hub.publish("boiler.readings", [Reading("s", START)])
    found = observe(hub)
    assert found.clean
    assert [(one.operator, one.lag) for one in found.lags] == [("boiler.valid", 1)]
    hub.run(pipeline(), until="caught-up")
    assert [one.lag for one in observe(hub).lags] == [0]


def test_topics_that_nobody_registered_are_listed(hub: hw.Hub) -> None:
    hub.log.create([Topic("web.clicks", 2)])
    send(hub, "web.clicks", b"a", b"b")
    assert observe(hub).unregistered == (LooseTopic("web.clicks", 2, 2),)


def test_streams_without_a_topic_and_topics_that_differ_are_listed(hub: hw.Hub, tmp_path: Path) -> None:
    with hw.connect(tmp_path / "other", log=f"embedded://{tmp_path}/other.db", catalog=hub.config.catalog) as other:
        other.log.create([Topic("boiler.readings", 3)])
        found = observe(other)
        assert "boiler.valid" in found.missing
        assert "boiler.readings" not in found.missing
        assert [(one.stream, one.topic.partitions, one.wanted.partitions) for one in found.differing] == [
            ("boiler.readings", 3, 1)
        ]


def test_messages_without_our_headers_are_counted_by_who_they_name(hub: hw.Hub) -> None:
    hub.publish("boiler.readings", [Reading("s", START)])
    row = b'{"sensor": "s", "at": "2024-03-01T00:00:00Z"}'
    send(hub, "boiler.readings", row, row, headers=(("ce_source", b"/legacy"),))
    send(hub, "boiler.readings", row)
    assert observe(hub).unattributed == (
        Unattributed("boiler.readings", "/legacy", 2, 4),
        Unattributed("boiler.readings", "unnamed", 1, 4),
    )
    assert not observe(hub).clean


def test_messages_that_follow_no_schema_are_listed_with_the_first(hub: hw.Hub) -> None:
    row = b'{"sensor": "s", "at": "2024-03-01T00:00:00Z"}'
    send(hub, "boiler.readings", row, b"{", row, b'{"sensor": 7}')
    (found,) = observe(hub).mismatches
    assert (found.stream, found.messages, found.of) == ("boiler.readings", 2, 4)
    assert found.first.startswith("boiler.readings 0:1")


def test_observing_changes_no_topic_and_no_stream(hub: hw.Hub) -> None:
    hub.log.create([Topic("web.clicks", 2)])
    hub.sync()
    before = (hub.log.topics(), hub.catalog.dump())
    observe(hub)
    assert (hub.log.topics(), hub.catalog.dump()) == before


def test_the_command_says_so_and_checks(plant: Plant) -> None:
    assert "Everything in the log is declared." in plant("observe", "--check").out
    with hw.connect(plant.folder / ".headwater") as hub:
        hub.log.create([Topic("web.clicks", 2)])
    called = plant("observe", "--check", code=10)
    assert "web.clicks\t2\t0" in called.out
    told = plant("observe", "--json").json
    assert told["unregistered"] == [{"topic": "web.clicks", "partitions": 2, "messages": 0}]
    assert not told["clean"]
    assert {"operator", "lag", "running", "tasks"} == set(told["lags"][0])
