"""Schemas of JSON messages that others write: types, presence, contradictions, kinds of events."""

from __future__ import annotations

from typing import Any

import orjson
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.codecs.json import JsonCodec
from streams.infer import Conflict, FoundField, Inferred, infer
from streams.schema import Schema


def of(*rows: Any) -> Inferred:
    return infer([orjson.dumps(row) for row in rows])


def field(found: Inferred, path: str) -> FoundField:
    return next(one for one in found.fields if one.path == path)


def test_each_kind_of_value_has_its_type() -> None:
    found = of(
        {
            "n": 1,
            "x": 1.5,
            "ok": True,
            "name": "a",
            "at": "2024-03-01T12:00:00.5+01:00",
            "day": "2024-03-01",
            "tags": ["a"],
            "place": {"city": "Ulm", "geo": {"lat": 48.4}},
            "lines": [{"sku": "x", "count": 2}],
        }
    )
    assert found.schema.types == [
        pa.int64(),
        pa.float64(),
        pa.bool_(),
        pa.string(),
        pa.timestamp("us", "UTC"),
        pa.date32(),
        pa.list_(pa.string()),
        pa.struct([("city", pa.string()), ("geo", pa.struct([("lat", pa.float64())]))]),
        pa.list_(pa.struct([("sku", pa.string()), ("count", pa.int64())])),
    ]
    assert [one.path for one in found.fields if "." in one.path] == [
        "place.city",
        "place.geo",
        "place.geo.lat",
        "lines[].sku",
        "lines[].count",
    ]


def test_whole_numbers_beside_fractions_are_numbers_and_no_conflict() -> None:
    found = of({"x": 1}, {"x": 2.5})
    assert found.schema.field("x").type == pa.float64()
    assert field(found, "x").conflicts == ()


def test_texts_of_which_some_are_no_times_are_texts() -> None:
    found = of({"at": "2024-03-01T12:00:00Z"}, {"at": "yesterday"})
    assert found.schema.field("at").type == pa.string()
    assert field(found, "at").conflicts == ()


def test_a_time_without_an_offset_is_a_text() -> None:
    assert of({"at": "2024-03-01T12:00:00"}).schema.field("at").type == pa.string()


def test_presence_is_counted_where_a_field_could_be() -> None:
    found = of({"a": 1, "in": {"x": 1}}, {"a": None, "in": {}}, {"in": {"x": 2}}, {})
    assert (field(found, "a").present, field(found, "a").of, field(found, "a").nulls) == (2, 4, 1)
    assert (field(found, "in.x").present, field(found, "in.x").of) == (2, 3)
    assert found.schema.field("a").metadata[b"description"] == b"In 50.0% of the messages looked at."


def test_what_most_have_is_the_type_and_the_others_are_conflicts() -> None:
    found = of(*[{"x": number} for number in range(8)], {"x": "n/a"}, {"x": {"y": 1}})
    assert found.schema.field("x").type == pa.int64()
    assert set(field(found, "x").conflicts) == {Conflict("object", 1, '{"y":1}'), Conflict("text", 1, '"n/a"')}
    assert found.conflicts == 2
    assert b"another type (text)" in found.schema.field("x").metadata[b"description"]


def test_conflicts_within_lists_and_objects_are_found() -> None:
    found = of({"a": [1, 2, "x"], "b": {"c": 1}}, {"a": [], "b": {"c": "y"}}, {"a": [3], "b": {"c": 2}})
    assert field(found, "a[]").conflicts == (Conflict("text", 1, '"x"'),)
    assert field(found, "b.c").conflicts == (Conflict("text", 1, '"y"'),)


def test_a_number_beyond_64_bits_is_a_conflict() -> None:
    found = of({"n": 1}, {"n": 2}, {"n": 1 << 63})
    assert [one.kind for one in field(found, "n").conflicts] == ["integer beyond 64 bits"]


def test_fields_of_which_nothing_is_known_are_left_out_and_told() -> None:
    found = of({"a": 1, "nothing": None, "empty": {}, "list": []})
    assert found.schema.names == ["a", "list"]
    assert field(found, "nothing").type is None
    assert field(found, "empty").type is None


def test_required_is_promised_only_after_enough_messages() -> None:
    rows = [{"a": 1, "b": 2 if number else None} for number in range(100)]
    assert of(*rows[:99]).schema.field("a").nullable
    found = of(*rows)
    assert not found.schema.field("a").nullable
    assert found.schema.field("b").nullable


def test_what_is_no_object_is_counted() -> None:
    found = infer([b"{", b"[1]", b"7", b"", b'{"a": 1}'])
    assert (found.messages, found.not_objects) == (5, 4)
    assert found.schema.names == ["a"]


def test_kinds_of_events_on_one_topic_are_told_apart() -> None:
    created = {"type": "created", "id": 1, "customer": "x"}
    paid = {"type": "paid", "id": 1, "amount": 2.5, "method": "card"}
    found = of(created, created, created, paid, paid)
    assert found.events is not None
    assert found.events.field == "type"
    assert dict(found.events.kinds) == {"created": (3, ("customer",)), "paid": (2, ("amount", "method"))}


def test_a_text_that_explains_nothing_is_no_kind_of_event() -> None:
    found = of({"colour": "red", "x": 1}, {"colour": "red"}, {"colour": "blue", "x": 1}, {"colour": "blue"})
    assert found.events is None
    assert of({"type": "a"}, {"type": "b"}).events is None


LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(-1e9, 1e9) | st.text(max_size=5)
ROWS = st.lists(
    st.dictionaries(
        st.sampled_from("abcd"),
        LEAVES | st.lists(LEAVES, max_size=2) | st.dictionaries(st.sampled_from("xy"), LEAVES, max_size=2),
        max_size=4,
    ),
    min_size=1,
    max_size=8,
)


@settings(deadline=None)
@given(ROWS)
def test_messages_without_conflicts_can_be_decoded(rows: list[dict[str, Any]]) -> None:
    values = [orjson.dumps(row) for row in rows]
    found = infer(values)
    if found.conflicts or not found.schema.names:
        return
    codec = JsonCodec(Schema(found.schema), 1)
    assert codec.decode(values).num_rows == len(values)
