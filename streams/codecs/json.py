"""One message is one row as a plain JSON object: what any program reads and writes without Headwater."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from streams.codecs.base64 import from_base64, to_base64
from streams.codecs.undecodable import decode_or_name
from streams.conform import check_fits
from streams.nested import list_array, rebuild
from streams.quoting import offsets_and_data, quoted
from streams.schema import Schema
from streams.types import SchemaError, is_list, is_nested

_ROWS_AT_ONCE: Final = 1 << 16
_BYTES_AT_ONCE: Final = 1 << 28


class JsonCodec:
    """Rows as JSON objects, columns as their fields.

    Timestamps are ISO 8601 texts with an offset (written with `Z`), dates and times ISO texts, binary is base64,
    decimals are texts, durations are whole numbers of the declared unit; null is written out. NaN and infinity
    cannot be written. When reading, fields that the schema does not have are ignored, missing ones are null.
    """

    name = "json"
    row_coded = True

    def __init__(self, schema: Schema, schema_id: int) -> None:
        self.schema = schema
        self.schema_id = schema_id
        wire = pa.struct([pa.field(field.name, _wire_type(field.type)) for field in schema.arrow])
        self._parsing = pa.json.ParseOptions(
            explicit_schema=pa.schema([("v", wire)]), unexpected_field_behavior="ignore"
        )

    def encode(self, rows: pa.RecordBatch) -> list[bytes]:
        """One value a row. SchemaError names field and row for NaN, infinity, and years outside 1 to 9999."""
        check_fits(rows, self.schema)
        values: list[bytes] = []
        for start in range(0, rows.num_rows, _ROWS_AT_ONCE):
            part = rows.slice(start, _ROWS_AT_ONCE)
            texts = _object(part.schema.names, part.columns, "", start, end="\n")
            offsets, data = offsets_and_data(texts)
            values += data[offsets[0] : offsets[-1] - 1].tobytes().split(b"\n")
        return values

    def decode(self, values: Sequence[bytes]) -> pa.RecordBatch:
        """One row a value. Besides what is not JSON, Undecodable for timestamps without an offset, numbers that do not
        fit their field, and a required field that is missing or null."""
        return decode_or_name(self.name, values, self._decode)

    def _decode(self, values: Sequence[bytes]) -> pa.RecordBatch:
        if not values:
            return pa.RecordBatch.from_pylist([], schema=self.schema.arrow)
        # In an object of its own, no value can end or begin another one.
        text = b"".join((b'{"v":', b'}\n{"v":'.join(values), b"}"))
        if len(text) > _BYTES_AT_ONCE and len(values) > 1:
            half = len(values) // 2
            return pa.concat_batches([self._decode(values[:half]), self._decode(values[half:])])
        if text.count(b"\n") >= len(values) or b"\r" in text:
            unbroken = [value.replace(b"\n", b" ").replace(b"\r", b" ") for value in values]
            text = b"".join((b'{"v":', b'}\n{"v":'.join(unbroken), b"}"))
        if not text.isascii():
            text.decode()
        reading = pa.json.ReadOptions(use_threads=False, block_size=len(text) + 1)
        table = pa.json.read_json(pa.py_buffer(text), read_options=reading, parse_options=self._parsing)
        if table.num_rows != len(values):
            raise pa.ArrowInvalid("it is not one JSON object")
        objects = table.column("v").combine_chunks()
        if isinstance(objects, pa.ChunkedArray):
            objects = pa.concat_arrays(objects.chunks)
        if objects.null_count:
            raise pa.ArrowInvalid("it is null")
        columns = [
            rebuild(column, field.type, _read)
            for column, field in zip(objects.flatten(), self.schema.arrow, strict=True)
        ]
        rows = pa.RecordBatch.from_arrays(columns, schema=self.schema.arrow)
        check_fits(rows, self.schema)
        return rows


class _Texts(NamedTuple):
    """A column's values as JSON: each of `texts` between `before` and `after`, which are the same for all rows."""

    before: str
    texts: pa.StringArray
    after: str

    def array(self) -> pa.StringArray:
        if not self.before and not self.after:
            return self.texts
        return pc.binary_join_element_wise(self.before, self.texts, self.after, "")


def _object(names: Sequence[str], columns: Sequence[pa.Array], path: str, start: int, end: str = "") -> pa.StringArray:
    pieces: list[Any] = []
    literal = "{"
    for name, column in zip(names, columns, strict=True):
        texts = _json(column, f"{path}{name}", start)
        pieces += [f"{literal}{orjson.dumps(name).decode()}:{texts.before}", texts.texts]
        literal = f"{texts.after},"
    return pc.binary_join_element_wise(*pieces, f"{literal[:-1]}}}{end}", "")


def _json(column: pa.Array, path: str, start: int) -> _Texts:
    """The column's values as JSON, null written out. `start` is the number of the first row, for errors."""
    texts = _nested(column, path, start) if is_nested(column.type) else _leaf(column, path, start)
    if not column.null_count:
        return texts
    shown = pc.if_else(column.is_valid(), texts.array(), pa.scalar("null"))
    return _Texts("", shown, "")


def _nested(column: pa.Array, path: str, start: int) -> _Texts:
    if pa.types.is_struct(column.type):
        names = [field.name for field in column.type]
        return _Texts("", _object(names, column.flatten(), f"{path}.", start), "")
    items = _json(pc.list_flatten(column), f"{path}[]", start).array()
    lists = list_array(column, items, pa.list_(pa.string()))
    return _Texts("[", pc.binary_join(lists, ","), "]")


def _leaf(column: pa.Array, path: str, start: int) -> _Texts:
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _Texts("", quoted(column.cast(pa.string())), "")
    if pa.types.is_floating(kind):
        # Nulls become NaN on the way, so that only a column without them is seen to be finite at once.
        if column.null_count or not np.isfinite(column.to_numpy(zero_copy_only=False)).all():
            wrong = pc.invert(pc.is_finite(column))
            _refuse(wrong, column, path, start, "has no JSON", "Make it null, or use avro or arrow.")
        return _Texts("", column.cast(pa.string()), "")
    if pa.types.is_timestamp(kind):
        _refuse_years(column, path, start)
        naive = column.view(pa.int64()).view(pa.timestamp(kind.unit)).cast(pa.string())
        return _Texts('"', pc.binary_replace_slice(naive.cast(pa.binary()), 10, 11, b"T").cast(pa.string()), 'Z"')
    if pa.types.is_date(kind):
        _refuse_years(column, path, start)
        return _Texts('"', column.cast(pa.string()), '"')
    if pa.types.is_time(kind):
        return _Texts('"', column.cast(pa.string()), '"')
    if pa.types.is_decimal(kind):
        return _Texts('"', column.cast(pa.string()), '"')
    if pa.types.is_duration(kind):
        return _Texts("", column.view(pa.int64()).cast(pa.string()), "")
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return _Texts("", column.cast(pa.string()), "")
    return _Texts('"', to_base64(column.cast(pa.binary())), '"')


_PER_DAY: Final = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}
_FIRST_DAY: Final = -719_162
_LAST_DAY: Final = 2_932_896


def _refuse_years(column: pa.Array, path: str, start: int) -> None:
    kind = column.type
    unit = 1 if pa.types.is_date(kind) else _PER_DAY[kind.unit]
    counts = column.view(pa.int32() if pa.types.is_date(kind) else pa.int64()).cast(pa.int64())
    first, beyond = _FIRST_DAY * unit, (_LAST_DAY + 1) * unit
    low = pc.less(counts, max(first, -(2**63)))
    high = pc.greater_equal(counts, beyond) if beyond < 2**63 else pc.greater(counts, 2**63 - 1)
    _refuse(
        pc.or_(low, high), counts, path, start, "is outside the years 1 to 9999", "Use avro or arrow, or correct it."
    )


def _refuse(bad: pa.BooleanArray, column: pa.Array, path: str, start: int, what: str, fix: str) -> None:
    if pc.any(bad).as_py():
        at = pc.index(bad, True).as_py()
        place = f"field {path!r}" if "[]" in path else f"field {path!r}, row {start + at}"
        raise SchemaError(f"{column[at].as_py()} {what}", where=place, fix=fix)


def _wire_type(kind: pa.DataType) -> pa.DataType:
    """What Arrow's JSON reader is asked for: texts where it would read too much or too little into a value."""
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _wire_type(field.type)) for field in kind])
    if is_list(kind):
        return pa.list_(pa.field("item", _wire_type(kind.value_type)))
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return kind
    return pa.int64() if pa.types.is_duration(kind) else pa.string()


def _read(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """The column as the schema has it; pa.ArrowInvalid for a text that is not of this type."""
    if column.type == kind:
        return column
    if pa.types.is_duration(kind):
        return column.view(kind)
    for is_kind, read in _READERS:
        if is_kind(kind):
            return read(column, kind)
    return from_base64(column).cast(kind)


def _timestamps(column: pa.StringArray, kind: pa.DataType) -> pa.Array:
    # Arrow reads texts without a zone fifty times faster, so a zone that all texts end with is cut off first.
    for suffix in ("Z", "+00:00"):
        if pc.all(pc.ends_with(column, suffix)).as_py():
            local = pc.utf8_slice_codeunits(column, 0, -len(suffix)).cast(pa.timestamp(kind.unit))
            return local.view(pa.int64()).view(kind)
    return column.cast(kind)


def _times(column: pa.StringArray, kind: pa.DataType) -> pa.Array:
    whole = pc.binary_join_element_wise("1970-01-01T", column, "")
    counts = whole.cast(pa.timestamp(kind.unit)).view(pa.int64())
    return (counts.cast(pa.int32()) if kind.bit_width == 32 else counts).view(kind)


_READERS: Final[tuple[tuple[Callable[[pa.DataType], bool], Callable[[Any, pa.DataType], pa.Array]], ...]] = (
    (pa.types.is_timestamp, _timestamps),
    (pa.types.is_time, _times),
    (pa.types.is_date, lambda column, kind: column.cast(kind)),
    (pa.types.is_decimal, lambda column, kind: column.cast(kind)),
    (pa.types.is_string, lambda column, kind: column.cast(kind)),
    (pa.types.is_large_string, lambda column, kind: column.cast(kind)),
)
