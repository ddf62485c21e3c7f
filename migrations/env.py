"""How Alembic reaches the catalog: by the connection that catalog/database.py hands it, or by alembic.ini's address."""

from __future__ import annotations

from alembic import context
from sqlalchemy import make_url

from catalog.backend import backend_of
from catalog.fulltext import is_search_table
from catalog.models import metadata


def run() -> None:
    connection = context.config.attributes.get("connection")
    if connection is None:
        url = context.get_x_argument(as_dictionary=True).get("url") or context.config.get_main_option("sqlalchemy.url")
        if not url:
            raise SystemExit("Say which catalog: alembic -x url=sqlite:////path/catalog.db ...")
        address = make_url(url)
        backend = backend_of(address, patience=30)
        with backend.engine(address).connect().execution_options(**backend.writing) as opened, opened.begin():
            backend.lock(opened, migrating=True)
            migrate(opened)
    else:
        migrate(connection)


def migrate(connection) -> None:  # type: ignore[no-untyped-def]
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
        include_name=lambda name, kind, parents: not (kind == "table" and is_search_table(name)),
    )
    with context.begin_transaction():
        context.run_migrations()


run()
