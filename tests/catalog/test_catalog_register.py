"""Registration: what is accepted, what is refused and why, and what it leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from catalog import (
    Catalog,
    CatalogError,
    ContractSpec,
    EntitySpec,
    FieldSpec,
    Incompatible,
    InputSpec,
    NotRegistered,
    OperatorSpec,
    PipelineSpec,
    StreamSpec,
)

Compatible = Callable[[str, str], list[str]]
MakeStream = Callable[..., StreamSpec]
MakeOperator = Callable[..., OperatorSpec]


def must_keep_fields(old: str, new: str) -> list[str]:
    return [f"{name} is gone" for name in old.split(",") if name not in new.split(",")]


def with_stream(pipeline: PipelineSpec, stream: StreamSpec) -> PipelineSpec:
    return replace(pipeline, streams=tuple(stream if one.name == stream.name else one for one in pipeline.streams))


def test_a_stream_is_recorded_as_declared(registered: Catalog, plant: PipelineSpec) -> None:
    record = registered.stream("plant.sites")
    assert record.spec == replace(plant.streams[1], owner="plant-team", pipeline="plant")
    assert (record.version, record.contract_version) == (1, 0)
    assert record.created_at == record.changed_at


def test_producers_and_consumers_come_from_operators(registered: Catalog) -> None:
    record = registered.stream("plant.valid")
    assert (record.producers, record.consumers) == (("plant.clean",), ("plant.join",))
    assert registered.writer_of("plant.valid") == "plant.clean"
    assert registered.writer_of("plant.readings") is None


def test_registering_the_same_again_changes_nothing(registered: Catalog, plant: PipelineSpec) -> None:
    before = registered.dump(), registered.outbox(100)
    assert not registered.register(plant, compatible=must_keep_fields).changed
    assert registered.difference(plant) == []
    assert (registered.dump(), registered.outbox(100)) == before


def test_registration_gives_the_schema_ids(registered: Catalog, plant: PipelineSpec) -> None:
    ids = registered.register(plant, compatible=must_keep_fields).schema_ids
    assert ids["plant.readings"] == ids["plant.valid"] != ids["plant.sites"]
    assert registered.schema(ids["plant.sites"]) == "site,city"


def test_the_difference_names_what_would_change(
    registered: Catalog, plant: PipelineSpec, make_stream: MakeStream
) -> None:
    more = make_stream("plant.sites", "site:site", "city", "zone", kind="table", key=("site",), codec="avro")
    changed = replace(with_stream(plant, more), operators=plant.operators[:1])
    assert [str(one) for one in registered.difference(changed)] == [
        "remove operator plant.join",
        "add field plant.sites.zone: int64",
    ]
    assert registered.has_stream("plant.sites")
    assert registered.stream("plant.sites").version == 1


def test_a_compatible_schema_is_a_new_version(
    registered: Catalog, plant: PipelineSpec, make_stream: MakeStream
) -> None:
    more = make_stream("plant.sites", "site:site", "city", "zone", kind="table", key=("site",), codec="avro")
    registered.register(with_stream(plant, more), compatible=must_keep_fields)
    versions = registered.schema_versions("plant.sites")
    assert [(one.version, one.schema) for one in versions] == [(1, "site,city"), (2, "site,city,zone")]
    assert registered.stream("plant.sites").schema_id == versions[1].schema_id


def test_an_incompatible_schema_is_refused_with_the_reasons(
    registered: Catalog, plant: PipelineSpec, make_stream: MakeStream
) -> None:
    before = registered.dump()
    less = make_stream("plant.sites", "site:site", kind="table", key=("site",), codec="avro")
    with pytest.raises(Incompatible, match=r"city is gone.*plant\.sites"):
        registered.register(replace(with_stream(plant, less), operators=()), compatible=must_keep_fields)
    assert registered.dump() == before


def test_rows_of_every_earlier_version_must_stay_readable(
    catalog: Catalog, make_stream: MakeStream, refuses_nothing: Compatible
) -> None:
    catalog.register_stream(make_stream("s", "a", "b"), compatible=refuses_nothing)
    catalog.register_stream(make_stream("s", "a"), compatible=refuses_nothing)
    with pytest.raises(Incompatible, match="version 1"):
        catalog.register_stream(make_stream("s", "a", "c"), compatible=must_keep_fields)


def test_an_earlier_schema_comes_back_under_its_own_id(
    catalog: Catalog, make_stream: MakeStream, refuses_nothing: Compatible
) -> None:
    for fields in (["a"], ["a", "b"], ["a"]):
        catalog.register_stream(make_stream("s", *fields), compatible=refuses_nothing)
    assert [one.schema_id for one in catalog.schema_versions("s")] == [1, 2, 1]


@pytest.mark.parametrize(
    "change",
    [{"partitions": 8}, {"key": ("site",)}, {"kind": "table"}, {"codec": "json"}],
    ids=lambda one: next(iter(one)),
)
def test_what_is_fixed_for_life_is_refused(registered: Catalog, plant: PipelineSpec, change: dict[str, object]) -> None:
    other = replace(plant.streams[0], **change)  # type: ignore[arg-type]
    with pytest.raises(Incompatible, match=f"{next(iter(change))} cannot change.*register a new stream"):
        registered.register(with_stream(plant, other), compatible=must_keep_fields)


def test_two_operators_may_not_write_one_stream(
    registered: Catalog, plant: PipelineSpec, make_operator: MakeOperator
) -> None:
    second = make_operator("plant.other", ["plant.readings"], ["plant.placed"])
    with pytest.raises(Incompatible, match=r"plant\.join and plant\.other"):
        registered.register(replace(plant, operators=(*plant.operators, second)), compatible=must_keep_fields)
    elsewhere = PipelineSpec("elsewhere", operators=(replace(second, name="elsewhere.other"),))
    with pytest.raises(Incompatible, match=r"plant\.join and elsewhere\.other"):
        registered.register(elsewhere, compatible=must_keep_fields)


def test_a_stream_may_pass_from_one_operator_to_another(
    registered: Catalog, plant: PipelineSpec, make_operator: MakeOperator
) -> None:
    heir = make_operator("plant.heir", ["plant.valid"], ["plant.placed"])
    registered.register(replace(plant, operators=(heir, plant.operators[0])), compatible=must_keep_fields)
    assert registered.writer_of("plant.placed") == "plant.heir"
    assert registered.stream("plant.placed").producers == ("plant.heir",)
    assert registered.operator("plant.join").retired_at is not None


def test_two_operators_may_swap_their_streams(
    registered: Catalog, plant: PipelineSpec, make_operator: MakeOperator
) -> None:
    swapped = (
        make_operator("plant.clean", ["plant.readings"], ["plant.placed"]),
        make_operator("plant.join", ["plant.sites"], ["plant.valid"]),
    )
    registered.register(replace(plant, operators=swapped), compatible=must_keep_fields)
    assert registered.writer_of("plant.placed") == "plant.clean"
    assert registered.writer_of("plant.valid") == "plant.join"


def test_an_operator_belongs_to_one_pipeline(registered: Catalog, make_operator: MakeOperator) -> None:
    taken = PipelineSpec("elsewhere", operators=(make_operator("plant.clean", ["plant.readings"], []),))
    with pytest.raises(Incompatible, match="belongs to the pipeline plant"):
        registered.register(taken, compatible=must_keep_fields)


def test_an_unknown_input_is_refused_with_close_names(registered: Catalog, make_operator: MakeOperator) -> None:
    wrong = PipelineSpec("other", operators=(make_operator("other.map", ["plant.redings"], []),))
    with pytest.raises(NotRegistered, match=r"Did you mean 'plant\.readings'"):
        registered.register(wrong, compatible=must_keep_fields)


def test_an_unknown_field_is_refused_with_close_names(registered: Catalog) -> None:
    reads = InputSpec("plant.readings", reads=("celcius",))
    wrong = PipelineSpec("other", operators=(OperatorSpec("other.map", "map", "1", inputs=(reads,)),))
    with pytest.raises(NotRegistered, match="Did you mean 'celsius'"):
        registered.register(wrong, compatible=must_keep_fields)


def test_an_unknown_stream_is_an_error_with_close_names(registered: Catalog) -> None:
    with pytest.raises(NotRegistered, match=r"plant\.placd.*Did you mean 'plant\.placed'"):
        registered.stream("plant.placd")
    with pytest.raises(NotRegistered, match=r"Did you mean 'plant\.valid'"):
        registered.stream("valid")
    assert not registered.has_stream("plant.placd")


def test_names_declared_twice_are_refused(catalog: Catalog, plant: PipelineSpec, make_stream: MakeStream) -> None:
    with pytest.raises(Incompatible, match="Stream declared twice"):
        catalog.register(replace(plant, streams=plant.streams * 2), compatible=must_keep_fields)
    with pytest.raises(Incompatible, match="Field declared twice"):
        catalog.register_stream(make_stream("s", "a", "a"), compatible=must_keep_fields)


def test_a_key_must_be_a_field(catalog: Catalog, make_stream: MakeStream) -> None:
    with pytest.raises(NotRegistered, match="Did you mean 'sensor'"):
        catalog.register_stream(make_stream("s", "sensor", key=("sensors",)), compatible=must_keep_fields)


def test_contracts_are_versioned(catalog: Catalog, make_stream: MakeStream) -> None:
    one = make_stream(
        "s", "a", contract=ContractSpec(({"rule": "between", "field": "a", "low": 0},), "kind: DataContract")
    )
    two = replace(one, contract=ContractSpec(({"rule": "between", "field": "a", "low": 1},)))
    records = [catalog.register_stream(spec, compatible=must_keep_fields) for spec in (one, one, two)]
    assert [record.contract_version for record in records] == [1, 1, 2]
    assert records[0].spec.contract == one.contract
    assert records[2].spec.contract == two.contract
    gone = catalog.register_stream(replace(one, contract=None), compatible=must_keep_fields)
    assert (gone.contract_version, gone.spec.contract) == (3, None)


def test_values_without_json_form_are_refused(catalog: Catalog, make_stream: MakeStream) -> None:
    endless = make_stream("s", "a", contract=ContractSpec(({"high": float("inf")},)))
    with pytest.raises(CatalogError, match="no JSON form"):
        catalog.register_stream(endless, compatible=must_keep_fields)


def test_what_a_person_set_survives_registering_again(registered: Catalog, plant: PipelineSpec) -> None:
    registered.set_owner("plant.valid", "quality")
    registered.tag("plant.valid", "golden")
    described = replace(plant.streams[2], description="Checked readings.", tags=("checked",))
    registered.register(with_stream(plant, described), compatible=must_keep_fields)
    spec = registered.stream("plant.valid").spec
    assert (spec.owner, spec.tags, spec.description) == ("quality", ("checked", "golden"), "Checked readings.")
    registered.register(with_stream(plant, replace(described, owner="new-team", tags=())), compatible=must_keep_fields)
    spec = registered.stream("plant.valid").spec
    assert (spec.owner, spec.tags) == ("new-team", ("golden",))
    registered.untag("plant.valid", "golden")
    assert registered.stream("plant.valid").spec.tags == ()


def test_setting_what_is_already_so_is_no_change(registered: Catalog) -> None:
    before = registered.outbox(100)
    registered.set_owner("plant.valid", "plant-team")
    registered.untag("plant.valid", "golden")
    registered.add_entity(EntitySpec("sensor", ("probe",)))
    assert registered.outbox(100) == before


def test_a_stream_that_a_pipeline_drops_stays(registered: Catalog, plant: PipelineSpec) -> None:
    fewer = replace(plant, streams=plant.streams[:4], operators=plant.operators[:1])
    registered.register(fewer, compatible=must_keep_fields)
    assert registered.stream("plant.placed").spec.pipeline is None
    assert registered.difference(fewer) == []
    registered.register(plant, compatible=must_keep_fields)
    assert registered.stream("plant.placed").spec.pipeline == "plant"
    assert registered.operator("plant.join").retired_at is None


def test_a_shared_stream_stays_with_the_first_pipeline(registered: Catalog, plant: PipelineSpec) -> None:
    sharing = PipelineSpec("other", owner="others", streams=(plant.streams[1],))
    registered.register(sharing, compatible=must_keep_fields)
    assert registered.stream("plant.sites").spec.pipeline == "plant"
    assert registered.stream("plant.sites").spec.owner == "plant-team"
    assert registered.difference(plant) == registered.difference(sharing) == []


def test_operator_versions_are_kept(registered: Catalog, plant: PipelineSpec, make_operator: MakeOperator) -> None:
    newer = make_operator("plant.join", ["plant.valid"], ["plant.placed"], version="2")
    registered.register(replace(plant, operators=(plant.operators[0], newer)), compatible=must_keep_fields)
    record = registered.operator("plant.join")
    assert [one.spec.version for one in record.versions] == ["1", "2"]
    assert record.versions[0].valid_to == record.versions[1].valid_from
    assert record.spec == replace(newer, pipeline="plant")


def test_other_words_for_an_operator_are_no_new_version(registered: Catalog, plant: PipelineSpec) -> None:
    said = replace(plant.operators[1], description="Puts a city to each reading.")
    registered.register(replace(plant, operators=(plant.operators[0], said)), compatible=must_keep_fields)
    assert len(registered.operator("plant.join").versions) == 1
    assert registered.operator("plant.join").spec.description == said.description


def test_pipelines_list_what_they_hold(registered: Catalog, plant: PipelineSpec) -> None:
    record = registered.pipeline("plant")
    assert (record.owner, record.version) == ("plant-team", 1)
    assert record.streams == tuple(sorted(one.name for one in plant.streams))
    assert record.operators == ("plant.clean", "plant.join")
    assert [one.name for one in registered.operators("plant")] == ["plant.clean", "plant.join"]
    assert [one.name for one in registered.pipelines()] == ["plant"]
    with pytest.raises(NotRegistered, match="Did you mean 'plant'"):
        registered.pipeline("plants")
    with pytest.raises(NotRegistered, match=r"Did you mean 'plant\.join'"):
        registered.operator("plant.joint")


def test_synonyms_of_several_pipelines_come_together(registered: Catalog) -> None:
    registered.add_entity(EntitySpec("sensor", ("transducer",), "Measures."))
    assert registered.entities()[0] == EntitySpec("sensor", ("gauge", "probe", "transducer"), "Measures.")


def test_streams_are_paged_by_name(registered: Catalog, plant: PipelineSpec) -> None:
    first = registered.streams(limit=2)
    rest = registered.streams(after=first[-1].name)
    assert [one.name for one in (*first, *rest)] == sorted(one.name for one in plant.streams)


def test_streams_are_filtered(registered: Catalog) -> None:
    def found(**how: object) -> list[str]:
        return [one.name for one in registered.streams(**how)]  # type: ignore[arg-type]

    registered.tag("plant.valid", "golden")
    registered.set_owner("plant.placed", "geographers")
    assert found(prefix="plant.valid") == ["plant.valid", "plant.valid.quarantine"]
    assert found(prefix="plant_valid") == found(prefix="Plant") == []
    assert found(roles=["quarantine"]) == ["plant.valid.quarantine"]
    assert found(tag="golden") == ["plant.valid"]
    assert found(owner="geographers") == ["plant.placed"]
    assert found(entity="site") == found(entity="factory") == ["plant.readings", "plant.sites", "plant.valid"]


def test_a_tag_on_a_field_finds_its_stream(catalog: Catalog) -> None:
    fields = (FieldSpec("name", "string", tags=("personal",)), FieldSpec("id", "int64"))
    catalog.register_stream(StreamSpec("people", fields, "x", "f"), compatible=must_keep_fields)
    assert [one.name for one in catalog.streams(tag="personal")] == ["people"]
    assert catalog.stream("people").spec.fields == fields
    assert catalog.stream("people").spec.tags == ()


def test_a_page_costs_the_same_queries_at_any_length(registered: Catalog) -> None:
    from sqlalchemy import event

    asked: list[str] = []
    event.listen(registered._database._engine, "before_cursor_execute", lambda *told: asked.append(told[2]))
    registered.streams(limit=1)
    few = len(asked)
    registered.streams(limit=5)
    assert len(asked) == 2 * few


def test_unknown_schema_id(catalog: Catalog) -> None:
    with pytest.raises(NotRegistered, match="schema 7"):
        catalog.schema(7)
