"""Who made a row: from its message's headers, or, when the message is gone, from the catalog's transactions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from catalog import Catalog, NotRegistered
from catalog.runs import TransactionRecord
from streams.message import PRODUCER, RUN, TASK, Headers, RowAddress, header
from streams.parents import OffsetRange

_SERVICE = "service:"


@dataclass(frozen=True, slots=True)
class Maker:
    """`producer` is as the message says: "service:python", "plant.valid@3fa9", "" if it says nothing. For an operator
    or source its `operator` name, `version`, `task`, `run` and `engine`, as far as they are known."""

    producer: str = ""
    operator: str | None = None
    version: str | None = None
    task: str | None = None
    run: str | None = None
    engine: str | None = None
    is_source: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "producer": self.producer,
            "operator": self.operator,
            "version": self.version,
            "task": self.task,
            "run": self.run,
            "engine": self.engine,
        }


class Makers:
    """Finds out who made rows; asks the catalog once for each operator, run and transaction."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._makers: dict[Headers, Maker] = {}
        self._sources: dict[str, bool] = {}
        self._engines: dict[tuple[str, str], str | None] = {}
        self._transactions: dict[tuple[str, int, int], list[TransactionRecord]] = {}

    def of(self, headers: Headers) -> Maker:
        """The maker of a message's rows."""
        said = tuple(one for one in headers if one[0] in (PRODUCER, TASK, RUN))
        known = self._makers.get(said)
        if known is None:
            producer, task, run = ((header(said, name) or b"").decode() for name in (PRODUCER, TASK, RUN))
            known = self._makers[said] = self._maker(producer, task, run)
        return known

    def at(self, address: RowAddress) -> tuple[Maker, int | None]:
        """The maker of a row that is gone, and when it wrote it; nothing if no operator or source wrote it."""
        for record in self._made(address):
            name = f"{record.operator}/{record.task}"
            maker = Maker(
                f"{record.operator}@{record.version}",
                record.operator,
                record.version,
                name,
                record.run,
                record.engine,
                self._is_source(record.operator),
            )
            return maker, record.at
        return Maker(), None

    def parent_spans(self, address: RowAddress) -> Iterable[OffsetRange]:
        """What the transaction that wrote a row says of the parents of all that it wrote to that partition."""
        for record in self._made(address):
            for span in record.spans:
                if span.direction == "parent" and (span.made_stream, span.made_partition) == address[:2]:
                    yield OffsetRange(span.stream, span.partition, span.first, span.end)

    def _made(self, address: RowAddress) -> list[TransactionRecord]:
        stream, partition, offset, _ = address
        place = (stream, partition, offset)
        if place not in self._transactions:
            found = self._catalog.transactions(stream, partition, offset, offset + 1, direction="made")
            self._transactions[place] = found[:1]
        return self._transactions[place]

    def _maker(self, producer: str, task: str, run: str) -> Maker:
        if not producer or producer.startswith(_SERVICE):
            return Maker(producer)
        operator, _, version = producer.rpartition("@")
        return Maker(
            producer,
            operator,
            version,
            task or None,
            run or None,
            self._engine(operator, run),
            self._is_source(operator),
        )

    def _is_source(self, operator: str) -> bool:
        if operator not in self._sources:
            try:
                self._sources[operator] = self._catalog.operator(operator).spec.kind == "source"
            except NotRegistered:
                self._sources[operator] = False
        return self._sources[operator]

    def _engine(self, operator: str, run: str) -> str | None:
        """None if the catalog has not heard of the run yet."""
        if (operator, run) not in self._engines:
            try:
                self._engines[operator, run] = self._catalog.run(run, operator).engine
            except NotRegistered:
                self._engines[operator, run] = None
        return self._engines[operator, run]
