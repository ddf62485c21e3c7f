"""SQLite: many readers and one writer at one file, which is made when it is missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.pool import ConnectionPoolEntry

from catalog.errors import CatalogBusy, CatalogError
from catalog.sqlite.fulltext import Fts5


class Sqlite:
    """A transaction that writes begins with the file's lock."""

    reading: Final[Mapping[str, Any]] = {}
    writing: Final[Mapping[str, Any]] = {"headwater_writes": True}

    def __init__(self, patience: float) -> None:
        self._patience = patience

    def engine(self, url: URL) -> Engine:
        engine = create_engine(url, pool_timeout=self._patience)
        patience = int(self._patience * 1000)

        @event.listens_for(engine, "connect")
        def connected(raw: Any, _: ConnectionPoolEntry) -> None:
            # Transactions are begun below, by us: the driver's own way would begin them deferred.
            raw.isolation_level = None
            raw.execute(f"PRAGMA busy_timeout = {patience}")
            raw.execute("PRAGMA journal_mode = WAL")
            raw.execute("PRAGMA synchronous = FULL")
            raw.execute("PRAGMA foreign_keys = ON")

        @event.listens_for(engine, "begin")
        def begun(connection: Connection) -> None:
            writes = connection.get_execution_options().get("headwater_writes", False)
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

        return engine

    def lock(self, connection: Connection, *, migrating: bool) -> None:
        """Nothing: BEGIN IMMEDIATE took it."""

    def explained(self, cause: BaseException, where: str) -> CatalogError:
        said = str(cause)
        if "locked" in said or "busy" in said:
            return CatalogBusy(
                f"Another process held the catalog for more than {self._patience:g} s; nothing was changed",
                where=where,
                fix="Try again; if it stays so, find the process that keeps the file open.",
            )
        return CatalogError(
            f"The catalog could not be used: {said}",
            where=where,
            fix="Check that the folder exists, the file is writable, is a catalog, and the disk is not full.",
        )

    def full_text(self) -> Fts5:
        return Fts5()
