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


@pytest.fixture
def make_hub(tmp_path: Path, empty_catalog: Path) -> Iterator[Callable[[], Hub]]:
    """Each call gives a hub in a folder of its own, with a log that does not wait for the disk."""
    hubs = []

    def make() -> Hub:
        folder = tmp_path / uuid4().hex
        folder.mkdir()
        shutil.copy(empty_catalog, folder / "catalog.db")
        hub = Hub(Config(folder, f"embedded://{folder / 'log.db'}", f"sqlite:///{folder / 'catalog.db'}", "python"))
        hub.log.close()
        hub.log = EmbeddedLog(folder / "log.db", synchronous="normal")
        hubs.append(hub)
        return hub

    yield make
    for hub in hubs:
        hub.close()
