"""Columns of a batch as encoders take them: numbers as float64 with NaN where missing, texts as Arrow strings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from operators.model.features import kind_of
from streams.fingerprints import hashes

Floats = npt.NDArray[np.float64]


class Columns:
    """The columns of one batch, each made ready once. `kinds` says what each was when the model learnt ("number",
    "bool", "text"): a column that is gone, or is something else now, counts as missing in every row."""

    def __init__(self, rows: pa.RecordBatch, kinds: Mapping[str, str]) -> None:
        self.rows = rows
        self.kinds = kinds
        self._numbers: dict[str, Floats] = {}
        self._texts: dict[str, pa.Array] = {}
        #: What an encoder has found in a vocabulary, by column: the vocabulary and the places.
        self.looked_up: dict[str, tuple[pa.Array, npt.NDArray[np.int64]]] = {}
        self.problems = {name: problem for name in kinds if (problem := self._problem(name))}

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    def numbers(self, name: str) -> Floats:
        """Shape (n,); null, NaN and infinite values are NaN."""
        if name not in self._numbers:
            if name in self.problems:
                return np.full(len(self), np.nan)
            column = _plain(self.rows.column(name))
            if pa.types.is_boolean(column.type):
                column = column.cast(pa.uint8())
            values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
            finite = np.isfinite(values)
            self._numbers[name] = values if finite.all() else np.where(finite, values, np.nan)
        return self._numbers[name]

    def texts(self, name: str) -> pa.Array:
        if name not in self._texts:
            if name in self.problems:
                return pa.nulls(len(self), pa.string())
            self._texts[name] = _plain(self.rows.column(name)).cast(pa.string())
        return self._texts[name]

    def _problem(self, name: str) -> str | None:
        if name not in self.rows.schema.names:
            return f"feature missing: {name}"
        kind = self.rows.schema.field(name).type
        if (kind_of(kind) == "text") != (self.kinds[name] == "text") or not kind_of(kind):
            return f"another schema: {name} is {kind}, learnt was {self.kinds[name]}"
        return None


def digest_of(rows: pa.RecordBatch, names: Sequence[str], kinds: Mapping[str, str]) -> pa.Array:
    """A 64-bit fingerprint of each row's features as encoders see them: two rows have the same one if a model cannot
    tell them apart. A column that is not there counts as missing."""
    columns = Columns(rows, {name: kinds[name] for name in names})
    seen = []
    for name in names:
        if kinds[name] == "text":
            seen.append(columns.texts(name).dictionary_encode())
        else:
            values = columns.numbers(name) + 0.0
            seen.append(pa.array(values, mask=np.isnan(values)))
    return pa.array(hashes(seen, rows.num_rows).view(np.int64))


def features_digest(rows: Any, columns: Sequence[str]) -> pa.Array:
    """The digests that predictions carry in `features_digest`, for the features `columns` (in the order in which the
    prediction names them) of rows (a RecordBatch or Table): where training saw another one than serving did, the
    features were not the same."""
    batches = [rows] if isinstance(rows, pa.RecordBatch) else rows.to_batches()
    kinds = kinds_of(rows.schema, columns)
    made = [digest_of(batch, columns, kinds) for batch in batches]
    return pa.concat_arrays(made) if made else pa.array([], pa.int64())


def kinds_of(schema: pa.Schema, names: Sequence[str]) -> dict[str, str]:
    return {name: kind_of(schema.field(name).type) for name in names}


def _plain(column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        return pc.cast(column, column.type.value_type)
    return column
