"""The public names, each from its home. The package imports this module when the first of them is asked for."""

from __future__ import annotations

from catalog import CatalogError, Incompatible, NotRegistered
from catalog.errors import CatalogBusy, HeadwaterError
from headwater import testing
from headwater.alarms import Alarms, RaisedAlarm
from headwater.config import Config, ConfigError
from headwater.dataset import Dataset, DatasetChanged, DatasetError, DatasetGone
from headwater.faust_engine import NoFaust, faust_app, faust_topic
from headwater.from_topic import Adoption, CannotAdopt
from headwater.hub import Hub, connect
from headwater.label_analysis import LabelAnalysis
from headwater.model_card import Card
from headwater.models import Model, Models, NoSuchModel
from headwater.observe import Observation
from headwater.platform import CatalogBehind
from headwater.profiles import StreamProfile
from headwater.provenance import Impact, Trace
from headwater.quarantine import Quarantine, QuarantineError
from headwater.query import Query
from headwater.replay_quarantine import ReplayReport
from operators.alarms import Alarm, alarm_rows, alarm_stream
from operators.clean import impute, normalise
from operators.drift import DriftError
from operators.engines.embedded import RunFailed, RunReport
from operators.errors import StepFailed, TaskFailed, WrongOutput
from operators.evaluate.errors import CannotEvaluate
from operators.execution.plan import PlanError
from operators.execution.replay import CannotReplay, Replayed
from operators.execution.restore import StateMismatch
from operators.execution.state import State
from operators.function import Mapped
from operators.label.function import LabelError, LabelingFunction, SlowFunction, labeling_function
from operators.label.rules import keyword, lookup_label, regex, rule
from operators.model.artefact import ModelError
from operators.model.columns import features_digest
from operators.model.features import Features, features
from operators.model.learner import UnknownClass
from operators.model.registry import CannotLearn
from operators.monitor import CannotMonitor, Metric, Window, WindowTooLarge, metrics
from operators.operator import Batch, Derived, Input, Operator, Output, later
from operators.pipeline import Pipeline
from operators.predict import CannotPredict
from operators.profile import CannotProfile, ColumnProfile, SketchError, read_sketch
from operators.train import gates as gate
from operators.train.errors import CannotTrain
from operators.windows import CannotWindow
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
    "Adoption",
    "Alarm",
    "Alarms",
    "BadAddress",
    "Batch",
    "CannotAdopt",
    "CannotEvaluate",
    "CannotLearn",
    "CannotMonitor",
    "CannotPredict",
    "CannotProfile",
    "CannotReplay",
    "CannotTrain",
    "CannotWindow",
    "Card",
    "CatalogBehind",
    "CatalogBusy",
    "CatalogError",
    "ColumnProfile",
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
    "DriftError",
    "Features",
    "HeadwaterError",
    "Hub",
    "Impact",
    "Incompatible",
    "Input",
    "LabelAnalysis",
    "LabelError",
    "LabelingFunction",
    "LogBusy",
    "LogError",
    "LogFull",
    "Mapped",
    "Metric",
    "Model",
    "ModelError",
    "Models",
    "NoFaust",
    "NoSuchModel",
    "NoSuchRow",
    "NotRegistered",
    "Observation",
    "Operator",
    "Output",
    "Pipeline",
    "PlanError",
    "PublishError",
    "Quarantine",
    "QuarantineError",
    "Query",
    "RaisedAlarm",
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
    "SketchError",
    "SlowFunction",
    "SourceError",
    "State",
    "StateMismatch",
    "StepFailed",
    "Stream",
    "StreamProfile",
    "TaskFailed",
    "Trace",
    "UnknownClass",
    "Window",
    "WindowTooLarge",
    "WrongOutput",
    "alarm_rows",
    "alarm_stream",
    "between",
    "compare",
    "condition",
    "connect",
    "covered",
    "faust_app",
    "faust_topic",
    "features",
    "features_digest",
    "finite",
    "gate",
    "impute",
    "jump",
    "keyword",
    "labeling_function",
    "later",
    "length",
    "lookup_label",
    "matches",
    "metrics",
    "none_of",
    "normalise",
    "not_after",
    "not_future",
    "not_null",
    "null_rate",
    "one_of",
    "ranges_of",
    "read_sketch",
    "references",
    "regex",
    "rule",
    "sums",
    "testing",
    "unique",
]
