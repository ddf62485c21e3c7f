"""What differs between the databases that can hold a catalog. One folder for each, with the same files in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from sqlalchemy import URL, Connection, Engine

from catalog.errors import CatalogError
from catalog.fulltext import FullText

#: How an address is written, for messages.
ADDRESSES = "sqlite:////absolute/path/catalog.db or postgresql://user@host/database"


class Backend(Protocol):
    @property
    def reading(self) -> Mapping[str, Any]:
        """Execution options of a transaction that sees one state of the catalog from beginning to end."""

    @property
    def writing(self) -> Mapping[str, Any]:
        """Execution options of a transaction that writes."""

    def engine(self, url: URL) -> Engine:
        """Connections to the catalog at an address."""

    def lock(self, connection: Connection, *, migrating: bool) -> None:
        """Wait until no other transaction writes, or migrates if this one is about to; then none does until it ends.
        Called first in a transaction."""

    def explained(self, cause: BaseException, where: str) -> CatalogError:
        """The error for what the driver raised; CatalogBusy if another one held the catalog for too long."""

    def full_text(self) -> FullText:
        """Its way to search for words."""


def backend_of(url: URL, patience: float) -> Backend:
    """The database that an address names; it waits for other writers for `patience` seconds. CatalogError for one that
    cannot hold a catalog."""
    match url.get_backend_name():
        case "sqlite":
            from catalog.sqlite.database import Sqlite

            return Sqlite(patience)
        case "postgresql" | "postgres":
            from catalog.postgresql.database import PostgreSQL

            return PostgreSQL(patience)
    raise CatalogError(
        f"No catalog can be kept in {url.get_backend_name()}",
        where=url.render_as_string(hide_password=True),
        fix=f"Write the address as {ADDRESSES}.",
    )
