"""What a join reads and what its output looks like: which columns, under which names, descending from which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyarrow as pa

from catalog.errors import HeadwaterError
from operators.join.keys import joinable
from operators.operator import Derived, Mode
from streams.schema import Schema
from streams.stream import Stream

Pairs = tuple[tuple[str, str], ...]

#: "site", ("dest", "faa") for two names, a list of both, or a mapping from left names to right names.
On: TypeAlias = "str | tuple[str, str] | Sequence[str | tuple[str, str]] | Mapping[str, str]"
#: Right columns to take, or a mapping from them to their names in the output; None for all but the key.
Fields: TypeAlias = "Sequence[str] | Mapping[str, str] | None"

UTC_TIME = pa.timestamp("us", tz="UTC")


class CannotJoin(HeadwaterError):
    """A join was declared that cannot be made."""

    exit_code = 2


class NotCoPartitioned(CannotJoin):
    """Rows with equal keys of two streams would not meet in one task."""


@dataclass(frozen=True)
class Right:
    """One right side. `on` pairs left with right columns, `fields` right columns with their names in the output."""

    name: str
    stream: Stream
    on: Pairs
    fields: Pairs
    mode: Mode

    @property
    def key(self) -> list[str]:
        return [right for _, right in self.on]

    @property
    def left_key(self) -> list[str]:
        return [left for left, _ in self.on]

    @property
    def reads(self) -> tuple[str, ...]:
        """What is needed of the stream, in the order of its schema."""
        wanted = {*self.key, *(field for field, _ in self.fields)}
        return tuple(name for name in self.stream.schema.arrow.names if name in wanted)

    @property
    def schema(self) -> pa.Schema:
        arrow = self.stream.schema.arrow
        return pa.schema([arrow.field(name) for name in self.reads])


@dataclass(frozen=True)
class Left:
    """The left side: `fields` reach the output under their own names, `reads` are needed besides."""

    stream: Stream
    fields: tuple[str, ...]
    reads: tuple[str, ...]

    @property
    def schema(self) -> pa.Schema:
        arrow = self.stream.schema.arrow
        return pa.schema([arrow.field(name) for name in self.reads])


def left_side(stream: Stream, chosen: Sequence[str] | None, keys: Sequence[str]) -> Left:
    """`chosen` columns (all without it) and always the stream's key and event time; `keys` are read for joining."""
    names = stream.schema.arrow.names
    needed = {*stream.key, *([stream.time] if stream.time else [])}
    output = set(names) if chosen is None else {*chosen, *needed}
    _refuse_unknown(stream, [*output, *keys])
    return Left(
        stream,
        tuple(name for name in names if name in output),
        tuple(name for name in names if name in output or name in keys),
    )


def right_side(name: str, stream: Stream, left: Stream, on: On, fields: Fields, prefix: str, mode: Mode) -> Right:
    """Columns are named `prefix` + their own name, unless `fields` maps them to others."""
    pairs = pairs_of(on)
    if not pairs:
        raise CannotJoin("A join needs at least one column to join on.", where=f"{left.name}, {stream.name}")
    _refuse_unknown(left, [one for one, _ in pairs])
    _refuse_unknown(stream, [other for _, other in pairs])
    for one, other in pairs:
        left_type, right_type = left.schema.arrow.field(one).type, stream.schema.arrow.field(other).type
        if not joinable(left_type, right_type):
            raise CannotJoin(
                f"{one!r} is {left_type} and {other!r} is {right_type}: they cannot be equal.",
                where=f"{left.name}, {stream.name}",
                fix="Give both the same type, for example with a map before the join.",
            )
    keys = {other for _, other in pairs}
    if fields is None:
        named = [(own, prefix + own) for own in stream.schema.arrow.names if own not in keys]
    elif isinstance(fields, Mapping):
        named = list(fields.items())
    else:
        named = [(own, prefix + own) for own in fields]
    _refuse_unknown(stream, [own for own, _ in named])
    return Right(name, stream, pairs, tuple(named), mode)


def pairs_of(on: On) -> Pairs:
    """Pairs of a left and a right column name."""
    if isinstance(on, str):
        return ((on, on),)
    if isinstance(on, Mapping):
        return tuple(on.items())
    if isinstance(on, tuple) and len(on) == 2 and all(isinstance(name, str) for name in on):
        return ((str(on[0]), str(on[1])),)
    return tuple((name, name) if isinstance(name, str) else (name[0], name[1]) for name in on)


def joined_stream(
    to: str, left: Left, rights: Sequence[Right], *, optional: bool, extra: Sequence[pa.Field] = (), time: str | None
) -> Stream:
    """The output: left columns, right columns (nullable if `optional`), `extra` ones. It has the left's key and
    partitions and the event time `time`. CannotJoin if two columns get one name."""
    columns = [left.stream.schema.arrow.field(name) for name in left.fields]
    entities = {name: what for name, what in left.stream.entities.items() if name in left.fields}
    addresses = [name for name in left.stream.addresses if name in left.fields]
    for right in rights:
        for own, output in right.fields:
            column = right.stream.schema.arrow.field(own).with_name(output)
            columns.append(column.with_nullable(True) if optional else column)
            if own in right.stream.entities:
                entities[output] = right.stream.entities[own]
            if own in right.stream.addresses:
                addresses.append(output)
    columns.extend(extra)
    names = [column.name for column in columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CannotJoin(
            f"The output would have more than one column {', '.join(map(repr, twice))}.",
            where=to,
            fix="Choose another prefix=, or name the columns with fields={column: name}.",
        )
    return Stream(
        to,
        Schema(pa.schema(columns)),
        key=left.stream.key,
        time=time,
        partitions=left.stream.partitions,
        entities=entities,
        addresses=tuple(addresses),
    )


def lineage(left: Left, rights: Sequence[Right]) -> tuple[Derived, ...]:
    """Each output column of both sides from its own."""
    return (
        *(Derived(name, ((left.stream.name, name),)) for name in left.fields),
        *(Derived(output, ((right.stream.name, own),)) for right in rights for own, output in right.fields),
    )


def refuse_unless_copartitioned(left: Stream, right: Right, *, can_broadcast: bool) -> None:
    """NotCoPartitioned unless rows with equal keys lie in partitions of the same number."""
    names = dict(right.on)
    other = right.stream
    way_out = f"Put hw.repartition before the join, so that both have the key and {left.partitions} partitions"
    way_out += ", or let every task read all of the right side with broadcast=True." if can_broadcast else "."
    where = f"{left.name}, {other.name}"
    if not left.key or any(name not in names for name in left.key):
        raise NotCoPartitioned(
            f"The left side is partitioned by {_listed(left.key)} and joined on {_listed(names)}.",
            where=where,
            fix=way_out,
        )
    if tuple(names[name] for name in left.key) != other.key:
        raise NotCoPartitioned(
            f"The right side is partitioned by {_listed(other.key)}, which is not what the left side's key "
            f"{_listed(left.key)} is joined with.",
            where=where,
            fix=way_out,
        )
    if left.partitions != other.partitions:
        raise NotCoPartitioned(
            f"The left side has {left.partitions} partitions and the right side {other.partitions}.",
            where=where,
            fix=way_out,
        )


def described(right: Right) -> dict[str, Any]:
    """As JSON values, for people and the version."""
    return {
        "stream": right.stream.name,
        "on": [list(pair) for pair in right.on],
        "fields": [list(pair) for pair in right.fields],
        "mode": right.mode,
    }


def _refuse_unknown(stream: Stream, names: Sequence[str]) -> None:
    unknown = sorted(set(names) - set(stream.schema.arrow.names))
    if unknown:
        raise CannotJoin(
            f"There is no column {', '.join(map(repr, unknown))}.",
            where=stream.name,
            fix=f"It has {_listed(stream.schema.arrow.names)}.",
        )


def _listed(names: Any) -> str:
    return ", ".join(map(repr, names)) or "nothing"
