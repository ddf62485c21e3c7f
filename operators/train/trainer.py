"""One chunk after the other: every candidate is tested on it, then learns it; what there is to say is said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.alarms import DATA, LABEL, Alarm
from operators.evaluate.metrics import Codes
from operators.model.attributes import saved
from operators.model.format import ModelError
from operators.model.learner import Learner
from operators.model.registry import entry_of
from operators.model.stream import Event, ModelEvent
from operators.train.candidate import Candidate, restored, stored
from operators.train.contest import Contest, Succession
from operators.train.design import Design
from operators.train.encoded import Encoded
from operators.train.learnt import Learnt
from operators.train.memory import Memory
from streams.parents import Addresses, Ranges

#: A challenger that an alarm began has learnt so many chunks before the next alarm begins another one.
SETTLED_CHUNKS = 10
_MOST_UNKNOWN = 100

#: An event or an alarm, and the rows that it was made from.
Said = tuple[ModelEvent | Alarm, Ranges]


@dataclass(frozen=True)
class Chunk:
    """Rows to learn from at once, without their addresses. `truth` are places among the classes (none for weak labels);
    `at` is the event time from which what is learnt from them holds."""

    rows: pa.RecordBatch
    truth: Codes
    addresses: Addresses
    at: int


class Trainer:
    """Acts on a trainer's memory, in place. Equal memory and equal chunks give equal memory and equal events."""

    def __init__(self, design: Design, memory: Memory) -> None:
        self._design = design
        self._memory = memory
        self._contest = Contest(design, memory)

    def learn(self, chunk: Chunk) -> Iterator[Said]:
        """Test, compare, learn; a new champion, or versions if they are due."""
        memory, here = self._memory, _place(chunk.addresses)
        yield from self._replaced(chunk.at, here)
        for alarm in self._vanished(chunk):
            yield alarm, here
        encoded = Encoded(chunk.rows)
        forecasts = encoded.forecasts(memory.candidates.values())
        if memory.champion in forecasts:
            for alarm in self._contest.beside_baselines(chunk.truth, forecasts[memory.champion], chunk.at):
                yield alarm, here
        succession, alarms = self._contest.compare(chunk.rows, chunk.truth, forecasts, chunk.at)
        for alarm in alarms:
            yield alarm, here
        memory.baselines = memory.baselines.after(chunk.truth)
        yield from self._fit(encoded, chunk.truth, self._weight(chunk.rows), chunk)
        memory.true_rows += len(chunk.truth)
        yield from self._after(chunk, succession)

    def learn_weak(self, chunk: Chunk, probability: Any) -> Iterator[Said]:
        """Learn each row as both classes, weighted by their probabilities. Nothing is tested on weak labels."""
        rows = pa.Table.from_batches([chunk.rows, chunk.rows]).combine_chunks().to_batches()[0]
        count = len(chunk.addresses)
        truth = np.repeat(np.array([1, 0], dtype=np.int64), count)
        yield from self._fit(Encoded(rows), truth, np.concatenate([probability, 1.0 - probability]), chunk)
        for one in self._memory.candidates.values():
            one.learner.trained_rows = max(0, one.learner.trained_rows - count)
        yield from self._after(chunk, None)

    def unknown(self, label: str, at: int, addresses: Addresses) -> Iterator[Said]:
        """A label came that is none of the classes: one alarm for each such value."""
        if label not in self._memory.unknown and len(self._memory.unknown) < _MOST_UNKNOWN:
            self._memory.unknown.append(label)
            evidence = {"label": label, "classes": list(self._design.classes.values)}
            alarm = Alarm(self._design.model, at, LABEL, 1.0, 0.0, column=self._design.target, evidence=evidence)
            yield alarm, _place(addresses)

    def alarmed(self, told: dict[str, Any], at: int, addresses: Addresses) -> Iterator[Said]:
        """Something was reported: a fresh challenger begins, or the champion begins anew."""
        memory, design = self._memory, self._design
        why = f"{told['kind']} alarm" + (f" about {told['column']}" if told["column"] else "") + f" of {told['source']}"
        settled = SETTLED_CHUNKS * design.chunk
        if design.on_alarm == "reset":
            if memory.reigning.learner.trained_rows >= settled:
                self._begin_anew(memory.reigning)
                self._contest.begin_anew()
                memory.reason = f"began anew after a {why}"
                memory.due = memory.rows + design.chunk
            return
        begun = [one for one in memory.candidates.values() if one.name not in design.candidates]
        if any(one.learner.trained_rows < settled for one in begun):
            return
        memory.begun += 1
        base = memory.reigning.base if memory.reigning.base in design.candidates else design.first
        fresh = Candidate(f"{base}.{memory.begun}", base, design.fresh(base))
        fresh.learnt.add(addresses)
        memory.candidates[fresh.name] = fresh
        spare = [one for one in begun if one.name not in (memory.champion, memory.predecessor)]
        if len(spare) >= design.most_challengers:
            yield from self._retire(spare[0], at, f"made room for {fresh.name}", _place(addresses))

    def asked(self, told: dict[str, Any], at: int, addresses: Addresses) -> Iterator[Said]:
        """A person promotes a candidate or goes back to a version; gates are not asked."""
        memory, here = self._memory, _place(addresses)
        why = f"asked for by {told['by']}" + (f": {told['reason']}" if told["reason"] else "")
        chosen = None
        if told["action"] == "promote":
            chosen = memory.candidates.get(told["estimator"] or "") or self._with_version(told["version"])
        elif told["action"] == "rollback":
            chosen = self._earlier(told["version"])
        if chosen is None or not chosen.is_trained:
            evidence = {**told, "candidates": list(memory.candidates), "versions": sorted(memory.kept)}
            evidence["asked_at"] = str(told["asked_at"])
            yield Alarm(self._design.model, at, "control", 1.0, 0.0, column=told["estimator"], evidence=evidence), here
            return
        event: Event = "promoted" if told["action"] == "promote" else "rolled_back"
        self._contest.crown(chosen, event)
        yield self._say(chosen, event, at, why)

    def _after(self, chunk: Chunk, succession: Succession | None) -> Iterator[Said]:
        memory, design = self._memory, self._design
        memory.rows += len(chunk.addresses)
        if not memory.reigning.is_trained:
            return
        if succession is not None and not succession.candidate.is_trained:
            succession = None
        if succession is not None:
            self._contest.crown(succession.candidate, succession.event)
            yield self._say(succession.candidate, succession.event, chunk.at, succession.reason)
        if memory.rows >= memory.due or not memory.version:
            memory.due = (memory.rows // design.checkpoint_every + 1) * design.checkpoint_every
            if succession is None:
                yield self._say(memory.reigning, "checkpoint", chunk.at, memory.reason)
                memory.reason = None
            for one in memory.challengers():
                if one.is_trained:
                    yield self._say(one, "checkpoint", chunk.at)

    def _say(self, one: Candidate, event: Event, at: int, reason: str | None = None) -> Said:
        """A new version of the candidate. It holds from `at`, or from the newest version on if that is later."""
        memory = self._memory
        memory.version += 1
        memory.latest = max(memory.latest, at)
        one.version = memory.version
        content = stored(one.learner)
        reigns = one.name == memory.champion
        if reigns:
            memory.keep(one.version, one, content)
        said = ModelEvent(
            self._design.model,
            one.version,
            memory.latest,
            event,
            "champion" if reigns else "challenger",
            one.name,
            one.learner.trained_rows,
            content,
            reason,
        )
        return said, one.learnt.as_parents()

    def _retire(self, one: Candidate, at: int, reason: str, here: Ranges) -> Iterator[Said]:
        del self._memory.candidates[one.name]
        if one.version:
            yield self._retired(one.name, one.version, one.learner.trained_rows, at, reason), here

    def _retired(self, name: str, version: int, rows: int, at: int, reason: str) -> ModelEvent:
        return ModelEvent(self._design.model, version, at, "retired", "challenger", name, rows, None, reason)

    def _replaced(self, at: int, here: Ranges) -> Iterator[Said]:
        """Say what was found to be of another declaration when the trainer was started."""
        for name, version in self._memory.replaced:
            yield self._retired(name, version, 0, at, "declared anew: it had learnt other features or classes"), here
        self._memory.replaced = []

    def _begin_anew(self, one: Candidate) -> None:
        one.learner = self._design.fresh(one.base if one.base in self._design.candidates else self._design.first)
        one.comparison = None
        one.learnt = Learnt()

    def _fit(self, encoded: Encoded, truth: Codes, weight: Any, chunk: Chunk) -> Iterator[Said]:
        """Learn. A learner whose numbers have run away begins anew, and another one takes its place if it reigns."""
        memory = self._memory
        with np.errstate(over="ignore", invalid="ignore"):
            matrices = encoded.learn(memory.candidates.values())
        for one in list(memory.candidates.values()):
            try:
                with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                    one.learner.learn_encoded(matrices[one.name], truth, weight)
                _refuse_runaway(one.learner)
            except ModelError as error:
                # What is refused in the very first chunk is refused in every one: a person has to mend it.
                if not memory.rows:
                    raise
                evidence = {"candidate": one.name, "version": one.version, "said": str(error)}
                alarm = Alarm(self._design.model, chunk.at, "training", 1.0, 0.0, column=one.name, evidence=evidence)
                yield alarm, _place(chunk.addresses)
                self._begin_anew(one)
                self._succeed_runaway(one)
            else:
                one.learnt.add(chunk.addresses)

    def _succeed_runaway(self, one: Candidate) -> None:
        memory = self._memory
        if one.name != memory.champion:
            return
        heirs = [other for other in memory.challengers() if other.is_trained]
        if heirs:
            self._contest.crown(heirs[0], "rolled_back")
            memory.due = memory.rows
            memory.reason = f"took over from {one.name}, whose training has diverged"
        else:
            self._contest.begin_anew()
            memory.reason = "began anew: training had diverged"
            memory.due = memory.rows + self._design.chunk

    def _vanished(self, chunk: Chunk) -> Iterator[Alarm]:
        """An alarm for a feature that was there and is missing in a whole chunk; one until it comes back."""
        memory = self._memory
        for name in self._design.features:
            column = chunk.rows.column(name)
            missing = column.null_count == len(column)
            if not missing and pa.types.is_floating(column.type) and _is_nan(column[0]):
                missing = bool(pc.all(pc.is_null(column, nan_is_null=True)).as_py())
            if not missing:
                memory.seen.add(name)
                memory.gone.discard(name)
            elif name in memory.seen and name not in memory.gone:
                memory.gone.add(name)
                evidence = {"rows": len(column), "missing": 1.0}
                yield Alarm(self._design.model, chunk.at, DATA, 1.0, 1.0, column=name, evidence=evidence)

    def _weight(self, rows: pa.RecordBatch) -> Any | None:
        """Sample weights: 1 where there is none, 0 for what is not a positive number."""
        if self._design.weight is None:
            return None
        given = pc.fill_null(pc.cast(rows.column(self._design.weight), pa.float64()), 1.0)
        values = given.to_numpy(zero_copy_only=False)
        return np.where(np.isfinite(values) & (values > 0), values, 0.0)

    def _with_version(self, version: int | None) -> Candidate | None:
        found = (one for one in self._memory.candidates.values() if version and one.version == version)
        return next(found, None)

    def _earlier(self, version: int | None) -> Candidate | None:
        """Whom to go back to: without a version the champion before, or this one's version before the newest."""
        memory = self._memory
        if version is None:
            before = memory.candidates.get(memory.predecessor or "")
            if before is not None:
                return before
            older: Sequence[int] = [number for number in sorted(memory.kept) if number < memory.reigning.version]
            version = older[-1] if older else None
        kept = memory.kept.get(version or 0)
        if kept is None:
            return None
        learner = restored(kept.content, f"{self._design.model} version {version}")
        found = Candidate(kept.name, kept.base, learner, learnt=Learnt(dict(kept.learnt.ranges)))
        memory.candidates[kept.name] = found
        return found


def _is_nan(value: Any) -> bool:
    """True for null, too."""
    return not value.is_valid or bool(value.as_py() != value.as_py())


def _place(addresses: Addresses) -> Ranges:
    learnt = Learnt()
    learnt.add(addresses)
    return learnt.as_parents()


def _refuse_runaway(learner: Learner) -> None:
    """ModelError if a number of the learner is no longer finite."""
    known = [encoded.known.values() for encoded in learner.encoder.parts]
    if not np.isfinite(known).all():
        names = [part.name for part, values in zip(learner.encoder.parts, known, strict=True) if not _finite(values)]
        raise ModelError(
            f"The spread of {', '.join(map(repr, names))} is no longer finite",
            where=type(learner.estimator).__name__,
            fix="Keep such values out, for example with a rule of p.clean.",
        )
    for part in (*learner.steps, learner.estimator):
        saved(part, entry_of(part)[1])


def _finite(values: Sequence[float]) -> bool:
    return bool(np.isfinite(values).all())
