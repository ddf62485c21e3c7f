"""What a trainer remembers: in memory as objects, in the state as JSON and encoded learners."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from operator import is_
from typing import Any, Final

import orjson

from operators.evaluate.baselines import Baselines
from operators.execution.state import State
from operators.model.learner import Learner
from operators.train.candidate import Candidate, restored, stored, wager_of
from operators.train.design import Design
from operators.train.encoded import share_encoders
from operators.train.learnt import Learnt
from operators.train.sequential import Wager
from streams.message import BEGINNING

_MEMORY: Final = "trainer"
#: Versions of champions that a person can go back to.
MOST_KEPT: Final = 10


@dataclass
class Kept:
    """An earlier champion's version, to go back to."""

    name: str
    base: str
    learnt: Learnt
    content: bytes


@dataclass
class Memory:
    """`rows` were learnt, weak ones among them, `true_rows` without; `due` is how many will have been learnt when the
    next checkpoint is. `latest` is the event time of the newest version. `tests` counts the comparisons of the
    champion's reign, `probation` the rows that are left of its time on probation, `begun` the challengers that
    alarms have begun."""

    candidates: dict[str, Candidate]
    champion: str
    baselines: Baselines
    rows: int = 0
    true_rows: int = 0
    due: int = 0
    version: int = 0
    latest: int = BEGINNING
    tests: int = 0
    begun: int = 0
    predecessor: str | None = None
    probation: int = 0
    reason: str | None = None
    gates: str = ""
    rivals: dict[str, Wager] = field(default_factory=dict)
    lasting: dict[str, int] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    unknown: list[str] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    kept: dict[int, Kept] = field(default_factory=dict)
    replaced: list[tuple[str, int]] = field(default_factory=list)
    touched: bool = False

    @classmethod
    def fresh(cls, design: Design) -> Memory:
        candidates = {name: Candidate(name, name, design.fresh(name)) for name in design.candidates}
        share_encoders(list(candidates.values()))
        return cls(candidates, design.first, Baselines.fresh(len(design.classes)), gates=_gates(design))

    @property
    def reigning(self) -> Candidate:
        return self.candidates[self.champion]

    def challengers(self) -> Iterator[Candidate]:
        return (one for one in self.candidates.values() if one.name != self.champion)

    def keep(self, version: int, candidate: Candidate, content: bytes) -> None:
        """Let a person go back to this version; the oldest of too many is forgotten."""
        self.kept[version] = Kept(candidate.name, candidate.base, Learnt(dict(candidate.learnt.ranges)), content)
        while len(self.kept) > MOST_KEPT:
            del self.kept[min(self.kept)]


class Shelf:
    """Takes a trainer's memory out of the state and puts it back. Between two steps it is at hand as objects, which
    are used again if the state is still the one that was written with them: a step that raised leaves nothing."""

    def __init__(self, design: Design) -> None:
        self._design = design

    def take(self, state: State) -> Memory:
        cache = state.derived("memory", (), _Cache)
        memory, stand = cache.memory, cache.stand
        cache.memory = None
        if memory is not None and self._stands(state, stand):
            return memory
        return self._read(state)

    def put(self, state: State, memory: Memory) -> None:
        values: dict[str, bytes] = {f"learner {name}": stored(one.learner) for name, one in memory.candidates.items()}
        values |= {f"version {number}": kept.content for number, kept in memory.kept.items()}
        values[_MEMORY] = orjson.dumps(_told(memory), option=orjson.OPT_SORT_KEYS)
        for name in [name for name in state if name.startswith(("learner ", "version ")) and name not in values]:
            del state[name]
        for name, value in values.items():
            if state.raw(name) != value:
                state[name] = value
        self.put_back(state, memory)

    def put_back(self, state: State, memory: Memory) -> None:
        """Nothing has changed since it was taken."""
        cache = state.derived("memory", (), _Cache)
        cache.memory = memory
        cache.stand = {name: state[name] for name in self._names(state)}

    def _names(self, state: State) -> list[str]:
        return [name for name in state if name == _MEMORY or name.startswith(("learner ", "version "))]

    def _stands(self, state: State, stand: Mapping[str, Any]) -> bool:
        names = self._names(state)
        return names == list(stand) and all(map(is_, stand.values(), (state[name] for name in names)))

    def _read(self, state: State) -> Memory:
        told = state.raw(_MEMORY)
        if told is None:
            return Memory.fresh(self._design)
        return self._fitted(_memory(orjson.loads(told), state, self._design))

    def _fitted(self, memory: Memory) -> Memory:
        """What was declared anew begins anew; what is no longer declared goes, unless it is champion."""
        design = self._design
        for name, one in list(memory.candidates.items()):
            if design.is_like(one.base, one.learner):
                continue
            if one.base in design.candidates:
                memory.candidates[name] = Candidate(name, one.base, design.fresh(one.base))
            elif name == memory.champion and _can_go_on(one.learner, design):
                continue
            else:
                del memory.candidates[name]
            if one.version:
                memory.replaced.append((name, one.version))
        for name in design.candidates:
            if name not in memory.candidates:
                memory.candidates[name] = Candidate(name, name, design.fresh(name))
        if memory.champion not in memory.candidates:
            memory.champion = design.first
        if memory.predecessor not in memory.candidates:
            memory.predecessor, memory.probation = None, 0
        if len(memory.baselines.counts) != len(design.classes):
            memory.baselines, memory.rivals = Baselines.fresh(len(design.classes)), {}
        gates = _gates(design)
        if memory.gates != gates:
            memory.gates = gates
            for candidate in memory.candidates.values():
                candidate.comparison = None
        share_encoders(list(memory.candidates.values()))
        return memory


@dataclass(slots=True)
class _Cache:
    memory: Memory | None = None
    stand: dict[str, Any] = field(default_factory=dict)


def _gates(design: Design) -> str:
    """Which gates have added up what a comparison remembers."""
    return orjson.dumps([gate.params for gate in design.gates], option=orjson.OPT_SORT_KEYS).decode()


def _can_go_on(known: Learner, design: Design) -> bool:
    """True if the examples still have all that the learner reads, and its classes are theirs."""
    return set(known.features) <= set(design.features) and known.classes == design.classes.values


def _told(memory: Memory) -> dict[str, Any]:
    return {
        "candidates": [one.told() for one in memory.candidates.values()],
        "champion": memory.champion,
        "baselines": memory.baselines.encode().decode(),
        **{name: getattr(memory, name) for name in _PLAIN},
        "rivals": {
            name: [one.wealth.tolist(), one.peak, one.rows, one.total] for name, one in sorted(memory.rivals.items())
        },
        "seen": sorted(memory.seen),
        "gone": sorted(memory.gone),
        "kept": [[number, one.name, one.base, one.learnt.told()] for number, one in sorted(memory.kept.items())],
        "replaced": [list(pair) for pair in memory.replaced],
    }


_PLAIN: Final = (
    *("rows", "true_rows", "due", "version", "latest", "tests", "begun", "predecessor", "probation", "reason"),
    *("gates", "lasting", "unknown", "left_out"),
)


def _memory(told: dict[str, Any], state: State, design: Design) -> Memory:
    def content(name: str) -> bytes:
        found = state.raw(name)
        assert found is not None, name
        return found

    candidates = {}
    for one in told["candidates"]:
        where = f"{design.model}, {one['name']}"
        candidates[one["name"]] = Candidate.of(one, restored(content(f"learner {one['name']}"), where))
    return Memory(
        candidates,
        told["champion"],
        Baselines.decode(told["baselines"].encode(), len(design.classes)),
        **{name: told[name] for name in _PLAIN},
        rivals={name: wager_of(one) for name, one in told["rivals"].items()},
        seen=set(told["seen"]),
        gone=set(told["gone"]),
        kept={
            number: Kept(name, base, Learnt.of(learnt), content(f"version {number}"))
            for number, name, base, learnt in told["kept"]
        },
        replaced=[(name, number) for name, number in told["replaced"]],
    )
