"""Sources: outside data, read in fixed row counts from any row on, so that a cursor is all there is to remember."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from catalog.errors import HeadwaterError
from streams.conform import conform
from streams.schema import Schema, SchemaError
from streams.stream import Stream

#: Rows in one batch of a source, unless declared otherwise.
CHUNK = 1_000
#: Bytes of a CSV file that are read at once.
CSV_BLOCK = 256 * 1024
#: So many rows are prepared together.
BLOCK = 16_384


class SourceError(HeadwaterError):
    """Outside data that cannot be read."""

    exit_code = 2


@dataclass(frozen=True)
class Source:
    """Outside data for a stream, replayed in its own order, `chunk` rows a batch.

    `data` is a path (.csv, .jsonl, .ndjson, .parquet), an Arrow table, a DataFrame, or a function without arguments
    that returns one, or an iterator over parts of one (a RecordBatchReader). A function is called only where
    the source runs, and again after a restart: it must give the same rows. An iterator of itself is read once; where
    it would be read again, SourceError.
    """

    name: str
    stream: Stream
    data: Any
    chunk: int = CHUNK
    _begun: list[bool] = field(default_factory=list, init=False, compare=False, repr=False)

    def batches(self, cursor: int) -> Iterator[pa.RecordBatch]:
        """Batches of exactly `chunk` rows (the last may be shorter), from row `cursor` on, as the stream's schema.

        SchemaError if rows do not fit it, SourceError if the data cannot be read.
        """
        for block in self.blocks(cursor):
            for start in range(0, block.num_rows, self.chunk):
                yield block.slice(start, self.chunk)

    def blocks(self, cursor: int) -> Iterator[pa.RecordBatch]:
        """The same rows, several batches together; each block but the last is a whole number of batches."""
        several = max(BLOCK // self.chunk, 1) * self.chunk
        rows = cursor
        if isinstance(self.data, pa.RecordBatchReader | Iterator):
            if self._begun:
                raise SourceError(
                    "The data can be read only once, and have been",
                    where=self.name,
                    fix="Give a function that makes the iterator anew: source(stream, lambda: …).",
                )
            self._begun.append(True)
        for table in _explained(
            _cut(_read(self.data, self.stream.schema, self.name), cursor, several, self.chunk), self.name
        ):
            try:
                block = self._fitting(table, rows)
            except SchemaError:
                # The batches before the bad one are good.
                for start in range(0, table.num_rows, self.chunk):
                    yield self._fitting(table.slice(start, self.chunk), rows + start)
                raise
            rows += table.num_rows
            yield block

    def _fitting(self, table: pa.Table, first: int) -> pa.RecordBatch:
        return _one_batch(conform(table, self.stream.schema, where=self.name, first=first))


def _explained(parts: Iterator[pa.Table], where: str) -> Iterator[pa.Table]:
    """The same, where what outside code raises is a SourceError."""
    try:
        yield from parts
    except SourceError as error:
        raise SourceError(error.what, where=error.where or where, fix=error.fix) from error
    except (HeadwaterError, MemoryError):
        raise
    except Exception as error:
        raise SourceError(
            f"The data cannot be read: {type(error).__name__}: {error}",
            where=where,
            fix="Mend the data, or the function that gives them, and run again: the source goes on behind the rows "
            "that are published.",
        ) from error


def _read(data: Any, schema: Schema, where: str) -> Iterator[Any]:
    if isinstance(data, str | Path):
        yield from _read_file(Path(data), schema, where)
    elif callable(data) and not hasattr(data, "__arrow_c_stream__"):
        yield from _parts(data())
    else:
        yield from _parts(data)


def _parts(data: Any) -> Iterator[Any]:
    """Data that come in parts, part by part, so that they need not fit into memory."""
    if isinstance(data, pa.RecordBatchReader | Iterator):
        yield from data
    else:
        yield data


def _read_file(path: Path, schema: Schema, where: str) -> Iterator[pa.RecordBatch]:
    readers: dict[str, Callable[[Path, Schema], Iterator[pa.RecordBatch]]] = {
        ".csv": _read_csv,
        ".parquet": _read_parquet,
        ".jsonl": _read_json_lines,
        ".ndjson": _read_json_lines,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise SourceError(
            f"Files of kind {path.suffix or '(none)'} cannot be read",
            where=f"{where}: {path}",
            fix=f"Use one of {', '.join(sorted(readers))}, or pass an Arrow table or DataFrame.",
        )
    try:
        yield from reader(path, schema)
    except FileNotFoundError as error:
        raise SourceError("There is no such file", where=f"{where}: {path}", fix="Check the path.") from error
    except (pa.ArrowException, OSError) as error:
        raise SourceError(
            f"The file cannot be read: {error}",
            where=f"{where}: {path}",
            fix="Mend the file and run again: the source goes on behind the rows that are published.",
        ) from error


def _read_csv(path: Path, schema: Schema) -> Iterator[pa.RecordBatch]:
    convert = pyarrow.csv.ConvertOptions(
        column_types={field.name: field.type for field in schema.arrow},
        null_values=["", "NA", "NULL", "null", "NaN", "nan"],
        strings_can_be_null=True,
    )
    try:
        # Small blocks: what comes before a row that cannot be read is had up to the block that holds it.
        blocks = pyarrow.csv.ReadOptions(block_size=CSV_BLOCK)
        yield from pyarrow.csv.open_csv(path, convert_options=convert, read_options=blocks)
    except pa.ArrowInvalid:
        # Read in one thread it fails at the same place, and says in which row that is.
        alone = pyarrow.csv.ReadOptions(use_threads=False)
        for _ in pyarrow.csv.open_csv(path, convert_options=convert, read_options=alone):
            pass
        raise


def _read_parquet(path: Path, schema: Schema) -> Iterator[pa.RecordBatch]:
    with pyarrow.parquet.ParquetFile(path) as file:
        yield from file.iter_batches()


def _read_json_lines(path: Path, schema: Schema) -> Iterator[pa.RecordBatch]:
    options = pyarrow.json.ParseOptions(explicit_schema=schema.arrow, unexpected_field_behavior="error")
    with path.open("rb") as file:
        while lines := list(islice(file, 50_000)):
            joined = pa.BufferReader(b"".join(lines))
            yield from pyarrow.json.read_json(joined, parse_options=options).to_batches()


def _cut(parts: Iterator[Any], cursor: int, chunk: int, unit: int) -> Iterator[pa.Table]:
    """The rows from `cursor` on in tables of exactly `chunk` rows, whatever the sizes of the parts. If a part cannot be
    had, what came before it is given first, in whole multiples of `unit` rows."""
    skip = cursor
    kept: list[pa.Table] = []
    size = 0
    while True:
        try:
            part = next(parts)
        except StopIteration:
            break
        except Exception:
            if size >= unit:
                yield pa.concat_tables(kept).slice(0, size - size % unit)
            raise
        table = _as_table(part)
        if skip >= table.num_rows:
            skip -= table.num_rows
            continue
        table = table.slice(skip)
        skip = 0
        kept.append(table)
        size += table.num_rows
        while size >= chunk:
            whole = pa.concat_tables(kept) if len(kept) > 1 else kept[0]
            full = size - size % chunk
            for start in range(0, full, chunk):
                yield whole.slice(start, chunk)
            kept = [whole.slice(full)]
            size -= full
    if skip:
        raise SourceError(
            f"The data have {cursor - skip} rows, and {cursor} of them are published already",
            fix="Give all rows, those published too, in the same order: a source goes on by counting them.",
        )
    if size:
        yield pa.concat_tables(kept)


def _as_table(data: Any) -> pa.Table:
    if isinstance(data, pa.Table):
        return data
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data])
    if hasattr(data, "__arrow_c_stream__"):
        return pa.table(data)
    if hasattr(data, "iloc"):
        return pa.Table.from_pandas(data, preserve_index=False)
    if isinstance(data, list):
        return pa.Table.from_pylist(data)
    raise SourceError(
        f"Data of type {type(data).__name__} cannot be read",
        fix="Pass a path, an Arrow table, a DataFrame, a list of dicts, or a function that returns one.",
    )


def _one_batch(table: pa.Table) -> pa.RecordBatch:
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else table.schema.empty_table().to_batches()[0]
