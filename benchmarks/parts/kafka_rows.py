"""The rows that all loops are given, and whether they all came out."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from benchmarks.parts.kafka_work import COUNTS, LABELLED, LEVELS, SCHEMA, decoded, labelled
from streams.codecs import codec
from streams.log import open_log
from streams.schema import Schema

START = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp() * 1_000_000)
MESSAGE_ROWS = 1_000


class Lost(Exception):
    """Rows did not come out as they should."""


def rows(count: int, seed: int = 7) -> pa.Table:
    """`count` rows of ten columns, about 76 bytes each; all of them are within the ranges that clean checks."""
    chance = np.random.default_rng(seed)
    return pa.table(
        [
            pa.array(np.char.mod("sensor-%05d", chance.integers(0, 10_000, count))),
            pa.array(START + 1_000 * np.arange(count)).cast(pa.timestamp("us", "UTC")),
            *(pa.array(chance.random(count)) for _ in LEVELS),
            *(pa.array(chance.integers(0, 1_000, count).astype(np.int32)) for _ in COUNTS),
        ],
        schema=SCHEMA,
    )


def values_of(table: pa.Table, *, row_coded: bool) -> list[bytes]:
    """One JSON row a message, or Arrow messages of 1,000 rows."""
    if row_coded:
        return codec("json", Schema(SCHEMA), 0).encode(table.combine_chunks().to_batches()[0])
    arrow = codec("arrow", Schema(SCHEMA), 0)
    return [value for batch in table.combine_chunks().to_batches(MESSAGE_ROWS) for value in arrow.encode(batch)]


def check(url: str, topic: str, work: str, table: pa.Table) -> None:
    """Lost unless the committed messages of `topic` are what the loop should have made of the rows of `table`."""
    with open_log(url) as log:
        partitions = []
        for number in range(len(log.bounds(topic))):
            messages: list[tuple[bytes | None, bytes]] = []
            at = 0
            while len(fetched := log.read(topic, number, at)):
                messages += zip(fetched.keys, fetched.values, strict=True)  # type: ignore[arg-type]
                at = fetched.next
            partitions.append(messages)
    if work == "keyed_json":
        _check_keyed(partitions, table)
        return
    values = [value for _, value in partitions[0]]
    if work.endswith("arrow"):
        _check_arrow(values, work, table)
        return
    expected = map(_as_json, table.to_pylist())
    if work == "label_json":
        expected = map(labelled, expected)
    _check_rows([_plain(orjson.loads(value)) for value in values], list(expected))


def _check_arrow(values: list[bytes], work: str, table: pa.Table) -> None:
    schema = LABELLED if work == "label_arrow" else SCHEMA
    found = pa.Table.from_batches([decoded(value, schema) for value in values])
    names = ["id", "at"] if work == "label_arrow" else SCHEMA.names
    if not found.select(names).equals(table.select(names)):
        raise Lost(f"{found.num_rows:,} rows came out, and they are not the {table.num_rows:,} that went in")


def _check_keyed(partitions: list[list[tuple[bytes | None, bytes]]], table: pa.Table) -> None:
    """Every row is there, keys lie in one partition each, and a key's rows in their order."""
    found: dict[str, list[Any]] = defaultdict(list)
    homes: dict[str, int] = {}
    for number, messages in enumerate(partitions):
        for key, value in messages:
            row = _plain(orjson.loads(value))
            if key is None or key.decode().strip('"') != row["id"] or homes.setdefault(row["id"], number) != number:
                raise Lost(f"a row of {row['id']} has the key {key!r} in partition {number}")
            found[row["id"]].append(row)
    expected: dict[str, list[Any]] = defaultdict(list)
    for row in map(_as_json, table.to_pylist()):
        expected[row["id"]].append(row)
    if sum(1 for messages in partitions if messages) < 2:
        raise Lost("all rows lie in one partition")
    if found != expected:
        raise Lost(f"{sum(map(len, partitions)):,} rows came out, and they are not the {table.num_rows:,} that went in")


def _check_rows(found: list[Any], expected: list[Any]) -> None:
    if found != expected:
        raise Lost(f"{len(found):,} rows came out, and they are not the {len(expected):,} that went in, in their order")


def _as_json(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "at": row["at"].isoformat()}


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """The row with its time as text of one form, however a loop wrote it."""
    return {**row, "at": datetime.fromisoformat(row["at"]).isoformat()}
