"""Checking operators: run on the same rows in every way an engine might run them, they have to give the same."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from headwater.testing.cuts import CUTS, single, whole
from headwater.testing.difference import Order
from headwater.testing.failure import WRONG_ROWS, CannotCheck, CheckFailed
from headwater.testing.rehearsal import Cut, Emitted, Lane, outside, rehearse, written
from headwater.testing.rows import batch_of, expected_rows, named_rows, table_difference
from operators.execution.digest import digest_rows
from operators.operator import Operator
from operators.pipeline import Pipeline
from streams.parents import Addresses
from streams.stream import Stream


def check_one(operator: Operator, rows: Mapping[str, Any], expect: Mapping[str, Any]) -> None:
    """Check one operator on rows of its inputs. CheckFailed, CannotCheck."""
    inputs = named_rows(rows, {one.stream.name: one.stream for one in operator.inputs})
    wanted = named_rows(expect, {one.name: one for one in operator.outputs})
    emitted = check_operator(
        operator, {name: outside(stream, batch_of(data, stream)) for name, (stream, data) in inputs.items()}
    )
    for stream, data in wanted.values():
        expect_rows(emitted, stream, data)


def check_operator(operator: Operator, lanes: Mapping[str, Sequence[Lane]]) -> list[Emitted]:
    """What the operator makes of the rows, the same in every way it was run."""
    original = _copied(operator)

    def fresh() -> Operator:
        return _copied(original)

    # What comes back to an operator acts between two batches, so there single rows say what is meant, and other cuts
    # may come to something else.
    loops = any(given.later for given in operator.inputs)
    best = single if loops else whole
    reference = rehearse(fresh, lanes, best)
    _same(
        operator,
        reference,
        _again(operator, "run once more", fresh, lanes, best),
        "The operator gives other rows when it is run once more on equal rows",
        "Randomness, the clock or something global decides: take times from the batch, seeds from the parameters.",
        exact=True,
    )
    used = fresh()
    rehearse(lambda: used, lanes, best)
    _same(
        operator,
        reference,
        _again(operator, "used a second time", lambda: used, lanes, best),
        "The operator gives other rows when the same object is used a second time",
        "It keeps something in itself: what it remembers belongs into the state.",
        exact=True,
    )
    for how, cut in (("in one piece", whole), *CUTS):
        plain = reference if cut is best else _again(operator, f"given rows {how}", fresh, lanes, cut)
        _same(
            operator,
            plain,
            _again(operator, "restored between two steps", fresh, lanes, cut, restore=True),
            f"The operator gives other rows when it is stopped and restored between two steps (rows came {how})",
            "It remembers something outside of its state, or alters a value of the state in place.",
            exact=True,
        )
        if not loops:
            _same(
                operator,
                reference,
                plain,
                f"The operator gives other rows when they come {how}",
                "Where rows are cut into batches must not matter: carry what a later row needs over in the state.",
                exact=False,
            )
    return reference


def _again(
    operator: Operator,
    how: str,
    make: Callable[[], Operator],
    lanes: Mapping[str, Sequence[Lane]],
    cut: Cut,
    *,
    restore: bool = False,
) -> list[Emitted]:
    try:
        return rehearse(make, lanes, cut, restore=restore)
    except Exception as error:
        raise CheckFailed(
            f"The operator raised {type(error).__name__} when {how}, and not before: {error}", where=operator.name
        ) from error


def _same(
    operator: Operator, reference: list[Emitted], other: list[Emitted], what: str, fix: str, *, exact: bool
) -> None:
    for stream in operator.outputs:
        order: Order = "all" if exact else "key" if stream.key else "all" if len(operator.inputs) == 1 else "none"
        for task in sorted({one.task for one in (*reference, *other)}):
            first, second = (_rows(side, stream, task) for side in (reference, other))
            if exact and digest_rows(first.to_batches(), first.schema) == digest_rows(
                second.to_batches(), first.schema
            ):
                rows = None
            else:
                rows = table_difference(first, second, order=order, key=stream.key, words=("at first", "then"))
            if rows is not None:
                raise CheckFailed(what, where=stream.name, fix=fix, rows=rows)
            parents = None if rows else _other_parents(reference, other, stream, task, order)
            if parents is not None:
                raise CheckFailed(f"{what.replace('rows', 'parents', 1)}", where=stream.name, fix=parents)


def _other_parents(
    reference: list[Emitted], other: list[Emitted], stream: Stream, task: int, order: Order
) -> str | None:
    """Where both say row by row what rows descend from, they have to say the same."""
    told = []
    for side in (reference, other):
        emitted = [one.output for one in side if one.output.stream == stream.name and one.task == task]
        parts = [part for output in emitted for part in output.parents]
        if not all(isinstance(part, Addresses) for part in parts):
            return None
        told.append(
            [
                tuple(map(str, row))
                for output in emitted
                for row in zip(*(part for part in output.parents if isinstance(part, Addresses)), strict=True)
            ]
        )
    first, second = told if order == "all" else map(sorted, told)
    if first == second:
        return None
    apart = next((pair for pair in zip(first, second, strict=False) if pair[0] != pair[1]), ("", ""))
    return f"At first a row descends from {apart[0]}, then from {apart[1]}."


def _rows(emitted: Iterable[Emitted], stream: Stream, task: int | None = None) -> pa.Table:
    batches = [one.output.rows for one in emitted if one.output.stream == stream.name and task in (None, one.task)]
    return pa.Table.from_batches(batches, schema=stream.schema.arrow)


def expect_rows(emitted: list[Emitted], stream: Stream, expected: Any) -> None:
    tasks = {one.task for one in emitted if one.output.stream == stream.name}
    order: Order = "all" if len(tasks) < 2 and not stream.key else "key"
    made = _rows(emitted, stream)
    wanted = expected_rows(expected, made.schema, stream.name)
    key = stream.key if set(stream.key) <= set(wanted.column_names) else ()
    rows = table_difference(made.select(wanted.column_names), wanted, order=order, key=key, close=True)
    if rows is not None:
        counts = f"{made.num_rows} made, {wanted.num_rows} expected"
        raise CheckFailed(
            f"The rows are not the expected ones ({counts})", where=stream.name, fix=WRONG_ROWS, rows=rows
        )


def check_pipeline(pipeline: Pipeline, rows: Mapping[str, Any], expect: Mapping[str, Any]) -> None:
    plan = pipeline.plan()
    streams = plan.streams() | pipeline.streams
    lanes: dict[str, Sequence[Lane]] = {
        name: outside(stream, batch_of(data, stream)) for name, (stream, data) in named_rows(rows, streams).items()
    }
    wanted = named_rows(expect, streams)
    writers = {stream.name: name for name, node in plan.nodes.items() if node.operator for stream in node.outputs}
    emitted: dict[str, list[Emitted]] = {}
    ahead: list[str] = []

    def visit(stream: str) -> None:
        name = writers.get(stream)
        if name is None or name in emitted or stream in lanes:
            return
        if name in ahead:
            raise CannotCheck(
                f"The operators {', '.join(ahead[ahead.index(name) :])} form a cycle",
                where=pipeline.name,
                fix="Give rows for one of their streams, or check them one by one.",
            )
        ahead.append(name)
        node = plan.nodes[name]
        operator = node.operator
        assert operator is not None
        for given in operator.inputs:
            visit(given.stream.name)
        emitted[name] = check_operator(
            operator, {one.stream.name: lanes.get(one.stream.name, ()) for one in operator.inputs}
        )
        for output in operator.outputs:
            if output.name not in lanes:
                rows = [one for one in emitted[name] if one.output.stream == output.name]
                lanes[output.name] = written(operator, output, rows, keeps_partition=node.keeps_partition)
        ahead.remove(name)

    for name in wanted or writers:
        visit(name)
    for name, (stream, data) in wanted.items():
        if name not in writers:
            raise CannotCheck("No operator writes this stream", where=name, fix="Expect rows of an operator's output.")
        expect_rows(emitted.get(writers[name], []), stream, data)


def _copied(operator: Operator) -> Operator:
    try:
        return copy.deepcopy(operator)
    except TypeError:
        # It holds something that cannot be copied, such as a lock: then one object stands for all.
        return operator
