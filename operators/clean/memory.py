"""A part of an operator's state, as the map from names to tables that rules and imputers remember in."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping

import pyarrow as pa

from operators.execution.state import State


class StatePart(MutableMapping[str, pa.Table]):
    """The tables in `state` whose names begin with `<part>/`, by the rest of their names."""

    def __init__(self, state: State, part: str) -> None:
        self._state = state
        self._prefix = f"{part}/"

    def __getitem__(self, name: str) -> pa.Table:
        table = self._state.table(self._prefix + name)
        if table is None:
            raise KeyError(name)
        return table

    def __setitem__(self, name: str, table: pa.Table) -> None:
        self._state[self._prefix + name] = table

    def __delitem__(self, name: str) -> None:
        del self._state[self._prefix + name]

    def __iter__(self) -> Iterator[str]:
        start = len(self._prefix)
        return (name[start:] for name in self._state if name.startswith(self._prefix))

    def __len__(self) -> int:
        return sum(1 for _ in self)
