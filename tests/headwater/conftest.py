"""A small workspace made by the command line itself."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog import Catalog
from tests.headwater.plant import Plant
from tests.services.databases import Databases


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("HEADWATER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture(scope="session")
def ran_plant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The starter, registered, published to and run. Copy it, never change it."""
    folder = tmp_path_factory.mktemp("plant") / "plant"
    plant = Plant(folder.parent)
    plant("init", "plant")
    plant = Plant(folder)
    plant("register", "pipeline.py")
    plant("publish", "plant.readings", "readings.csv")
    plant("run", "pipeline.py", "--until", "caught-up")
    return folder


@pytest.fixture
def plant(ran_plant: Path, tmp_path: Path) -> Plant:
    """The starter, registered, published to and run."""
    shutil.copytree(ran_plant, tmp_path / "plant")
    return Plant(tmp_path / "plant")


@pytest.fixture(scope="session")
def ran_catalog(databases: Databases, ran_plant: Path) -> Iterator[str]:
    """The catalog of the starter that ran, to copy."""
    made = databases.create()
    with Catalog(made) as copy, Catalog(f"sqlite:///{ran_plant / '.headwater' / 'catalog.db'}") as original:
        assert copy.adopt(original)
    yield made
    databases.drop(made)


@pytest.fixture
def plant_on(databases: Databases, ran_catalog: str, ran_plant: Path, tmp_path: Path) -> Iterator[Plant]:
    """The starter that ran, with its catalog in every kind of database: `headwater.toml` says where."""
    shutil.copytree(ran_plant, tmp_path / "plant")
    plant = Plant(tmp_path / "plant")
    url = databases.create(ran_catalog)
    for file in (plant.folder / ".headwater").glob("catalog.db*"):
        file.unlink()
    with (plant.folder / "headwater.toml").open("a") as settings:
        settings.write(f'catalog = "{url}"\n')
    yield plant
    databases.drop(url)


@pytest.fixture
def empty(tmp_path: Path) -> Plant:
    """A folder with nothing in it."""
    (tmp_path / "empty").mkdir()
    return Plant(tmp_path / "empty")


@pytest.fixture
def started(empty: Plant) -> Plant:
    """A folder in which `headwater init` was called, and nothing else."""
    empty("init")
    return empty
