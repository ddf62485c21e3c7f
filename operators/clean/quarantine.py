"""What goes to quarantine: the rows that broke a rule, as they came in, with what was wrong with each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from streams.rule import Bools, Finding
from streams.stream import Stream

Indices = npt.NDArray[np.int64]

VIOLATION: Final = pa.struct([("rule", pa.string()), ("field", pa.string()), ("value", pa.string())])
#: The columns that stand beside a quarantined row.
COLUMNS: Final = {
    "rule": pa.string(),
    "field": pa.string(),
    "value": pa.string(),
    "contract": pa.string(),
    "violations": pa.list_(VIOLATION),
}


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule and the rows that broke it. `observed` are the columns that it looked at, by name."""

    rule: str
    field: str | None
    rows: Indices
    observed: dict[str, pa.Array]


@dataclass(frozen=True, slots=True)
class Found:
    """One finding about the stream, with the rule and the field that it belongs to."""

    rule: str
    field: str | None
    finding: Finding


def column_names(fields: Sequence[str]) -> dict[str, str]:
    """What the columns beside the row are called, for a stream with these fields: `rule`, `field`, `value`,
    `contract`, `violations`, or `quarantine_…` where the stream has a field of that name."""
    names = {}
    for name in COLUMNS:
        called = name
        while called in fields:
            called = f"quarantine_{called}"
        names[name] = called
    return names


def quarantine_schema(source: pa.Schema) -> pa.Schema:
    """The source's fields, all nullable, and the columns beside them."""
    names = column_names(source.names)
    fields = [field.with_nullable(True) for field in source]
    return pa.schema(fields + [pa.field(names[name], kind) for name, kind in COLUMNS.items()])


def quarantined(
    rows: pa.RecordBatch, schema: pa.Schema, violations: Sequence[Violation], found: Sequence[Found], contract: str
) -> tuple[pa.RecordBatch, Indices]:
    """The quarantine's rows, and for each the row of the batch that it is or that a finding showed at (-1: none).

    In the order of the batch; a row that broke several rules is there once, under the first of them. A finding
    follows the row it showed at, and has nulls in place of a row.
    """
    # Twice the row, and one more for what follows it.
    place = np.concatenate(
        [2 * violation.rows for violation in violations]
        + [np.array([2 * each.finding.after + 1 for each in found], dtype=np.int64)]
    )
    details = pa.concat_arrays([_details(violation) for violation in violations] + [_findings(found)])
    order = np.argsort(place, kind="stable")
    place, details = place[order], details.take(pa.array(order))
    of_row = place % 2 == 0
    starts = np.flatnonzero(np.append(True, (place[1:] != place[:-1]) | ~of_row[1:]))
    row, is_row = place[starts] // 2, of_row[starts]
    original = rows.take(pa.array(row, mask=~is_row))
    first = details.take(pa.array(starts))
    offsets = pa.array(np.append(starts, len(place)), pa.int32())
    columns = [
        *original.columns,
        *(pc.struct_field(first, name) for name in ("rule", "field", "value")),
        pa.array([contract] * len(starts), pa.string()),
        pa.ListArray.from_arrays(offsets, details, type=COLUMNS["violations"]),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema), row


def quarantine_stream(source: Stream, name: str, schema: pa.Schema, described: str) -> Stream:
    """It has neither key nor event time, since a row may be here for lack of them."""
    return Stream(
        name,
        type(source.schema)(schema),
        partitions=source.partitions,
        entities=dict(source.entities),
        owner=source.owner,
        description=described,
        retention=source.retention,
        tags=source.tags,
        role="quarantine",
    )


def rows_where(failed: pa.BooleanArray | Bools) -> Indices:
    if isinstance(failed, pa.Array):
        return pc.indices_nonzero(failed).to_numpy().astype(np.int64)
    return np.flatnonzero(failed)


def _details(violation: Violation) -> pa.StructArray:
    count = len(violation.rows)
    at = pa.array(violation.rows)
    texts = [_texts(column.take(at)) for column in violation.observed.values()]
    if len(texts) == 1:
        value = texts[0]
    elif texts:
        named = [
            pc.binary_join_element_wise(f"{name}=", pc.fill_null(text, "null"), "")
            for name, text in zip(violation.observed, texts, strict=True)
        ]
        value = pc.binary_join_element_wise(*named, ", ")
    else:
        value = pa.nulls(count, pa.string())
    return _struct([violation.rule] * count, [violation.field] * count, value)


def _findings(found: Sequence[Found]) -> pa.StructArray:
    values = pa.array([each.finding.value for each in found], pa.string())
    return _struct([each.rule for each in found], [each.field for each in found], values)


def _struct(rules: list[str], fields: list[str | None], values: pa.Array) -> pa.StructArray:
    return pa.StructArray.from_arrays(
        [pa.array(rules, pa.string()), pa.array(fields, pa.string()), values], fields=list(VIOLATION)
    )


def _texts(column: pa.Array) -> pa.Array:
    try:
        return column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        # Lists, structs and bytes that are not text; only rows that broke a rule come here.
        return pa.array([None if value is None else str(value) for value in column.to_pylist()], pa.string())
