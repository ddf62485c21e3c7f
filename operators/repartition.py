"""Repartition: the rows of a stream under another key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from operators.execution.state import State
from operators.function import CannotMap, RowOperator, each_from_its_own, like, refuse_unknown
from operators.operator import Batch, Derived, Operator, Output
from operators.versions import version_of
from streams.stream import Stream


def repartition(
    source: Stream,
    key: str | Sequence[str],
    to: str,
    *,
    partitions: int | None = None,
    name: str | None = None,
    version: str = "1",
) -> Operator:
    """The same rows under another key, so that they can meet rows of a stream that has it.

    Rows in which a field of the new key is null have no partition: they go to `<to>.keyless`.
    """
    keys = (key,) if isinstance(key, str) else tuple(key)
    return RepartitionOperator(name or to, source, keys, to, partitions or source.partitions, version=version)


class RepartitionOperator(RowOperator):
    """See `repartition`."""

    kind = "repartition"

    def __init__(
        self, name: str, source: Stream, key: tuple[str, ...], to: str, partitions: int, *, version: str
    ) -> None:
        if not key:
            raise CannotMap("A stream cannot be repartitioned by nothing.", where=name, fix="Name the new key.")
        refuse_unknown(source, key, name)
        super().__init__(name, source, tuple(source.schema.arrow.names), row_wise=True)
        self._key = key
        self._to = replace(like(source, to), key=key, partitions=partitions)
        self._keyless = replace(like(source, f"{to}.keyless"), key=(), role="quarantine")
        self.outputs = (self._to, self._keyless)
        self.params: dict[str, Any] = {"source": source.name, "key": list(key), "partitions": partitions}
        self.version = version_of(f"repartition 1, {version}", self.params)

    def step(self, batch: Batch, state: State) -> Iterable[Output]:
        count = batch.rows.num_rows
        if not count:
            return
        known = np.ones(count, dtype=bool)
        for name in self._key:
            known &= batch.rows.column(name).is_valid().to_numpy(zero_copy_only=False)
        if known.all():
            yield Output(self._to.name, batch.rows, (batch.addresses,))
            return
        for stream, mask in ((self._to, known), (self._keyless, ~known)):
            chosen = np.flatnonzero(mask)
            if len(chosen):
                yield Output(stream.name, batch.rows.take(pa.array(chosen)), (batch.addresses.take(chosen),))

    def derives(self) -> dict[str, tuple[Derived, ...]]:
        return {stream.name: each_from_its_own(self.source) for stream in self.outputs}
