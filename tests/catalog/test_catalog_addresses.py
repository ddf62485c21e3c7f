"""Addresses of catalogs: which are understood, what is said of others, and that passwords stay secret."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from catalog import Catalog, CatalogError
from catalog.address import shown
from catalog.names import names
from tests.services.databases import Databases


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("postgresql://me:secret@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("postgresql+psycopg://me:a:b@host/db?x=1", "postgresql+psycopg://me:***@host/db?x=1"),
        ("postgresql:///db?user=me&password=secret&host=h", "postgresql:///db?user=me&password=***&host=h"),
        ("postgresql://:secret@host", "postgresql://:***@host"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("sqlite:////folder/a:b@c.db", "sqlite:////folder/a:b@c.db"),
    ],
)
def test_a_password_is_not_shown(url: str, seen: str) -> None:
    assert shown(url) == seen


@pytest.mark.parametrize(
    "url",
    ["catalog.db", "mysql://me:secret@host/db", "postgresql://me:secret@host:port/db", "nothing://me:secret@host"],
)
def test_an_address_that_is_none_is_an_error(url: str) -> None:
    with pytest.raises(CatalogError, match=r"sqlite:////absolute/path.*postgresql://user@host") as raised:
        Catalog(url)
    assert "secret" not in str(raised.value)


def test_a_server_that_is_not_there_is_an_error_that_says_so() -> None:
    with pytest.raises(CatalogError, match=r"Check that the server runs") as raised:
        Catalog("postgresql://me:secret@127.0.0.1:1/db")
    assert "secret" not in str(raised.value)


def test_a_server_may_be_called_by_either_scheme(databases: Databases, anew: str) -> None:
    for scheme in ("postgres", "postgresql", "postgresql+psycopg"):
        with Catalog(anew.replace("postgresql", scheme)) as catalog:
            assert catalog.last_change() == 0


def test_names_are_completed_without_opening_the_catalog(
    planted: str, copied: Callable[[str], str], databases: Databases
) -> None:
    url = copied(planted)
    assert names(url, "stream", "plant.v") == ["plant.valid", "plant.valid.quarantine"]
    assert names(url, "stream", limit=1) == ["plant.placed"]
    assert names(url, "operator") == ["plant.clean", "plant.join"]
    assert names(url, "entity", "s") == ["sensor", "site"]
    assert names(url, "owner") == ["plant-team"]
    assert names(url, "tag") == names(url, "dataset") == names(url, "stream", "plant_v") == []


def test_no_name_is_completed_where_there_is_no_catalog(url: str) -> None:
    assert names(url, "stream") == []
    assert names("postgresql://127.0.0.1:1/none", "stream") == []
