"""One catalog database: opening and migrating it, transactions that read, and transactions that write one at a time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, Engine, Table, create_engine, event, func, inspect, select, update
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from catalog.errors import CatalogBusy, CatalogError
from catalog.forks import Gate, close_at_forks
from catalog.models import applied

#: The newest revision in migrations/versions; a catalog that has it needs no look at the migrations.
REVISION = "0001"
#: How many values one `IN (...)` takes.
CHUNK = 10_000


class Database:
    """An engine with the catalog's rules: a writing transaction takes the writers' lock first, waits up to
    `patience` seconds for it, and raises CatalogBusy if it does not get it. Threads may share it. While the process
    forks no connection is open; parent and child then open their own."""

    def __init__(self, url: str, *, patience: float = 30.0) -> None:
        self.url = url
        self._patience = patience
        self._process = os.getpid()
        self._gate = Gate()
        self._engine = self._make_engine()
        close_at_forks(self)
        try:
            with self._gate.entered():
                self._migrate()
        except BaseException:
            self._engine.dispose()
            raise

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one state of the catalog and never waits for writers."""
        with self._gate.entered(), self._translated(), self._alive().connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that no other writer runs beside; all of it becomes visible, or none."""
        with (
            self._gate.entered(),
            self._translated(),
            self._alive().connect().execution_options(headwater_writes=True) as connection,
            connection.begin(),
        ):
            if self.dialect != "sqlite":
                # On SQLite the transaction began with the lock; elsewhere this row is the lock.
                connection.execute(update(applied).values(change=applied.c.change))
            yield connection

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

    @property
    def dialect(self) -> str:
        return self._engine.dialect.name

    def _make_engine(self) -> Engine:
        try:
            engine = create_engine(self.url)
        except (ArgumentError, ImportError) as error:
            raise CatalogError(
                f"The catalog's address is not understood: {error}",
                where=self.url,
                fix="Write it as sqlite:////absolute/path/catalog.db.",
            ) from error
        if engine.dialect.name == "sqlite":
            _prepare_sqlite(engine, self._patience)
        return engine

    def _alive(self) -> Engine:
        if self._process != os.getpid():
            # What a thread had in use at the fork is the parent's.
            self._engine.dispose(close=False)
            self._process = os.getpid()
        return self._engine

    def _migrate(self) -> None:
        with self._translated(), self._engine.connect() as connection, connection.begin():
            if _revision(connection) == REVISION:
                return
        with (
            self._translated(),
            self._engine.connect().execution_options(headwater_writes=True) as connection,
            connection.begin(),
        ):
            found = _revision(connection)
            if found == REVISION:
                return
            if found is None and set(inspect(connection).get_table_names()) - {"alembic_version"}:
                raise CatalogError(
                    "This database holds other tables and is no catalog", where=self.url, fix="Name another file."
                )
            upgrade(connection)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            cause = str(error.orig)
            if "locked" in cause or "busy" in cause:
                raise CatalogBusy(
                    f"Another process held the catalog for more than {self._patience:g} s; nothing was changed",
                    where=self.url,
                    fix="Try again; if it stays so, find the process that keeps the file open.",
                ) from error
            raise CatalogError(
                f"The catalog could not be used: {cause}",
                where=self.url,
                fix="Check that the folder exists, the file is writable, is a catalog, and the disk is not full.",
            ) from error


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
            where=str(connection.engine.url),
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


def _prepare_sqlite(engine: Engine, patience: float) -> None:
    @event.listens_for(engine, "connect")
    def connected(raw: Any, _: ConnectionPoolEntry) -> None:
        # Transactions are begun below, by us: the driver's own way would begin them deferred.
        raw.isolation_level = None
        raw.execute(f"PRAGMA busy_timeout = {int(patience * 1000)}")
        raw.execute("PRAGMA journal_mode = WAL")
        raw.execute("PRAGMA synchronous = FULL")
        raw.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        writes = connection.get_execution_options().get("headwater_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
