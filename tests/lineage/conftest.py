"""Hubs for lineage tests: on fresh folders, their catalogs copied from one that has its tables already."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from catalog import Catalog
from headwater import Config, Hub
from streams.log import EmbeddedLog


@pytest.fixture(scope="session")
def empty_catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("catalog") / "empty.db"
    Catalog(f"sqlite:///{path}").close()
    return path


def hub_in(folder: Path, catalog: Path | str) -> Hub:
    """A hub in a new folder, with a log that does not wait for the disk and a copy of the catalog in a file, or the one
    at an address."""
    folder.mkdir()
    if isinstance(catalog, Path):
        catalog = f"sqlite:///{shutil.copy(catalog, folder / 'catalog.db')}"
    hub = Hub(Config(folder, f"embedded://{folder / 'log.db'}", catalog, "python"))
    hub.log.close()
    hub.log = EmbeddedLog(folder / "log.db", synchronous="normal")
    return hub


@pytest.fixture
def make_hub(tmp_path: Path, empty_catalog: Path) -> Iterator[Callable[[], Hub]]:
    """Each call gives a hub in a folder of its own."""
    hubs = []

    def make() -> Hub:
        hubs.append(hub_in(tmp_path / uuid4().hex, empty_catalog))
        return hubs[-1]

    yield make
    for hub in hubs:
        hub.close()


@pytest.fixture(scope="session")
def shared_hub(tmp_path_factory: pytest.TempPathFactory, empty_catalog: Path) -> Iterator[Hub]:
    """One hub for tests that each make streams under a name of their own."""
    with hub_in(tmp_path_factory.mktemp("shared") / "hub", empty_catalog) as hub:
        yield hub
