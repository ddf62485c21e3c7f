"""Headwater: streams with a catalog, where every stream can be found and every row followed to its source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from catalog import CatalogError, Incompatible, NotRegistered
    from catalog.errors import HeadwaterError
    from headwater.config import Config, ConfigError
    from headwater.hub import Hub, connect
    from operators.clean import impute, normalise
    from operators.engines.embedded import RunFailed, RunReport
    from operators.errors import StepFailed, WrongOutput
    from operators.execution.plan import PlanError
    from operators.execution.state import State
    from operators.function import Mapped
    from operators.operator import Batch, Derived, Input, Operator, Output, later
    from operators.pipeline import Pipeline
    from streams.contract import (
        ContractError,
        Rule,
        between,
        compare,
        condition,
        covered,
        finite,
        jump,
        length,
        matches,
        none_of,
        not_after,
        not_future,
        not_null,
        null_rate,
        one_of,
        references,
        sums,
        unique,
    )
    from streams.message import BEGINNING, END, RowAddress
    from streams.parents import Addresses, Ranges, ranges_of
    from streams.publish import PublishError
    from streams.rows import Row, Rows
    from streams.schema import Schema, SchemaError
    from streams.stream import Stream

__version__ = "0.1.0"

__all__ = [
    "BEGINNING",
    "END",
    "Addresses",
    "Batch",
    "CatalogError",
    "Config",
    "ConfigError",
    "ContractError",
    "Derived",
    "HeadwaterError",
    "Hub",
    "Incompatible",
    "Input",
    "Mapped",
    "NotRegistered",
    "Operator",
    "Output",
    "Pipeline",
    "PlanError",
    "PublishError",
    "Ranges",
    "Row",
    "RowAddress",
    "Rows",
    "Rule",
    "RunFailed",
    "RunReport",
    "Schema",
    "SchemaError",
    "State",
    "StepFailed",
    "Stream",
    "WrongOutput",
    "between",
    "compare",
    "condition",
    "connect",
    "covered",
    "finite",
    "impute",
    "jump",
    "later",
    "length",
    "matches",
    "none_of",
    "normalise",
    "not_after",
    "not_future",
    "not_null",
    "null_rate",
    "one_of",
    "ranges_of",
    "references",
    "sums",
    "unique",
]

#: Where each public name comes from. Arrow and SQLAlchemy take a second to import; `headwater --help` does not wait for
#: them.
_HOMES = {
    "catalog": ("CatalogError", "Incompatible", "NotRegistered"),
    "catalog.errors": ("HeadwaterError",),
    "headwater.config": ("Config", "ConfigError"),
    "headwater.hub": ("Hub", "connect"),
    "operators.clean": ("impute", "normalise"),
    "operators.engines.embedded": ("RunFailed", "RunReport"),
    "operators.errors": ("StepFailed", "WrongOutput"),
    "operators.execution.plan": ("PlanError",),
    "operators.execution.state": ("State",),
    "operators.function": ("Mapped",),
    "operators.operator": ("Batch", "Derived", "Input", "Operator", "Output", "later"),
    "operators.pipeline": ("Pipeline",),
    "streams.contract": (
        "ContractError",
        "Rule",
        "between",
        "compare",
        "condition",
        "covered",
        "finite",
        "jump",
        "length",
        "matches",
        "none_of",
        "not_after",
        "not_future",
        "not_null",
        "null_rate",
        "one_of",
        "references",
        "sums",
        "unique",
    ),
    "streams.message": ("BEGINNING", "END", "RowAddress"),
    "streams.parents": ("Addresses", "Ranges", "ranges_of"),
    "streams.publish": ("PublishError",),
    "streams.rows": ("Row", "Rows"),
    "streams.schema": ("Schema", "SchemaError"),
    "streams.stream": ("Stream",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            found = getattr(__import__(module, fromlist=[name]), name)
            globals()[name] = found
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
