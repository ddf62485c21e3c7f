"""The public names, each from its home. The package imports this module when the first of them is asked for."""

from __future__ import annotations

from catalog import CatalogError, Incompatible, NotRegistered
from catalog.errors import CatalogBusy, HeadwaterError
from headwater import testing
from headwater.config import Config, ConfigError
from headwater.dataset import Dataset, DatasetChanged, DatasetError, DatasetGone
from headwater.hub import Hub, connect
from headwater.platform import CatalogBehind
from headwater.provenance import Impact, Trace
from headwater.quarantine import Quarantine, QuarantineError
from headwater.query import Query
from headwater.replay_quarantine import ReplayReport
from operators.clean import impute, normalise
from operators.engines.embedded import RunFailed, RunReport
from operators.errors import StepFailed, TaskFailed, WrongOutput
from operators.execution.plan import PlanError
from operators.execution.replay import CannotReplay, Replayed
from operators.execution.restore import StateMismatch
from operators.execution.state import State
from operators.function import Mapped
from operators.operator import Batch, Derived, Input, Operator, Output, later
from operators.pipeline import Pipeline
from streams.address import BadAddress, NoSuchRow
from streams.condition import ConditionError
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
from streams.log.protocol import Corrupt, LogBusy, LogError, LogFull
from streams.message import BEGINNING, END, RowAddress
from streams.parents import Addresses, Ranges, ranges_of
from streams.publish import PublishError
from streams.read import RowsGone
from streams.rows import Row, Rows
from streams.schema import Schema, SchemaError
from streams.sources import SourceError
from streams.stream import Stream

__all__ = [
    "BEGINNING",
    "END",
    "Addresses",
    "BadAddress",
    "Batch",
    "CannotReplay",
    "CatalogBehind",
    "CatalogBusy",
    "CatalogError",
    "ConditionError",
    "Config",
    "ConfigError",
    "ContractError",
    "Corrupt",
    "Dataset",
    "DatasetChanged",
    "DatasetError",
    "DatasetGone",
    "Derived",
    "HeadwaterError",
    "Hub",
    "Impact",
    "Incompatible",
    "Input",
    "LogBusy",
    "LogError",
    "LogFull",
    "Mapped",
    "NoSuchRow",
    "NotRegistered",
    "Operator",
    "Output",
    "Pipeline",
    "PlanError",
    "PublishError",
    "Quarantine",
    "QuarantineError",
    "Query",
    "Ranges",
    "ReplayReport",
    "Replayed",
    "Row",
    "RowAddress",
    "Rows",
    "RowsGone",
    "Rule",
    "RunFailed",
    "RunReport",
    "Schema",
    "SchemaError",
    "SourceError",
    "State",
    "StateMismatch",
    "StepFailed",
    "Stream",
    "TaskFailed",
    "Trace",
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
    "testing",
    "unique",
]
