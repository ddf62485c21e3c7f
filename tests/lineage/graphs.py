"""Random jobs of which the lineage is known: streams, operators, their field lineage, and rows to put in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from headwater import Pipeline
from operators.join import join
from streams.rules import between
from streams.schema import Schema
from streams.stream import Stream
from tests.lineage.rows import (
    FIELDS,
    MADE,
    ROWS,
    Copy,
    Gate,
    exploded,
    kept,
    merged,
    reordered,
    source_rows,
    summed,
    table,
)

KINDS = (
    "filter", "explode", "reorder", "keep", "batch", "clean", "copy", "repartition",
    "table join", "asof join", "window join", "loop", "cleaned table",
)  # fmt: skip
SECOND = 1_000_000

Drawn = list[tuple[int, int, int]]


@dataclass(frozen=True)
class Input:
    """A stream or table filled from outside: by a service in several calls in each of two runs, or by a source."""

    name: str
    is_table: bool
    timed: bool
    codec: str
    by_source: bool
    rows: tuple[tuple[Drawn, ...], tuple[Drawn, ...]]


@dataclass(frozen=True)
class Step:
    kind: str
    first: int
    second: int
    number: int
    flag: bool


@dataclass(frozen=True)
class Job:
    partitions: int
    inputs: tuple[Input, ...]
    steps: tuple[Step, ...]


@st.composite
def jobs(draw: Any, kinds: Sequence[str] = KINDS, most_steps: int = 5) -> Job:
    row = st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 9))
    calls = st.lists(st.lists(row, max_size=6), max_size=3).map(tuple)
    inputs = []
    for number in range(draw(st.integers(1, 3))):
        is_table = number > 0 and draw(st.booleans())
        inputs.append(
            Input(
                f"{'t' if is_table else 's'}{number}",
                is_table,
                not is_table or draw(st.booleans()),
                draw(st.sampled_from(["arrow", "avro", "json"] if not is_table else ["avro", "json"])),
                not is_table and draw(st.booleans()),
                (draw(calls), draw(calls)),
            )
        )
    steps = draw(
        st.lists(
            st.builds(
                Step,
                st.sampled_from(list(kinds)),
                st.integers(0, 20),
                st.integers(0, 20),
                st.integers(2, 4),
                st.booleans(),
            ),
            min_size=1,
            max_size=most_steps,
        )
    )
    return Job(draw(st.integers(1, 3)), tuple(inputs), tuple(steps))


Origins = frozenset[tuple[str, bool]]


def called(operator: str) -> str:
    """An operator's name apart from that of the stream it writes, which is the same."""
    return f"{operator}()"


@dataclass
class Truth:
    """What the catalog must say: `edges` between streams and operators (see `called`), and for each field of a stream
    that an operator writes the fields that it depends on, each with whether that is coarse. `later` are feedback
    edges."""

    edges: set[tuple[str, str]] = field(default_factory=set)
    fields: dict[str, dict[str, Origins]] = field(default_factory=dict)
    later: set[tuple[str, str]] = field(default_factory=set)

    def operator(self, name: str, reads: Iterable[str], writes: Iterable[str]) -> None:
        self.edges |= {(one, called(name)) for one in reads} | {(called(name), one) for one in writes}

    def upstream(self, stream: str) -> set[str]:
        above: dict[str, set[str]] = {}
        for source, target in self.edges:
            above.setdefault(target, set()).add(source)
        found: set[str] = set()
        ahead = [stream]
        while ahead:
            for one in above.get(ahead.pop(), ()):
                if one not in found:
                    found.add(one)
                    ahead.append(one)
        return found


@dataclass
class Built:
    """A job's pipeline with the truth about it; `calls` are the rows to publish in each run, by stream."""

    pipeline: Pipeline
    truth: Truth
    calls: tuple[list[tuple[Stream, list[dict[str, Any]]]], list[tuple[Stream, list[dict[str, Any]]]]]


def build(job: Job) -> Built:
    return _Builder(job).built


class _Builder:
    def __init__(self, job: Job) -> None:
        self.p = Pipeline("g", partitions=job.partitions)
        self.truth = Truth()
        self.streams: list[Stream] = []
        self.tables: list[Stream] = []
        self.built = Built(self.p, self.truth, ([], []))
        for one in job.inputs:
            self._input(one)
        for number, step in enumerate(job.steps):
            self._step(step, f"o{number}")

    def _input(self, one: Input) -> None:
        time = "at" if one.timed else None
        declare = self.p.table if one.is_table else self.p.stream
        stream = declare(one.name, ROWS, key="key", time=time, codec=one.codec)
        (self.tables if one.is_table else self.streams).append(stream)
        runs: list[list[dict[str, Any]]] = []
        count = clock = 0
        for number, calls in enumerate(one.rows):
            rows: list[dict[str, Any]] = []
            for drawn in calls:
                made = source_rows(one.name, drawn, count, clock)
                count, clock = count + len(drawn), clock + sum(step for _, step, _ in drawn)
                rows += made
                if not one.by_source:
                    self.built.calls[number].append((stream, made))
            runs.append(rows)
        if one.by_source:
            self.p.source(stream, table([row for rows in runs for row in rows]), chunk=4)
            self.truth.operator(f"{stream.name}.source", [], [stream.name])

    def _step(self, step: Step, to: str) -> None:
        source = self.streams[step.first % len(self.streams)]
        others = [one for one in self.streams if one.name != source.name]
        kind = step.kind
        if kind in ("asof join", "window join") and not others:
            kind = "keep"
        if kind in ("table join", "cleaned table") and not self.tables:
            kind = "filter"
        other = others[step.second % len(others)] if others else source
        known = self.tables[step.second % len(self.tables)] if self.tables else source
        match kind:
            case "filter":
                self._filter(source, to, step.number)
            case "explode" | "reorder" | "keep":
                self._map(source, to, {"explode": exploded, "reorder": reordered, "keep": kept}[kind], step.flag)
            case "batch":
                self._batch(source, to)
            case "clean":
                self._clean(source, to, self.streams)
            case "cleaned table":
                self._clean(known, to, self.tables)
            case "copy":
                self._add_copy(source, to, "json" if step.flag else "avro")
            case "repartition":
                self._repartition(source, to)
            case "loop":
                self._loop(source, to, step.number)
            case _:
                self._join(source, known if kind == "table join" else other, to, kind.split()[0], step)

    def _filter(self, source: Stream, to: str, number: int) -> Stream:
        out = self.p.filter(source, lambda rows: np.asarray(rows["n"]) % number != 0, reads=["n"], to=to)
        self._same_fields(source, out)
        self.streams.append(out)
        return out

    def _map(self, source: Stream, to: str, function: Any, says: bool) -> None:
        reads = ["id", "n", "exact", "wide"]
        derives = {"n": ["n"], "exact": ["exact"], "wide": ["wide"]} if says else None
        out = self.p.map(source, function, reads=reads, to=to, schema=MADE, derives=derives)
        self.truth.operator(out.name, [source.name], [out.name])
        fields = {name: _own(source, name) for name in ("key", "at")}
        for name in MADE.names:
            said = says and name != "id"
            fields[name] = _own(source, name) if said else frozenset((f"{source.name}.{one}", True) for one in reads)
        self.truth.fields[out.name] = fields
        self.streams.append(out)

    def _batch(self, source: Stream, to: str) -> None:
        out = self.p.map(source, summed, reads=list(FIELDS), to=to, schema=ROWS)
        self.truth.operator(out.name, [source.name], [out.name])
        everything = frozenset((f"{source.name}.{name}", True) for name in FIELDS)
        self.truth.fields[out.name] = dict.fromkeys(FIELDS, everything)
        self.streams.append(out)

    def _clean(self, source: Stream, to: str, into: list[Stream]) -> None:
        out = self.p.clean(source, to=to, expect=[between("n", 0, 7)])
        retry, bad = f"{out.name}.retry", f"{out.name}.quarantine"
        self.truth.operator(out.name, [source.name, retry], [out.name, bad])
        both = {name: _own(source, name) | {(f"{retry}.{name}", False)} for name in FIELDS}
        self.truth.fields[out.name] = both
        judged = frozenset().union(*both.values())
        beside = {"rule": judged, "field": judged, "value": judged, "violations": judged, "contract": frozenset()}
        self.truth.fields[bad] = {**both, **beside}
        into.append(out)

    def _add_copy(self, source: Stream, to: str, codec: str) -> None:
        out = self.p.add(Copy(source, f"g.{to}", codec))
        self._same_fields(source, out)
        self.streams.append(out)

    def _repartition(self, source: Stream, to: str) -> None:
        by_id = self.p.repartition(source, key="id", to=f"{to}a", partitions=2)
        back = self.p.repartition(by_id, key="key", to=to, partitions=source.partitions)
        for one, out in ((source, by_id), (by_id, back)):
            self._same_fields(one, out)
            self.truth.edges.add((called(out.name), f"{out.name}.keyless"))
            self.truth.fields[f"{out.name}.keyless"] = {name: _own(one, name) for name in FIELDS}
        self.streams.append(back)

    def _loop(self, source: Stream, to: str, number: int) -> None:
        back = Stream(f"g.{to}back", Schema(ROWS), key=("key",), time="at", partitions=source.partitions)
        gate = self.p.add(Gate(source, back, f"g.{to}", delay=number * SECOND))
        self.truth.operator(gate.name, [source.name, back.name], [gate.name])
        self.truth.later.add((back.name, called(gate.name)))
        self.truth.fields[gate.name] = {
            name: _own(source, name) | (_own(back, name) if name in ("id", "exact", "wide") else frozenset())
            for name in FIELDS
        }
        self.streams.append(gate)
        self._filter(gate, f"{to}back", 3)

    def _join(self, source: Stream, right: Stream, to: str, how: str, step: Step) -> None:
        options: dict[str, Any] = {"kind": "inner" if step.flag else "left"}
        if how == "window":
            options |= {"before": 0, "after": step.number * SECOND, "time_name": "joined"}
        operator = join(source, right, on="key", how=how, to=f"g.{to}", prefix="other_", **options)  # type: ignore[arg-type]
        out = self.p.add(operator)
        sides = [stream.name for stream in operator.outputs]
        self.truth.operator(out.name, [source.name, right.name], sides)
        fields = {name: _own(source, name) for name in FIELDS}
        fields |= {f"other_{name}": _own(right, name) for name in right.schema.arrow.names if name != "key"}
        if how == "window":
            fields["joined"] = _own(source, "at") | _own(right, "at")
        self.truth.fields[out.name] = fields
        if len(sides) > 1:
            late = {
                "late_input": frozenset(),
                "late_clock": frozenset(),
                **{name: _own(source, name) for name in FIELDS},
            }
            if how != "table":
                late |= {f"{right.name.rpartition('.')[2]}_{name}": _own(right, name) for name in FIELDS}
            self.truth.fields[sides[1]] = late
        reads = ["id", "n", "exact", "wide", "other_id", "other_n", "other_exact", "other_wide"]
        derives = {name: [name, f"other_{name}"] for name in MADE.names}
        after = self.p.map(out, merged, reads=reads, to=f"{to}m", schema=MADE, derives=derives, time="at")
        self.truth.operator(after.name, [out.name], [after.name])
        made = {name: _own(out, name) | _own(out, f"other_{name}") for name in MADE.names}
        self.truth.fields[after.name] = {"key": _own(out, "key"), "at": _own(out, "at"), **made}
        self.streams.append(after)

    def _same_fields(self, source: Stream, out: Stream) -> None:
        self.truth.operator(out.name, [source.name], [out.name])
        self.truth.fields[out.name] = {name: _own(source, name) for name in FIELDS}


def _own(stream: Stream, name: str) -> Origins:
    return frozenset({(f"{stream.name}.{name}", False)})
