from __future__ import annotations

import json
import math

import numpy as np

from operators.alarms import SCHEMA, TAG, Alarm, alarm_rows, alarm_stream, alarms_derive, is_alarm_stream
from streams.schema import Schema
from streams.stream import Stream


def test_alarms_become_rows_in_their_order() -> None:
    rows = alarm_rows(
        [
            Alarm("plant.drift", 5_000_000, "data", 0.4, 0.1, "celsius", 0.001, 2_000_000, {"window": 3}),
            Alarm("plant.drift", 6_000_000, "concept", 0.2, 0.05),
        ]
    )
    assert rows.schema.equals(SCHEMA.arrow)
    first, second = rows.to_pylist()
    assert (first["column"], first["size"], first["since"].timestamp()) == ("celsius", 0.4, 2.0)
    assert (second["column"], second["p_value"], second["since"]) == (None, None, None)
    assert json.loads(second["evidence"]) == {}


def test_no_alarms_are_no_rows() -> None:
    assert alarm_rows([]).num_rows == 0


def test_evidence_is_the_same_text_for_equal_content() -> None:
    one = Alarm("a", 0, "data", 1.0, 0.5, evidence={"b": np.float64(0.5), "a": [1, math.nan]})
    other = Alarm("a", 0, "data", 1.0, 0.5, evidence={"a": [1, math.nan], "b": 0.5})
    texts = alarm_rows([one, other])["evidence"].to_pylist()
    assert texts == ['{"a":[1,null],"b":0.5}'] * 2


def test_an_alarm_stream_is_known_by_its_schema() -> None:
    stream = alarm_stream("plant.drift")
    assert (stream.name, stream.time, stream.partitions, stream.tags) == ("plant.drift.alarms", "at", 1, (TAG,))
    assert is_alarm_stream(stream)
    assert is_alarm_stream(Stream("elsewhere", Schema.parse(SCHEMA.text)))
    assert not is_alarm_stream(Stream("other", SCHEMA.select(["source", "at", "kind"])))


def test_every_field_but_the_names_derives_from_what_was_watched() -> None:
    derived = {one.field: one.sources for one in alarms_derive(fields=[("plant.scores", "celsius")])}
    assert list(derived) == SCHEMA.names
    assert derived["kind"] == ()
    assert derived["size"] == (("plant.scores", "celsius"),)
