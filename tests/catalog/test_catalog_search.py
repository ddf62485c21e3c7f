"""Search answers questions as people ask them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from catalog import Catalog, EntitySpec, PipelineSpec, StreamSpec

Compatible = Callable[[str, str], list[str]]


def names(catalog: Catalog, question: str, limit: int = 10) -> list[str]:
    return [hit.name for hit in catalog.search(question, limit=limit)]


def all_streams(catalog: Catalog) -> set[str]:
    found: list[str] = []
    while page := catalog.streams(after=found[-1] if found else None):
        found += [one.name for one in page]
    return set(found)


def test_recall_at_three_over_the_questions(realistic: Catalog, questions: list[tuple[str, set[str]]]) -> None:
    recalls = []
    for question, right in questions:
        found = names(realistic, question, limit=3)
        recall = len(right.intersection(found)) / min(3, len(right))
        recalls.append(recall)
        if recall < 1:
            print(f"{recall:.2f}  {question}: {found}")
    mean = sum(recalls) / len(recalls)
    print(f"recall@3 = {mean:.3f} over {len(recalls)} questions")
    assert mean >= 0.9


def test_the_questions_are_asked_of_a_catalog_of_200_streams(
    realistic: Catalog, questions: list[tuple[str, set[str]]]
) -> None:
    known = all_streams(realistic)
    assert len([name for name in known if not name.endswith((".quarantine", ".progress", ".state"))]) >= 200
    assert len(questions) >= 40
    assert {name for _, right in questions for name in right} <= known


def test_a_synonym_finds_fields_by_their_entity(
    catalog: Catalog, plant: PipelineSpec, refuses_nothing: Compatible
) -> None:
    catalog.register(plant, compatible=refuses_nothing)
    hit = catalog.search("which factory?")[0]
    assert "site" in [one.entity for one in catalog.stream(hit.name).spec.fields]
    assert "the entity site" in hit.why


def test_an_entity_finds_texts_that_use_its_synonym(
    catalog: Catalog, make_stream: Callable[..., StreamSpec], refuses_nothing: Compatible
) -> None:
    catalog.add_entity(EntitySpec("sensor", ("probe",)))
    catalog.register_stream(make_stream("lab.raw", "value", description="Probe values."), compatible=refuses_nothing)
    assert names(catalog, "sensor") == ["lab.raw"]


def test_a_misspelt_word_is_read_as_the_nearest_known_one(realistic: Catalog) -> None:
    hit = realistic.search("chargbacks")[0]
    assert hit.name == "payments.chargebacks"
    assert "read as" in hit.why


def test_words_written_apart_find_a_name_written_together(realistic: Catalog) -> None:
    assert "airline.engineHealth" in names(realistic, "engine health", 1)
    assert "city.waste_bins" in names(realistic, "wastebins", 1)


@pytest.mark.parametrize(
    "question", ["", "?!", "what is it?", '"', "a OR (b NEAR *", "-x:y^2", "name:", "' ; --", "ß ∆ 漢"]
)
def test_no_text_is_a_syntax_error(realistic: Catalog, question: str) -> None:
    assert isinstance(realistic.search(question), list)


def test_nothing_known_is_no_hit(realistic: Catalog) -> None:
    assert realistic.search("xyzzyqqq") == []


def test_progress_and_state_are_found_only_when_asked_for(realistic: Catalog) -> None:
    assert not any(name.endswith((".progress", ".state")) for name in names(realistic, "bag scans", 50))
    assert names(realistic, "progress of bag scans", 1) == ["airline.bag_scans.clean.progress"]


def test_a_whole_name_comes_first(realistic: Catalog) -> None:
    assert names(realistic, "what is in airline.metar?", 1) == ["airline.metar"]


def test_an_owner_is_found(realistic: Catalog) -> None:
    found = names(realistic, "what does ops control own?", 4)
    assert {realistic.stream(name).spec.owner for name in found} == {"ops-control"}


def test_datasets_and_operators_are_found(realistic: Catalog) -> None:
    assert ("churn-training", "dataset") in [(hit.name, hit.kind) for hit in realistic.search("churn training dataset")]
    found = [(hit.name, hit.kind) for hit in realistic.search("which operator checks bag scans?", limit=1)]
    assert found == [("airline.bag_scans.clean", "operator")]


def test_every_hit_says_why(realistic: Catalog) -> None:
    for hit in realistic.search("delay of planes by airport"):
        assert "“" in hit.why
        assert " in " in hit.why


def test_search_follows_changes(catalog: Catalog, plant: PipelineSpec, refuses_nothing: Compatible) -> None:
    catalog.register(plant, compatible=refuses_nothing)
    catalog.set_owner("plant.sites", "geographers")
    assert names(catalog, "geographers") == ["plant.sites"]
    catalog.tag("plant.valid", "golden")
    assert names(catalog, "golden") == ["plant.valid"]
    catalog.register(replace(plant, operators=plant.operators[:1]), compatible=refuses_nothing)
    assert "plant.join" not in names(catalog, "join operator", 50)


def test_a_small_catalog_is_ranked_too(
    catalog: Catalog, make_stream: Callable[..., StreamSpec], refuses_nothing: Compatible
) -> None:
    catalog.register_stream(make_stream("a.flights", "id", description="Flights."), compatible=refuses_nothing)
    catalog.register_stream(
        make_stream("b.gates", "id", description="Where flights start."), compatible=refuses_nothing
    )
    assert names(catalog, "flights") == ["a.flights", "b.gates"]
