"""Names for completion on a command line: read from the database as it stands, without opening the catalog."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final, Literal

Named = Literal["stream", "operator", "dataset", "owner", "tag", "entity"]

_PREFIX: Final = "sqlite:///"
_QUERIES: Final[dict[Named, str]] = {
    "stream": "SELECT name FROM stream WHERE role NOT IN ('progress', 'state')",
    "operator": "SELECT name FROM operator WHERE retired_at IS NULL",
    "dataset": "SELECT name FROM node WHERE kind = 'dataset'",
    "owner": "SELECT owner AS name FROM stream",
    "tag": "SELECT name FROM tag",
    "entity": "SELECT name FROM entity",
}


#: Seconds; whoever presses Tab waits for no longer.
_PATIENCE: Final = 2


def names(url: str, kind: Named, prefix: str = "", *, limit: int = 200) -> list[str]:
    """The names of a kind that begin with `prefix`, sorted; none if the catalog is not there or cannot be read just
    now, as a completion must not fail."""
    mark, ask = ("%s", _ask_server) if url.startswith("postgres") else ("?", _ask_file)
    query = (
        f"SELECT DISTINCT name FROM ({_QUERIES[kind]}) AS named"
        f" WHERE substr(name, 1, {mark}) = {mark} AND name != '' ORDER BY name LIMIT {mark}"
    )
    return [name for (name,) in ask(url, query, (len(prefix), prefix, limit))]


def _ask_file(url: str, query: str, values: tuple[int, str, int]) -> list[tuple[str]]:
    place = Path(url.removeprefix(_PREFIX))
    if not url.startswith(_PREFIX) or not place.is_file():
        return []
    try:
        with closing(sqlite3.connect(f"{place.absolute().as_uri()}?mode=ro", uri=True, timeout=0.2)) as connection:
            return connection.execute(query, values).fetchall()
    except sqlite3.Error:
        return []


def _ask_server(url: str, query: str, values: tuple[int, str, int]) -> list[tuple[str]]:
    try:
        import psycopg
    except ImportError:
        return []
    try:
        with psycopg.connect(url.replace("+psycopg", "", 1), connect_timeout=_PATIENCE) as connection:
            connection.execute(f"SET statement_timeout = {_PATIENCE * 1000}")
            return connection.execute(query.encode(), values).fetchall()
    except psycopg.Error:
        return []
