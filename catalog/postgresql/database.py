"""PostgreSQL: many readers and one writer at one database, or one schema of it, through psycopg 3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine

from catalog.errors import CatalogBusy, CatalogError
from catalog.postgresql.fulltext import Tsvector

#: Seconds that a server may take to answer a new connection, unless the address says otherwise.
_CONNECTING: Final = 10
#: What the server says went wrong (SQLSTATE): another one had the lock; a value is longer than its column.
_NO_LOCK: Final = "55P03"
_TOO_LONG: Final = "22001"


class PostgreSQL:
    """A transaction that writes locks the table `applied` first; what it then reads is what others have committed."""

    reading: Final[Mapping[str, Any]] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    writing: Final[Mapping[str, Any]] = {"isolation_level": "READ COMMITTED"}

    def __init__(self, patience: float) -> None:
        self._patience = patience

    def engine(self, url: URL) -> Engine:
        told: dict[str, Any] = {"fallback_application_name": "headwater"}
        if "connect_timeout" not in url.query:
            told["connect_timeout"] = _CONNECTING
        address = url.set(drivername="postgresql+psycopg")
        return create_engine(address, connect_args=told, pool_pre_ping=True, pool_timeout=self._patience)

    def lock(self, connection: Connection, *, migrating: bool) -> None:
        # A lock_timeout of 0 would mean for ever.
        patience = f"SET LOCAL lock_timeout = {max(int(self._patience * 1000), 1)}"
        if migrating:
            # There may be no table yet: whoever migrates this schema takes its number.
            number = "hashtextextended('headwater catalog ' || current_schema(), 0)"
            _execute(connection, f"{patience}; SELECT pg_advisory_xact_lock({number})")
            _require_unicode(connection)
        else:
            _execute(connection, f"{patience}; LOCK TABLE applied IN EXCLUSIVE MODE")

    def explained(self, cause: BaseException, where: str) -> CatalogError:
        condition = getattr(cause, "sqlstate", None)
        said = str(cause).strip()
        if condition == _NO_LOCK:
            return CatalogBusy(
                f"Another process held the catalog for more than {self._patience:g} s; nothing was changed",
                where=where,
                fix="Try again; if it stays so, find the transaction that holds the table `applied` (pg_locks).",
            )
        if condition == _TOO_LONG:
            return CatalogError(f"A name is too long: {said}", where=where, fix="Shorten it.")
        return CatalogError(
            f"The catalog could not be used: {said}",
            where=where,
            fix="Check that the server runs, knows the database and lets this user write to it, and has disk left.",
        )

    def full_text(self) -> Tsvector:
        return Tsvector()


def _execute(connection: Connection, statements: str) -> None:
    # Without parameters, several statements go to the server together.
    connection.exec_driver_sql(statements, execution_options={"no_parameters": True})


def _require_unicode(connection: Connection) -> None:
    encoding = connection.exec_driver_sql("SHOW server_encoding").scalar()
    if encoding != "UTF8":
        raise CatalogError(
            f"The database is encoded in {encoding}; names and texts may have any letter",
            where=connection.engine.url.render_as_string(hide_password=True),
            fix="Make one for the catalog: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0.",
        )
