"""Headwater: streams with a catalog, where every stream can be found and every row followed to its source."""

from __future__ import annotations

from catalog import CatalogError, Incompatible, NotRegistered
from catalog.errors import HeadwaterError
from headwater.config import Config, ConfigError
from headwater.hub import Hub, connect
from operators.clean.impute import constant, last_value, mean, median, mode
from operators.engines.embedded import RunFailed, RunReport
from operators.execution.plan import PlanError
from operators.pipeline import Pipeline
from streams.contract import (
    ContractError,
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
from streams.message import RowAddress
from streams.publish import PublishError
from streams.rows import Row, Rows
from streams.schema import Schema, SchemaError
from streams.stream import Stream

__version__ = "0.1.0"
