"""Rows that services and sources may not publish: refused with field and row, nothing of them written."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

import headwater as hw
from streams.codecs import codec as codec_of
from streams.message import SCHEMA, pack_int
from tests.faults.facts import digests

START = datetime(2024, 3, 1, tzinfo=UTC)
NAIVE = datetime(2024, 3, 1)


@dataclass
class Loose:
    """Nothing is required, so that the stream itself has to refuse what it cannot place."""

    sensor: str | None
    at: datetime | None
    celsius: float | None


@pytest.fixture(params=["arrow", "avro", "json"])
def codec(request):
    return request.param


def declared(codec: str = "arrow", **options) -> hw.Pipeline:
    p = hw.Pipeline("plant", owner="plant-team")
    p.stream("loose", Loose, key="sensor", time="at", codec=codec, **options)
    return p


def refused(plant, stream, rows, kind=hw.PublishError) -> str:
    """Publish good rows, then these: they must be refused, and nothing of them written. Gives the error's text."""
    bounds = plant.bounds()
    with pytest.raises(kind) as error:
        plant.hub.publish(stream, rows)
    assert plant.bounds() == bounds
    assert error.value.fix
    return str(error.value)


def test_an_unregistered_stream_is_named_with_those_that_are_close(plant, rows):
    plant.hub.register(plant.pipeline())
    told = refused(plant, "plant.reading", rows(), hw.NotRegistered)
    assert "plant.reading" in told
    assert "plant.readings" in told.replace("'plant.reading'", "")


def test_a_missing_required_field_is_named(plant, rows):
    plant.hub.register(plant.pipeline())
    told = refused(plant, "plant.readings", [{"sensor": "s1", "celsius": 1.0}], hw.SchemaError)
    assert "required field is missing" in told
    assert "'at'" in told


def test_a_field_that_the_stream_does_not_have_is_named(plant, rows):
    plant.hub.register(plant.pipeline())
    told = refused(plant, "plant.readings", rows(celcius=1.0), hw.SchemaError)
    assert "'celcius'" in told
    assert "Did you mean 'celsius'?" in told


def test_a_type_that_cannot_be_cast_is_named_with_row_and_value(plant, rows):
    plant.hub.register(plant.pipeline())
    bad = [*rows(0, 7), *rows(7, 1, celsius="warm")]
    told = refused(plant, "plant.readings", bad, hw.SchemaError)
    assert "'warm'" in told
    assert "row 7" in told


@pytest.mark.parametrize(
    ("change", "told"),
    [({"sensor": None}, "no key"), ({"at": None}, "no event time")],
)
def test_a_row_without_key_or_event_time_is_refused(plant, rows, codec, change, told):
    plant.hub.register(declared(codec))
    plant.hub.publish("plant.loose", rows())
    message = refused(plant, "plant.loose", [*rows(0, 5), *rows(5, 1, **change)])
    assert f"1 of 6 rows have {told}; none of them was written" in message
    assert "row 5" in message


def test_a_naive_timestamp_is_refused(plant, rows):
    plant.hub.register(plant.pipeline())
    assert "no time zone" in refused(plant, "plant.readings", rows(at=NAIVE), hw.SchemaError)
    naive = pa.table({"sensor": ["s1"], "at": pa.array([NAIVE], pa.timestamp("us")), "celsius": [1.0]})
    assert "no time zone" in refused(plant, "plant.readings", naive, hw.SchemaError)


def test_an_event_time_far_in_the_future_is_refused(plant, rows):
    plant.hub.register(plant.pipeline())
    plant.hub.publish("plant.readings", rows())
    far = datetime.now(UTC) + timedelta(days=3)
    told = refused(plant, "plant.readings", [*rows(0, 3), *rows(3, 1, at=far)])
    assert "more than 1d in the future" in told
    assert "row 3" in told
    assert "Set the clock" in told


def test_a_rule_says_how_far_in_the_future_an_event_time_may_lie(plant, rows):
    plant.hub.register(declared(expect=[hw.not_future("at", "10m")]))
    soon = datetime.now(UTC) + timedelta(hours=1)
    assert "more than 10m" in refused(plant, "plant.loose", rows(0, 1, at=soon))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf], ids=str)
def test_nan_and_infinity_go_through_arrow_and_avro_as_they_are(plant, rows, value):
    for name in ("arrow", "avro"):
        hub = hw.connect(plant.workspace / name)
        hub.register(declared(name))
        hub.publish("plant.loose", [*rows(0, 5), *rows(5, 1, celsius=value)])
        found = hub.read("plant.loose").table["celsius"].to_pylist()
        hub.close()
        assert [repr(one) for one in found].count(repr(value)) == 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf], ids=str)
def test_json_has_no_nan_and_no_infinity(plant, rows, value):
    plant.hub.register(declared("json"))
    plant.hub.publish("plant.loose", rows())
    told = refused(plant, "plant.loose", [*rows(0, 5), *rows(5, 1, celsius=value)], hw.SchemaError)
    assert "has no JSON" in told
    assert "plant.loose" in told
    assert "'celsius', row 5" in told
    assert "use avro or arrow" in told
    assert plant.hub.publish("plant.loose", rows()) == 100


def test_finite_quarantines_nan_and_infinity_and_nothing_else(plant, rows, codec):
    p = declared("avro" if codec == "json" else codec)
    p.clean(p.streams["plant.loose"], to="valid", expect=[hw.finite("celsius")])
    plant.hub.register(p)
    bad = [math.nan, math.inf, -math.inf]
    plant.hub.publish("plant.loose", [*rows(), *[row for value in bad for row in rows(200, 1, celsius=value)]])
    plant.run(p)
    found = plant.hub.read("plant.valid.quarantine")
    assert [row["rule"] for row in found] == ["finite(celsius)"] * 3
    assert sorted(row["value"] for row in found) == ["-inf", "inf", "nan"]
    assert plant.count("plant.valid") == 100


@pytest.mark.parametrize(
    "nothing", [[], pa.table({}), pa.schema([("sensor", pa.string())]).empty_table()], ids=["list", "table", "columns"]
)
def test_an_empty_batch_is_published_as_nothing(plant, nothing):
    plant.hub.register(declared())
    bounds = plant.bounds()
    assert plant.hub.publish("plant.loose", nothing) == 0
    assert plant.bounds() == bounds


@pytest.mark.parametrize(
    "data", [[], pa.table({"sensor": pa.array([], pa.string())}), list], ids=["list", "table", "function"]
)
def test_an_empty_source_ends_at_once_and_everything_behind_it(plant, data):
    p = declared()
    p.source(p.streams["plant.loose"], data)
    valid = p.clean(p.streams["plant.loose"], to="valid")
    p.map(
        valid,
        lambda batch: batch,
        reads=["celsius"],
        to="same",
        add=True,
        schema=pa.schema([("celsius", pa.float64())]),
    )
    plant.run(p)
    assert plant.count("plant.same") == 0
    bounds = plant.bounds()
    plant.run(p)
    assert plant.bounds() == bounds


def test_an_empty_message_in_the_log_is_taken_as_no_rows(plant, rows):
    p = declared()
    p.clean(p.streams["plant.loose"], to="valid")
    plant.hub.register(p)
    stream = plant.hub.stream("plant.loose")
    number = plant.hub.catalog.stream("plant.loose").schema_id
    (value,) = codec_of("arrow", stream.schema, number).encode(
        pa.RecordBatch.from_pylist([], schema=stream.schema.arrow)
    )
    with plant.hub.log.writer("elsewhere/0") as writer:
        for partition in range(4):
            writer.append("plant.loose", partition, [None], [value], ((SCHEMA, pack_int(number)),))
        writer.commit()
    plant.hub.publish("plant.loose", rows())
    plant.run(p)
    assert plant.count("plant.valid") == 100


# Sources


def lines(path, count: int, changed: dict[int, str]) -> None:
    path.write_text("sensor,at,celsius\n" + "".join(changed.get(n, good(n)) + "\n" for n in range(count)))


def good(n: int) -> str:
    return f"s{n % 11},{(START + timedelta(minutes=n)).isoformat()},{n / 10}"


def sourced(path, chunk=500) -> hw.Pipeline:
    p = hw.Pipeline("plant", owner="plant-team")
    raw = p.stream("loose", Loose, key="sensor", time="at")
    p.source(raw, path, chunk=chunk)
    p.clean(raw, to="valid")
    return p


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The digests of a run over so many lines without a bad row."""
    found = {}
    for count in (2_000, 40_000):
        folder = tmp_path_factory.mktemp("sound")
        lines(folder / "plant.csv", count, {})
        with hw.connect(folder / "workspace") as hub:
            hub.run(sourced(folder / "plant.csv"), until="caught-up")
            found[count] = digests(hub, sourced(folder / "plant.csv"))
    return found


#: How many lines the file has (one of 40,000 is read in several pieces), its bad one, and what is said of that.
BAD_LINES = {
    "type": (40_000, "s1,2024-03-01T00:00:00+00:00,warm", hw.SourceError, ["warm", "plant.csv", "Row #39002"]),
    "key": (2_000, ",2024-03-01T00:00:00+00:00,1.0", hw.PublishError, ["no key", "row 1950"]),
    "time": (2_000, "s1,,1.0", hw.PublishError, ["no event time", "row 1950"]),
    "future": (2_000, "s1,2999-03-01T00:00:00+00:00,1.0", hw.PublishError, ["in the future", "row 1950", "2999"]),
}


@pytest.mark.parametrize(("bad", "workers"), [("type", 1), ("type", 2), ("key", 1), ("time", 2), ("future", 1)])
def test_a_source_stops_at_a_bad_row_and_goes_on_there(plant, sound, tmp_path, bad, workers):
    count, line, error, told = BAD_LINES[bad]
    path = tmp_path / "plant.csv"
    at = count - count // 40
    lines(path, count, {at: line})
    failed = plant.fails(sourced(path), workers=workers)
    assert list(failed.failed) == ["plant.loose.source/0"]
    assert type(failed.failed["plant.loose.source/0"]) is error
    assert all(word in str(failed) for word in told)
    before = plant.count("plant.loose")
    assert 0 < before <= at
    assert before % 500 == 0
    assert plant.count("plant.valid") <= before

    lines(path, count, {})
    plant.run(sourced(path), workers=workers)
    assert digests(plant.hub, sourced(path)) == sound[count]


def test_a_source_that_lacks_a_required_field_waits_until_it_has_it(plant, tmp_path):
    path = tmp_path / "plant.csv"
    path.write_text("sensor,at\ns1,2024-03-01T00:00:00Z\n")
    p = hw.Pipeline("plant", owner="plant-team")
    schema = pa.schema([pa.field("sensor", pa.string(), nullable=False), ("at", pa.timestamp("us", "UTC"))])
    stream = p.stream("readings", schema.append(pa.field("level", pa.int64(), nullable=False)), key="sensor", time="at")
    p.source(stream, path)
    told = str(plant.fails(p))
    assert "plant.readings.source" in told
    assert "required field is missing" in told
    assert "field 'level'" in told
    assert "There are sensor, at." in told
    assert plant.count("plant.readings") == 0
    path.write_text("sensor,at,level\ns1,2024-03-01T00:00:00Z,2\n")
    plant.run(p)
    assert plant.count("plant.readings") == 1


def test_a_source_for_json_writes_no_part_of_a_batch_with_nan(plant, undisturbed, rows):
    def pipeline(value: float) -> hw.Pipeline:
        p = declared("json")
        p.source(
            p.streams["plant.loose"],
            pa.Table.from_pylist([*rows(0, 70), *rows(70, 1, celsius=value), *rows(71)]),
            chunk=20,
        )
        return p

    undisturbed.run(pipeline(7.0))
    failed = plant.fails(pipeline(math.nan))
    assert "has no JSON" in str(failed)
    assert "plant.loose.source" in str(failed)
    assert plant.count("plant.loose") == 60
    plant.run(pipeline(7.0))
    assert digests(plant.hub, pipeline(7.0)) == digests(undisturbed.hub, pipeline(7.0))


def test_a_source_without_key_writes_no_batch_of_which_a_value_cannot_be_written(plant, rows):
    def pipeline(value: float) -> hw.Pipeline:
        p = hw.Pipeline("plant")
        raw = p.stream("loose", Loose, time="at", codec="json")
        p.source(raw, pa.Table.from_pylist([*rows(0, 70), *rows(70, 1, celsius=value), *rows(71)]), chunk=20)
        return p

    plant.fails(pipeline(math.inf))
    assert plant.count("plant.loose") == 60
    plant.run(pipeline(7.0))
    found = sorted(plant.hub.read("plant.loose").table["at"].to_pylist())
    assert found == [START + timedelta(minutes=n) for n in range(171)]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("gone.csv", None, "no such file"),
        ("plant.txt", "x", "Files of kind .txt"),
        ("empty.csv", "", "Empty CSV file"),
        ("plant.parquet", "not parquet", "cannot be read"),
        ("plant.jsonl", '{"sensor": "s1"\n', "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(plant, tmp_path, name, content, told):
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    failed = plant.fails(sourced(path))
    assert told in str(failed)
    assert name in str(failed)
    assert plant.count("plant.loose") == 0


def test_a_source_function_that_raises_is_told_apart_from_an_operator(plant, rows):
    def broken() -> pa.Table:
        raise ConnectionError("the database is away")

    failed = plant.fails(sourced(broken))
    told = str(failed.failed["plant.loose.source/0"])
    assert "ConnectionError: the database is away" in told
    assert "the function that gives them" in told
    plant.run(sourced(lambda: pa.Table.from_pylist(rows())))
    assert plant.count("plant.valid") == 100


def test_data_that_became_shorter_than_what_is_published_are_noticed(plant, rows):
    far = rows(100, 1, at=datetime(2999, 1, 1, tzinfo=UTC))
    plant.fails(sourced(lambda: pa.Table.from_pylist([*rows(), *far]), chunk=50))
    assert plant.count("plant.loose") == 100
    failed = plant.fails(sourced(lambda: pa.Table.from_pylist(rows(0, 30)), chunk=50))
    assert "have 30 rows, and 100 of them are published already" in str(failed)
    assert plant.count("plant.loose") == 100


def test_data_that_can_be_read_only_once_are_not_read_again(plant, rows):
    far = rows(100, 1, at=datetime(2999, 1, 1, tzinfo=UTC))
    p = sourced(iter([pa.Table.from_pylist([*rows(), *far, *rows(101)])]), chunk=50)
    plant.fails(p)
    failed = plant.fails(p)
    assert "only once" in str(failed)
    plant.run(sourced(iter([pa.Table.from_pylist(rows(0, 201))]), chunk=50))
    assert plant.count("plant.valid") == 201


def test_rows_of_json_lines_that_do_not_fit_are_told(plant, tmp_path):
    path = tmp_path / "plant.jsonl"
    good_row = {"sensor": "s1", "at": START.isoformat(), "celsius": 1.0}
    path.write_text("".join(json.dumps(one) + "\n" for one in [good_row, {**good_row, "celsius": "warm"}]))
    failed = plant.fails(sourced(path))
    assert "celsius" in str(failed)
    assert "row 1" in str(failed)
