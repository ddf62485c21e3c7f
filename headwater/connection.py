"""A connection to a log and its catalog: what is registered there, by name and by id."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Self

from catalog import Catalog, NotRegistered
from catalog.address import shown
from headwater import platform
from headwater.config import Config
from streams.log import Log, open_log, without_secrets
from streams.register import stream_of
from streams.schema import Schema
from streams.stream import Stream


def microseconds() -> int:
    """The time of day, in microseconds since 1970 UTC."""
    return time.time_ns() // 1000


class Connection:
    """An open log and an open catalog. Close it when done, or use it in a `with` block.

    `clock` gives the time of day in microseconds.
    """

    def __init__(self, config: Config, *, clock: Callable[[], int] = microseconds) -> None:
        self.config = config
        self.clock = clock
        config.workspace.mkdir(parents=True, exist_ok=True)
        self.log: Log = open_log(config.log)
        self.catalog = Catalog(config.catalog, clock=clock)
        self._schemas: dict[int, Schema] = {}
        self._streams: dict[str, tuple[Stream, int]] = {}

    def stream(self, name: str) -> Stream:
        """A registered stream as it was declared. NotRegistered, with names that are close, if there is none."""
        return self.registered(name)[0]

    def registered(self, name: str) -> tuple[Stream, int]:
        """A registered stream and the id of its newest schema. NotRegistered."""
        known = self._streams.get(name)
        if known is None:
            record = self.catalog.stream(name)
            known = self._streams[name] = (stream_of(record.spec), record.schema_id)
        return known

    def readable(self, stream: Stream | str) -> Stream:
        """A registered stream that holds rows. NotRegistered for an unknown one, and for operators' state."""
        name = stream if isinstance(stream, str) else stream.name
        found = self.registered(name)[0]
        if found.role == "state":
            raise NotRegistered(
                "A state stream holds an operator's memory, not rows", where=name, fix="Read the operator's outputs."
            )
        return found

    def schema(self, schema_id: int) -> Schema:
        """A schema by its id in the catalog."""
        known = self._schemas.get(schema_id)
        if known is None:
            known = self._schemas[schema_id] = Schema.parse(self.catalog.schema(schema_id))
        return known

    def sync(self) -> None:
        """Bring the catalog up to date with the log: runs, ranges and observed lineage; and the other way round, the
        catalog's changes to the stream `headwater.catalog`."""
        platform.pump(self.catalog, self.log)
        platform.follow(self.catalog, self.log)

    def close(self) -> None:
        self.log.close()
        self.catalog.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(log={without_secrets(self.config.log)!r}, catalog={shown(self.config.catalog)!r})"
        )
