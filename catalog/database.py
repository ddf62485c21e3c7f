"""One catalog database: opening and migrating it, transactions that read, and transactions that write one at a time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, Engine, Table, func, inspect, make_url, select
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from catalog.address import shown
from catalog.backend import ADDRESSES, Backend, backend_of
from catalog.errors import CatalogBusy, CatalogError
from catalog.forks import Gate, close_at_forks
from catalog.fulltext import FullText

#: The newest revision in migrations/versions; a catalog that has it needs no look at the migrations.
REVISION = "0001"
#: How many values one `IN (...)` takes.
CHUNK = 10_000


class Database:
    """A database with the catalog's rules: a writing transaction takes the writers' lock first, waits up to
    `patience` seconds for it, and raises CatalogBusy if it does not get it. Threads may share it. While the process
    forks no connection is open; parent and child then open their own."""

    def __init__(self, url: str, *, patience: float = 30.0) -> None:
        self.where = shown(url)
        self._patience = patience
        self._process = os.getpid()
        self._gate = Gate()
        self._backend, self._engine = self._opened(url)
        close_at_forks(self)
        try:
            self._migrate()
        except BaseException:
            self._engine.dispose()
            raise

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one state of the catalog and never waits for writers."""
        with self._transaction(self._backend.reading) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that no other writer runs beside; all of it becomes visible, or none."""
        with self._transaction(self._backend.writing) as connection:
            self._backend.lock(connection, migrating=False)
            yield connection

    def full_text(self) -> FullText:
        return self._backend.full_text()

    def close(self) -> None:
        self._engine.dispose()

    def before_fork(self) -> None:
        """Close every connection, after waiting for those in use."""
        if self._gate.shut():
            self._engine.dispose()

    def after_fork(self) -> None:
        """Connections may be opened again."""
        if self._process == os.getpid():
            self._gate.reopen()
        else:
            self._gate = Gate()

    def _opened(self, url: str) -> tuple[Backend, Engine]:
        try:
            address = make_url(url)
            backend = backend_of(address, self._patience)
            return backend, backend.engine(address)
        except (ArgumentError, ValueError) as error:
            raise CatalogError(
                "The catalog's address is not understood", where=self.where, fix=f"Write it as {ADDRESSES}."
            ) from error
        except ImportError as error:
            raise CatalogError(
                f"What it takes to reach this catalog is not installed: {error}",
                where=self.where,
                fix="Install it: pip install 'headwater[postgres]'.",
            ) from error

    @contextmanager
    def _transaction(self, options: Mapping[str, Any]) -> Iterator[Connection]:
        with (
            self._gate.entered(),
            self._translated(),
            self._alive().connect().execution_options(**options) as connection,
            connection.begin(),
        ):
            yield connection

    def _alive(self) -> Engine:
        if self._process != os.getpid():
            # What a thread had in use at the fork is the parent's.
            self._engine.dispose(close=False)
            self._process = os.getpid()
        return self._engine

    def _migrate(self) -> None:
        with self.reading() as connection:
            if _revision(connection) == REVISION:
                return
        with self._transaction(self._backend.writing) as connection:
            self._backend.lock(connection, migrating=True)
            found = _revision(connection)
            if found == REVISION:
                return
            if found is None and set(inspect(connection).get_table_names()) - {"alembic_version"}:
                raise CatalogError(
                    "This database holds other tables and is no catalog",
                    where=self.where,
                    fix="Name another file, or make a database for the catalog.",
                )
            upgrade(connection)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except PoolTimeout as error:
            raise CatalogBusy(
                f"All connections of this process were in use for more than {self._patience:g} s; nothing was changed",
                where=self.where,
                fix="Let fewer threads share one catalog.",
            ) from error
        except DBAPIError as error:
            raise self._backend.explained(error.orig or error, self.where) from error


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Bring the catalog to a revision, inside the connection's transaction."""
    from alembic import command
    from alembic.util import CommandError

    config = alembic_config()
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, revision)
    except CommandError as error:
        raise CatalogError(
            f"The catalog cannot be brought to this version of Headwater: {error}",
            where=connection.engine.url.render_as_string(hide_password=True),
            fix="It was probably written by a newer version: upgrade Headwater.",
        ) from error


def alembic_config() -> Any:
    """An Alembic configuration that finds the migrations beside this package: a user's own folder `migrations`
    must not hide them."""
    from alembic.config import Config

    config = Config()
    config.set_main_option(
        "script_location", str(Path(__file__).resolve().parent.parent / "migrations").replace("%", "%%")
    )
    config.set_main_option("path_separator", "os")
    return config


def next_id(connection: Connection, table: Table, column: str = "id") -> int:
    """The next free id; only within a writing transaction."""
    return int(connection.execute(select(func.max(table.c[column]))).scalar() or 0) + 1


def chunks(values: Iterable[Any]) -> Iterator[Sequence[Any]]:
    """The values in pieces that one `IN (...)` takes."""
    whole = list(values)
    for start in range(0, len(whole), CHUNK):
        yield whole[start : start + CHUNK]


def rows_where(connection: Connection, table: Table, column: Column[Any], values: Iterable[Any]) -> list[Any]:
    """All rows of `table` whose `column` is one of `values`."""
    return [row for piece in chunks(values) for row in connection.execute(select(table).where(column.in_(piece)))]


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return None if found is None else str(found)
