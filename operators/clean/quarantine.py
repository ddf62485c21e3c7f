"""What goes to quarantine: the rows that broke a rule, as they came in, with what was wrong with each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from streams.rule import Finding
from streams.stream import Stream

Indices = npt.NDArray[np.int64]

_PARTS: Final = [pa.field(name, pa.string()) for name in ("rule", "field", "value")]
_LISTED: Final = pa.list_(pa.struct(_PARTS))
#: The columns that stand beside a quarantined row.
COLUMNS: Final = {
    "rule": pa.string(),
    "field": pa.string(),
    "value": pa.string(),
    "contract": pa.string(),
    "violations": _LISTED,
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
    place = np.concatenate([2 * each.rows for each in violations] + [[2 * each.finding.after + 1] for each in found])
    order = np.argsort(place, kind="stable")
    place = place[order].astype(np.int64)
    kinds = np.repeat(
        np.arange(len(violations) + len(found)), [len(each.rows) for each in violations] + [1] * len(found)
    )[order]
    values = pa.concat_arrays(
        [_observed(each) for each in violations] + [pa.array([each.finding.value], pa.string()) for each in found]
    )
    rules = pa.array([each.rule for each in violations] + [each.rule for each in found], pa.string())
    fields = pa.array([each.field for each in violations] + [each.field for each in found], pa.string())
    which = pa.array(kinds)
    details = [rules.take(which), fields.take(which), values.take(pa.array(order))]
    is_finding = place % 2 == 1
    starts = np.flatnonzero(np.append(True, (place[1:] != place[:-1]) | is_finding[1:]))
    row, first = place[starts] // 2, pa.array(starts)
    original = rows.take(pa.array(row, mask=is_finding[starts]))
    offsets = pa.array(np.append(starts, len(place)).astype(np.int32))
    columns = [
        *original.columns,
        *(detail.take(first) for detail in details),
        pa.repeat(contract, len(starts)),
        pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(details, fields=_PARTS), type=_LISTED),
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


def rows_where(failed: pa.BooleanArray) -> Indices:
    return pc.indices_nonzero(failed).to_numpy().astype(np.int64)


def _observed(violation: Violation) -> pa.Array:
    """What the rule saw in each of its rows: the value of its field, or of several fields with their names."""
    at = pa.array(violation.rows)
    texts = [_texts(column.take(at)) for column in violation.observed.values()]
    if len(texts) == 1:
        return texts[0]
    if not texts:
        return pa.nulls(len(at), pa.string())
    named = [
        pc.binary_join_element_wise(f"{name}=", pc.fill_null(text, "null"), "")
        for name, text in zip(violation.observed, texts, strict=True)
    ]
    return pc.binary_join_element_wise(*named, ", ")


def _texts(column: pa.Array) -> pa.Array:
    try:
        return column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        # Lists, structs and bytes that are not text; only rows that broke a rule come here.
        return pa.array([None if value is None else str(value) for value in column.to_pylist()], pa.string())
