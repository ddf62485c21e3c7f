"""Drift next to its peers: how soon, how often in vain, and how fast.

    python -m benchmarks.parts.drift [--seeds 10] [--worlds 1000] [--rows 100000]

Concept: median rows from a change to the first alarm, changes that were missed, and false alarms a stream of 20,000
rows (before the first change, or after another alarm for the same one). A detector that looks for both directions
(ADWIN) is only taken at its word where errors rose. The dummy fires every 1,000 rows.

Columns: the share of changed columns that are found, and of false ones among those that are. Peers that are not
installed are left out: river, scipy, evidently. HEADWATER_DRIFT_WORLDS is the default of --worlds.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks.parts.drift_streams import GENERATORS, World, worlds
from benchmarks.parts.drift_worlds import World as Columns
from benchmarks.parts.drift_worlds import raised, rates, world
from operators.drift import drift
from operators.drift.concept import ErrorDetector, Memory
from operators.drift.operator import Drift
from operators.execution.state import State
from operators.operator import Batch, tick_at
from streams.message import END
from streams.parents import Addresses
from streams.schema import Schema
from streams.stream import Stream

Detector = Callable[[npt.NDArray[np.float64]], list[int]]
UTC = pa.timestamp("us", "UTC")
KINDS = {"abrupt": (5_000, 1), "gradual": (5_000, 1_000), "none": (0, 1)}
EVERY = 1_000
#: Settings were chosen on worlds before this one.
FRESH = 100


def ours(errors: npt.NDArray[np.float64]) -> list[int]:
    found = ErrorDetector().feed(errors, np.arange(len(errors), dtype=np.int64), Memory.new())
    return [change.row - 1 for change in found]


def dummy(errors: npt.NDArray[np.float64]) -> list[int]:
    return list(range(EVERY - 1, len(errors), EVERY))


def detectors() -> dict[str, Detector]:
    found: dict[str, Detector] = {"headwater": ours}
    if importlib.util.find_spec("river"):
        from river import drift as by_river
        from river.drift import binary

        makers = {
            "ADWIN": by_river.ADWIN, "DDM": binary.DDM, "HDDM_W": binary.HDDMW, "HDDM_A": binary.HDDMA,
            "Page-Hinkley": by_river.PageHinkley,
        }  # fmt: skip
        found |= {name: _row_by_row(make) for name, make in makers.items()}
    return found | {"dummy": dummy}


def _row_by_row(make: Callable[[], Any]) -> Detector:
    def found(errors: npt.NDArray[np.float64]) -> list[int]:
        detector, rows = make(), []
        before = 0.0
        for row, error in enumerate(errors.tolist()):
            before = getattr(detector, "estimation", 0.0)
            detector.update(error)
            if detector.drift_detected and (not hasattr(detector, "estimation") or detector.estimation > before):
                rows.append(row)
        return rows

    return found


def judged(given: World, rows: list[int]) -> tuple[list[int], int, int]:
    """Delays of all changes (a missed one counts until the next), how many were missed, and false alarms."""
    ends = [*given.changes, len(given.errors)][1:]
    false = sum(row < (given.changes[0] if given.changes else len(given.errors)) for row in rows)
    delays, missed = [], 0
    for change, end in zip(given.changes, ends, strict=True):
        inside = [row for row in rows if change <= row < end]
        delays.append(inside[0] - change + 1 if inside else end - change)
        missed += not inside
        false += sum(row >= change + given.width for row in inside[1:])
    return delays, missed, false


def concept(seeds: int) -> Iterator[str]:
    """A line a generator and kind of change; in it `median delay / missed / false alarms a stream` by detector."""
    found = detectors()
    yield f"{'stream':<18}" + "".join(f"{name:>18}" for name in found)
    totals = dict.fromkeys(found, 0)
    streams = 0
    for generator in GENERATORS:
        for kind, (every, width) in KINDS.items():
            given = worlds(generator, seeds=seeds, every=every, width=width, first=FRESH)
            streams += len(given)
            cells = []
            for name, detector in found.items():
                delays, missed, false = zip(*(judged(one, detector(one.errors)) for one in given), strict=True)
                totals[name] += sum(false)
                all_delays = [delay for each in delays for delay in each]
                middle = f"{np.median(all_delays):.0f}" if all_delays else "-"
                share = f"{sum(missed) / len(all_delays):.0%}" if all_delays else "-"
                cells.append(f"{middle} / {share} / {sum(false) / len(given):.1f}")
            yield f"{generator + ' ' + kind:<18}" + "".join(f"{cell:>18}" for cell in cells)
    yield f"{'false alarms':<18}" + "".join(f"{total:>18}" for total in totals.values()) + f"   in {streams} streams"


def concept_speed(rows: int) -> Iterator[str]:
    errors = (np.random.default_rng(0).random(rows) < 0.1).astype(np.float64)
    rate = {}
    for name, detector in detectors().items():
        part = errors if name in ("headwater", "dummy") else errors[: max(rows // 20, 1)]
        seconds = min(_timed(detector, part) for _ in range(3))
        rate[name] = len(part) / seconds
    for name, found in rate.items():
        if name != "dummy":
            yield f"{name:<14}{found / 1e6:>8.2f} M rows/s{rate['headwater'] / found:>10.1f}x"


def _timed(function: Callable[..., Any], *given: Any) -> float:
    start = time.perf_counter()
    function(*given)
    return time.perf_counter() - start


def operator_for(names: Iterable[str], schema: pa.Schema, **options: Any) -> Drift:
    stream = Stream("b.rows", Schema(schema.append(pa.field("at", UTC))), time="at", partitions=1)
    return drift(stream, watch=list(names), to="b.drift", **options)


def columns(count: int) -> Iterator[str]:
    """Power and false discoveries over worlds of fifty columns, ten of them changed."""
    schema = world(0).reference.schema
    default = operator_for(schema.names, schema)
    any_size = operator_for(schema.names, schema, effect=0.0)
    peers: dict[str, tuple[Callable[[Columns], set[str]], int]] = {
        "headwater": (lambda given: raised(default, given), count),
        "headwater, effect=0": (lambda given: raised(any_size, given), count),
    }
    if importlib.util.find_spec("scipy"):
        peers["KS and chi2, p < 0.05"] = (_by_scipy, max(count // 10, 10))
    if importlib.util.find_spec("evidently"):
        peers["evidently preset"] = (_by_evidently, max(count // 50, 5))
    yield f"{'':<24}{'power':>8}{'false':>8}{'worlds with a false one':>26}{'worlds':>8}"
    for name, (find, number) in peers.items():
        found = []
        for seed in range(number):
            given = world(seed)
            found.append(rates(find(given), given))
        power, false = np.array(found).T
        yield f"{name:<24}{power.mean():>8.3f}{false.mean():>8.3f}{(false > 0).mean():>26.3f}{number:>8}"
    nothing = [len(raised(default, world(seed, changed=0))) for seed in range(max(count // 5, 10))]
    yield f"nothing changed: {np.mean(np.array(nothing) > 0):.3f} of {len(nothing)} worlds raise an alarm"


def _by_scipy(given: Columns) -> set[str]:
    from scipy import stats

    found = set()
    for name in given.reference.column_names:
        before, after = given.reference.column(name).to_numpy(), given.window.column(name).to_numpy()
        if before.dtype == object:
            values = sorted({*before, *after})
            table = np.array([[np.sum(side == value) for value in values] for side in (before, after)])
            p_value = stats.chi2_contingency(table).pvalue
        else:
            p_value = stats.ks_2samp(before, after).pvalue
        if p_value < 0.05:
            found.add(name)
    return found


def _by_evidently(given: Columns) -> set[str]:
    from evidently import Report
    from evidently.presets import DataDriftPreset

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = Report([DataDriftPreset()]).run(given.window.to_pandas(), given.reference.to_pandas())
    found = set()
    for metric in report.dict()["metrics"]:
        config = metric.get("config", {})
        if config.get("type", "").endswith("ValueDrift"):
            value, threshold = float(metric["value"]), float(config["threshold"])
            by_p_value = (
                "p_value" in config["method"] or "test" in config["method"] or "p_value" in metric["metric_name"]
            )
            if value < threshold if by_p_value else value >= threshold:
                found.add(config["column"])
    return found


def column_speed(rows: int) -> Iterator[str]:
    """Ten numeric columns: a window of so many rows against a reference of as many, from which ours also learns."""
    random = np.random.default_rng(0)
    names = [f"x{number}" for number in range(10)]
    day = 86_400_000_000
    times = {name: (start + np.arange(rows) * (day // rows)) for name, start in (("reference", 0), ("window", day))}
    tables = {
        part: pa.table({name: random.normal(size=rows) for name in names} | {"at": pa.array(at).cast(UTC)})
        for part, at in times.items()
    }
    operator = operator_for(names, tables["window"].schema.remove(10))

    def by_us() -> None:
        state = State()
        for number, (part, table) in enumerate(tables.items()):
            given = table.select(list(operator.inputs[0].reads)).combine_chunks().to_batches()[0]
            addresses = Addresses.of_message("b.rows", 0, number, rows)
            list(operator.step(Batch("b.rows", given, addresses, times[part], int(times[part][0])), state))
        list(operator.step(tick_at(END), state))

    rates_of = {"headwater": min(_timed(by_us) for _ in range(3))}
    if importlib.util.find_spec("evidently"):
        given = Columns(tables["reference"].select(names), tables["window"].select(names), frozenset())
        rates_of["evidently preset"] = min(_timed(_by_evidently, given) for _ in range(2))
    for name, seconds in rates_of.items():
        yield (
            f"{name:<18}{seconds * 1e3:>9.0f} ms{2 * rows / seconds / 1e6:>9.2f} M rows/s"
            f"{seconds / rates_of['headwater']:>8.1f}x the time"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--worlds", type=int, default=int(os.environ.get("HEADWATER_DRIFT_WORLDS", "1000")))
    parser.add_argument("--rows", type=int, default=100_000)
    given = parser.parse_args()
    parts = {
        "Concept: median delay / missed / false alarms a stream": concept(given.seeds),
        "Concept: rows a second": concept_speed(20 * given.rows),
        "Columns: fifty, ten changed": columns(given.worlds),
        f"Columns: ten of {given.rows:,} rows, twice": column_speed(given.rows),
    }
    for title, lines in parts.items():
        print(f"\n{title}", flush=True)
        for line in lines:
            print(f"  {line}", flush=True)


if __name__ == "__main__":
    main()
