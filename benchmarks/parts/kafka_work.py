"""What each loop does with a message: the same for ours, the raw clients and all peers in Python.

Needs orjson and pyarrow alone, as some peers run in an environment of their own.
"""

from __future__ import annotations

import atexit
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

SECONDS_A_TRANSACTION = 1.0
LEVELS = tuple(f"level{number}" for number in range(5))
COUNTS = tuple(f"count{number}" for number in range(3))
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("at", pa.timestamp("us", "UTC"), nullable=False),
        *(pa.field(name, pa.float64()) for name in LEVELS),
        *(pa.field(name, pa.int32()) for name in COUNTS),
    ]
)
LABELLED = pa.schema([SCHEMA.field("id"), SCHEMA.field("at"), pa.field("label", pa.string(), nullable=False)])
#: Ten functions: each votes "bad" where its column is above its limit, and every second one "good" elsewhere.
LIMITS = tuple((name, 0.45 + 0.05 * number) for number, name in enumerate(LEVELS)) + tuple(
    (name, limit) for name, limit in zip((*COUNTS, *COUNTS[:2]), (400, 450, 500, 550, 600), strict=True)
)


@dataclass(frozen=True)
class Job:
    """One loop's task: from the topic `given` to the topic `to`, `work` one of the functions below."""

    server: str
    prefix: str
    given: str
    to: str
    work: str
    messages: int
    partitions: int

    @staticmethod
    def from_arguments() -> Job:
        return Job(**orjson.loads(sys.argv[1]))

    @property
    def row_coded(self) -> bool:
        return self.work.endswith("json")

    def function(self) -> Callable[[bytes], tuple[bytes | None, bytes | None]]:
        """From a message's value to the key and value to write; no value for one that is dropped."""
        return _WORK[self.work]


class Begun:
    """Says once, on the first message, that the work has begun, and at the end how much processor time it took."""

    def __init__(self) -> None:
        self._said = False

    def __call__(self) -> None:
        if not self._said:
            self._said = True
            print(f"began {time.time()}", flush=True)
            atexit.register(lambda since: print(f"used {time.process_time() - since}"), time.process_time())


def keeps(row: dict[str, Any]) -> bool:
    """The two ranges that clean checks."""
    return 0 <= row["level0"] <= 1 and 0 <= row["count0"] <= 1_000


def labelled(row: dict[str, Any]) -> dict[str, Any]:
    """The row's label by the majority of ten functions."""
    bad = good = 0
    for number, (name, limit) in enumerate(LIMITS):
        if row[name] > limit:
            bad += 1
        elif number % 2 == 0:
            good += 1
    return {"id": row["id"], "at": row["at"], "label": "bad" if bad > good else "good"}


def decoded(value: bytes, schema: pa.Schema) -> pa.RecordBatch:
    """The rows of an Arrow message; ours have four bytes and a checksum before the Arrow message, others' have not."""
    start = 8 if value.startswith(b"HWA1") else 0
    return pa.ipc.read_record_batch(pa.py_buffer(value)[start:], schema)


def clean_json(value: bytes) -> tuple[None, bytes | None]:
    row = orjson.loads(value)
    return None, orjson.dumps(row) if keeps(row) else None


def label_json(value: bytes) -> tuple[None, bytes]:
    return None, orjson.dumps(labelled(orjson.loads(value)))


def keyed_json(value: bytes) -> tuple[bytes, bytes]:
    row = orjson.loads(value)
    return row["id"].encode(), orjson.dumps(row)


def pass_arrow(value: bytes) -> tuple[None, bytes]:
    """Decoded and encoded, and nothing else."""
    return None, decoded(value, SCHEMA).serialize().to_pybytes()


def clean_arrow(value: bytes) -> tuple[None, bytes]:
    rows = decoded(value, SCHEMA)
    level, count = rows.column("level0"), rows.column("count0")
    good = pc.and_(
        pc.and_(pc.greater_equal(level, 0.0), pc.less_equal(level, 1.0)),
        pc.and_(pc.greater_equal(count, 0), pc.less_equal(count, 1_000)),
    )
    if good.true_count < len(good):
        rows = rows.filter(good)
    return None, rows.serialize().to_pybytes()


def label_arrow(value: bytes) -> tuple[None, bytes]:
    rows = decoded(value, SCHEMA)
    lead = pa.scalar(0, pa.int8())
    for number, (name, limit) in enumerate(LIMITS):
        above = pc.greater(rows.column(name), limit)
        vote = pc.if_else(above, pa.scalar(1, pa.int8()), pa.scalar(-1 if number % 2 == 0 else 0, pa.int8()))
        lead = pc.add(lead, vote)
    label = pc.if_else(pc.greater(lead, pa.scalar(0, pa.int8())), "bad", "good")
    made = pa.RecordBatch.from_arrays([rows.column("id"), rows.column("at"), label], schema=LABELLED)
    return None, made.serialize().to_pybytes()


_WORK: dict[str, Callable[[bytes], tuple[bytes | None, bytes | None]]] = {
    work.__name__: work for work in (clean_json, label_json, keyed_json, pass_arrow, clean_arrow, label_arrow)
}
