"""Ready-made labelling functions: conditions, keywords, regular expressions, tables."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from operators.label.function import Class, LabelError, LabelingFunction
from streams.condition import parse_condition
from streams.expression import computed
from streams.stream import Stream


def rule(
    name: str, condition: str | Any, label: Class, *, otherwise: Class | None = None, reads: Sequence[str] = ()
) -> LabelingFunction:
    """Votes for `label` where a condition holds, and for `otherwise` (none: abstains) where it does not. Where it is
    null (a column that it compares is) it abstains.

    The condition is text ("dep_delay > 15 and origin = 'EWR'"), or an Arrow expression with the columns that it
    `reads`.
    """
    if isinstance(condition, str):
        text = condition

        def fit(schema: pa.Schema, where: str) -> tuple[tuple[str, ...], Any]:
            found = parse_condition(text, schema, where=where)
            return found.fields, _projection(found.expression)

        return LabelingFunction(name, _unfitted, (), label, otherwise, params={"where": text}, fit=fit)
    if not reads:
        raise LabelError(
            "An Arrow expression does not say what it reads", where=name, fix="Name the columns: reads=['celsius']."
        )
    return LabelingFunction(
        name, _projection(condition), tuple(reads), label, otherwise, params={"where": str(condition)}
    )


def keyword(
    name: str,
    column: str,
    words: Sequence[str] | str,
    label: Class,
    *,
    ignore_case: bool = True,
    whole_words: bool = True,
) -> LabelingFunction:
    """Votes for `label` where a text column has one of the `words`; elsewhere, and where it is null, it abstains."""
    listed = [words] if isinstance(words, str) else list(words)
    if not listed or not all(listed):
        raise LabelError("A keyword function needs words", where=name, fix="Give one or more: words=['refund'].")
    # The words' own ends need not be letters ("C++"), so what stands around them is asked for.
    parts = "|".join(re.escape(word) for word in listed)
    pattern = rf"(?:^|[^\p{{L}}\p{{N}}_])(?:{parts})(?:$|[^\p{{L}}\p{{N}}_])" if whole_words else f"(?:{parts})"
    return _matching(name, column, pattern, label, ignore_case, {"words": listed, "whole_words": whole_words})


def regex(name: str, column: str, pattern: str, label: Class, *, ignore_case: bool = False) -> LabelingFunction:
    """Votes for `label` where a regular expression (RE2) is found in a text column; elsewhere it abstains."""
    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid as error:
        raise LabelError(
            f"This is no regular expression: {error}", where=f"{name}: {pattern}", fix="RE2 is the dialect."
        ) from error
    return _matching(name, column, pattern, label, ignore_case, {"regex": pattern})


def lookup_label(
    name: str,
    column: str,
    table: Mapping[Any, Class] | Stream,
    *,
    key: str | None = None,
    label: str | None = None,
    classes: Sequence[Class] | None = None,
) -> LabelingFunction:
    """Votes for the class that a table has for the value of a column; for values that it does not have it abstains.

    The table is a mapping {value: class}, or a table of the pipeline without event time, with the names of its `key`
    column and of the one that holds the `label`; then `classes` are those it may name (default: all of the labelling).
    """
    if isinstance(table, Stream):
        return _lookup_in_stream(name, column, table, key, label, classes)
    if not table:
        raise LabelError("The table is empty", where=name, fix="Give at least one {value: class}.")
    named = tuple(dict.fromkeys(table.values()))
    keys = pa.array(list(table))
    numbers = pa.array([named.index(one) for one in table.values()], pa.int8())

    def look(rows: pa.RecordBatch) -> Any:
        found = pc.index_in(rows.column(column), value_set=keys.cast(rows.schema.field(column).type))
        return numbers.take(found)

    shown = {str(one): other for one, other in table.items()}
    return LabelingFunction(name, look, (column,), classes=named, params={"column": column, "table": shown})


def _lookup_in_stream(
    name: str, column: str, table: Stream, key: str | None, label: str | None, classes: Sequence[Class] | None
) -> LabelingFunction:
    key = key or (table.key[0] if len(table.key) == 1 else None)
    names = table.schema.arrow.names
    if key is None or label is None or key not in names or label not in names:
        raise LabelError(
            f"{table.name} needs a key and a label column", where=name, fix=f"Name them: key=, label=, of {names}."
        )
    if table.time is not None or table.kind != "table":
        raise LabelError(
            f"{table.name} is {'a table with event time' if table.kind == 'table' else 'no table'}",
            where=name,
            fix="Join it first (p.join), and vote on the joined column.",
        )

    def look(rows: pa.RecordBatch, known: pa.Table) -> Any:
        entries = known.combine_chunks()
        found = pc.index_in(rows.column(column), value_set=entries.column(key).cast(rows.schema.field(column).type))
        return entries.column(label).take(found)

    return LabelingFunction(
        name,
        look,
        (column,),
        classes=None if classes is None else tuple(classes),
        params={"column": column, "table": table.name, "key": key, "label_column": label},
        table=table,
        table_reads=(key, label),
    )


def _matching(
    name: str, column: str, pattern: str, label: Class, ignore_case: bool, params: dict[str, Any]
) -> LabelingFunction:
    def look(rows: pa.RecordBatch) -> Any:
        return pc.match_substring_regex(rows.column(column), pattern, ignore_case=ignore_case)

    return LabelingFunction(
        name, look, (column,), label, params={"column": column, "ignore_case": ignore_case, **params}
    )


def _projection(expression: Any) -> Any:
    return lambda rows: computed(expression, rows)


def _unfitted(rows: Any) -> Any:
    raise LabelError(
        "A rule that is written as text needs a schema", where="rule", fix="Use it in p.label, which knows the stream."
    )
