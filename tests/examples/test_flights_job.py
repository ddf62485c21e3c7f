"""The flights job as a whole: equal whatever the workers, nothing lost, nothing in quarantine without a reason."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import headwater as hw
from examples.flights import data, features
from examples.flights.__main__ import main
from examples.flights.pipeline import build
from streams.rule import RowRule
from tests.faults.facts import facts

ROWS = 5_000
SOURCES = ("schedule", "departures", "arrivals", "weather", "planes", "airports", "airlines")


def ran(folder: Path, workers: int) -> dict[str, Any]:
    """What the job leaves: digests and catalog, counts of rows, and the training set."""
    pipeline = build(ROWS)
    with hw.connect(folder / "workspace") as hub:
        report = hub.run(pipeline, until="caught-up", workers=workers)
        assert report.forced == {}
        rows = {name: len(hub.read(name)) for name in pipeline.streams}
        training = hub.read("flights.training").to_arrow()
    left = facts(folder / "workspace", partial(build, ROWS))
    return {"facts": left, "rows": rows, "training": training}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return ran(tmp_path_factory.mktemp("alone"), workers=1)


@pytest.mark.parametrize("workers", [2, 3])
def test_several_workers_give_what_one_gives(alone: dict[str, Any], tmp_path: Path, workers: int) -> None:
    together = ran(tmp_path, workers=workers)
    assert alone["facts"].missed_by(together["facts"]) == {}


def test_sources_publish_everything_and_no_departure_is_lost(alone: dict[str, Any]) -> None:
    rows = alone["rows"]
    for name in SOURCES:
        read = getattr(data, name)
        table = read() if name in ("planes", "airports", "airlines") else read(ROWS)
        assert rows[f"flights.{name}"] == table.num_rows
        clean = f"flights.{name}.clean"
        if clean in rows:
            assert rows[clean] + rows[f"{clean}.quarantine"] == table.num_rows
    aside = rows["flights.departures.clean.quarantine"] + rows["flights.outcomes.clean.quarantine"]
    assert rows["flights.training"] + aside == data.departures(ROWS).num_rows
    late = {name: count for name, count in rows.items() if name.endswith(".late")}
    assert len(late) > 5
    assert set(late.values()) == {0}


def test_flights_that_never_arrived_are_censored_and_not_punctual(alone: dict[str, Any]) -> None:
    training = alone["training"]
    arrived = set(data.arrivals(ROWS)["flight_id"].to_pylist())
    lost = {flight for flight in data.departures(ROWS)["flight_id"].to_pylist() if flight not in arrived}
    assert len(lost) > 10
    censored = training.filter(training["censored"])
    assert set(censored["flight_id"].to_pylist()) == lost
    assert censored["late"].null_count == censored.num_rows
    assert training.filter(pc.invert(training["censored"]))["late"].null_count == 0


def broken(stream: hw.Stream, table: pa.Table, rules: Any = None) -> dict[str, int]:
    """How many rows of a table break each of the rules, those of the stream's contract by default."""
    rows = table.cast(pa.schema([stream.schema.arrow.field(name) for name in table.column_names]))
    (batch,) = rows.combine_chunks().to_batches()
    counts: Counter[str] = Counter()
    for rule in stream.expect if rules is None else rules:
        if isinstance(rule, RowRule):
            counts[rule.name] += pc.fill_null(rule.failures(batch), False).true_count
    return {name: count for name, count in counts.items() if count}


def test_what_breaks_a_contract_in_the_whole_year() -> None:
    streams = build().streams
    assert {name: broken(streams[f"flights.{name}"], getattr(data, name)()) for name in SOURCES} == {
        "schedule": {},
        "departures": {"matches(tailnum, ^N[0-9A-Z]{1,5}$)": 4, "between(dep_delay, -30, 1440)": 3},
        "arrivals": {"matches(tailnum, ^N[0-9A-Z]{1,5}$)": 4},
        "weather": {
            "not_null(temp)": 1,
            "not_null(humid)": 1,
            "not_null(wind_speed)": 4,
            "between(wind_speed, 0, 250)": 1,
        },
        "planes": {"between(seats, 20, 900)": 40},
        "airports": {"matches(tzone, ^(America|Pacific)/[A-Za-z_]+$)": 2},
        "airlines": {},
    }


def test_what_cannot_be_true_of_an_outcome_in_the_whole_year() -> None:
    joined = (
        data.departures()
        .select(["flight_id", "departed"])
        .join(data.schedule().select(["flight_id", "distance"]), "flight_id")
        .join(data.arrivals().select(["flight_id", "arrived", "air_time"]), "flight_id", join_type="inner")
    )
    stream = build().streams["flights.outcomes"]
    assert broken(stream, joined, features.PLAUSIBLE) == {"at most 600 miles per hour": 4}


def test_every_stream_and_field_is_described_and_owned() -> None:
    pipeline = build()
    for stream in pipeline.streams.values():
        assert stream.description, stream.name
        assert stream.owner, stream.name
        if stream.role == "data":
            fields = [field.name for field in stream.schema.arrow if not (field.metadata or {}).get(b"description")]
            assert fields == [], stream.name
    assert {stream.owner for stream in pipeline.streams.values()} >= {
        "delay-prediction",
        "fleet-registry",
        "flight-data",
        "ground-operations",
        "met-office",
        "network-planning",
    }


def test_the_job_tells_what_it_did_and_goes_on_where_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    arguments = ["--workspace", str(tmp_path / "demo"), "--rows", "3000", "--workers", "1"]
    assert main(arguments) == 0
    told = capsys.readouterr().out
    assert "the first 3,000 flights from New York in 2013" in told
    assert "goes on" not in told
    assert "42 rows are in quarantine" in told
    assert "between(seats, 20, 900)" in told
    assert "headwater search" in told
    for stream in ("departures", "schedule", "arrivals", "weather", "planes", "airlines", "airports"):
        assert f"─ flights.{stream} " in told
    assert main(arguments) == 0
    again = capsys.readouterr().out
    assert "goes on from where it was" in again
    assert "0 rows in" in again


def test_the_labels_follow_from_the_delays(alone: dict[str, Any]) -> None:
    known = alone["training"].filter(pc.is_valid(alone["training"]["late"])).to_pylist()
    assert {row["late"] for row in known} == {True, False}
    for row in known:
        assert row["late"] == (row["arr_delay"] > 15)
        assert timedelta(0) < row["arrived"] - row["departed"] < timedelta(days=1)
