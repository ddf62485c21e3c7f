"""A small workspace made by the command line itself."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.headwater.plant import Plant


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
