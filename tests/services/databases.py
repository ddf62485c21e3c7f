"""Databases for catalogs in tests: what every kind of them offers, and SQLite's."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Protocol


class Databases(Protocol):
    @property
    def examples(self) -> int:
        """How many examples a property is tried with: fewer where each statement is a message to a server."""

    def create(self, template: str | None = None) -> str:
        """The address of a new database: an empty one, or a copy of another, to which nobody may be connected."""

    def drop(self, url: str) -> None: ...

    def execute(self, url: str, statement: str) -> None:
        """Past Headwater, straight at the database."""

    def holding(self, url: str) -> AbstractContextManager[None]:
        """Someone else is writing to the catalog."""


class SqliteDatabases:
    """A folder for each database, with one file in it, or none if the database is empty."""

    examples = 10

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count(1)

    def create(self, template: str | None = None) -> str:
        folder = self._folder / str(next(self._numbers))
        folder.mkdir()
        if template is not None:
            shutil.copy(_file(template), folder / "catalog.db")
        return f"sqlite:///{folder}/catalog.db"

    def drop(self, url: str) -> None:
        shutil.rmtree(_file(url).parent)

    def execute(self, url: str, statement: str) -> None:
        with closing(sqlite3.connect(_file(url))) as connection, connection:
            connection.execute(statement)

    @contextmanager
    def holding(self, url: str) -> Iterator[None]:
        with closing(sqlite3.connect(_file(url), isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")


def _file(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))
