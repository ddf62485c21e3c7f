"""How fast a stream is profiled: our profile step next to whylogs, ydata-profiling and pandas' describe, on the same
1,000,000 rows of ten columns. Batches come as they would from a log; the others are given all rows at once.

    python -m benchmarks.parts.profile [--rows N] [--repeat N]

What is not installed, or does not work with the NumPy that is there, is skipped, and said so.
"""

from __future__ import annotations

import argparse
import datetime as dt
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from operators.execution.state import State
from operators.operator import Batch, tick_at
from operators.profile import profile, read_sketch
from streams.message import END
from streams.parents import Addresses
from streams.schema import Schema
from streams.stream import Stream

START = 1_357_000_000_000_000
SECOND = 1_000_000
Profiled = Callable[[], dict[str, float]]


def made(rows: int) -> pa.RecordBatch:
    """Flights, more or less: keys, categories, a time, numbers; 2 % of the delays are missing."""
    random = np.random.default_rng(7)
    names = np.array([f"N{number:05d}" for number in range(4000)], dtype=object)
    carriers = np.array(["AA", "B6", "DL", "EV", "UA", "US"], dtype=object)
    columns = {
        "at": pa.array(START + np.arange(rows) * SECOND).cast(pa.timestamp("us", "UTC")),
        "flight": pa.array(np.char.add("F", np.arange(rows).astype(str))),
        "tail": pa.array(names[random.zipf(1.2, rows) % 4000]),
        "carrier": pa.array(carriers[random.integers(0, 6, rows)]),
        "origin": pa.array(np.array(["EWR", "JFK", "LGA"], dtype=object)[random.integers(0, 3, rows)]),
        "delay": pa.array(np.round(random.gamma(1.2, 18, rows) - 8), mask=random.random(rows) < 0.02),
        "distance": pa.array(random.integers(80, 5000, rows)),
        "celsius": pa.array(random.normal(15, 8, rows)),
        "fuel": pa.array(random.random(rows)),
        "late": pa.array(random.random(rows) < 0.2),
    }
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def ours(table: pa.RecordBatch, size: int, window: int) -> Profiled:
    stream = Stream("flights", Schema(table.schema), key=("tail",), time="at", partitions=1)
    times = START + np.arange(table.num_rows) * SECOND
    batches = []
    for start in range(0, table.num_rows, size):
        rows = table.slice(start, size)
        places = Addresses.of_message("flights", 0, start, rows.num_rows)
        batches.append(Batch("flights", rows, places, times[start : start + size], int(times[start])))
    batches.append(tick_at(END))

    def profiled() -> dict[str, float]:
        operator = profile(stream, to="profile", window=window)
        state = State()
        made: list[dict[str, Any]] = []
        for batch in batches:
            for output in operator.step(batch, state):
                made += output.rows.to_pylist()
        delays = [read_sketch(row["sketch"]) for row in made if row["column"] == "delay"]
        whole = delays[0]
        for other in delays[1:]:
            whole = whole.merge(other)
        assert whole.numbers is not None
        return {"mean": whole.numbers.mean, "median": float(whole.numbers.quantiles(0.5)[0]), "nulls": whole.nulls}

    return profiled


def whylogs(table: pa.RecordBatch) -> Profiled:
    import whylogs

    frame = table.to_pandas()

    def profiled() -> dict[str, float]:
        column = whylogs.log(frame).view().get_column("delay").to_summary_dict()
        return {
            "mean": column["distribution/mean"],
            "median": column["distribution/median"],
            "nulls": column["counts/null"],
        }

    profiled()
    return profiled


def ydata(table: pa.RecordBatch) -> Profiled:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ydata_profiling import ProfileReport
    frame = table.to_pandas()

    def profiled() -> dict[str, float]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            report = ProfileReport(frame, minimal=True, progress_bar=False)
            found = report.get_description().variables["delay"]
        return {"mean": found["mean"], "median": found["50%"], "nulls": found["n_missing"]}

    return profiled


def pandas(table: pa.RecordBatch) -> Profiled:
    import pandas

    assert pandas
    frame = table.to_pandas()

    def profiled() -> dict[str, float]:
        """What comes closest: figures of numbers and texts, distinct and most frequent values."""
        figures = frame.describe(include="all")
        nulls = frame.isna().sum()
        for column in frame.columns:
            frame[column].nunique()
            frame[column].value_counts().head(10)
        return {
            "mean": figures.loc["mean", "delay"],
            "median": figures.loc["50%", "delay"],
            "nulls": float(nulls["delay"]),
        }

    return profiled


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    chosen = parser.parse_args()
    table = made(chosen.rows)
    day = 86_400 * SECOND
    contenders: dict[str, tuple[Callable[[], Profiled], int]] = {
        "headwater, batches of 100,000": (lambda: ours(table, 100_000, 365 * day), chosen.repeat),
        "headwater, batches of 1,000": (lambda: ours(table, 1_000, 365 * day), chosen.repeat),
        "headwater, of 1,000, 12 windows": (lambda: ours(table, 1_000, day), chosen.repeat),
        "pandas": (lambda: pandas(table), chosen.repeat),
        "whylogs": (lambda: whylogs(table), 1),
        "ydata-profiling, minimal": (lambda: ydata(table), 1),
    }
    profiles: dict[str, tuple[Profiled, int]] = {}
    for name, (make, repeat) in contenders.items():
        try:
            profiles[name] = (make(), repeat)
        except Exception as error:
            # Also one that imports and fails when it is used says so, and does not end the comparison.
            print(f"SKIPPED {name}: {type(error).__name__}: {str(error)[:100]}", file=sys.stderr)
    seconds: dict[str, list[float]] = {name: [] for name in profiles}
    found: dict[str, dict[str, float]] = {}
    # In turns, so that a busy moment of the machine does not fall on one of them.
    for turn in range(chosen.repeat):
        for name, (profiled, repeat) in profiles.items():
            if turn < repeat:
                began = time.perf_counter()
                found[name] = profiled()
                seconds[name].append(time.perf_counter() - began)
    base = chosen.rows / statistics.median(seconds["headwater, batches of 1,000"])
    print(f"{chosen.rows:,} rows, 10 columns, {dt.date.today()}, median of {chosen.repeat}")
    print(f"{'':34}{'M rows/s':>10}{'ours (1,000) is':>18}{'mean':>10}{'median':>9}{'nulls':>9}")
    for name, taken in seconds.items():
        rate = chosen.rows / statistics.median(taken)
        figures = found[name]
        print(
            f"{name:34}{rate / 1e6:>10.3f}{f'{base / rate:.1f} x':>18}"
            f"{figures['mean']:>10.4f}{figures['median']:>9.1f}{figures['nulls']:>9,.0f}"
        )


if __name__ == "__main__":
    main()
