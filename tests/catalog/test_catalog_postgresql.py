"""What only PostgreSQL does: schemas, a server that ends connections, encodings, names longer than their columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import make_url

from catalog import Catalog, CatalogBusy, CatalogError, PipelineSpec, StreamSpec
from catalog.backend import backend_of
from catalog.database import Database
from tests.services.databases import Databases

Compatible = Callable[[str, str], list[str]]


@pytest.fixture
def place(postgres: Databases) -> Iterator[str]:
    made = postgres.create()
    yield made
    postgres.drop(made)


def test_catalogs_in_schemas_of_one_database_do_not_meet(
    postgres: Databases, place: str, plant: PipelineSpec, refuses_nothing: Compatible
) -> None:
    addresses = [f"{place}?options=-csearch_path%3D{name}" for name in ("one", "other")]
    for name in ("one", "other"):
        postgres.execute(place, f"CREATE SCHEMA {name}")
    with Catalog(addresses[0]) as one, Catalog(addresses[1], patience=0.2) as other:
        with one._database.writing():
            other.register(plant, compatible=refuses_nothing)
        assert one.pipelines() == []
        assert [record.name for record in other.pipelines()] == ["plant"]
        assert other.search("which probes?")
        assert one.search("which probes?") == []


def test_a_catalog_whose_connections_were_ended_connects_again(
    postgres: Databases, place: str, plant: PipelineSpec, refuses_nothing: Compatible
) -> None:
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    end = f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {others}"
    with Catalog(place) as catalog:
        catalog.register(plant, compatible=refuses_nothing)
        before = catalog.dump()
        postgres.execute(place, end)
        assert catalog.dump() == before

        def cut_off() -> None:
            with catalog._database.writing() as connection:
                connection.exec_driver_sql("DELETE FROM field")
                postgres.execute(place, end)
                connection.exec_driver_sql("SELECT 1")

        with pytest.raises(CatalogError, match="Check that the server runs"):
            cut_off()
        assert catalog.dump() == before
        catalog.tag("plant.valid", "golden")
        assert catalog.stream("plant.valid").spec.tags == ("golden",)


def test_a_question_is_answered_from_one_state(place: str, plant: PipelineSpec, refuses_nothing: Compatible) -> None:
    with Catalog(place) as catalog, Catalog(place) as other:
        with catalog._database.reading() as connection:
            counted = connection.exec_driver_sql("SELECT count(*) FROM stream").scalar()
            other.register(plant, compatible=refuses_nothing)
            assert connection.exec_driver_sql("SELECT count(*) FROM stream").scalar() == counted == 0
        assert len(catalog.streams()) == 5


def test_a_transaction_that_reads_cannot_write(place: str) -> None:
    database = Database(place)
    with pytest.raises(CatalogError, match="read-only transaction"), database.reading() as connection:
        connection.exec_driver_sql("DELETE FROM tag")
    database.close()


def test_a_new_database_is_migrated_by_one_at_a_time(place: str) -> None:
    backend = backend_of(make_url(place), patience=1)
    engine = backend.engine(make_url(place))
    with engine.connect().execution_options(**backend.writing) as connection, connection.begin():
        backend.lock(connection, migrating=True)
        with pytest.raises(CatalogBusy, match=r"more than 0\.1 s"):
            Catalog(place, patience=0.1)
    engine.dispose()
    with Catalog(place) as catalog:
        assert catalog.last_change() == 0


def test_a_name_that_is_too_long_is_an_error_and_nothing_is_written(
    place: str, make_stream: Callable[..., StreamSpec], refuses_nothing: Compatible
) -> None:
    with Catalog(place) as catalog:
        with pytest.raises(CatalogError, match="too long"):
            catalog.register_stream(make_stream("s" * 500, "a"), compatible=refuses_nothing)
        assert catalog.streams() == []


def test_a_database_in_another_encoding_is_refused(postgres: Databases, place: str) -> None:
    postgres.execute(place, "CREATE DATABASE hw_latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    latin = place.rpartition("/")[0] + "/hw_latin"
    try:
        with pytest.raises(CatalogError, match=r"encoded in LATIN1.*ENCODING 'UTF8'"):
            Catalog(latin)
    finally:
        postgres.drop(latin)


def test_words_are_found_whatever_their_letters(
    place: str, make_stream: Callable[..., StreamSpec], refuses_nothing: Compatible
) -> None:
    with Catalog(place) as catalog:
        texts = {"a.cafe": "Menus of each Café.", "a.geld": "Straße und Größe", "a.long": "x" * 5000 + " 漢字 1e5 0x1f"}
        for name, text in texts.items():
            catalog.register_stream(make_stream(name, "id", description=text), compatible=refuses_nothing)
        for question, name in (("cafe", "a.cafe"), ("CAFÉS", "a.cafe"), ("grosse", "a.geld"), ("1e5", "a.long")):
            assert [hit.name for hit in catalog.search(question)] == [name], question
        assert "café" in catalog.search("cafe")[0].why
