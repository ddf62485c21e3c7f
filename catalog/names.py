"""Names for completion on a command line: read from a SQLite catalog as it lies there, without opening the catalog."""

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


def names(url: str, kind: Named, prefix: str = "", *, limit: int = 200) -> list[str]:
    """The names of a kind that begin with `prefix`, sorted; none if the catalog is no SQLite file or cannot be read
    just now, as a completion must not fail."""
    place = Path(url.removeprefix(_PREFIX))
    if not url.startswith(_PREFIX) or not place.is_file():
        return []
    query = (
        f"SELECT DISTINCT name FROM ({_QUERIES[kind]})"
        " WHERE substr(name, 1, ?) = ? AND name != '' ORDER BY name LIMIT ?"
    )
    try:
        with closing(sqlite3.connect(f"{place.absolute().as_uri()}?mode=ro", uri=True, timeout=0.2)) as connection:
            return [name for (name,) in connection.execute(query, (len(prefix), prefix, limit))]
    except sqlite3.Error:
        return []
