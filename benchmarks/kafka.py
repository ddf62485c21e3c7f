"""The same work on one broker, in one run: our operators, the raw clients' transactional loops, and our peers.

`python -m benchmarks.kafka` starts a broker (HEADWATER_TEST_KAFKA names one that runs) and prints, for each kind of
work, rows/s, MB/s, the share of the raw loop (the ceiling), how many times as fast ours is, and the goals. A loop is a
process of its own, its output is read back and compared. What cannot be had here is named with the reason.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pyarrow as pa

from benchmarks.parts.kafka_measure import Loop, Result, measured
from benchmarks.parts.kafka_peers import NotHad, kafka_streams, python_peer, quix
from benchmarks.parts.kafka_rows import rows
from tests.kafka_broker import NAMED, VERSION, Broker

#: Loops that take one message after the other in Python are given no more rows than these; Faust alone and
#: kafka-python, which are the slowest, the fewer.
FEW = 20_000
SOME = 100_000


def ours(name: str, work: str, client: str = "kafka", engine: str = "embedded", partitions: int = 1) -> Loop:
    return Loop(
        f"Headwater: {name}, {client}" + (", Faust engine" if engine == "faust" else ""),
        lambda: [sys.executable, "-m", "benchmarks.parts.kafka_ours"],
        work,
        arguments=(client, engine),
        made=engine != "log",
        partitions=partitions,
        checked=work != "label_arrow",
    )


def raw(client: str, work: str, partitions: int = 1, name: str = "raw loop") -> Loop:
    return Loop(
        f"{client}: {name}",
        lambda: [sys.executable, "-m", "benchmarks.parts.kafka_raw"],
        work,
        arguments=(client,),
        rows=FEW if client == "kafka-python" and work.endswith("json") else None,
        partitions=partitions,
    )


def peers(work: str, unit: str, partitions: int = 1, messages: int | None = None) -> list[Loop]:
    """Peers in Python; `messages` limits the rows of those that take one after the other."""

    def peer(name: str, command: Callable[[], Sequence[str]], promise: str, ends: bool, few: int | None) -> Loop:
        return Loop(f"{name}, {unit}", command, work, promise, ends=ends, rows=few, partitions=partitions)

    rows_of_faust = FEW if messages else None
    return [
        peer("Quix Streams", quix, "exactly once", False, messages),
        peer("Bytewax", partial(python_peer, "bytewax", "kafka_bytewax"), "at least once", True, messages),
        peer("Faust alone", partial(python_peer, "faust", "kafka_faust"), "at least once", False, rows_of_faust),
    ]


def streams(work: str, unit: str, partitions: int = 1) -> Loop:
    return Loop(f"Kafka Streams (Java), {unit}", kafka_streams, work, java=True, ends=False, partitions=partitions)


def not_had(name: str, work: str, why: str) -> Loop:
    def command() -> Sequence[str]:
        raise NotHad(why)

    return Loop(name, command, work)


def arrow_clean() -> list[Loop]:
    return [
        raw("confluent-kafka", "pass_arrow", name="raw loop, decodes and encodes"),
        raw("kafka-python", "pass_arrow", name="raw loop, decodes and encodes"),
        ours("clean", "clean_arrow"),
        ours("clean", "clean_arrow", client="kafka+fast"),
        ours("clean", "clean_arrow", engine="faust"),
        *peers("clean_arrow", "Arrow messages as bytes"),
        streams("pass_arrow", "messages passed on as bytes, as there is no Arrow in it"),
        *(loop for loop in peers("clean_json", "one row a message", messages=SOME)),
        streams("clean_json", "one row a message"),
    ]


def arrow_label() -> list[Loop]:
    return [
        raw("confluent-kafka", "pass_arrow", name="raw loop, decodes and encodes"),
        ours("ten functions and label model (two hops)", "label_arrow"),
        ours("ten functions and label model (two hops)", "label_arrow", engine="faust"),
        *peers("label_arrow", "Arrow as bytes, ten functions, majority"),
        *peers("label_json", "one row a message, ten functions, majority", messages=SOME),
        not_had("Kafka Streams (Java)", "label_json", "ten functions in Java would be another program"),
    ]


def json_rows() -> list[Loop]:
    return [
        raw("confluent-kafka", "clean_json"),
        raw("kafka-python", "clean_json"),
        ours("our log, the raw loop's work", "clean_json", engine="log"),
        ours("clean", "clean_json"),
        ours("clean", "clean_json", client="kafka+fast"),
        ours("clean", "clean_json", engine="faust"),
        *peers("clean_json", "one row a message", messages=SOME),
        streams("clean_json", "one row a message"),
    ]


def repartition() -> list[Loop]:
    return [
        raw("confluent-kafka", "keyed_json", partitions=4),
        raw("kafka-python", "keyed_json", partitions=4),
        ours("repartition", "keyed_json", partitions=4),
        ours("repartition", "keyed_json", client="kafka+fast", partitions=4),
        *peers("keyed_json", "one row a message", partitions=4, messages=SOME),
        streams("keyed_json", "one row a message", partitions=4),
    ]


def show(title: str, table: pa.Table, results: list[Result], goals: Callable[[list[Result]], list[str]]) -> None:
    """The first result is the ceiling."""
    print(f"\n## {title}: {table.num_rows:,} rows\n")
    print("| loop | promise | rows/s | MB/s | of the ceiling | ours is so many times it | processor µs a row |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    own = mine(results)
    for result in results:
        if result.failure:
            print(f"| {result.loop.name} | | not measured: {result.failure} | | | | |")
            continue
        megabytes = statistics.median(result.megabytes)
        ceiling = share(result, results[0])
        times = f"{share(own, result):.2f}" if own is not None else ""
        used = f"{1e6 * statistics.median(result.used):.2f}" if result.used else ""
        print(
            f"| {result.loop.name} | {result.loop.promise} | {result.rate:,.0f} | {megabytes:.1f} | "
            f"{ceiling:.2f} | {times} | {used} |"
        )
    if own is not None and not results[0].failure:
        print("\nGoals: " + "; ".join(goals(results)), flush=True)


def mine(results: list[Result]) -> Result | None:
    """Our operator on the embedded engine, with the client that was faster."""
    found = [one for one in results if one.loop.arguments[-1:] == ("embedded",) and not one.failure]
    return max(found, key=lambda one: one.rate, default=None)


def share(result: Result, other: Result) -> float:
    """The median over the rounds of how many times as fast as the other it was."""
    if other.failure:
        return float("nan")
    return statistics.median(one / two for one, two in zip(result.rates, other.rates, strict=True))


def goal(text: str, wanted: float, got: float) -> str:
    said = "not measured" if got != got else f"{got:,.3g}, {'met' if got >= wanted else 'missed'}"
    return f"{text} ≥ {wanted:,.3g}: {said}"


def of_quix(results: list[Result], unit: str) -> float:
    own = mine(results)
    found = [one for one in results if one.loop.name == f"Quix Streams, {unit}"]
    return share(own, found[0]) if own is not None and found else float("nan")


def arrow_goals(hops: int, unit: str, results: list[Result]) -> list[str]:
    own = mine(results)
    assert own is not None
    return [
        goal("share of the ceiling a hop", 0.7, hops * share(own, results[0])),
        goal("rows/s", 1_500_000, own.rate),
        goal("times Quix's rows", 20, of_quix(results, unit)),
    ]


def row_goals(results: list[Result]) -> list[str]:
    own = mine(results)
    assert own is not None
    return [
        goal("share of the ceiling", 0.7, share(own, results[0])),
        goal("times Quix", 3, of_quix(results, "one row a message")),
    ]


@contextmanager
def broker() -> Iterator[str]:
    named = os.environ.get(NAMED)
    if named:
        yield named
        return
    with tempfile.TemporaryDirectory() as folder:
        made = Broker(Path(folder), settings="log.segment.delete.delay.ms=1000")
        made.start()
        try:
            yield made.address
        finally:
            made.stop()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=5_000_000, help="rows in Arrow messages (a tenth as JSON)")
    options.add_argument("--repeat", type=int, default=3)
    options.add_argument("--only", choices=["b", "a1", "d", "a2"], nargs="*", help="parts of it")
    options.add_argument("--loops", default="", help="only loops whose names contain this, and the ceiling")
    given = options.parse_args()
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    print(f"Python {sys.version.split()[0]}, pyarrow {pa.__version__}, Kafka {VERSION}, {os.cpu_count()} cores.")
    many, few = rows(given.rows), rows(given.rows // 10)
    natural = "one row a message"
    parts = {
        "a1": ("(a) Arrow messages of 1,000 rows, clean", many, arrow_clean(), partial(arrow_goals, 1, natural)),
        "a2": (
            "(a) Arrow messages of 1,000 rows, ten labelling functions and the label model",
            many,
            arrow_label(),
            partial(arrow_goals, 2, f"{natural}, ten functions, majority"),
        ),
        "b": ("(b) One JSON row a message, clean", few, json_rows(), row_goals),
        "d": ("(d) JSON rows to four partitions by another key", few, repartition(), row_goals),
    }
    with broker() as server:
        for name, (title, table, loops, goals) in parts.items():
            if given.only and name not in given.only:
                continue
            chosen = [loop for at, loop in enumerate(loops) if at == 0 or given.loops.lower() in loop.name.lower()]
            show(title, table, measured(server, chosen, table, given.repeat), goals)


if __name__ == "__main__":
    main()
