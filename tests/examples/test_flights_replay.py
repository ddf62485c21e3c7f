"""Every operator of the flights job, replayed over its middle: equal as it is, found out when it was changed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import headwater as hw
from examples.flights import learning
from examples.flights import pipeline as flights
from examples.flights.pipeline import build
from operators.execution import task as execution
from operators.execution.replay import replay
from operators.operator import Batch, Operator, Output
from tests.headwater.plant import Plant
from tests.lineage.compare import difference
from tests.operators.finely import run_finely, transactions

ROOT = Path(__file__).resolve().parents[2]
ROWS = 4_000
OPERATORS = [name for name, node in build(ROWS).nodes.items() if node.operator is not None]


@pytest.fixture(scope="module", autouse=True)
def short_windows() -> Iterator[None]:
    """A slice of some days is too short for windows of weeks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning, "REFERENCE", "1d")
        patch.setattr(learning, "WINDOW", "12h")
        yield


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The job over a slice, in many small transactions, with snapshots. Nobody changes it."""
    folder = tmp_path_factory.mktemp("replay") / "workspace"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flights, "FLIGHTS_AT_ONCE", 400)
        patch.setattr(flights, "HOURS_AT_ONCE", 60)
        # One batch a step, so that a transaction can end behind each.
        patch.setattr(execution, "ROWS_IN_STEPS", 1)
        patch.setattr(execution, "ROWS_AT_ONCE", 1)
        with hw.connect(folder) as hub:
            run_finely(hub, build(ROWS))
    return folder


@pytest.fixture(scope="module")
def hub(workspace: Path) -> Iterator[hw.Hub]:
    with hw.connect(workspace) as hub:
        yield hub


def middle(hub: hw.Hub, operator: str) -> tuple[int, int]:
    """When the middle third of its transactions was committed."""
    times = [one.at for one in transactions(hub, operator)]
    return times[len(times) // 3], times[2 * len(times) // 3] + 1


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_operator_replays_equal_over_its_middle(hub: hw.Hub, operator: str) -> None:
    first, end = middle(hub, operator)
    report = hub.replay(build(ROWS), operator, first=first, end=end)
    recorded = [one for one in transactions(hub, operator) if first <= one.at < end]
    assert report.equal
    assert report.transactions == len(recorded) > 0
    assert report.rows == sum(sum(one.rows_out.values()) for one in recorded)


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_operator_replays_equal_as_a_whole(hub: hw.Hub, operator: str) -> None:
    report = hub.replay(build(ROWS), operator)
    assert report.equal
    assert report.transactions == len(transactions(hub, operator))
    assert report.rows == sum(len(hub.read(stream)) for stream in build(ROWS).nodes[operator].outputs)


def test_most_of_them_were_in_the_middle_of_something(hub: hw.Hub) -> None:
    busy = [name for name in OPERATORS if len(transactions(hub, name)) >= 12]
    assert {"flights.scheduled", "flights.in_weather", "flights.features", "flights.outcomes"} <= set(busy)
    assert len(busy) > len(OPERATORS) / 2


class Spoilt:
    """An operator that makes one value of one row of its main output otherwise."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self.version = "spoilt"
        self.spoilt: tuple[str, dict[str, Any]] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._operator, name)

    def step(self, batch: Batch, state: hw.State) -> Iterable[Output]:
        return [self._spoil(output) for output in self._operator.step(batch, state)]

    def _spoil(self, output: Output) -> Output:
        main = self._operator.outputs[0]
        rows = output.rows
        if self.spoilt is not None or output.stream != main.name or not rows.num_rows:
            return output
        at = min(1, rows.num_rows - 1)
        names = [name for name in rows.schema.names if name not in {*main.key, *main.addresses, main.time}]
        for name in names:
            changed = _other(rows[name], at)
            if changed is not None:
                self.spoilt = name, rows.slice(at, 1).to_pylist()[0]
                return replace(output, rows=rows.set_column(rows.schema.get_field_index(name), name, changed))
        return output


def _other(column: pa.Array, at: int) -> pa.Array | None:
    """The column with another value in row `at`; None if that is null, or of a type that is not changed here."""
    here = pa.array([number == at for number in range(len(column))])
    kind = column.type
    if not column[at].is_valid:
        return None
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return pc.if_else(here, pc.add(column, pa.scalar(1, kind)), column)
    if pa.types.is_string(kind):
        return pc.if_else(here, "spoilt", column)
    return None


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_changed_operator_is_found_with_the_row_that_differs(hub: hw.Hub, operator: str) -> None:
    plan = hub.plan(build(ROWS))
    context = hub.context(plan)
    node = plan.nodes[operator]
    assert node.operator is not None
    spoilt = Spoilt(node.operator)
    plan.nodes[operator] = replace(node, operator=spoilt)
    report = replay(plan, context, operator)
    assert spoilt.spoilt is not None
    field, row = spoilt.spoilt
    (found,) = [one for one in report.comparisons if not one.equal]
    assert found.stream == operator
    assert found.difference is not None
    then, now = found.difference.then, found.difference.now
    assert then is not None
    assert now is not None
    assert [name for name in then if then[name] != now[name]] == [field]
    assert then == {name: row.get(name) for name in then}
    assert (report.versions_then, report.version_now) == ([node.operator.version], "spoilt")


CHANGED = """
import pyarrow as pa
import pyarrow.compute as pc

from examples.flights import features, pipeline as flights

made = features.at_departure


def summer_time(rows: pa.RecordBatch) -> pa.RecordBatch:
    found = made(rows)
    hour = found["hour"]
    at = found.schema.get_field_index("hour")
    return found.set_column(at, "hour", pc.if_else(pc.greater(hour, 12), pc.add(hour, pa.scalar(1, hour.type)), hour))


features.at_departure = summer_time
pipeline = flights.build(ROWS)
features.at_departure = made
"""


@pytest.fixture
def folder(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plant:
    """A folder with the job as it ran, and with one function changed."""
    for name in [name for name in os.environ if name.startswith("HEADWATER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HEADWATER_WORKSPACE", str(workspace))
    same = f"from examples.flights.pipeline import build\n\npipeline = build({ROWS})\n"
    (tmp_path / "same.py").write_text(same)
    (tmp_path / "changed.py").write_text(CHANGED.replace("ROWS", str(ROWS)))
    return Plant(tmp_path)


def iso(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1e6, UTC).isoformat()


def test_the_command_replays_a_range_in_the_middle(folder: Plant, hub: hw.Hub) -> None:
    first, end = middle(hub, "flights.outcomes")
    times = ["--from", iso(first), "--to", iso(end)]
    called = folder("replay", "flights.outcomes", *times, "--pipeline", "same.py")
    assert called.out.rstrip().endswith("came out equal.")
    found = folder("replay", "flights.outcomes", *times, "--pipeline", "same.py", "--json").json
    assert found["equal"] is True
    assert found["transactions"] < len(transactions(hub, "flights.outcomes"))
    assert found["rows"] > 0


def test_the_command_shows_the_first_rows_that_a_changed_function_makes_otherwise(folder: Plant, hub: hw.Hub) -> None:
    first, end = middle(hub, "flights.features")
    times = ["--from", iso(first), "--to", iso(end)]
    called = folder("replay", "flights.features", *times, "--pipeline", "changed.py", code=10)
    assert "First difference in flights.features" in called.out
    assert "came out DIFFERENT." in called.out
    found = folder("replay", "flights.features", *times, "--pipeline", "changed.py", "--json", code=10).json
    different = [one for one in found["comparisons"] if not one["equal"]]
    assert different
    for one in different:
        then, now = one["difference"]["then"], one["difference"]["now"]
        assert then["hour"] > 12
        assert now == {**then, "hour": then["hour"] + 1}
    # What the function does not touch is as it was.
    assert "came out equal." in folder("replay", "flights.outcomes", *times, "--pipeline", "changed.py").out


def test_the_catalog_made_anew_is_the_same(workspace: Path, folder: Plant) -> None:
    with hw.connect(workspace) as hub:
        before = hub.catalog.dump()
        questions = ("which streams know anything about an aircraft?", "weather at the airport", "late flights")
        hits = [hub.search(question) for question in questions]
    assert folder("catalog", "rebuild").out.startswith("Made the catalog anew from ")
    with hw.connect(workspace) as hub:
        assert difference(hub.catalog.dump(), before) == {}
        assert [hub.search(question) for question in questions] == hits
        assert all(hits)
