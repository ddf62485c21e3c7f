"""Tests of operators and plain functions without any service: `check` runs them in every way an engine might."""

from __future__ import annotations

from typing import Any, TypeGuard

import pyarrow as pa

from headwater.testing.failure import CannotCheck, CheckFailed
from headwater.testing.functions import Function, check_function
from headwater.testing.operators import check_one, check_pipeline
from headwater.testing.rows import by_stream
from operators.operator import Operator
from operators.pipeline import Pipeline
from streams.schema import Schema


def check(
    subject: Function | Operator | Pipeline,
    rows: Any = (),
    expect: Any = None,
    *,
    schema: type | pa.Schema | Schema | None = None,
) -> None:
    """Run a function, an operator, or the operators of a pipeline on rows, and compare with what is expected.

    `rows` and `expect` are lists of dicts (or anything Arrow can read); for operators with several inputs or outputs,
    and for pipelines, dicts of them by stream name. Of a pipeline those operators run that lie between the streams in
    `rows` and those in `expect`. `schema` gives the types of a function's rows; without it they are guessed.

    Everything is run again: the same once more, with the same object and with a fresh copy, with the rows cut into
    single ones and at random places, and with the state stored and restored between any two steps. Expected
    rows may name some of the columns only; floats may differ in the tenth digit. Rows of operators are compared in the
    order of each key, those of functions in their order.

    CheckFailed names what differs, with the rows; CannotCheck if a stream is not one of the subject's. What the
    function or the step itself raises is raised.
    """
    if isinstance(subject, Pipeline):
        check_pipeline(subject, by_stream(rows, None), {} if expect is None else by_stream(expect, None))
    elif _is_operator(subject):
        given = by_stream(rows, subject.inputs[0].stream.name)
        check_one(subject, given, {} if expect is None else by_stream(expect, subject.outputs[0].name))
    elif callable(subject):
        check_function(subject, rows, expect, schema)
    else:
        raise CannotCheck(
            f"A {type(subject).__name__} cannot be checked.", fix="Give a function, an operator or a pipeline."
        )


def _is_operator(subject: Any) -> TypeGuard[Operator]:
    return hasattr(subject, "step") and hasattr(subject, "inputs")


__all__ = ["CannotCheck", "CheckFailed", "check"]
