"""What a rule is: a named expectation about rows that a contract holds and `clean` enforces.

The rules themselves are in `rules` (one row at a time) and `window_rules` (with memory); `contract` names them all.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import MutableMapping
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from catalog.errors import HeadwaterError

#: What a rule remembers between batches: small Arrow tables by name.
Memory: TypeAlias = MutableMapping[str, pa.Table]
Bools: TypeAlias = npt.NDArray[np.bool_]
SHOWN_VALUES = 6


class ContractError(HeadwaterError):
    """A contract or rule that cannot be read, or does not fit the stream it is for."""

    exit_code = 2


class Rule:
    """An expectation about the rows of a stream. Rules are frozen dataclasses: equal parameters, equal rules.

    A null passes every rule but `not_null`. `kind` is the name of its constructor, `name` a stable text such as
    `between(celsius, -80, 150)`, `fields` the columns that it looks at.
    """

    kind: ClassVar[str]

    @property
    def fields(self) -> tuple[str, ...]:
        """The columns that the rule looks at; the first is the one that a violation is reported for."""
        raise NotImplementedError

    @cached_property
    def name(self) -> str:
        values = list(self.parameters().values())
        while values and values[-1] in (None, ""):
            values.pop()
        return f"{self.kind}({', '.join(map(_shown, values))})"

    def parameters(self) -> dict[str, Any]:
        """The rule's parameters as JSON values."""
        return {
            each.name: jsonable(getattr(self, each.name))
            for each in dataclass_fields(self)  # type: ignore[arg-type]
            if each.compare
        }

    def to_dict(self) -> dict[str, Any]:
        """The rule as JSON values; `contract.rule_from_dict` reads it back."""
        return {"rule": self.kind, **self.parameters()}

    def check(self, schema: pa.Schema, where: str) -> None:
        """ContractError if the rule cannot be judged on rows of this schema: a field is missing or of a type that
        the rule has no meaning for. `where` names the stream or file for the message."""
        for field in self.fields:
            if field not in schema.names:
                raise ContractError(
                    f"The rule {self.name} speaks of the field {field!r}, which does not exist",
                    where=where,
                    fix=f"The fields are {', '.join(schema.names)}.",
                )
        self.try_on(schema, where)

    def try_on(self, schema: pa.Schema, where: str) -> None:
        """Judge no rows at all, to find out now whether the types fit."""


class OneField:
    """For rules that look at one field only."""

    field: str

    @property
    def fields(self) -> tuple[str, ...]:
        return (self.field,)


class RowRule(Rule):
    """A rule that holds or fails for each row by itself."""

    def failures(self, rows: pa.RecordBatch) -> pa.BooleanArray:
        """True where a row breaks the rule; false or null where it keeps it. Shape (n,)."""
        raise NotImplementedError

    def try_on(self, schema: pa.Schema, where: str) -> None:
        try:
            self.failures(empty(schema))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
            types = ", ".join(f"{name}: {schema.field(name).type}" for name in self.fields)
            raise ContractError(
                f"The rule {self.name} cannot be judged on {types}",
                where=where,
                fix=f"Change the rule's values or the field's type: {error}",
            ) from error


class MemoryRule(Rule):
    """A rule that needs to know earlier rows. It is judged on rows that keep all rules before it, in order."""

    def failures(self, rows: pa.RecordBatch, times: npt.NDArray[np.int64], memory: Memory, clock: int) -> Bools:
        """True where a row breaks the rule; remembers those that keep it. `times`: event times of the rows;
        `clock`: no row earlier than this will come, late ones aside. Cutting the rows into other batches
        changes nothing in the result."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with a stream rather than with one row. `after` is the row of the batch at which it showed,
    -1 if it showed before the first one."""

    after: int
    value: str


class StreamRule(Rule):
    """A rule about many rows together. It fails no row; what it finds is reported beside the rows."""

    def findings(self, rows: pa.RecordBatch, times: npt.NDArray[np.int64], memory: Memory, clock: int) -> list[Finding]:
        """What these rows, with those remembered, show to be wrong. At the end of a stream it is called without
        rows and with the clock at END."""
        raise NotImplementedError


def empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)


def jsonable(value: Any) -> Any:
    """A parameter as JSON values: times as ISO text, tuples as lists."""
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, tuple):
        return [jsonable(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Decimal):
        return str(value)
    return value


@lru_cache(maxsize=1024, typed=True)
def value_set(values: tuple[Any, ...], kind: pa.DataType) -> pa.Array:
    """Several parameters as a column's type; pa.ArrowInvalid if one cannot be."""
    return pa.array([scalar(value, kind) for value in values], kind)


@lru_cache(maxsize=1024, typed=True)
def scalar(value: Any, kind: pa.DataType) -> pa.Scalar:
    """A parameter as a value of a column's type; pa.ArrowInvalid if it cannot be one."""
    if isinstance(value, str) and (pa.types.is_temporal(kind) or pa.types.is_decimal(kind)):
        return pc.cast(pa.scalar(value), kind)
    return pa.scalar(value, kind)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        more = [f"… {len(value)} in all"] if len(value) > SHOWN_VALUES else []
        return "[" + ", ".join([*(_shown(item) for item in value[:SHOWN_VALUES]), *more]) + "]"
    return str(value)
