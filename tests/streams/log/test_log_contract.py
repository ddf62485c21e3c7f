"""What every log must do. Offsets increase and are never assumed dense; times are compared with each other only."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.log.protocol import Fenced, Log, LogError, Topic, TopicMismatch, UnknownTopic
from streams.message import Fetched, Headers

Open = Callable[[], Log]


def put(log: Log, topic: str, partition: int, *values: bytes | None, task: str = "task/0") -> None:
    writer = log.writer(task)
    writer.append(topic, partition, [None] * len(values), values, ())
    writer.commit()
    writer.close()


def everything(log: Log, topic: str, partition: int, *, max_bytes: int = 4 << 20) -> list[bytes | None]:
    """All values from the first readable offset to the end, by as many reads as it takes."""
    at, end = log.bounds(topic)[partition]
    found: list[bytes | None] = []
    while at < end:
        fetched = log.read(topic, partition, at, max_bytes=max_bytes)
        assert fetched.next > at
        found.extend(fetched.values)
        at = fetched.next
    return found


def test_a_new_topic_is_empty(log: Log) -> None:
    log.create([Topic("new", 3)])
    assert [end - first for first, end in log.bounds("new")] == [0, 0, 0]
    assert len(log.read("new", 2, 0)) == 0


def test_creating_the_same_topic_again_keeps_its_messages(log: Log) -> None:
    log.create([Topic("again", 1, retention=10**9)])
    put(log, "again", 0, b"kept")
    log.create([Topic("again", 1, retention=10**9)])
    assert everything(log, "again", 0) == [b"kept"]


@pytest.mark.parametrize(
    "other", [Topic("same", 3), Topic("same", 2, retention=5), Topic("same", 2, compact=True)], ids=str
)
def test_a_topic_with_other_settings_is_refused_and_both_are_named(log: Log, other: Topic) -> None:
    log.create([Topic("same", 2)])
    with pytest.raises(TopicMismatch, match=re.escape(str(other))) as caught:
        log.create([other])
    assert str(Topic("same", 2)) in str(caught.value)


def test_a_refused_creation_makes_none_of_its_topics(log: Log) -> None:
    log.create([Topic("same", 2)])
    with pytest.raises(TopicMismatch):
        log.create([Topic("fresh", 1), Topic("same", 3)])
    with pytest.raises(UnknownTopic):
        log.bounds("fresh")


def test_topics_are_told_with_their_settings_by_name(log: Log) -> None:
    log.create([Topic("late", 1, retention=7_000_000), Topic("early", 2, compact=True)])
    assert log.topics() == [Topic("early", 2, compact=True), Topic("late", 1, retention=7_000_000)]


def test_a_topic_needs_a_partition(log: Log) -> None:
    with pytest.raises(LogError, match="at least one partition"):
        log.create([Topic("none", 0)])


def test_messages_come_back_as_they_were(log: Log) -> None:
    log.create([Topic("t", 1)])
    keys = [b"key", None, b"", bytes(range(256))]
    values = [b"value", b"", None, bytes(reversed(range(256)))]
    headers: list[Headers] = [(), (("one", b"1"),), (("twice", b"\x00"), ("twice", b"\xff")), (("empty", b""),)]
    writer = log.writer("task/0")
    writer.append("t", 0, keys, values, headers)
    writer.commit()
    fetched = log.read("t", 0, 0)
    assert list(fetched.keys) == keys
    assert list(fetched.values) == values
    assert list(fetched.headers) == headers


def test_one_tuple_of_headers_holds_for_all_messages(log: Log) -> None:
    log.create([Topic("t", 1)])
    writer = log.writer("task/0")
    writer.append("t", 0, [None, None], [b"a", b"b"], (("run", b"7"),))
    writer.commit()
    assert list(log.read("t", 0, 0).headers) == [(("run", b"7"),)] * 2


def test_a_large_message_comes_back_whole(log: Log) -> None:
    log.create([Topic("t", 1)])
    value = bytes(range(256)) * 3_600
    put(log, "t", 0, value, b"after")
    assert everything(log, "t", 0) == [value, b"after"]


def test_offsets_and_times_increase(log: Log) -> None:
    log.create([Topic("t", 1)])
    for number in range(5):
        put(log, "t", 0, b"%d" % number, b"%d" % number)
    fetched = log.read("t", 0, 0)
    assert sorted(set(fetched.offsets)) == list(fetched.offsets)
    assert sorted(fetched.timestamps) == list(fetched.timestamps)
    assert len(fetched) == 10


def test_partitions_and_topics_are_apart(log: Log) -> None:
    log.create([Topic("a", 2), Topic("b", 2)])
    put(log, "a", 0, b"a0")
    put(log, "a", 1, b"a1")
    put(log, "b", 1, b"b1")
    found = [everything(log, topic, partition) for topic in "ab" for partition in (0, 1)]
    assert found == [[b"a0"], [b"a1"], [], [b"b1"]]


def test_nothing_is_seen_before_the_commit(log: Log, open_again: Open) -> None:
    log.create([Topic("t", 1)])
    writer = log.writer("task/0")
    writer.append("t", 0, [None], [b"x"], ())
    assert everything(log, "t", 0) == []
    writer.flush()
    assert everything(log, "t", 0) == []
    assert everything(open_again(), "t", 0) == []
    writer.commit()
    assert everything(log, "t", 0) == [b"x"]


def test_flush_tells_the_offsets_at_which_messages_are_read(log: Log) -> None:
    log.create([Topic("t", 2)])
    put(log, "t", 1, b"before")
    writer = log.writer("task/0")
    writer.append("t", 1, [None] * 3, [b"a", b"b", b"c"], ())
    writer.append("t", 0, [None], [b"d"], ())
    first = writer.flush()
    writer.append("t", 1, [None], [b"e"], ())
    second = writer.flush()
    writer.commit()
    assert [place[:2] for place in first + second] == [("t", 1), ("t", 0), ("t", 1)]
    for (topic, partition, start, last), values in zip(
        first + second, [[b"a", b"b", b"c"], [b"d"], [b"e"]], strict=True
    ):
        fetched = log.read(topic, partition, start)
        assert list(fetched.values)[: len(values)] == values
        assert fetched.offsets[0] == start
        assert fetched.offsets[len(values) - 1] == last


def test_flush_without_appends_tells_nothing(log: Log) -> None:
    assert log.writer("task/0").flush() == []


def test_an_aborted_transaction_leaves_nothing(log: Log) -> None:
    log.create([Topic("t", 1)])
    writer = log.writer("task/0")
    writer.append("t", 0, [None], [b"flushed"], ())
    writer.flush()
    writer.append("t", 0, [None], [b"buffered"], ())
    writer.abort()
    writer.commit()
    writer.append("t", 0, [None], [b"kept"], ())
    writer.commit()
    assert everything(log, "t", 0) == [b"kept"]


def test_commit_without_an_append_does_nothing(log: Log) -> None:
    log.create([Topic("t", 1)])
    before = log.bounds("t")
    log.writer("task/0").commit()
    assert log.bounds("t") == before


def test_closing_a_writer_drops_its_open_transaction(log: Log) -> None:
    log.create([Topic("t", 1)])
    writer = log.writer("task/0")
    writer.append("t", 0, [None], [b"x"], ())
    writer.flush()
    writer.close()
    assert everything(log, "t", 0) == []


def test_reading_starts_at_the_offset_asked_for(log: Log) -> None:
    log.create([Topic("t", 1)])
    put(log, "t", 0, b"a", b"b", b"c")
    offsets = log.read("t", 0, 0).offsets
    assert list(log.read("t", 0, offsets[1]).values) == [b"b", b"c"]


def test_reading_before_the_first_message_starts_there(log: Log) -> None:
    log.create([Topic("t", 1)])
    put(log, "t", 0, b"a")
    first, _ = log.bounds("t")[0]
    assert list(log.read("t", 0, first - 5).values) == [b"a"]


def test_reading_at_the_end_gives_nothing_and_stays(log: Log) -> None:
    log.create([Topic("t", 1)])
    put(log, "t", 0, b"a")
    end = log.read("t", 0, 0).next
    fetched = log.read("t", 0, end)
    assert (len(fetched), fetched.next) == (0, end)


def test_what_comes_later_is_read_from_next(log: Log) -> None:
    log.create([Topic("t", 1)])
    put(log, "t", 0, b"a")
    after = log.read("t", 0, 0).next
    put(log, "t", 0, b"b")
    assert list(log.read("t", 0, after).values) == [b"b"]


def test_a_read_stays_near_its_limit_of_bytes(log: Log) -> None:
    log.create([Topic("t", 1)])
    put(log, "t", 0, *[bytes(1000)] * 50)
    fetched = log.read("t", 0, 0, max_bytes=10_000)
    assert 1 <= len(fetched) <= 11


def test_a_read_gives_at_least_one_message(log: Log) -> None:
    log.create([Topic("t", 1)])
    put(log, "t", 0, bytes(10_000), b"b")
    assert list(log.read("t", 0, 0, max_bytes=1).values) == [bytes(10_000)]


@pytest.mark.parametrize("max_bytes", [1, 700, 5_000, 4 << 20])
def test_reads_of_any_size_give_every_message_once(log: Log, max_bytes: int) -> None:
    log.create([Topic("t", 1)])
    values = [b"%d." % number + bytes(number * number % 1900) for number in range(300)]
    put(log, "t", 0, *values)
    assert everything(log, "t", 0, max_bytes=max_bytes) == values


def test_last_gives_the_newest_messages_in_order(log: Log) -> None:
    log.create([Topic("t", 1)])
    assert len(log.last("t", 0)) == 0
    put(log, "t", 0, b"a", b"b")
    put(log, "t", 0, b"c")
    assert list(log.last("t", 0).values) == [b"c"]
    assert list(log.last("t", 0, 2).values) == [b"b", b"c"]
    assert list(log.last("t", 0, 9).values) == [b"a", b"b", b"c"]


def test_ends_are_told_in_the_order_asked_for(log: Log) -> None:
    log.create([Topic("a", 2), Topic("b", 1)])
    put(log, "a", 1, b"1", b"2")
    put(log, "b", 0, b"3")
    (_, first), (_, second) = log.bounds("a")
    ((_, other),) = log.bounds("b")
    assert log.ends([("b", 0), ("a", 1), ("a", 0), ("a", 1)]) == (other, second, first, second)
    assert log.ends([]) == ()


def test_ends_grow_with_commits_alone(log: Log, open_again: Open) -> None:
    log.create([Topic("t", 2)])
    places = [("t", 0), ("t", 1)]
    with_nothing = log.ends(places)
    writer = log.writer("w/0")
    writer.append("t", 1, [None], [b"x"], ())
    writer.flush()
    assert open_again().ends(places) == with_nothing
    writer.commit()
    one, other = log.ends(places)
    assert (one, other > with_nothing[1]) == (with_nothing[0], True)
    writer.append("t", 1, [None], [b"y"], ())
    writer.commit()
    assert log.ends(places)[1] > other


def test_ends_show_what_another_handle_committed_before_the_version_was_asked_for(log: Log, open_again: Open) -> None:
    log.create([Topic("t", 1)])
    here, there = log.writer("here/0"), open_again()
    ((_, before),) = log.bounds("t")
    for number in range(20):
        assert log.ends([("t", 0)]) == (before,)
        put(there, "t", 0, str(number).encode(), task="there/0")
        log.version()
        (after,) = log.ends([("t", 0)])
        assert after > before
        assert len(log.read("t", 0, before)) == 1
        before = after
    here.close()


def test_who_sees_an_end_reads_up_to_it(log: Log, open_again: Open) -> None:
    log.create([Topic("t", 1)])
    other = open_again()
    at = 0
    for number in range(20):
        put(other, "t", 0, str(number).encode(), task="other/0")
        while log.ends([("t", 0)])[0] <= at:
            assert len(log.read("t", 0, at)) == 0
        fetched = log.read("t", 0, at)
        assert fetched.values == (str(number).encode(),)
        at = max(fetched.next, log.ends([("t", 0)])[0])


def test_a_version_changes_with_a_commit_to_where_only_ends_were_asked_for(log: Log, open_again: Open) -> None:
    log.create([Topic("t", 1), Topic("u", 1)])
    other = open_again()
    log.ends([("t", 0)])
    log.read("u", 0, 0)
    version = log.version()
    put(other, "t", 0, b"x")
    assert log.version() != version


def test_one_commit_covers_many_topics(log: Log, open_again: Open) -> None:
    log.create([Topic("a", 2), Topic("b", 1)])
    writer = log.writer("task/0")
    for topic, partition in (("a", 0), ("a", 1), ("b", 0)):
        writer.append(topic, partition, [None], [b"x"], ())
    writer.commit()
    other = open_again()
    assert [everything(other, *place) for place in (("a", 0), ("a", 1), ("b", 0))] == [[b"x"]] * 3


def test_tasks_write_side_by_side_into_one_partition(log: Log, open_again: Open) -> None:
    log.create([Topic("t", 1)])
    one, other = log.writer("task/0"), open_again().writer("task/1")
    for number in range(3):
        for name, writer in ((b"one", one), (b"other", other)):
            writer.append("t", 0, [name], [b"%d" % number], ())
            writer.commit()
    fetched = log.read("t", 0, 0)
    pairs = list(zip(fetched.keys, fetched.values, strict=True))
    assert [value for key, value in pairs if key == b"one"] == [b"0", b"1", b"2"]
    assert [value for key, value in pairs if key == b"other"] == [b"0", b"1", b"2"]


@pytest.mark.parametrize("flushed", [False, True])
def test_a_newer_writer_of_the_task_fences_the_older_one(log: Log, flushed: bool) -> None:
    log.create([Topic("t", 1)])
    older = log.writer("task/0")
    older.append("t", 0, [None], [b"older"], ())
    if flushed:
        older.flush()
    newer = log.writer("task/0")
    assert everything(log, "t", 0) == []
    with pytest.raises(Fenced, match="task/0"):
        older.commit()
    newer.append("t", 0, [None], [b"newer"], ())
    newer.commit()
    assert everything(log, "t", 0) == [b"newer"]


def test_a_writer_is_fenced_from_another_handle(log: Log, open_again: Open) -> None:
    log.create([Topic("t", 1)])
    older = log.writer("task/0")
    older.append("t", 0, [None], [b"first"], ())
    older.commit()
    open_again().writer("task/0")
    older.append("t", 0, [None], [b"second"], ())
    with pytest.raises(Fenced):
        older.commit()
    assert everything(log, "t", 0) == [b"first"]


def test_a_fenced_writer_stays_fenced(log: Log) -> None:
    log.create([Topic("t", 1)])
    older = log.writer("task/0")
    log.writer("task/0").close()
    older.append("t", 0, [None], [b"x"], ())
    with pytest.raises(Fenced):
        older.flush()
    with pytest.raises(Fenced):
        older.append("t", 0, [None], [b"x"], ())
    older.close()
    assert everything(log, "t", 0) == []


def test_writers_of_other_tasks_are_not_fenced(log: Log) -> None:
    log.create([Topic("t", 1)])
    writer = log.writer("task/0")
    log.writer("task/1")
    writer.append("t", 0, [None], [b"x"], ())
    writer.commit()
    assert everything(log, "t", 0) == [b"x"]


def test_a_task_goes_on_with_a_new_writer_after_close(log: Log, open_again: Open) -> None:
    log.create([Topic("t", 1)])
    put(log, "t", 0, b"a")
    put(open_again(), "t", 0, b"b")
    assert everything(log, "t", 0) == [b"a", b"b"]


@pytest.mark.parametrize("partition", [-1, 2, 99])
def test_a_partition_that_is_not_there_is_refused(log: Log, partition: int) -> None:
    log.create([Topic("t", 2)])
    with pytest.raises(UnknownTopic, match=f"partition {partition}"):
        log.writer("task/0").append("t", partition, [None], [b"x"], ())
    with pytest.raises(UnknownTopic):
        log.read("t", partition, 0)
    with pytest.raises(UnknownTopic):
        log.last("t", partition)
    with pytest.raises(UnknownTopic):
        log.ends([("t", 0), ("t", partition)])


def test_a_topic_that_is_not_there_is_refused_by_name(log: Log) -> None:
    for ask in (
        lambda: log.bounds("missing"),
        lambda: log.read("missing", 0, 0),
        lambda: log.last("missing", 0),
        lambda: log.ends([("missing", 0)]),
        lambda: log.writer("task/0").append("missing", 0, [None], [b"x"], ()),
    ):
        with pytest.raises(UnknownTopic, match="missing"):
            ask()


def test_a_topic_made_by_another_handle_is_found(log: Log, open_again: Open) -> None:
    with pytest.raises(UnknownTopic):
        log.bounds("t")
    open_again().create([Topic("t", 1)])
    put(log, "t", 0, b"x")
    assert everything(log, "t", 0) == [b"x"]


@pytest.mark.parametrize(
    ("keys", "values", "headers"),
    [([None], [b"a", b"b"], ()), ([None] * 3, [b"a", b"b"], ()), ([None] * 2, [b"a", b"b"], [()])],
)
def test_columns_of_different_length_are_refused(log: Log, keys: Any, values: Any, headers: Any) -> None:
    log.create([Topic("t", 1)])
    writer = log.writer("task/0")
    with pytest.raises(LogError, match="do not go together"):
        writer.append("t", 0, keys, values, headers)
    writer.commit()
    assert everything(log, "t", 0) == []


@pytest.mark.parametrize("value", ["text", 7, 1.5])
def test_a_value_that_is_not_bytes_is_refused_and_nothing_written(log: Log, value: Any) -> None:
    log.create([Topic("t", 1)])
    writer = log.writer("task/0")

    def write() -> None:
        writer.append("t", 0, [None, None], [b"fine", value], ())
        writer.commit()

    with pytest.raises(LogError):
        write()
    writer.abort()
    assert everything(log, "t", 0) == []


def test_a_header_name_outside_ascii_is_refused(log: Log) -> None:
    log.create([Topic("t", 1)])
    with pytest.raises(LogError, match="header"):
        log.writer("task/0").append("t", 0, [None], [b"x"], (("naïve", b"1"),))


def test_a_compact_topic_wants_keys(log: Log) -> None:
    log.create([Topic("table", 1, compact=True)])
    with pytest.raises(LogError, match="no key"):
        log.writer("task/0").append("table", 0, [b"k", None], [b"a", b"b"], ())


def test_an_append_of_nothing_is_no_message(log: Log) -> None:
    log.create([Topic("t", 1)])
    writer = log.writer("task/0")
    writer.append("t", 0, [], [], ())
    (placed,) = writer.flush()
    assert placed.last == placed.first - 1
    writer.commit()
    assert everything(log, "t", 0) == []


def test_changing_a_list_after_the_append_changes_no_message(log: Log) -> None:
    log.create([Topic("t", 1)])
    values: list[bytes | None] = [b"as given"]
    writer = log.writer("task/0")
    writer.append("t", 0, [None], values, ())
    values[0] = b"changed"
    writer.commit()
    assert everything(log, "t", 0) == [b"as given"]


message = st.tuples(st.none() | st.binary(max_size=4), st.none() | st.binary(max_size=300))
step = st.one_of(
    st.tuples(st.just("append"), st.sampled_from([("a", 0), ("a", 1), ("b", 0)]), st.lists(message, max_size=6)),
    st.tuples(st.sampled_from(["flush", "commit", "abort", "replace"])),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(step, max_size=25))
def test_any_sequence_of_steps_shows_what_was_committed_and_no_more(log: Log, steps: list[Any]) -> None:
    number = uuid.uuid4()
    places = {("a", 0), ("a", 1), ("b", 0)}
    names = {short: f"{short}-{number}" for short in "ab"}
    log.create([Topic(names["a"], 2), Topic(names["b"], 1)])
    task = f"task-{number}/0"
    writer = log.writer(task)
    seen: dict[tuple[str, int], list[Any]] = {place: [] for place in places}
    pending: list[tuple[tuple[str, int], list[Any]]] = []
    for kind, *rest in steps:
        if kind == "append":
            place, messages = rest
            writer.append(names[place[0]], place[1], [key for key, _ in messages], [value for _, value in messages], ())
            pending.append((place, messages))
        elif kind == "flush":
            writer.flush()
        elif kind == "replace":
            writer = log.writer(task)
            pending = []
        else:
            getattr(writer, kind)()
            if kind == "commit":
                for place, messages in pending:
                    seen[place].extend(messages)
            pending = []
        for place in places:
            fetched: Fetched = log.read(names[place[0]], place[1], 0)
            assert list(zip(fetched.keys, fetched.values, strict=True)) == seen[place]
    writer.close()
