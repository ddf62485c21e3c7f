"""Declarations that cannot be: refused with the place and the way out, and nothing of them registered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pytest

import headwater as hw
from operators.execution.state import State
from operators.operator import Batch, Derived, Input, Output
from streams.message import END
from streams.stream import Stream

CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: readings
version: 1.0.0
status: active
schema:
  - name: readings
    properties:
      - name: sensor
        logicalType: string
        required: true
      - name: celsius
        logicalType: number
"""
ROWS = pa.schema(
    [pa.field("sensor", pa.string(), nullable=False), ("at", pa.timestamp("us", "UTC")), ("n", pa.int64())]
)


@dataclass
class Passing:
    """Passes nothing on: only its place in the graph matters here."""

    name: str
    inputs: tuple[Input, ...]
    outputs: tuple[Stream, ...]
    kind: str = "passing"
    version: str = "1"
    tick: int | None = None
    row_wise: bool = False
    keeps_key: bool = False
    params: dict[str, Any] = field(default_factory=dict)

    def step(self, batch: Batch, state: State) -> Iterable[Output]:
        return []

    def holds(self, state: State) -> int:
        return END

    def derives(self) -> dict[str, tuple[Derived, ...]]:
        return {}


def stream(name: str, partitions: int = 4) -> Stream:
    return Stream(name, hw.Schema(ROWS), key=("sensor",), time="at", partitions=partitions)


def passing(name: str, *inputs: Stream, output: Stream | None = None, **options: Any) -> Passing:
    return Passing(name, tuple(Input(one, reads=("n",), **options) for one in inputs), (output or stream(name),))


def refused(kind: type[hw.HeadwaterError], declare: Any) -> str:
    with pytest.raises(kind) as error:
        declare()
    assert error.value.where
    assert error.value.fix
    return str(error.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("kind: DataContract", "kind: [DataContract"), ["not valid YAML", "line "]),
        (("id: readings\n", ""), ["The required key 'id' is missing", "Add id"]),
        (("apiVersion: v3.1.0\n", ""), ["'apiVersion'"]),
        (("name: celsius", "nom: celsius"), ["'name' is missing", "properties[1]"]),
        (("logicalType: number", "logicalType: temperature"), ["temperature", "properties[1]"]),
        (("schema:", "tables:"), ["describes no data", "Add `schema`"]),
        (("version: 1.0.0", "version: 1.0"), ["1.0 is not text", "quotes"]),
    ],
)
def test_a_bad_contract_is_refused_with_file_and_place(plant, tmp_path, change, told):
    path = tmp_path / "readings.odcs.yaml"
    path.write_text(CONTRACT.replace(*change))
    p = hw.Pipeline("plant")
    message = refused(hw.ContractError, lambda: p.stream("readings", contract=path))
    assert "readings.odcs.yaml" in message
    assert all(word in message for word in told)

    path.write_text(CONTRACT)
    p.stream("readings", contract=path)
    plant.hub.register(p)
    assert plant.hub.publish("plant.readings", [{"sensor": "s1", "celsius": 1.0}]) == 1


def test_a_contract_that_is_broken_later_takes_nothing_away(plant, tmp_path):
    path = tmp_path / "readings.odcs.yaml"

    def pipeline() -> hw.Pipeline:
        p = hw.Pipeline("plant")
        p.clean(p.stream("readings", contract=path, key="sensor"), to="valid")
        return p

    path.write_text(CONTRACT)
    plant.hub.register(pipeline())
    plant.hub.publish("plant.readings", [{"sensor": "s1", "celsius": 1.0}])
    plant.run(pipeline())
    known, bounds = plant.hub.catalog.dump(), plant.bounds()
    path.write_text(CONTRACT.replace("- name: celsius", "- name: celsius: 1"))
    assert "not valid YAML" in refused(hw.ContractError, pipeline)
    assert plant.hub.publish("plant.readings", [{"sensor": "s2", "celsius": 2.0}]) == 1
    assert plant.count("plant.readings") == 2
    assert plant.hub.catalog.dump() == known
    assert {name: ends for name, ends in plant.bounds().items() if name != "plant.readings"} == {
        name: ends for name, ends in bounds.items() if name != "plant.readings"
    }
    path.write_text(CONTRACT)
    plant.run(pipeline())
    assert plant.count("plant.valid") == 2


def test_a_contract_file_that_is_not_there_is_named(tmp_path):
    p = hw.Pipeline("plant")
    message = refused(hw.ContractError, lambda: p.stream("readings", contract=tmp_path / "gone.yaml"))
    assert "gone.yaml" in message
    assert p.streams == {}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"key": "senso"}, "key names the field 'senso'"),
        ({"time": "when"}, "time names the field 'when'"),
        ({"entities": {"plane": "aircraft"}}, "entities names the field 'plane'"),
    ],
)
def test_a_field_that_is_named_and_not_there_is_refused(options, told):
    p = hw.Pipeline("plant")
    message = refused(hw.PlanError, lambda: p.stream("readings", ROWS, **options))
    assert told in message
    assert "at, n, sensor" in message
    assert p.streams == {}


def test_a_cycle_without_delay_is_named(plant):
    p = hw.Pipeline("plant")
    first, second = stream("plant.first"), stream("plant.second")
    p.add(passing("plant.first", second, output=first))
    p.add(passing("plant.second", first, output=second))
    message = refused(hw.PlanError, lambda: plant.hub.register(p))
    assert "plant.first -> plant.second" in message
    assert "delay" in message
    assert plant.bounds() == {}
    assert plant.hub.catalog.streams() == []


def test_a_stream_has_one_writer(plant):
    p = hw.Pipeline("plant")
    source = p.stream("readings", ROWS, key="sensor", time="at")
    p.add(passing("plant.first", source))
    message = refused(hw.PlanError, lambda: p.add(passing("plant.second", source, output=stream("plant.first"))))
    assert "plant.first writes it" in message
    assert list(p.nodes) == ["plant.first"]
    plant.hub.register(p)


def test_a_source_and_an_operator_do_not_write_one_stream(plant):
    p = hw.Pipeline("plant")
    source = p.stream("readings", ROWS, key="sensor", time="at")
    made = p.add(passing("plant.first", source))
    p.source(made, [])
    message = refused(hw.PlanError, lambda: plant.hub.register(p))
    assert "plant.first and plant.first.source both write" in message
    assert plant.bounds() == {}


def test_two_pipelines_do_not_write_one_stream(plant):
    p = hw.Pipeline("plant")
    source = p.stream("readings", ROWS, key="sensor", time="at")
    p.add(passing("plant.first", source))
    plant.hub.register(p)
    before = plant.bounds()
    q = hw.Pipeline("other")
    q.add(passing("other.second", source, output=stream("plant.first")))
    message = refused(hw.PlanError, lambda: plant.hub.register(q))
    assert "plant.first of the pipeline plant writes this stream, and other.second would too" in message
    assert plant.bounds() == before
    plant.run(p)


def test_different_partition_counts_name_the_way_out(plant):
    p = hw.Pipeline("plant")
    few = p.stream("few", ROWS, key="sensor", time="at", partitions=2)
    many = p.stream("many", ROWS, key="sensor", time="at", partitions=8)
    message = refused(hw.PlanError, lambda: p.add(passing("plant.both", few, many)))
    assert "plant.few (2), plant.many (8)" in message
    assert "hw.repartition" in message
    message = refused(hw.HeadwaterError, lambda: p.join(few, many, on="sensor", how="asof", to="joined"))
    assert "hw.repartition" in message
    even = p.repartition(many, "sensor", "even", partitions=2)
    p.join(few, even, on="sensor", how="asof", to="joined")
    plant.run(p)


def test_an_operator_cannot_gather_one_input_and_read_another_by_partition():
    source, other = stream("plant.a"), stream("plant.b")
    both = Passing(
        "plant.both", (Input(source, "gathered", ("n",)), Input(other, reads=("n",))), (stream("plant.both"),)
    )
    assert "gather" in refused(hw.PlanError, lambda: hw.Pipeline("plant").add(both))


def test_an_incompatible_change_changes_nothing(plant):
    def pipeline(kind: pa.DataType) -> hw.Pipeline:
        p = hw.Pipeline("plant")
        p.stream("readings", pa.schema([("sensor", pa.string()), ("celsius", kind)]))
        p.stream("extra", ROWS) if pa.types.is_string(kind) else None
        return p

    plant.hub.register(pipeline(pa.float64()))
    before, known = plant.bounds(), [one.spec for one in plant.hub.catalog.streams()]
    with pytest.raises(hw.Incompatible, match="celsius"):
        plant.hub.register(pipeline(pa.string()))
    assert plant.bounds() == before
    assert [one.spec for one in plant.hub.catalog.streams()] == known
