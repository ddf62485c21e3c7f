"""How fast rows are judged and split into good and bad: our clean step next to pandera, Great Expectations and
whole-column Arrow by hand, on the same 1,000,000 rows of ten columns, about 2 % of them bad.

    python benchmarks/clean.py [--rows N] [--repeat N]

What is not installed (pandera, polars, pandas, great_expectations) is skipped, and said so.
"""

from __future__ import annotations

import argparse
import datetime as dt
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from operators.clean import clean
from operators.execution.state import State
from operators.operator import Batch
from streams.contract import between, compare, matches, not_null, one_of
from streams.message import BEGINNING
from streams.parents import Addresses
from streams.schema import Schema
from streams.stream import Stream

CARRIERS = ["AA", "B6", "DL", "EV", "UA", "US"]
TAIL = "N[0-9]{5}"
RANGES = {"distance": (0, 10_000), "delay": (-1000, 10_000), "celsius": (-80, 60), "seats": (1, 1000), "fuel": (0, 1)}
Split = Callable[[], tuple[int, int]]


def made(rows: int) -> pa.RecordBatch:
    """Flights, more or less. A fault of one of nine kinds in about 2 % of the rows."""
    random = np.random.default_rng(7)
    departed = 1_357_000_000_000_000 + np.arange(rows) * 1_000_000
    columns: dict[str, Any] = {
        "id": np.arange(rows),
        "departed": departed,
        "arrived": departed + random.integers(1, 10**10, rows),
        "carrier": np.array(CARRIERS, dtype=object)[random.integers(0, len(CARRIERS), rows)],
        "tail": np.array([f"N{number:05d}" for number in range(4000)], dtype=object)[random.integers(0, 4000, rows)],
        "distance": random.integers(80, 5000, rows),
        "delay": random.normal(10, 20, rows),
        "celsius": random.normal(15, 8, rows),
        "seats": random.integers(2, 400, rows).astype(np.int32),
        "fuel": random.random(rows),
    }
    bad = np.flatnonzero(random.random(rows) < 0.02)
    kind = random.integers(0, 9, len(bad))
    faults = ["arrived", "carrier", "tail", "distance", "delay", "celsius", "seats", "fuel", "id"]
    broken = [0, "??", "X1", -1, 1e6, -300.0, 0, 1.5, None]
    arrays = {name: np.asarray(values) for name, values in columns.items()}
    nulls = np.zeros(rows, dtype=bool)
    for number, (name, value) in enumerate(zip(faults, broken, strict=True)):
        at = bad[kind == number]
        if value is None:
            nulls[at] = True
        else:
            arrays[name][at] = value
    utc = pa.timestamp("us", "UTC")
    return pa.RecordBatch.from_arrays(
        [
            pa.array(values, mask=nulls if name == "id" else None).cast(utc)
            if name in ("departed", "arrived")
            else pa.array(values, mask=nulls if name == "id" else None)
            for name, values in arrays.items()
        ],
        names=list(arrays),
    )


RULES = [
    not_null("id"),
    compare("arrived", ">", "departed"),
    one_of("carrier", CARRIERS),
    matches("tail", TAIL),
    *(between(name, low, high) for name, (low, high) in RANGES.items()),
]


def ours(table: pa.RecordBatch, size: int) -> Split:
    operator = clean(Stream("flights", Schema(table.schema), time="departed", partitions=1), to="valid", expect=RULES)
    batches = [
        Batch(
            "flights",
            table.slice(start, size),
            Addresses.of_message("flights", 0, start, min(size, table.num_rows - start)),
            np.zeros(0, dtype=np.int64),
            BEGINNING,
        )
        for start in range(0, table.num_rows, size)
    ]

    def split() -> tuple[int, int]:
        counts = {"valid": 0, "valid.quarantine": 0}
        state = State()
        for batch in batches:
            for output in operator.step(batch, state):
                counts[output.stream] += output.rows.num_rows
        return counts["valid"], counts["valid.quarantine"]

    return split


def by_hand(table: pa.RecordBatch) -> Split:
    def split() -> tuple[int, int]:
        column = table.column
        good = column("id").is_valid()
        for kept in (
            pc.greater(column("arrived"), column("departed")),
            pc.is_in(column("carrier"), value_set=pa.array(CARRIERS)),
            pc.match_substring_regex(column("tail"), pattern=f"^(?:{TAIL})$"),
            *(
                pc.and_(pc.greater_equal(column(name), low), pc.less_equal(column(name), high))
                for name, (low, high) in RANGES.items()
            ),
        ):
            good = pc.and_(good, kept)
        return table.filter(good).num_rows, table.filter(pc.invert(good)).num_rows

    return split


def in_parts(table: pa.RecordBatch, size: int, make: Callable[[pa.RecordBatch], Split]) -> Split:
    parts = [make(table.slice(start, size)) for start in range(0, table.num_rows, size)]

    def split() -> tuple[int, int]:
        counts = [part() for part in parts]
        return sum(good for good, _ in counts), sum(bad for _, bad in counts)

    return split


def pandera_on(table: pa.RecordBatch, engine: str) -> Split:
    if engine == "polars":
        import pandera.polars as pandera
        import polars

        frame = polars.from_arrow(pa.Table.from_batches([table]))
        later = pandera.Check(lambda data: data.lazyframe.select(polars.col("arrived") > polars.col("departed")))
    else:
        import pandera.pandas as pandera

        frame = table.to_pandas()
        later = pandera.Check(lambda data: data["arrived"] > data["departed"])
    check, column = pandera.Check, pandera.Column
    schema = pandera.DataFrameSchema(
        {
            "id": column(nullable=False),
            "carrier": column(checks=check.isin(CARRIERS)),
            "tail": column(checks=check.str_matches(f"^(?:{TAIL})$")),
            **{name: column(checks=check.in_range(*bounds)) for name, bounds in RANGES.items()},
        },
        checks=later,
    )

    def split() -> tuple[int, int]:
        try:
            schema.validate(frame, lazy=True)
        except pandera.errors.SchemaErrors as error:
            cases = error.failure_cases
            if engine == "polars":
                bad = cases["index"].drop_nulls().unique()
                wrong = polars.Series(np.isin(np.arange(len(frame)), bad.to_numpy()))
                return len(frame.filter(~wrong)), len(frame.filter(wrong))
            bad = cases["index"].dropna().unique()
            return len(frame.drop(index=bad)), len(frame.loc[bad])
        return len(frame), 0

    return split


def great_expectations(table: pa.RecordBatch) -> Split:
    import great_expectations as gx

    gx_context = gx.get_context(mode="ephemeral")
    gx_context.variables.progress_bars = {"globally": False}
    frame = table.to_pandas()
    asset = gx_context.data_sources.add_pandas("memory").add_dataframe_asset("flights")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch(batch_parameters={"dataframe": frame})
    expect = gx.expectations
    suite = gx.ExpectationSuite(
        name="flights",
        expectations=[
            expect.ExpectColumnValuesToNotBeNull(column="id"),
            expect.ExpectColumnPairValuesAToBeGreaterThanB(column_A="arrived", column_B="departed"),
            expect.ExpectColumnValuesToBeInSet(column="carrier", value_set=CARRIERS),
            expect.ExpectColumnValuesToMatchRegex(column="tail", regex=f"^(?:{TAIL})$"),
            *(
                expect.ExpectColumnValuesToBeBetween(column=name, min_value=low, max_value=high)
                for name, (low, high) in RANGES.items()
            ),
        ],
    )

    def split() -> tuple[int, int]:
        result = batch.validate(suite, result_format={"result_format": "COMPLETE"})
        bad: set[int] = set()
        for each in result.results:
            bad.update(each.result.get("unexpected_index_list") or ())
        rows = sorted(bad)
        return len(frame.drop(index=rows)), len(frame.loc[rows])

    return split


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=5)
    chosen = parser.parse_args()
    table = made(chosen.rows)
    contenders: dict[str, tuple[Callable[[], Split], int]] = {
        "headwater, batches of 200,000": (lambda: ours(table, 200_000), chosen.repeat),
        "headwater, batches of 1,000": (lambda: ours(table, 1_000), chosen.repeat),
        "pyarrow.compute by hand": (lambda: by_hand(table), chosen.repeat),
        "pandera on polars": (lambda: pandera_on(table, "polars"), chosen.repeat),
        "pandera on polars, of 1,000": (
            lambda: in_parts(table, 1_000, lambda part: pandera_on(part, "polars")),
            1,
        ),
        "pandera on pandas": (lambda: pandera_on(table, "pandas"), min(chosen.repeat, 3)),
        "Great Expectations": (lambda: great_expectations(table), 1),
    }
    splits: dict[str, tuple[Split, int]] = {}
    for name, (make, repeat) in contenders.items():
        try:
            splits[name] = (make(), repeat)
        except ImportError as error:
            print(f"SKIPPED {name}: {error}", file=sys.stderr)
    counts = {name: split() for name, (split, _) in splits.items()}
    seconds: dict[str, list[float]] = {name: [] for name in splits}
    # In turns, so that a busy moment of the machine does not fall on one of them.
    for turn in range(chosen.repeat):
        for name, (split, repeat) in splits.items():
            if turn < repeat:
                began = time.perf_counter()
                split()
                seconds[name].append(time.perf_counter() - began)
    measured = {name: (chosen.rows / statistics.median(seconds[name]), counts[name]) for name in splits}
    base = measured.get("pandera on polars")
    print(f"{chosen.rows:,} rows, 10 columns, 9 rules, {dt.date.today()}, median of {chosen.repeat}")
    print(f"{'':32}{'M rows/s':>10}{'to pandera/polars':>20}{'good':>12}{'bad':>10}")
    for name, (rate, (good, bad)) in measured.items():
        ratio = f"{rate / base[0]:.2f}" if base else "-"
        print(f"{name:32}{rate / 1e6:>10.2f}{ratio:>20}{good:>12,}{bad:>10,}")


if __name__ == "__main__":
    main()
