"""Migrations: made, brought up to date, in step with the models, and found wherever the package lies."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect

import catalog as catalog_package
from catalog import Catalog, CatalogError
from catalog.database import REVISION, Database, alembic_config, upgrade
from catalog.fulltext import is_search_table
from catalog.models import metadata
from tests.services.databases import Databases

ROOT = Path(catalog_package.__file__).parent.parent


def differences(database: Database) -> list[object]:
    with database.reading() as connection:
        told = {"compare_type": True, "include_name": lambda name, kind, _: not is_search_table(name)}
        return list(compare_metadata(MigrationContext.configure(connection, opts=told), metadata))


def test_the_migrated_schema_is_that_of_the_models(url: str) -> None:
    database = Database(url)
    assert differences(database) == []
    database.close()


def test_the_newest_revision_is_the_one_the_code_expects() -> None:
    assert ScriptDirectory.from_config(alembic_config()).get_heads() == [REVISION]


def test_down_to_nothing_and_up_again(url: str) -> None:
    database = Database(url)
    with database.writing() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    with database.reading() as connection:
        tables = set(inspect(connection).get_table_names())
    assert tables == {"alembic_version"}
    database.close()
    database = Database(url)
    assert differences(database) == []
    with database.writing() as connection:
        upgrade(connection)
    database.close()


def test_an_existing_catalog_opens_without_the_migrations(url: str) -> None:
    Catalog(url).close()
    code = f"import sys, catalog; catalog.Catalog({url!r}).close(); sys.exit('alembic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_migrations_are_found_from_an_installation(tmp_path: Path) -> None:
    site = tmp_path / "site"
    for package in ("catalog", "migrations"):
        shutil.copytree(ROOT / package, site / package, ignore=shutil.ignore_patterns("__pycache__"))
    mine = tmp_path / "mine" / "migrations"
    mine.mkdir(parents=True)
    (mine / "__init__.py").write_text("raise RuntimeError('not the catalog\\'s')")
    code = f"import catalog; catalog.Catalog('sqlite:///{tmp_path}/new.db').close(); print(catalog.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=mine.parent, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout.startswith(str(site))


def test_alembic_ini_serves_people(url: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "alembic", "-c", str(ROOT / "alembic.ini"), "-x", f"url={url}", "upgrade", "head"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    database = Database(url)
    assert differences(database) == []
    database.close()


def test_a_newer_catalog_is_refused(databases: Databases, anew: str) -> None:
    databases.execute(anew, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(CatalogError, match="newer version: upgrade Headwater"):
        Catalog(anew)


def test_another_database_is_refused(databases: Databases, url: str) -> None:
    databases.execute(url, "CREATE TABLE mine (id INTEGER)")
    with pytest.raises(CatalogError, match="is no catalog"):
        Catalog(url)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "catalog.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(CatalogError, match="is not a database"):
        Catalog(f"sqlite:///{tmp_path}/catalog.db")


def test_a_missing_folder_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="Check that the folder exists"):
        Catalog(f"sqlite:///{tmp_path}/nowhere/catalog.db")
