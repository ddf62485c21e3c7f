"""An operator's memory for one task: a small map from names to bytes or Arrow tables, kept in a state stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias, TypeVar

import pyarrow as pa

from operators.errors import WrongOutput
from streams.log.protocol import Corrupt

Value: TypeAlias = bytes | pa.Table
T = TypeVar("T")

_BYTES = b"b"
_ARROW = b"a"
_DAMAGED = "It was written by a newer version of Headwater, or damaged: upgrade, or restore the log from a copy."


class State:
    """The map that a step reads and changes. Values are bytes or `pa.Table`; they are replaced, never altered.

    Changes become durable with the step's outputs, in one transaction.
    """

    def __init__(self, values: Mapping[str, Value] | None = None) -> None:
        self._values: dict[str, Value] = dict(values or {})
        self._changed: set[str] = set()
        self._derived: dict[str, tuple[tuple[Any, ...], Any]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __getitem__(self, name: str) -> Value:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        """Names in sorted order."""
        return iter(sorted(self._values))

    def __len__(self) -> int:
        return len(self._values)

    def __setitem__(self, name: str, value: Value | pa.RecordBatch) -> None:
        if isinstance(value, pa.RecordBatch):
            value = pa.Table.from_batches([value])
        if not isinstance(value, bytes | pa.Table):
            raise WrongOutput(
                f"The state value {name!r} is a {type(value).__name__}",
                fix="Keep bytes or an Arrow table there: nothing else can be stored.",
            )
        self._values[name] = value
        self._changed.add(name)

    def __delitem__(self, name: str) -> None:
        del self._values[name]
        self._changed.add(name)

    def table(self, name: str) -> pa.Table | None:
        """The Arrow table of that name, or None if there is none."""
        value = self._values.get(name)
        return None if isinstance(value, bytes) else value

    def raw(self, name: str) -> bytes | None:
        """The bytes of that name, or None if there are none."""
        value = self._values.get(name)
        return value if isinstance(value, bytes) else None

    def derived(self, name: str, sources: Iterable[str], build: Callable[[], T]) -> T:
        """A value computed from the state's values `sources` and remembered until one of them is replaced. It
        is a cache: it is not stored, and is built anew after a restart."""
        stand = tuple(self._values.get(source) for source in sources)
        known = self._derived.get(name)
        if known is not None and all(one is other for one, other in zip(known[0], stand, strict=True)):
            return known[1]
        value = build()
        self._derived[name] = (stand, value)
        return value

    def changes(self) -> dict[str, bytes | None]:
        """What changed since the last `settle`, encoded for the state stream; None removes a name."""
        return {
            name: encode_value(self._values[name]) if name in self._values else None for name in sorted(self._changed)
        }

    def mark(self) -> tuple[dict[str, Value], set[str]]:
        """Where the state stands, for `reset`."""
        return dict(self._values), set(self._changed)

    def reset(self, mark: tuple[dict[str, Value], set[str]]) -> None:
        """Back to where `mark` was taken: a step that raised has changed nothing."""
        self._values, self._changed = dict(mark[0]), set(mark[1])

    def settle(self) -> None:
        """The changes are durable."""
        self._changed.clear()


def encode_value(value: Value) -> bytes:
    if isinstance(value, bytes):
        return _BYTES + value
    table = value.combine_chunks()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return _ARROW + sink.getvalue().to_pybytes()


def decode_value(data: bytes, where: str = "") -> Value:
    """What `encode_value` wrote. Corrupt if it is something else."""
    try:
        if data[:1] == _BYTES:
            return data[1:]
        if data[:1] == _ARROW:
            return pa.ipc.open_stream(pa.BufferReader(data[1:])).read_all()
    except pa.ArrowException as error:
        raise Corrupt(f"A state value cannot be decoded ({error})", where=where or None, fix=_DAMAGED) from error
    raise Corrupt(f"A state value begins with {data[:1]!r}, which is no known form", where=where or None, fix=_DAMAGED)
