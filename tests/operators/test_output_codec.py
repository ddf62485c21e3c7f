"""The codec of an operator's output: rows for readers that know nothing of Headwater."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import headwater as hw

START = datetime(2024, 1, 1, tzinfo=UTC)
SCHEMA = pa.schema(
    [("sensor", pa.string()), ("site", pa.string()), ("at", pa.timestamp("us", "UTC")), ("celsius", pa.float64())]
)
ROWS = [
    {"sensor": f"s{number % 5}", "site": f"t{number % 3}", "at": START + timedelta(seconds=number), "celsius": celsius}
    for number, celsius in enumerate([20.5, 999.0, 21.25, -3.0, 17.0] * 40)
]
WRITTEN = ("plant.valid", "plant.by_site", "plant.warm", "plant.mapped")


def job(codec: str | None) -> hw.Pipeline:
    """One operator behind the other, all with outputs in this codec."""
    p = hw.Pipeline("plant", owner="plant", partitions=2)
    given = p.stream("readings", SCHEMA, key="sensor", time="at", codec="json")
    valid = p.clean(given, to="valid", expect=[hw.between("celsius", -80, 150)], codec=codec)
    p.repartition(valid, "site", to="by_site", partitions=3, codec=codec)
    warm = p.filter(
        valid, lambda rows: pc.greater(rows.column("celsius"), 0.0), reads=["celsius"], to="warm", codec=codec
    )
    p.map(warm, lambda rows: rows, reads=SCHEMA.names, to="mapped", schema=SCHEMA, time="at", codec=codec)
    return p


@pytest.mark.parametrize("codec", ["json", "avro"])
def test_an_output_of_one_row_a_message_holds_the_same_rows(tmp_path: Path, codec: str) -> None:
    read = {}
    for chosen in (None, codec):
        with hw.connect(tmp_path / str(chosen)) as hub:
            p = job(chosen)
            hub.register(p)
            hub.publish("plant.readings", ROWS)
            hub.run(p, until="caught-up")
            assert hub.registered("plant.valid")[0].codec == (chosen or "arrow")
            assert all(hub.replay(p, operator).equal for operator in WRITTEN)
            read[chosen] = {
                name: sorted(hub.read(name).to_arrow().to_pylist(), key=lambda row: row["at"]) for name in WRITTEN
            }
    assert read[None] == read[codec]
    assert len(read[codec]["plant.valid"]) == 160


def test_messages_of_a_json_output_are_plain_objects_with_their_parents(tmp_path: Path) -> None:
    with hw.connect(tmp_path) as hub:
        p = job("json")
        hub.register(p)
        hub.publish("plant.readings", ROWS)
        hub.run(p, until="caught-up")
        read = [orjson.loads(value) for number in range(2) for value in hub.log.read("plant.valid", number, 0).values]
        traced = hub.trace(hub.read("plant.mapped").row(5))
    assert len(read) == 160
    assert {row["celsius"] for row in read} == {20.5, 21.25, -3.0, 17.0}
    assert "plant.readings" in str(traced)
