"""Appends that are not certain yet: kept back until all that belong together are there, then handed to the writer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from streams.message import Headers


class Appends(Protocol):
    """Where messages are appended to: a writer, or what stands before one."""

    def append(
        self,
        topic: str,
        partition: int,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        headers: Headers | Sequence[Headers],
    ) -> None: ...


class Staging:
    """Stands before a writer. What is appended outside of `all_or_none` waits for the next one."""

    def __init__(self, writer: Appends) -> None:
        self._writer = writer
        self._kept: list[tuple[Any, ...]] = []

    def append(
        self,
        topic: str,
        partition: int,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        headers: Headers | Sequence[Headers],
    ) -> None:
        self._kept.append((topic, partition, keys, values, headers))

    @contextmanager
    def all_or_none(self) -> Iterator[None]:
        """What is appended meanwhile goes on to the writer at the end; nothing of it if there is an error."""
        try:
            yield
            for append in self._kept:
                self._writer.append(*append)
        finally:
            self._kept.clear()
