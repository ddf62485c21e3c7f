"""What it costs to record the parents of every row: throughput of a job with and without them, header bytes a row.

`python -m benchmarks.parents` runs a filter, a table join and an as-of join over generated rows on the embedded engine,
in turns with parents and without, and prints medians of the processor's time and of the clock's. The processor's is the
one to judge by where other programs run. Goal: at most 10 %. The runs without parents do not pack and write them;
operators know where their rows lie either way.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

sys.path.insert(0, str(Path(__file__).parents[1]))

from headwater import Config, Hub, Pipeline
from operators.engines import embedded
from streams.message import PARENTS, header
from streams.parents import Addresses, Parents, decode_parents, encode_parents, joined, mode_of, ranges_of

START = 1_700_000_000_000_000
UTC = pa.timestamp("us", "UTC")
EVENTS = pa.schema([("key", pa.string()), ("at", UTC), ("site", pa.int64()), ("x", pa.float64()), ("y", pa.float64())])
READINGS = pa.schema([("key", pa.string()), ("at", UTC), ("z", pa.float64())])
SITES = pa.schema([("site", pa.int64()), ("name", pa.string()), ("height", pa.float64())])
KEYS, SITE_COUNT = 5_000, 1_000
OUTPUTS = ("kept", "placed", "matched")


def pipeline(partitions: int) -> Pipeline:
    p = Pipeline("bench", partitions=partitions)
    events = p.stream("events", EVENTS, key="key", time="at", codec="arrow")
    readings = p.stream("readings", READINGS, key="key", time="at", codec="arrow")
    sites = p.table("sites", SITES, key="site")
    kept = p.filter(events, pc.field("x") > 0.1, reads=["x"], to="kept")
    placed = p.join(kept, sites, on="site", to="placed")
    p.join(placed, readings, on="key", how="asof", to="matched")
    return p


def fill(hub: Hub, rows: int, chunk: int) -> None:
    """Events and readings in turns, as services would publish them, `chunk` rows a call."""
    chance = np.random.default_rng(7)
    names = [f"site {number}" for number in range(SITE_COUNT)]
    hub.publish("bench.sites", pa.table([np.arange(SITE_COUNT), names, chance.random(SITE_COUNT)], schema=SITES))
    for start in range(0, rows, chunk):
        count = min(chunk, rows - start)
        times = pa.array(START + 1_000 * np.arange(start, start + count)).cast(UTC)
        keys = pc.binary_join_element_wise("key ", pa.array(chance.integers(0, KEYS, count)).cast(pa.string()), "")
        other = pc.binary_join_element_wise("key ", pa.array(chance.integers(0, KEYS, count)).cast(pa.string()), "")
        events = [keys, times, chance.integers(0, SITE_COUNT, count), chance.random(count), chance.random(count)]
        hub.publish("bench.events", pa.table(events, schema=EVENTS))
        hub.publish("bench.readings", pa.table([other, times, chance.random(count)], schema=READINGS))


def hub_in(folder: Path) -> Hub:
    return Hub(Config(folder, f"embedded://{folder / 'log.db'}", f"sqlite:///{folder / 'catalog.db'}", "bench"))


Sizes = dict[str, tuple[int, int, int]]


def timed(filled: Path, folder: Path, partitions: int, parents: bool) -> tuple[tuple[float, float], Sizes]:
    """Seconds of a run, the processor's and the clock's; for each output its rows, bytes of parents, bytes in all."""
    shutil.copytree(filled, folder)
    with hub_in(folder) as hub:
        plan = hub.plan(pipeline(partitions))
        context = hub.context(plan, parents=parents)
        start, clock = time.process_time(), time.perf_counter()
        embedded.run(plan, context, until="caught-up")
        seconds = time.process_time() - start, time.perf_counter() - clock
        found = {name: sizes(hub, f"bench.{name}") for name in OUTPUTS}
    shutil.rmtree(folder)
    return seconds, found


def sizes(hub: Hub, stream: str) -> tuple[int, int, int]:
    rows = parents = whole = 0
    for message in messages(hub, stream):
        headers, value = message
        packed = header(headers, PARENTS)
        whole += len(value) + sum(len(one) for _, one in headers)
        if packed is not None:
            parents += len(packed)
            rows += max((len(part) for part in decode_parents(packed) if isinstance(part, Addresses)), default=0)
    return rows, parents, whole


def messages(hub: Hub, stream: str) -> Iterator[tuple[Any, bytes]]:
    for partition, (first, end) in enumerate(hub.log.bounds(stream)):
        while first < end and len(fetched := hub.log.read(stream, partition, first)):
            yield from zip(fetched.headers, (value or b"" for value in fetched.values), strict=True)
            first = fetched.next


def by_granularity(rows: int) -> Iterator[tuple[str, Parents]]:
    """Parents of one batch of `rows` rows, of every kind."""
    chance = np.random.default_rng(7)
    whole = Addresses.of_message("bench.events", 1, 100_000, rows)
    yield "a map that keeps the rows", (whole,)
    for share in (0.9, 0.5, 0.1):
        yield f"a filter that keeps {share:.0%}", (whole.take(np.flatnonzero(chance.random(rows) < share)),)
    yield "rows in another order", (whole.take(chance.permutation(rows)),)
    sites = Addresses.of_offsets("bench.sites", 0, np.arange(SITE_COUNT))
    yield "a join with a table of 1,000 rows", (whole, sites.take(chance.integers(0, SITE_COUNT, rows)))
    earlier = joined([Addresses.of_message("bench.readings", 1, offset, rows) for offset in range(100_000, 100_020)])
    yield "an as-of join over 20 messages", (whole, earlier.take(chance.integers(0, len(earlier), rows)))
    yield "what is wide by nature", (ranges_of(earlier),)
    yield "a function without a mapping", (ranges_of(whole, "batch"),)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=400_000, help="events, and as many readings")
    parser.add_argument("--chunk", type=int, default=4_000, help="rows in one call of publish")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--turns", type=int, default=5, help="runs with parents, and as many without")
    options = parser.parse_args()
    print(f"Header bytes of one batch of {options.chunk // options.partitions:,} rows")
    for name, parents in by_granularity(options.chunk // options.partitions):
        packed = encode_parents(parents)
        count = max(
            (len(part) for part in parents if isinstance(part, Addresses)), default=options.chunk // options.partitions
        )
        kinds = ", ".join(mode_of(part) for part in parents)
        print(f"  {name:44}{len(packed):>9,} bytes{len(packed) / count:>8.2f} a row   ({kinds})")
    seconds: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    found: dict[bool, Sizes] = {}
    with tempfile.TemporaryDirectory() as place:
        filled = Path(place) / "filled"
        with hub_in(filled) as hub:
            hub.register(pipeline(options.partitions))
            fill(hub, options.rows, options.chunk)
        for turn in range(options.turns):
            for parents in (True, False) if turn % 2 else (False, True):
                taken, found[parents] = timed(filled, Path(place) / "run", options.partitions, parents)
                seconds[parents].append(taken)
    print(f"\nFilter, table join and as-of join over {2 * options.rows:,} rows, {options.partitions} partitions")
    print(f"  {'':12}{'rows':>10}{'parents, bytes a row':>22}{'with':>14}{'without, bytes a row':>22}")
    for name in OUTPUTS:
        rows, parents_size, whole = found[True][name]
        plain = found[False][name][2] / rows
        print(f"  {name:12}{rows:>10,}{parents_size / rows:>22.2f}{whole / rows:>14.1f}{plain:>22.1f}")
    print(f"\n  {'median of ' + str(options.turns):18}{'processor':>24}{'clock':>24}")
    medians = {}
    for parents, name in ((False, "without parents"), (True, "with parents")):
        medians[parents] = [statistics.median(column) for column in zip(*seconds[parents], strict=True)]
        shown = "".join(f"{one:>9.2f} s{2 * options.rows / one / 1e6:>6.2f} M rows/s" for one in medians[parents])
        print(f"  {name:18}{shown}")
    cost = "".join(f"{one / other - 1:>23.1%} " for one, other in zip(medians[True], medians[False], strict=True))
    print(f"  {'cost of parents':18}{cost}")


if __name__ == "__main__":
    main()
