"""Checking plain functions: called on the same rows once more and in pieces, they have to give the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from headwater.testing.cuts import CUTS, whole
from headwater.testing.failure import WRONG_ROWS, CheckFailed
from headwater.testing.rehearsal import Cut
from headwater.testing.rows import expected_rows, guessed, single_batch, table_difference
from operators.execution.digest import digest_rows
from operators.function import Call
from streams.conform import conform
from streams.schema import Schema
from streams.stream import Stream

Function = Callable[[pa.RecordBatch], Any]


def check_function(function: Function, rows: Any, expect: Any, schema: type | pa.Schema | Schema | None) -> None:
    name = getattr(function, "__name__", repr(function))
    given = guessed(rows, name) if schema is None else single_batch(conform(rows, Schema.of(schema), where=name))
    reference = _called(function, name, given, whole)
    again = _called(function, name, given, whole)
    told = table_difference(reference, again, words=("at first", "then"))
    if told is not None:
        raise CheckFailed(
            "The function gives other rows when it is called once more on equal rows",
            where=name,
            fix="Randomness, the clock or something global decides; or it remembers something between calls.",
            rows=told,
        )
    for how, cut in CUTS:
        try:
            pieces = _called(function, name, given, cut)
        except CheckFailed:
            raise
        except Exception as error:
            raise CheckFailed(
                f"The function raised {type(error).__name__} when rows came {how}, and not before: {error}", where=name
            ) from error
        told = table_difference(reference, pieces, words=("at once", "in pieces"))
        if told is not None:
            raise CheckFailed(
                f"The function gives other rows when they come {how}",
                where=name,
                fix="Where rows are cut into batches must not matter: look at one row at a time, or write an operator "
                "with state.",
                rows=told,
            )
    if expect is not None:
        wanted = expected_rows(expect, reference.schema, name)
        told = table_difference(reference.select(wanted.column_names), wanted, close=True)
        if told is not None:
            counts = f"{reference.num_rows} made, {wanted.num_rows} expected"
            raise CheckFailed(f"The rows are not the expected ones ({counts})", where=name, fix=WRONG_ROWS, rows=told)


def _called(function: Function, name: str, rows: pa.RecordBatch, cut: Cut) -> pa.Table:
    edges = sorted({0, *cut(rows.num_rows), rows.num_rows})
    starts = edges[:-1] or [0]
    call = Call(name, Stream(name, Schema(rows.schema)), function, tuple(rows.schema.names))
    made = []
    for start, stop in zip(starts, edges[1:] or [0], strict=True):
        piece = rows.slice(start, stop - start)
        before = digest_rows([piece], piece.schema)
        made.append(pa.Table.from_batches([call.rows(piece, None)[0]]))
        if digest_rows([piece], piece.schema) != before:
            raise CheckFailed(
                "The function changed the rows that it was given",
                where=name,
                fix="Make new arrays instead: other operators read the same rows.",
            )
    try:
        return pa.concat_tables(made)
    except pa.ArrowInvalid as error:
        raise CheckFailed(
            f"The function gives other columns for other pieces of the rows: {error}",
            where=name,
            fix="Name the types of what it makes.",
        ) from error
